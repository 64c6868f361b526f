# SPDX-License-Identifier: GPL-2.0-only
"""report.html: what a run found, as one page to read on a screen, a phone or paper.

``python -m reports.page DIR|JUNIT`` makes it anew of a report that is there.
"""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reports import figures, html, reading, summary, whole
from reports.model import HARNESS_SUITE, Result, Run, Suite, Verdict, exit_status, worst

NAME = "report.html"

# A browser opens a page of some MiB at once; a flooded console, or thousands of failures, have more to say.
EXCERPT = 32 * 1024
ALL_EXCERPTS = 6 * 1024 * 1024

# What is wrong comes first, and of that what the kernel did.
_WORDS = {
    Verdict.FAIL: "failed",
    Verdict.ERROR: "error",
    Verdict.DEVIATION: "deviation",
    Verdict.SKIP: "skipped",
    Verdict.PASS: "passed",
}
_UNJUDGED = "not judged"


def _plural(word: str, count: int) -> str:
    return f"{word}s" if count != 1 and word in ("error", "deviation") else word


class Excerpts:
    """Cuts texts so that all of them together stay below a limit."""

    def __init__(self, room: int) -> None:
        self._room = room

    def take(self, text: str) -> str:
        """The text, or its two ends, where the cause mostly is; where no room is left, a word on that."""
        text = text.strip("\n")
        if len(text) > EXCERPT:
            half = EXCERPT // 2
            text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
        if len(text) > self._room:
            return "[left out: this page is long enough. junit.xml has it.]"
        self._room -= len(text)
        return text


@dataclass(frozen=True)
class Case:
    """A test on the page."""

    anchor: str
    suite: Suite
    result: Result
    detail: str
    console: str

    @property
    def area(self) -> str:
        return area_of(self.result)

    @property
    def word(self) -> str:
        return _WORDS[self.result.verdict]

    @property
    def command(self) -> str:
        """What repeats just this test, for a shell; empty where that is not known, or it is no test's."""
        if not self.suite.repeat or not self.result.file:
            return ""
        return shlex.join([*self.suite.repeat, self.result.node_id])

    @property
    def ran(self) -> str:
        """Where it ran, and for how long."""
        result = self.result
        first, last = result.generations[:1], result.generations[-1:]
        generations = " to ".join(map(str, sorted({*first, *last})))
        machine = f"{result.machine}, generation {generations}, " if result.machine else ""
        return f"{machine}{result.seconds:.2f} s"


@dataclass(frozen=True)
class Promise:
    """A clause, and what its tests say of it."""

    id: str
    sentence: str
    cases: tuple[Case, ...]

    @cached_property
    def verdict(self) -> Verdict | None:
        return worst(case.result.verdict for case in self.cases)

    @property
    def word(self) -> str:
        return _WORDS[self.verdict] if self.verdict else _UNJUDGED


