# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.clauses``: each promise, its tests, how they were seen to fail, the last verdict."""

import argparse
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kernel import mutants
from kernel.mutants import Mutant
from reports import tables
from reports.model import Run, Verdict, worst
from suite.clauses import catalogue
from suite.clauses.catalogue import Clause
from suite.clauses.collection import CollectionError, Tests, collected

LATEST = Path(__file__).parents[2] / "reports" / "out" / "latest"

NEVER_RAN = "not run"


@dataclass(frozen=True)
class Entry:
    """A clause and what there is to say about it."""

    clause: Clause
    tests: tuple[str, ...]  # node ids, parameters included
    mutants: tuple[str, ...]  # ids of those that break it
    verdicts: Mapping[str, Verdict]  # of the tests in the last run

    @property
    def verdict(self) -> str:
        return str(worst(self.verdicts.values()) or NEVER_RAN)

    @property
    def functions(self) -> list[str]:
        """The tests, with a number for those that come with parameters."""
        counted = Counter(test.partition("[")[0] for test in self.tests)
        return [name + (f" ({number})" if number > 1 else "") for name, number in counted.items()]

    @property
    def seen(self) -> str:
        """How a test of it was seen to fail."""
        by_mutants = f"on {', '.join(self.mutants)}" if self.mutants else ""
        return "; ".join(filter(None, (by_mutants, self.clause.proof)))

    @property
    def releases(self) -> str:
        window = self.clause.releases
        return f"{window.since} to {window.until}" if window.until else f"{window.since} on"


def entries(
    clauses: Mapping[str, Clause], tests: Tests, faults: Sequence[Mutant], run: Run | None
) -> list[Entry]:
    """One entry a clause, in the order of the catalogue."""
    verdicts = {result.node_id: result.verdict for result in run.results} if run else {}
    found = []
    for clause in clauses.values():
        own = tuple(test for test, named in tests.items() if clause.id in named)
        broken = tuple(mutant.id for mutant in faults if clause.id in mutant.breaks)
        said = {test: verdicts[test] for test in own if test in verdicts}
        found.append(Entry(clause, own, broken, said))
    return found


def folders(tests: Tests) -> Counter[str]:
    """How many tests there are in each folder of the suite."""
    return Counter(str(Path(test.partition("::")[0]).parent) for test in sorted(tests))


def totals(found: Sequence[Entry], tests: Tests) -> Iterator[str]:
    """What a reader wants to know of all of it, a line each."""
    without = [entry.clause.id for entry in found if not entry.tests and not entry.clause.untested]
    untested = [entry.clause.id for entry in found if entry.clause.untested]
    unproved = [entry.clause.id for entry in found if not entry.seen and not entry.clause.untested]
    yield f"{len(found)} clauses"
    for number, what, names in (
        (len(without), "without a test", without),
        (len(untested), "that no test can check", untested),
        (len(unproved), "of which no test was seen to fail", unproved),
    ):
        yield f"{number} {what}" + (f": {', '.join(names)}" if names else "")
    yield f"{len(tests)} tests: " + ", ".join(f"{folder} {count}" for folder, count in folders(tests).items())


def as_text(found: Sequence[Entry]) -> Iterator[str]:
    for entry in found:
        clause = entry.clause
        yield f"{clause.id} ({entry.releases}): {entry.verdict}"
        yield f"    {clause.promise}"
        yield f"    source: {clause.source}"
        yield f"    observed: {clause.observed}"
        if clause.relies:
            yield f"    relied on by: {clause.relies}"
        for name in entry.functions:
            yield f"    test: {name}"
        if clause.untested:
            yield f"    no test: {clause.untested}"
        if entry.seen:
            yield f"    seen to fail: {entry.seen}"
        yield ""


def as_markdown(found: Sequence[Entry]) -> Iterator[str]:
    def tests(entry: Entry) -> str:
        names = "<br>".join(f"`{name.partition('::')[2]}`" for name in entry.functions)
        return names or f"none: {entry.clause.untested or 'missing'}"

    header = ("Clause", "Promise", "Releases", "Tests", "Seen to fail", "Last verdict")
    rows = [
        (
            f"`{entry.clause.id}`",
            entry.clause.promise,
            entry.releases,
            tests(entry),
            entry.seen,
            entry.verdict,
        )
        for entry in found
    ]
    yield from tables.markdown(header, rows)
    yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m suite.clauses", description="What the kernel promises, and how it is checked."
    )
    parser.add_argument("patterns", nargs="*", default=["*"], metavar="ID", help="only such clauses (all)")
    parser.add_argument("--report", type=Path, default=LATEST, metavar="DIR", help="whose verdicts (latest)")
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    options = parser.parse_args(arguments)
    try:
        clauses, faults, tests = catalogue.load(), mutants.load(), collected()
    except (ValueError, CollectionError) as error:
        print(error, file=sys.stderr)
        return 3
    try:
        run = Run.from_json(json.loads((options.report / "results.json").read_text()))
    except (OSError, ValueError) as error:
        print(f"no verdicts: {error}", file=sys.stderr)
        run = None
    found = [
        entry
        for entry in entries(clauses, tests, faults, run)
        if any(fnmatchcase(entry.clause.id, pattern) for pattern in options.patterns)
    ]
    print(*(as_markdown if options.markdown else as_text)(found), sep="\n")
    print(*(f"{'- ' if options.markdown else ''}{line}" for line in totals(found, tests)), sep="\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may have read enough
    sys.exit(main())
