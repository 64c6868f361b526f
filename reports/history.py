# SPDX-License-Identifier: GPL-2.0-only
"""``python -m reports.history DIR…``: many runs as one page, a row a clause and a column a run.

Each DIR is a report directory, a JUnit file, or a directory of such ones. Tests that pass and fail on one
and the same kernel are listed by number.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from reports import html, page, reading, whole
from reports.chart import Chart, Series
from reports.compare import subject
from reports.figures import Figures
from reports.model import HARNESS_SUITE, Run, Verdict, exit_status, worst

OUT = Path(__file__).with_name("out") / "history.html"

# One character, for a page of many runs.
LETTERS: Mapping[Verdict | None, tuple[str, str]] = {
    Verdict.PASS: ("p", "passed"),
    Verdict.FAIL: ("F", "failed"),
    Verdict.DEVIATION: ("d", "deviation"),
    Verdict.SKIP: ("s", "skipped"),
    Verdict.ERROR: ("E", "error"),
    None: ("–", "no test"),  # noqa: RUF001
}


@dataclass(frozen=True)
class Column:
    """A run."""

    number: int
    run: Run
    link: str  # to its own page, empty where there is none

    @property
    def release(self) -> str:
        told = [suite.properties for suite in self.run.suites if suite.name != HARNESS_SUITE]
        return next((each["release"] for each in told if "release" in each), "unknown")

    @property
    def date(self) -> str:
        return f"{self.run.started:%Y-%m-%d %H:%M}"

    @property
    def status(self) -> int:
        return exit_status(self.run)

    @cached_property
    def by_clause(self) -> dict[str, list[Verdict]]:
        found: dict[str, list[Verdict]] = {}
        for result in self.run.results:
            for clause in result.clauses:
                found.setdefault(clause, []).append(result.verdict)
        return found

    @cached_property
    def by_test(self) -> dict[str, Verdict]:
        found: dict[str, list[Verdict]] = {}
        for result in self.run.results:
            found.setdefault(reading.key(result), []).append(result.verdict)
        return {test: verdict for test, verdicts in found.items() if (verdict := worst(verdicts))}


@dataclass(frozen=True)
class Unsteady:
    """A test that changed its verdict from run to run."""

    test: str
    letters: str  # of each run
    judged: int
    broken: int
    changes: int
    on_one_kernel: int  # of the changes, how often on the very same kernel: what flaky means


@dataclass(frozen=True)
class History:
    """Runs in the order of time."""

    columns: tuple[Column, ...]

    @cached_property
    def clauses(self) -> list[tuple[str, str, list[tuple[Verdict | None, str, str]]]]:
        """Each clause with its sentence and, of each run, verdict, letter and word."""
        names = sorted({clause for column in self.columns for clause in column.by_clause})
        sentences = {name: told for column in self.columns for name, told in column.run.promises.items()}
        return [
            (
                name,
                sentences.get(name, ""),
                [
                    (verdict, *LETTERS[verdict])
                    for column in self.columns
                    for verdict in [worst(column.by_clause.get(name, ()))]
                ],
            )
            for name in names
        ]

    @cached_property
    def unsteady(self) -> list[Unsteady]:
        """The flakiest first."""
        tests = dict.fromkeys(test for column in self.columns for test in column.by_test)
        found = [each for each in map(self._of, tests) if each.changes]
        return sorted(found, key=lambda each: (-each.on_one_kernel, -each.changes, each.test))

    @property
    def flaky(self) -> int:
        return sum(each.on_one_kernel > 0 for each in self.unsteady)

    def _of(self, test: str) -> Unsteady:
        seen = [column.by_test.get(test) for column in self.columns]
        judged = [
            (subject(column.run), verdict is not Verdict.PASS)
            for column, verdict in zip(self.columns, seen, strict=True)
            if verdict in reading.JUDGED
        ]
        kernels: dict[tuple[str, ...], list[bool]] = {}
        for kernel, broken in judged:
            if kernel:
                kernels.setdefault(kernel, []).append(broken)
        return Unsteady(
            test,
            "".join(LETTERS[verdict][0] for verdict in seen),
            len(judged),
            sum(broken for _, broken in judged),
            _changes([broken for _, broken in judged]),
            sum(map(_changes, kernels.values())),
        )

    @property
    def trends(self) -> list[Chart]:
        """The blackout of each run that measured it."""
        points = [
            (float(column.number), Figures(column.run.handovers).phases["blackout"])
            for column in self.columns
            if column.run.handovers
        ]
        if len(points) < 2:
            return []
        return [Chart("Blackout, run by run", "run", "s", (Series("blackout", tuple(points)),))]


def _changes(values: Sequence[bool]) -> int:
    return sum(before != after for before, after in pairwise(values))


def gather(paths: Sequence[Path], beside: Path) -> History:
    """The runs at ``paths``; links are relative to the directory ``beside``. Raises reading.Unreadable."""
    files = list({file.resolve(): file for path in paths for file in reading.find(path)}.values())
    runs = sorted(((reading.read(file), file) for file in files), key=lambda found: found[0].started)
    columns = []
    for number, (run, file) in enumerate(runs, 1):
        own = file.parent / page.NAME
        link = quote(os.path.relpath(own, beside)) if own.is_file() else ""
        columns.append(Column(number, run, link))
    return History(tuple(columns))


def render(history: History) -> str:
    return html.render("history.html", history=history, letters=list(LETTERS.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports.history", description="Many runs as one page.")
    parser.add_argument("reports", nargs="+", type=Path, metavar="DIR", help="report directory or JUnit file")
    parser.add_argument("--output", type=Path, default=OUT, metavar="FILE", help="(reports/out/history.html)")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return 4 if end.code else 0
    try:
        history = gather(options.reports, options.output.parent)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        whole.write(options.output, render(history).encode())
    except reading.Unreadable as error:
        print(error, file=sys.stderr)
        return 4
    except OSError as error:
        print(f"{options.output} cannot be written ({error.strerror})", file=sys.stderr)
        return 3
    print(f"{len(history.columns)} runs, {len(history.clauses)} clauses, {history.flaky} flaky tests")
    print(f"Page: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