@dataclass(frozen=True)
class Area:
    """The clauses on one subject."""

    name: str
    promises: tuple[Promise, ...]

    @property
    def totals(self) -> list[tuple[Verdict | None, str, int]]:
        counts = Counter(promise.verdict for promise in self.promises)
        words = [*_WORDS.items(), (None, _UNJUDGED)]
        return [
            (verdict, _plural(word, counts[verdict]), counts[verdict])
            for verdict, word in words
            if counts[verdict]
        ]

    @property
    def sound(self) -> bool:
        """Whether there is nothing in it that a reader looks for first."""
        found = {promise.verdict for promise in self.promises}
        return not found & {Verdict.FAIL, Verdict.ERROR}


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    run: Run
    cases: tuple[Case, ...]

    @property
    def sentence(self) -> str:
        return summary.sentence(self.run)

    @property
    def kind(self) -> Verdict:
        """What colour the sentence has."""
        return {0: Verdict.PASS, 1: Verdict.FAIL, 5: Verdict.SKIP}.get(exit_status(self.run), Verdict.ERROR)

    @property
    def subject(self) -> str:
        """What was judged, for the title."""
        for suite in self.run.suites:
            if suite.name != HARNESS_SUITE:
                told = suite.properties
                old, new = told.get("release", told.get("kernel", "")), told.get("next-release", "")
                return f"Linux {old} to {new}" if new and new != old else f"Linux {old}"
        return "the harness" if self.run.suites else "nothing"

    @property
    def totals(self) -> list[tuple[Verdict, str, int]]:
        counts = self.run.counts
        return [
            (verdict, _plural(word, counts[verdict]), counts[verdict])
            for verdict, word in _WORDS.items()
            if counts[verdict]
        ]

    @cached_property
    def guilty(self) -> list[Case]:
        """What failed, the kernel's failures first."""
        wrong = [case for case in self.cases if case.result.verdict in (Verdict.FAIL, Verdict.ERROR)]
        return sorted(wrong, key=lambda case: case.result.verdict is Verdict.ERROR)

    def by_reason(self, verdict: Verdict) -> dict[str, list[Case]]:
        """The tests with this verdict, by what is said of them."""
        found: dict[str, list[Case]] = {}
        for case in self.cases:
            if case.result.verdict == verdict:
                reason = case.result.deviation or case.result.message or "no reason given"
                found.setdefault(reason, []).append(case)
        return found

    @cached_property
    def areas(self) -> list["Area"]:
        """The clauses that were judged, or hold here, by the first word of their names."""
        cases: dict[str, list[Case]] = {name: [] for name in self.run.promises}
        for case in self.cases:
            for clause in case.result.clauses:
                cases.setdefault(clause, []).append(case)
        found: dict[str, list[Promise]] = {}
        for name in sorted(cases):
            promise = Promise(name, self.run.promises.get(name, ""), tuple(cases[name]))
            found.setdefault(_area(name), []).append(promise)
        return [Area(name, tuple(promises)) for name, promises in found.items()]

    @property
    def unjudged(self) -> bool:
        """Whether some clause has no verdict."""
        return any(promise.verdict is None for area in self.areas for promise in area.promises)

    @cached_property
    def tested_areas(self) -> list[str]:
        return sorted({case.area for case in self.cases} | {area.name for area in self.areas})

    @cached_property
    def figures(self) -> figures.Figures:
        return figures.of(self.run.handovers)


def area_of(result: Result) -> str:
    """What a test is about: its first clause's area, or the folder that it is in."""
    if result.clauses:
        return _area(result.clauses[0])
    folders = result.node_id.partition("::")[0].split("/")[:-1]
    return folders[-1] if folders else "run"


def _area(clause: str) -> str:
    return clause.partition(".")[0]


def _cases(run: Run, room: int) -> Iterator[Case]:
    excerpts = Excerpts(room)
    number = 0
    for suite in run.suites:
        for result in suite.results:
            number += 1
            wrong = result.verdict not in (Verdict.PASS, Verdict.SKIP)
            detail, console = (
                excerpts.take(text) if wrong else "" for text in (result.detail, result.console)
            )
            yield Case(f"t{number}", suite, result, detail, console)


def render(run: Run, room: int = ALL_EXCERPTS) -> str:
    """The page; ``room``: how many characters of failures' details and consoles it may hold."""
    page = Page(run, tuple(_cases(run, room)))
    return html.render("report.html", page=page, run=run, verdicts=_WORDS, charts=page.figures)


def encode(run: Run, directory: Path) -> bytes:
    """The page as a file of the report ``directory``."""
    return render(run).encode()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports.page", description="Make a run's page anew.")
    parser.add_argument("report", type=Path, metavar="DIR|JUNIT")
    parser.add_argument("--output", type=Path, metavar="FILE", help="(report.html beside it)")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return 4 if end.code else 0
    try:
        [file, *more] = reading.find(options.report)
        if more:
            raise reading.Unreadable(f"{options.report} has several runs (choose one of them)")
        output = options.output or file.parent / NAME
        whole.write(output, encode(reading.read(file), file.parent))
    except reading.Unreadable as error:
        print(error, file=sys.stderr)
        return 4
    print(f"Page: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
