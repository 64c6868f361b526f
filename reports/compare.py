# SPDX-License-Identifier: GPL-2.0-only
"""``python -m reports.compare OLD NEW``: what changed from one run to another.

Each is a report directory or a JUnit file, or a directory of several runs of one kernel: a test that does not
always say the same there is flaky, and no regression.

Exit status: 1 for a regression, 5 where no test was judged on both sides, 4 for wrong usage, else 0.
"""

import argparse
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from statistics import median

from reports import reading
from reports.model import HARNESS_SUITE, Result, Run, Verdict, worst


class Change(StrEnum):
    """What became of a test, in the order in which a reader wants to know."""

    REGRESSION = "regression"  # it passed, or failed as known, and fails now
    FLAKY = "flaky"  # it passes and fails on one and the same kernel
    NEW = "new"  # judged now and not before
    GONE = "gone"  # judged before and not now
    KNOWN = "known"  # it fails now as configs/deviations says
    SLOWER = "slower"
    FIX = "fix"


_PLURALS = {Change.REGRESSION: "regressions", Change.FIX: "fixes"}

# Times of single tests scatter on a shared host; what is told should be worth a look.
SLOWER = 2.0  # times as long, when the two runs as a whole are taken to be equally fast
SLOWER_SECONDS = 0.5


@dataclass(frozen=True)
class Side:
    """One or more runs of one kernel."""

    runs: tuple[Run, ...]

    @cached_property
    def results(self) -> dict[str, list[Result]]:
        found: dict[str, list[Result]] = {}
        for run in self.runs:
            for result in run.results:
                found.setdefault(reading.key(result), []).append(result)
        return found

    def judged(self, test: str) -> list[Result]:
        return [result for result in self.results.get(test, ()) if result.verdict in reading.JUDGED]

    @cached_property
    def subjects(self) -> set[tuple[str, ...]]:
        return {subject(run) for run in self.runs}


# How fast the host is, which each run finds out anew, never to the last digit (fixtures/targets/ticks.py).
OF_THE_HOST = re.compile(r"\btsc_early_khz=\d+ ?")


def subject(run: Run) -> tuple[str, ...]:
    """What a run judged, as exactly as it says: equal for the same kernels; empty where nothing is said."""
    for suite in run.suites:
        told = suite.properties
        names = ("source", "config", "next-source", "next-config", "command-line", "target")
        if suite.name != HARNESS_SUITE and "source" in told and "-dirty" not in told["source"]:
            return tuple(OF_THE_HOST.sub("", told.get(name, "")) for name in names)
    return ()


@dataclass(frozen=True)
class Difference:
    """A test that is not as it was."""

    change: Change
    test: str
    clauses: tuple[str, ...]
    told: str


def differences(old: Side, new: Side) -> list[Difference]:
    """All of them, the gravest first."""
    same = len(old.subjects | new.subjects) == 1 and () not in old.subjects
    found = []
    usual = _usual_ratio(old, new)
    for test in dict.fromkeys([*new.results, *old.results]):
        before, after = old.judged(test), new.judged(test)
        change = _change(before, after, same)
        if change is None and _is_slower(before, after, usual):
            change = Change.SLOWER
        if change is not None:
            shown = (new.results.get(test) or old.results[test])[-1]
            found.append(Difference(change, test, shown.clauses, _told(change, before, after, shown)))
    order = list(Change)
    return sorted(found, key=lambda difference: order.index(difference.change))


def _broken(result: Result) -> bool:
    return result.verdict is not Verdict.PASS


def _change(before: Sequence[Result], after: Sequence[Result], same: bool) -> Change | None:
    if not before or not after:
        return Change.NEW if after else Change.GONE if before else None
    sides = [{_broken(result) for result in side} for side in (before, after)]
    if any(len(side) > 1 for side in sides) or (same and sides[0] != sides[1]):
        return Change.FLAKY
    was, now = (worst(result.verdict for result in side) for side in (before, after))
    if was is now:
        return None
    if now is Verdict.FAIL:
        return Change.REGRESSION
    return Change.FIX if now is Verdict.PASS else Change.KNOWN


def _seconds(results: Sequence[Result]) -> float:
    return median(result.seconds for result in results)


def _usual_ratio(old: Side, new: Side) -> float:
    """How many times as long tests take in NEW: the machine's doing, and no test's."""
    ratios = [
        _seconds(after) / _seconds(before)
        for test in old.results
        if (before := old.judged(test)) and (after := new.judged(test)) and _seconds(before) > 0
    ]
    return median(ratios) if ratios else 1.0


def _is_slower(before: Sequence[Result], after: Sequence[Result], usual: float) -> bool:
    if not before or not after:
        return False
    expected = _seconds(before) * usual
    return _seconds(after) > SLOWER * expected and _seconds(after) - expected > SLOWER_SECONDS


def _told(change: Change, before: Sequence[Result], after: Sequence[Result], shown: Result) -> str:
    if change is Change.FLAKY:
        counts = (f"{sum(map(_broken, side))} of {len(side)}" for side in (before, after))
        return "failed {} times before, {} now".format(*counts)
    if change is Change.SLOWER:
        return f"{_seconds(before):.2f} s before, {_seconds(after):.2f} s now"
    if change is Change.GONE:
        now = f"{shown.verdict} now: {shown.message}" if not _judged(shown) else "not there now"
        return f"{worst(result.verdict for result in before)} before, {now}".rstrip(": ")
    if change is Change.NEW:
        return f"{worst(result.verdict for result in after)}: {shown.message}".rstrip(": ")
    return shown.message or shown.deviation


def _judged(result: Result) -> bool:
    return result.verdict in reading.JUDGED


def render(old: Side, new: Side) -> Iterator[str]:
    """For a terminal: a sentence, then each difference."""
    found = differences(old, new)
    counts = [
        f"{count} {_PLURALS.get(change, change) if count > 1 else change}"
        for change in Change
        if (count := sum(difference.change is change for difference in found))
    ]
    common = len(common_tests(old, new))
    yield f"{common} tests judged on both sides: {', '.join(counts) or 'no difference'}."
    for difference in found:
        clauses = f" [{', '.join(difference.clauses)}]" if difference.clauses else ""
        yield f"{difference.change}: {difference.test}{clauses}"
        if difference.told:
            yield f"    {difference.told}"


def common_tests(old: Side, new: Side) -> list[str]:
    return [test for test in old.results if old.judged(test) and new.judged(test)]


def status(old: Side, new: Side) -> int:
    if any(difference.change is Change.REGRESSION for difference in differences(old, new)):
        return 1
    return 0 if common_tests(old, new) else 5


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.compare", description="What changed between runs."
    )
    for name in ("old", "new"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help="report directory or JUnit file")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return 4 if end.code else 0
    try:
        old, new = (Side(tuple(reading.read_all(path))) for path in (options.old, options.new))
    except reading.Unreadable as error:
        print(error, file=sys.stderr)
        return 4
    print("\n".join(render(old, new)))
    return status(old, new)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may have read enough
    sys.exit(main())
