# SPDX-License-Identifier: GPL-2.0-only
"""Write a run as summary.md, for the page of a CI job: verdict, failures, deviations, where to read on."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from reports import text
from reports.model import Result, Run, Verdict
from reports.summary import sentence

# GitHub refuses a step's summary above 1 MiB; each section has its share of that, in bytes.
_FAILURES = 500 * 1024
_REST = 80 * 1024

_CONSOLE_LINES = 40

# What CommonMark, its tables or HTML give a meaning to; each may stand after a backslash.
_MARKUP = re.compile(r"([\\`*_\[\]<>&|~])")


def _plain(given: str) -> str:
    """A line in which nothing is markup."""
    return _MARKUP.sub(r"\\\1", text.line(given))


def _item(given: str) -> str:
    """An item of a list that is no heading, rule or list itself."""
    inside = re.sub(r"^([#+=~-])", r"\\\1", _plain(given).lstrip())
    return "- " + re.sub(r"^(\d+)([.)])", r"\1\\\2", inside)


def _fenced(given: str) -> str:
    """A block in which nothing is markup, and that no line of it can end."""
    longest = max((len(run) for run in re.findall("`+", given)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{given}\n{fence}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _bounded(pieces: Iterable[str], room: int) -> Iterator[str]:
    """As many as there is room for; the rest is counted."""
    left = 0
    for piece in pieces:
        room -= len(piece.encode())
        if room >= 0 and not left:
            yield piece
        else:
            left += 1
    if left:
        yield f"\nand {left} more: see junit.xml."


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from lines


def _table(header: str, rows: Iterable[str]) -> Iterator[str]:
    yield header
    yield re.sub(r"[^|]+", " --- ", header)
    yield from _bounded(rows, _REST)


def _guilty(result: Result) -> str:
    """A failure, folded: what it says, and the end of its console."""
    console = result.console.splitlines()[-_CONSOLE_LINES:]
    told = [result.detail or result.message, *(["", "console:", *console] if console else [])]
    facts = {
        "clauses": ", ".join(result.clauses),
        "machine": f"{result.machine}, generations {' '.join(map(str, result.generations))}".rstrip(),
        "files": ", ".join(result.attachments),
        **{f"attempt {n}": f"{old.verdict}: {old.message}" for n, old in enumerate(result.attempts, 1)},
    }
    if not result.machine:
        del facts["machine"]
    return "\n".join(
        [
            "<details>",
            # HTML up to the blank line: there only < and & mean something.
            f"<summary>{result.verdict}: {_html(result.node_id)}: {_html(result.message)}</summary>",
            "",
            *(f"- {name}: {_plain(value)}" for name, value in facts.items() if value),
            "",
            _fenced(text.block("\n".join(told), 8 * 1024)),
            "",
            "</details>",
            "",
        ]
    )


def _html(given: str) -> str:
    return text.line(given).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _results(run: Run, *verdicts: Verdict) -> list[Result]:
    return [result for suite in run.complete() for result in suite.results if result.verdict in verdicts]


def _document(run: Run, has: Callable[[str], bool]) -> Iterator[str]:
    yield f"# {_plain(sentence(run))}"
    for suite in run.complete():
        rows = (_row((name, value)) for name, value in suite.properties.items())
        yield from _section(_plain(suite.name), _table("| what | which |", rows) if suite.properties else ())
    if failed := _results(run, Verdict.FAIL):
        yield from _section(f"{len(failed)} failed", _bounded(map(_guilty, failed), _FAILURES))
    if errors := _results(run, Verdict.ERROR):
        yield from _section(
            f"{len(errors)} without a verdict", _bounded(map(_guilty, errors), _FAILURES // 4)
        )
    if known := _results(run, Verdict.DEVIATION):
        rows = (_row((result.node_id, result.deviation, result.message)) for result in known)
        yield from _section(f"{len(known)} known deviations", _table("| test | why | what it says |", rows))
    if again := [result for result in run.results if result.attempts]:
        rows = (
            _row((result.node_id, result.verdict, "; ".join(old.message for old in result.attempts)))
            for result in again
        )
        yield from _section(f"{len(again)} ran again", _table("| test | verdict | why |", rows))
    if skipped := Counter(text.line(result.message) for result in _results(run, Verdict.SKIP)):
        rows = (_row((str(count), why)) for why, count in skipped.most_common())
        yield from _section(f"{skipped.total()} skipped", _table("| tests | why |", rows))
    if told := [_item(line) for line in (*run.incidents, *run.stale)]:
        yield from _section("To look at", _bounded(told, _REST))
    yield from _section("Files", (f"- `{name}`: {what}" for name, what in _FILES.items() if has(name)))


# What lies in a report directory.
_FILES = {
    "report.html": "everything, for a browser",
    "junit.xml": "for CIs",
    "report.ktap": "for the kernel's tools",
    "results.json": "for `python -m reports.kcidb` and other tools of this project",
    "console": "what each machine and generation printed",
    "handover": "what machines that were held handed over, decoded",
}


def render(run: Run, directory: Path) -> bytes:
    """The document; it names the reports that lie in ``directory``."""
    return ("\n".join(_document(run, lambda name: (directory / name).exists())) + "\n").encode()
