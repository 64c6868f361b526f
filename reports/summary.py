# SPDX-License-Identifier: GPL-2.0-only
"""The last lines on the terminal: the verdict in one sentence, what failed, and where the report is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from reports.model import HARNESS_SUITE, Result, Run, Verdict, exit_status
from reports.text import LINE_LIMIT, clean, line

# What a reader needs first; the rest is in the report.
DETAIL_LINES = 3

_COUNTED = {
    Verdict.PASS: ("passed", "passed"),
    Verdict.FAIL: ("failed", "failed"),
    Verdict.DEVIATION: ("deviation", "deviations"),
    Verdict.SKIP: ("skipped", "skipped"),
    Verdict.ERROR: ("error", "errors"),
}


def tally(counts: Mapping[Verdict, int]) -> str:
    """How many there are of each; no kind that there is none of."""
    parts = [f"{counts[v]} {words[counts[v] != 1]}" for v, words in _COUNTED.items() if counts.get(v)]
    return ", ".join(parts) or "no test ran"


def sentence(run: Run) -> str:
    """The verdict."""
    if run.suites and all(suite.name == HARNESS_SUITE for suite in run.suites) and exit_status(run) in (0, 1):
        return f"The harness is {'broken' if exit_status(run) else 'sound'}: {tally(run.counts)}."
    match exit_status(run):
        case 0:
            return f"Conformant: {tally(run.counts)}."
        case 1:
            return f"Not conformant: {tally(run.counts)}."
        case 2:
            return f"No verdict, interrupted: {tally(run.counts)}."
        case 3 if run.problem is not None:
            return f"No verdict: {run.problem.splitlines()[0] if run.problem else 'harness problem'}."
        case 5:
            return f"No verdict, nothing to judge: {tally(run.counts)}."
        case _:
            return f"No verdict, the harness failed: {tally(run.counts)}."


def blame(result: Result) -> Iterator[str]:
    """Who failed and why: the test with its clauses, its message, and the end of its detail."""
    clauses = f" [{', '.join(result.clauses)}]" if result.clauses else ""
    lines = [each.strip() for each in (result.message, *reversed(result.detail.splitlines()))]
    shown = list(dict.fromkeys(filter(None, lines)))[: DETAIL_LINES - 1]
    yield line(f"{result.verdict}: {result.node_id}{clauses}")
    yield from (f"    {clean(each)[:LINE_LIMIT]}" for each in shown)


def lines(
    run: Run, report: Path | None = None, remarks: Sequence[str] = (), shown: Collection[str] = ()
) -> list[str]:
    """The closing lines; ``remarks`` are sentences on the delivery of the reports, such as a full disk.

    Tests that were ``shown`` when they failed are only counted.
    """
    guilty = [result for result in run.results if result.verdict in (Verdict.FAIL, Verdict.ERROR)]
    guilty = [result for result in guilty if result.node_id not in shown]
    guilty.sort(key=lambda result: result.verdict is Verdict.ERROR)
    text = [each for result in guilty for each in blame(result)]
    text += [f"incident: {incident}" for incident in run.incidents]
    text += run.stale
    text.append(sentence(run))
    if report is not None:
        text.append(f"Report: {report}")
    return [*text, *remarks]
