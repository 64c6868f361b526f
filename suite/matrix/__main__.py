# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.matrix [SPEC …] [-- …]``: the conformance suite on one release after the other.

Prints and writes how each clause fares on each release, what fails where, and whether the bugs that a release
has were caught. ``--pairs``: what becomes of a handover from each release to each other, and back, instead.
What follows ``--`` goes to pytest. Exit status: the gravest of the runs'.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kernel import source, spec
from kernel.errors import UsageError
from kernel.release import KernelRelease
from reports import matrix, tables
from reports.matrix import Bug, Column
from reports.model import Run, exit_status
from suite.child import ROOT, directory_of, divided, judge
from suite.clauses import catalogue
from suite.matrix import bugs, pairs
from suite.matrix.pairs import Pair
from suite.releases.sighting import Witness

OUT = ROOT / "reports" / "out"

# What the suite has to tell apart. Newer series come by themselves once the Debian suites hold them.
SERIES = ("6.19", "7.1", "7.2", "7.3")


def default_specs() -> list[str]:
    newest = KernelRelease.parse(SERIES[-1])
    newer = [series for series in source.held_series() if KernelRelease.parse(series) > newest]
    return [f"deb:{series}" for series in (*SERIES, *newer)]


def read(wanted: str, directory: Path, status: int | None) -> Column:
    """What a run left in its directory."""
    try:
        run = Run.from_json(json.loads((directory / "results.json").read_text()))
    except (OSError, ValueError):
        return Column(wanted, 3 if status is None else status, None)
    return Column(wanted, exit_status(run) if status is None else status, run)


def render(columns: Sequence[Column], *, markdown: bool) -> Iterator[str]:
    """Clauses, failures, known bugs and totals."""
    table = tables.markdown if markdown else tables.text
    clauses = {clause.id: clause.releases.holds for clause in catalogue.load().values()}
    known = [Bug(f"{bug.number} {bug.id}", bug.present, bug.caught_by, bug.unseen) for bug in bugs.load()]

    def section(title: str) -> Iterator[str]:
        yield from ("", f"## {title}" if markdown else f"{title}:", "")

    yield from section("Clauses by release")
    yield from table(*matrix.clause_table(clauses, columns))
    for column in columns:
        wrong = matrix.failures(column)
        yield from section(f"{column.title}, {len(wrong)} tests fail")
        if markdown and wrong:
            rows = [[f"`{each.node_id}`", ", ".join(each.clauses), each.message] for each in wrong]
            yield from tables.markdown(["test", "clauses", "what it says"], rows)
        elif wrong:
            for each in wrong:
                yield f"{each.verdict}: {each.node_id} [{', '.join(each.clauses)}]"
                yield f"    {each.message}"
    yield from section("Known bugs")
    yield from table(*matrix.bug_table(known, columns))
    yield from ("", f"Not caught: {', '.join(matrix.uncaught(known, columns)) or 'none'}")
    yield from section("Totals")
    yield from table(*matrix.totals_table(columns))
    yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    own, after = divided(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m suite.matrix",
        usage="%(prog)s [--pairs] [--report-dir DIR] [--no-run] [SPEC ...] [-- arguments for pytest]",
        description="The conformance suite on one release after the other.",
    )
    parser.add_argument("specs", nargs="*", metavar="SPEC", help=spec.KINDS)
    parser.add_argument(
        "--report-dir", type=Path, metavar="DIR", help="(reports/out/matrix, or reports/out/pairs)"
    )
    parser.add_argument("--pairs", action="store_true", help="from each kernel to each other, and back")
    parser.add_argument("--no-run", action="store_true", help="only the tables, of reports that are there")
    options = parser.parse_args(own)
    specs = options.specs or default_specs()
    try:
        for wanted in specs:
            spec.parse(wanted)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    out = options.report_dir or OUT / ("pairs" if options.pairs else "matrix")
    further = None if options.no_run else after
    if options.pairs:
        return _hand_over(specs, out, further)
    return _side_by_side(specs, out, further)


def _side_by_side(specs: Sequence[str], out: Path, further: Sequence[str] | None) -> int:
    """Each release for itself; ``further``: arguments for pytest, None: only read what is there."""
    columns: list[Column] = []
    for wanted in specs:
        directory = directory_of(wanted, out)
        status = None if further is None else judge(wanted, directory, further)
        columns.append(read(wanted, directory, status))
        if status == 2:
            break
    _write(out, "matrix", lambda markdown: render(columns, markdown=markdown))
    return matrix.status(columns)


def _hand_over(specs: Sequence[str], out: Path, further: Sequence[str] | None) -> int:
    """Each release to each other; ``further`` as above."""
    seen: list[Pair] = []
    columns: list[Column] = []
    for pair in pairs.of(specs):
        directory = directory_of(pair.name, out)
        status = None
        if further is not None:
            Witness(directory).forget()
            status = judge(pair.old, directory, [*pairs.tests_of(pair, specs), *further])
        columns.append(read(pair.name, directory, status))
        seen.append(pairs.read(pair, directory, columns[-1].status))
        if status == 2:
            break
    _write(out, "pairs", lambda markdown: pairs.render(seen, markdown=markdown))
    return matrix.status(columns)


def _write(out: Path, name: str, lines: Callable[[bool], Iterator[str]]) -> None:
    """As text, which is printed too, and as markdown."""
    text = "\n".join(lines(False))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.txt").write_text(text)
    (out / f"{name}.md").write_text("\n".join(lines(True)))
    print(text)
    print(f"Report: {out / f'{name}.md'}")


if __name__ == "__main__":
    sys.exit(main())
