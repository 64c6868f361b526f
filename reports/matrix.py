# SPDX-License-Identifier: GPL-2.0-only
"""Several releases side by side: clause by clause, failure by failure, known bug by known bug."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from reports.model import Result, Run, Verdict, worst

Table = tuple[Sequence[str], list[list[str]]]  # header and rows

# A reader looks for what is wrong.
_WORDS = {Verdict.FAIL: "FAIL", Verdict.ERROR: "ERROR"}
NOT_PROMISED = "-"
NO_RESULT = "?"

CAUGHT, NOT_CAUGHT, UNSEEN, FREE = "caught", "NOT CAUGHT", "not testable", "-"

# Of several runs' exit statuses, the one that counts: reports.model.exit_status() says why in this order.
_GRAVEST = (2, 1, 3, 4, 5, 0)


@dataclass(frozen=True, eq=False)
class Column:
    """A release, and what the suite found on it."""

    spec: str
    status: int
    run: Run | None

    @cached_property
    def release(self) -> str:
        """As the kernel says it; empty where none was judged."""
        suites = self.run.suites if self.run else ()
        return next((suite.properties["release"] for suite in suites if "release" in suite.properties), "")

    @property
    def title(self) -> str:
        """The release, and how it is built where that is not as usual."""
        built = re.search(r",config=([^,]+)", self.spec)
        return (
            f"{self.release} {Path(built[1]).stem}" if built and self.release else self.release or self.spec
        )

    @property
    def results(self) -> tuple[Result, ...]:
        return self.run.results if self.run else ()

    @property
    def problem(self) -> str:
        """Why there is no verdict on this release, or not on all of it; else empty."""
        if self.run is None:
            return f"no report, exit status {self.status}"
        return (self.run.problem or "").partition("\n")[0]

    def of_clause(self, clause: str) -> list[Result]:
        return [result for result in self.results if clause in result.clauses]


@dataclass(frozen=True)
class Bug:
    """A known bug of the kernel, as a row."""

    name: str
    present: Callable[[str], bool]  # whether a release has it
    caught_by: tuple[str, ...]  # clauses, and node ids in which * stands for anything
    unseen: str = ""  # why no test can catch it


def status(columns: Iterable[Column]) -> int:
    """The exit status of all runs together."""
    return gravest(column.status for column in columns)


def gravest(statuses: Iterable[int]) -> int:
    """Of several exit statuses the one that counts; 5 where there is none."""
    # What is none of ours, such as death by a signal, is an error of the harness.
    found = {each if each in _GRAVEST else 3 for each in statuses}
    return next((each for each in _GRAVEST if each in found), 5)


def clause_table(clauses: Mapping[str, Callable[[str], bool]], columns: Sequence[Column]) -> Table:
    """A row a clause; the mapping says on which releases it is promised."""

    def cell(clause: str, column: Column) -> str:
        if column.release and not clauses[clause](column.release):
            return NOT_PROMISED
        verdict = worst(result.verdict for result in column.of_clause(clause))
        return NO_RESULT if verdict is None else _WORDS.get(verdict, str(verdict))

    header = ["clause", *(column.title for column in columns)]
    return header, [[clause, *(cell(clause, column) for column in columns)] for clause in clauses]


def totals_table(columns: Sequence[Column]) -> Table:
    """A row a release."""
    rows = []
    for column in columns:
        counts = column.run.counts if column.run else {}
        numbers = [str(counts.get(verdict, 0)) for verdict in Verdict]
        seconds = f"{column.run.seconds:.0f}" if column.run else NO_RESULT
        rows.append([column.title, *numbers, seconds, str(column.status), column.problem])
    return ["release", *map(str, Verdict), "seconds", "exit status", "problem"], rows


def failures(column: Column) -> list[Result]:
    """What is wrong on a release, with its first line in ``message``; harness errors last."""
    wrong = [result for result in column.results if result.verdict in (Verdict.FAIL, Verdict.ERROR)]
    return sorted(wrong, key=lambda result: result.verdict is Verdict.ERROR)


def bug_table(bugs: Sequence[Bug], columns: Sequence[Column]) -> Table:
    """A row a known bug: whether each release that has it fails one of the tests that have to catch it."""
    header = ["known bug", *(column.title for column in columns), "by"]
    return header, [_bug_row(bug, columns) for bug in bugs]


def uncaught(bugs: Sequence[Bug], columns: Sequence[Column]) -> list[str]:
    """The bugs that some release has and no test caught there, though one should."""
    return [bug.name for bug in bugs if NOT_CAUGHT in _bug_row(bug, columns)]


def _bug_row(bug: Bug, columns: Sequence[Column]) -> list[str]:
    judged = [column for column in columns if column.release]
    having = [column for column in judged if bug.present(column.release)]
    # What fails where the bug is not, fails for another reason.
    elsewhere = {name for column in judged if column not in having for name in _failing(bug, column)}
    found = {column: [name for name in _failing(bug, column) if name not in elsewhere] for column in having}

    def cell(column: Column) -> str:
        if not column.release:
            return NO_RESULT
        if column not in found:
            return FREE
        if found[column]:
            return CAUGHT
        return UNSEEN if bug.unseen else NOT_CAUGHT

    names = [name.partition("[")[0].rpartition("/")[2] for failed in found.values() for name in failed]
    by = ", ".join(dict.fromkeys(names)) or bug.unseen
    return [bug.name, *map(cell, columns), by if having else "no release here has it"]


def _failing(bug: Bug, column: Column) -> list[str]:
    return [
        result.node_id
        for result in column.results
        if result.verdict in (Verdict.FAIL, Verdict.DEVIATION)
        and any(each in result.clauses or matches(each, [result.node_id]) for each in bug.caught_by)
    ]


def matches(pattern: str, node_ids: Iterable[str]) -> bool:
    """Whether one of the tests is meant. Brackets are a set to fnmatch and a parameter to pytest."""
    return any(fnmatchcase(node_id, pattern.replace("[", "[[]")) for node_id in node_ids)
