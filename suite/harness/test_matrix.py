# SPDX-License-Identifier: GPL-2.0-only
"""Releases side by side: tables, known bugs, exit status, and the command that makes them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kernel.kernel import Kernel
from reports import matrix, tables
from reports.matrix import Bug, Column
from reports.model import Result, Run, Suite, Verdict
from suite.child import directory_of
from suite.clauses import catalogue
from suite.clauses.collection import Tests
from suite.matrix import __main__ as command
from suite.matrix import bugs
from suite.matrix.bugs import KnownBug

ROOT = Path(__file__).parents[2]


def column(release: str, *results: Result, status: int = 0) -> Column:
    run = Run(datetime(2026, 11, 23, tzinfo=UTC), (Suite("s", {"release": release}, results),), seconds=61)
    return Column(f"deb:{release}", status, run)


def result(name: str, verdict: Verdict, *clauses: str, message: str = "") -> Result:
    return Result(f"suite/x/test_x.py::{name}", verdict, clauses=clauses, message=message)


NOTHING = Column("deb:7.9", 4, None)


def test_text_columns_are_as_wide_as_their_widest_cell() -> None:
    assert tables.text(["a", "bb"], [["ccc", ""], ["", "d"]]) == ["a    bb", "ccc", "     d"]


def test_markdown_cells_cannot_end_a_row() -> None:
    assert tables.markdown(["a"], [["b|c\nd"]]) == ["| a |", "| --- |", "| b\\|c d |"]


def test_a_clause_has_its_worst_verdict_on_each_release() -> None:
    old = column("7.1.13", result("a", Verdict.PASS, "c.a"), result("b", Verdict.FAIL, "c.a", "c.new"))
    new = column("7.3.4", result("a", Verdict.PASS, "c.a"), result("b", Verdict.DEVIATION, "c.new"))
    clauses = {
        "c.a": lambda release: True,
        "c.new": lambda release: release != "7.1.13",
        "c.other": lambda release: True,
    }
    header, rows = matrix.clause_table(clauses, [old, new, NOTHING])
    assert header == ["clause", "7.1.13", "7.3.4", "deb:7.9"]
    assert rows == [
        ["c.a", "FAIL", "pass", "?"],
        ["c.new", "-", "deviation", "?"],
        ["c.other", "?", "?", "?"],
    ]


def test_totals_count_verdicts_and_say_where_there_is_none() -> None:
    judged = column("7.3.4", result("a", Verdict.PASS), result("b", Verdict.SKIP), result("c", Verdict.SKIP))
    _, rows = matrix.totals_table([judged, NOTHING])
    assert rows == [
        ["7.3.4", "1", "0", "0", "2", "0", "61", "0", ""],
        ["deb:7.9", "0", "0", "0", "0", "0", "?", "4", "no report, exit status 4"],
    ]


def test_a_kernel_that_is_built_otherwise_says_so() -> None:
    run = column("7.3.4").run
    titles = [
        Column(spec, 0, run).title
        for spec in ("deb:7.3", "deb:7.3,config=debug", "tree:/t,config=x/my.config")
    ]
    assert titles == ["7.3.4", "7.3.4 debug", "7.3.4 my"]


def test_failures_come_before_errors_and_nothing_else_comes() -> None:
    kinds = (Verdict.ERROR, Verdict.PASS, Verdict.DEVIATION, Verdict.FAIL, Verdict.SKIP)
    judged = column("7.3.4", *(result(kind.value, kind) for kind in kinds))
    assert [each.verdict for each in matrix.failures(judged)] == [Verdict.FAIL, Verdict.ERROR]


@pytest.mark.parametrize(
    ("statuses", "together"),
    [([0, 0], 0), ([0, 1, 3], 1), ([1, 2], 2), ([0, 3], 3), ([4, 0], 4), ([0, 5], 5), ([], 5), ([-9, 0], 3)],
    ids=str,
)
def test_the_gravest_exit_status_counts(statuses: Sequence[int], together: int) -> None:
    assert matrix.status(Column("deb:7.3", status, None) for status in statuses) == together


# Known bugs

OLD = column(
    "7.1.13",
    result("bug[1]", Verdict.FAIL, "c.a"),
    result("bug[2]", Verdict.PASS, "c.a"),
    result("always", Verdict.FAIL, "c.b"),
    result("fine", Verdict.PASS, "c.d"),
)
NEW = column(
    "7.3.4",
    result("bug[1]", Verdict.PASS, "c.a"),
    result("bug[2]", Verdict.PASS, "c.a"),
    result("always", Verdict.DEVIATION, "c.b"),
)


def row(*caught_by: str, present: str = "7.1.13", unseen: str = "") -> list[str]:
    bug = Bug("1 some", lambda release: release == present, caught_by, unseen)
    ((_, *cells),) = matrix.bug_table([bug], [OLD, NEW, NOTHING])[1]
    return cells


def test_a_bug_is_caught_by_a_test_of_its_clause_that_fails_only_there() -> None:
    assert row("c.a") == ["caught", "-", "?", "test_x.py::bug"]


def test_a_bug_is_caught_by_a_test_that_is_named() -> None:
    assert row("suite/x/*::bug[[]1]") == ["NOT CAUGHT", "-", "?", ""]
    assert row("suite/x/*::bug[1]") == ["caught", "-", "?", "test_x.py::bug"]


@pytest.mark.parametrize("caught_by", ["c.b", "c.d", "suite/*::bug[2]"], ids=str)
def test_a_bug_is_not_caught_by_what_passes_or_fails_everywhere(caught_by: str) -> None:
    assert row(caught_by) == ["NOT CAUGHT", "-", "?", ""]


def test_a_bug_that_no_release_has_or_no_test_can_see_is_not_missed() -> None:
    assert row("c.a", present="6.19.11") == ["-", "-", "?", "no release here has it"]
    assert row(unseen="Needs hardware.") == ["not testable", "-", "?", "Needs hardware."]


def test_bugs_that_were_missed_are_named() -> None:
    def bug(name: str, caught_by: str, unseen: str = "") -> Bug:
        return Bug(name, lambda release: release == "7.1.13", (caught_by,), unseen)

    known = [bug("a", "c.a"), bug("b", "c.b"), bug("c", "c.b", "Needs hardware.")]
    assert matrix.uncaught(known, [OLD, NEW]) == ["b"]


def test_the_projects_own_bugs_name_clauses_and_tests_that_exist(tests: Tests) -> None:
    known, clauses = bugs.load(), catalogue.load()
    assert len({bug.number for bug in known}) == len(known)
    for bug in known:
        for pattern in bug.caught_by:
            assert pattern in clauses or matrix.matches(pattern, tests), f"{bug.id}: {pattern}"


@pytest.mark.parametrize(
    ("release", "entry", "present"),
    [
        ("6.19.8", {"until": "6.19.8"}, True),
        ("6.19.11", {"until": "6.19.8"}, False),
        ("7.1.13", {"until": "7.0"}, False),
        ("7.3.4", {}, True),
        ("6.19.11", {"candidates": True}, False),
        ("6.19.0-rc3", {"candidates": True}, True),
    ],
    ids=str,
)
def test_a_release_has_a_bug_or_not(
    tmp_path: Path, release: str, entry: dict[str, object], present: bool
) -> None:
    assert load_one(tmp_path, ENTRY | entry).present(release) is present


ENTRY = {
    "id": "a-b", "number": 1, "bug": "It breaks.", "source": "1234567", "since": "6.19", "caught-by": ["c.a"],
}  # fmt: skip


def load_one(tmp_path: Path, *entries: dict[str, object]) -> KnownBug:
    (tmp_path / "bugs.yaml").write_text(json.dumps(entries))  # which is YAML too
    return bugs.load(tmp_path / "bugs.yaml")[0]


@pytest.mark.parametrize(
    "change",
    [
        {"unseen": "x"},
        {"number": "1"},
        {"since": 7.3},
        {"caught-by": []},
        {"bug": "it breaks"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_broken_list_of_bugs_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is no list of known bugs"):
        load_one(tmp_path, ENTRY | change)


def test_a_bug_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two known bugs a-b"):
        load_one(tmp_path, ENTRY, ENTRY)


# python -m suite.matrix


def write(directory: Path, spec: str, found: Column) -> None:
    place = directory_of(spec, directory)
    place.mkdir(parents=True)
    assert found.run is not None
    (place / "results.json").write_text(json.dumps(found.run.to_json()))


def test_tables_are_made_of_the_reports_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clause = next(iter(catalogue.load()))
    write(tmp_path, "deb:7.3", column("7.3.4", result("a", Verdict.FAIL, clause, message="1 is | no 2")))
    assert command.main(["--no-run", "--report-dir", str(tmp_path), "deb:7.3", "deb:7.4"]) == 1
    text = capsys.readouterr().out
    assert "7.3.4, 1 tests fail:" in text
    assert f"fail: suite/x/test_x.py::a [{clause}]\n    1 is | no 2" in text
    assert "no report, exit status 3" in text
    assert (tmp_path / "matrix.txt").read_text() in text
    pages = (tmp_path / "matrix.md").read_text()
    assert f"| `suite/x/test_x.py::a` | {clause} | 1 is \\| no 2 |" in pages
    assert f"| {clause} | FAIL | ? |" in pages


def test_the_suite_runs_on_each_release_and_what_follows_goes_to_pytest(
    tmp_path: Path, default_kernel: Kernel
) -> None:
    line = [sys.executable, "-m", "suite.matrix", "--report-dir", str(tmp_path), default_kernel.spec]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line += ["--", "-k", "no_such_test"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 5, done.stdout + done.stderr
    assert (directory_of(default_kernel.spec, tmp_path) / "junit.xml").exists()
    assert "Totals" in (tmp_path / "matrix.md").read_text()


def test_a_spec_that_names_no_kernel_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--report-dir", str(tmp_path), "deb:7.3", "deb:5.10"]) == 4
    assert "5.10" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_releases_to_tell_apart_are_the_default() -> None:
    assert command.default_specs()[:4] == ["deb:6.19", "deb:7.1", "deb:7.2", "deb:7.3"]
