# SPDX-License-Identifier: GPL-2.0-only
"""The last lines on the terminal: the verdict in one sentence, what failed, and where the report is."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.model import HARNESS_SUITE, Result, Run, Verdict, exit_status

# What a reader needs first; the rest is in the report.
DETAIL_LINES = 3

_COUNTED = {
    Verdict.PASS: ("passed", "passed"),
    Verdict.FAIL: ("failed", "failed"),
    Verdict.DEVIATION: ("deviation", "deviations"),
    Verdict.SKIP: ("skipped", "skipped"),
    Verdict.ERROR: ("error", "errors"),
}


def _tally(run: Run) -> str:
    counts = run.counts
    parts = [f"{counts[v]} {words[counts[v] != 1]}" for v, words in _COUNTED.items() if counts[v]]
    return ", ".join(parts) or "no test ran"


def sentence(run: Run) -> str:
    """The verdict."""
    if run.suites and all(suite.name == HARNESS_SUITE for suite in run.suites) and exit_status(run) in (0, 1):
        return f"The harness is {'broken' if exit_status(run) else 'sound'}: {_tally(run)}."
    match exit_status(run):
        case 0:
            return f"Conformant: {_tally(run)}."
        case 1:
            return f"Not conformant: {_tally(run)}."
        case 2:
            return f"No verdict, interrupted: {_tally(run)}."
        case 3 if run.problem is not None:
            return f"No verdict: {run.problem.splitlines()[0] if run.problem else 'harness problem'}."
        case 5:
            return f"No verdict, nothing to judge: {_tally(run)}."
        case _:
            return f"No verdict, the harness failed: {_tally(run)}."


def _blame(result: Result) -> Iterator[str]:
    """Who failed and why: the test with its clauses, its message, and the end of its detail."""
    clauses = f" [{', '.join(result.clauses)}]" if result.clauses else ""
    lines = [line.strip() for line in (result.message, *reversed(result.detail.splitlines()))]
    shown = list(dict.fromkeys(filter(None, lines)))[: DETAIL_LINES - 1]
    yield f"{result.verdict}: {result.node_id}{clauses}"
    yield from (f"    {line}" for line in shown)


def lines(run: Run, report: Path | None = None, remarks: Sequence[str] = ()) -> list[str]:
    """The closing lines; ``remarks`` are sentences on the delivery of the reports, such as a full disk."""
    guilty = [result for result in run.results if result.verdict in (Verdict.FAIL, Verdict.ERROR)]
    guilty.sort(key=lambda result: result.verdict is Verdict.ERROR)
    text = [line for result in guilty for line in _blame(result)]
    text += [f"incident: {incident}" for incident in run.incidents]
    text += run.stale
    text.append(sentence(run))
    if report is not None:
        text.append(f"Report: {report}")
    return [*text, *remarks]
