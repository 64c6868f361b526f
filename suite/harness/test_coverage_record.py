# SPDX-License-Identifier: GPL-2.0-only
"""Error paths and unreachable lines, held against what the last full run of each series reached."""

from dataclasses import replace
from pathlib import Path

import pytest

from reports.coverage import NO_CODE, PARTLY, Coverage, ErrorPath, FileCoverage, State
from suite.coverage import paths, record
from suite.coverage.paths import Known

RECORDS = sorted(record.DIRECTORY.glob("*.yaml"))
NEWEST = RECORDS[-1:]  # the table has the lines of the newest series

# What is said of a path by a run in which its tests took part; one that ends before may be unreachable.
TAKEN = (State.REACHED, PARTLY, NO_CODE, State.UNREACHABLE)


def said_otherwise(known: list[Known], states: dict[int, str]) -> list[str]:
    """The rows that a record contradicts."""
    wrong = [
        f"{each.id}: {states.get(each.id, 'not there')}, and has tests"
        for each in known
        if each.tests and states.get(each.id) not in TAKEN
    ]
    return wrong + [
        f"{each.id}: reached, and says why not: {each.why}"
        for each in known
        if each.why and states.get(each.id) == State.REACHED
    ]


def test_there_is_a_record() -> None:
    assert NEWEST


@pytest.mark.parametrize("path", NEWEST, ids=lambda path: path.stem)
def test_each_error_path_is_reached_or_says_why_not(path: Path) -> None:
    assert said_otherwise(list(paths.load()), dict(record.read(path).paths)) == []


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_what_was_not_reached_is_known_to_be_unreachable(path: Path) -> None:
    found = record.read(path)
    assert found.missed == {}
    assert found.share >= 0.97


def test_a_row_that_no_run_confirms_is_named() -> None:
    tested, *known = [each for each in paths.load() if each.tests]
    left = replace(tested, id=0, tests=(), why="Nobody knows the way.")
    known = [tested, left, *known]
    states = {each.id: str(State.REACHED if each.tests else State.MISSED) for each in known}
    assert said_otherwise(known, states) == []
    states[tested.id], states[left.id] = State.MISSED, State.REACHED
    assert [line.partition(":")[0] for line in said_otherwise(known, states)] == [
        str(tested.id),
        str(left.id),
    ]


def test_what_is_kept_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "DIRECTORY", tmp_path / "coverage")
    file = FileCoverage("a.c", "/src/a.c", ("x",) * 9, {1: 2, 2: 0, 3: 0, 5: 0, 9: 1}, {}, {5: "no way"})

    def error_path(number: int, *lines: int) -> ErrorPath:
        return ErrorPath(number, "a.c", "f", "-EINVAL", "x", "origin", "userspace", "y", lines)

    found = Coverage(
        {"release": "7.3.4", "kernels": "deb:7.3"},
        (file,),
        (error_path(1, 1), error_path(2, 9), error_path(3, 2, 3), error_path(7)),
    )
    path = record.write(found)
    assert path == tmp_path / "coverage" / "7.3.yaml"
    again = record.read(path)
    assert again.release == "7.3.4"
    assert again.paths == {1: "reached", 2: "reached", 3: "missed", 7: NO_CODE}
    assert again.missed == {"a.c": "2-3"}
    assert again.share == 0.4
