# SPDX-License-Identifier: GPL-2.0-only
"""The attempt journal says what was running when a run died."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.journal import Journal, Unfinished


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def test_what_began_and_did_not_end_is_unfinished(path: Path) -> None:
    journal = Journal(path)
    journal.begin("a.py::t", "first half", "m0", 0)
    journal.end("a.py::t", "first half", "pass")
    journal.begin("a.py::t", "second half", "m0", 1)
    journal.begin("a.py::u", "second half", "m0", 1)
    journal.end("a.py::u", "second half", "fail")
    assert Journal.unfinished(path) == [Unfinished("a.py::t", "second half", "m0", 1)]


def test_a_killed_process_leaves_its_attempt(path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from reports.journal import Journal
Journal(Path({str(path)!r})).begin("a.py::t[\\u2028]", "first half", "m0", 0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    assert Journal.unfinished(path) == [Unfinished("a.py::t[\u2028]", "first half", "m0", 0)]


def test_no_journal_is_an_empty_one(path: Path) -> None:
    assert Journal.unfinished(path) == []


@given(st.integers(0))
def test_a_torn_last_line_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    for name in ("t", "u"):
        Journal(path).begin(f"a.py::{name}", "first half", "m0", 0)
    data = path.read_bytes()
    torn = data[: len(data) // 2 + cut % (len(data) // 2 - 2)]
    path.write_bytes(torn)
    Journal(path).begin("a.py::v", "first half", "m0", 0)
    assert [attempt.node_id for attempt in Journal.unfinished(path)] == ["a.py::t", "a.py::v"]


@given(st.binary())
def test_a_damaged_journal_is_read_as_far_as_it_goes(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    path.write_bytes(rubbish)
    Journal(path).begin("a.py::v", "first half", "m0", 0)
    assert Journal.unfinished(path)[-1].node_id == "a.py::v"


def test_a_full_disk_is_told_once_and_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    journal = Journal(full)
    for part in ("first half", "second half"):
        journal.begin("a.py::t", part, "m0", 0)
        journal.end("a.py::t", part, "pass")
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_each_begin_is_synced_before_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(path.read_bytes()))
    Journal(path).begin("a.py::t", "first half", "m0", 0)
    assert len(synced) == 1
    assert b"a.py::t" in synced[0]
