# SPDX-License-Identifier: GPL-2.0-only
"""Every report is whole or is said not to be, however full the disk is."""

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reports import delivery, junit, whole
from reports.delivery import FORMATS, Reserve
from reports.model import Result, Run, Suite, Verdict
from suite.harness.report_runs import STARTED

NAMES = {each.name for each in FORMATS}


def run_of(*results: Result) -> Run:
    return Run(STARTED, (Suite("s", {"release": "7.3.4"}, results),))


def big_run(cases: int) -> Run:
    """About 100 KiB a case, nearly all of it console."""
    results = [Result(f"a.py::t{n}", Verdict.FAIL, n, console="flood\n" * 17_000) for n in range(cases)]
    return run_of(*results, Result("a.py::guilty", Verdict.FAIL, cases, message="broken"))


def cases(path: Path) -> int:
    return sum(1 for _ in ElementTree.parse(path).iter("testcase"))


def check_whole(directory: Path, run: Run, remarks: tuple[str, ...]) -> set[str]:
    """Each report is whole, or a remark names it; the names of those that are there."""
    there = set()
    for each in FORMATS:
        path = directory / each.name
        told = any(each.name in remark for remark in remarks)
        if path.exists():
            full, less = each.render(run, directory), each.render(run.without_consoles(), directory)
            assert path.read_bytes() in (full, less)
            assert told or path.read_bytes() == full
            there.add(each.name)
        else:
            assert told, f"nobody says that there is no {each.name}"
    assert {path.name for path in directory.iterdir() if path.is_file()} - {"flood"} == there
    return there


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True, text=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    free = os.statvfs(disk)
    (disk / "flood").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    assert os.statvfs(disk).f_bavail * free.f_frsize <= leave


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_all_reports_are_there(tmp_path: Path) -> None:
    run = big_run(2)
    delivered = delivery.deliver(run, tmp_path / "new", Reserve(tmp_path / "new"))
    assert delivered == (tmp_path / "new" / "junit.xml", ())
    assert check_whole(tmp_path / "new", run, ()) == NAMES
    assert Run.from_json(json.loads((tmp_path / "new" / "results.json").read_text())) == run


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    whole.write(path, b"old")
    with files_no_larger_than(4096), pytest.raises(OSError, match="File too large"):
        whole.write(path, bytes(8192))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["junit.xml"]


def test_a_full_disk_still_gets_a_whole_junit(small_disk: Path) -> None:
    reserve = Reserve(small_disk, 1024 * 1024)
    fill(small_disk)
    run = big_run(4)
    delivered = delivery.deliver(run, small_disk, reserve)
    assert delivered.path == small_disk / "junit.xml"
    assert delivered.path.read_bytes() == junit.render(run, small_disk)
    check_whole(small_disk, run, delivered.remarks)


def test_a_report_too_big_for_the_reserve_loses_its_consoles_only(small_disk: Path) -> None:
    reserve = Reserve(small_disk, 256 * 1024)
    fill(small_disk)
    run = big_run(20)
    delivered = delivery.deliver(run, small_disk, reserve)
    assert delivered.path == small_disk / "junit.xml"
    assert delivered.remarks[0] == "junit.xml has no console excerpts: No space left on device."
    assert cases(delivered.path) == 21
    assert "flood" not in delivered.path.read_text()
    assert check_whole(small_disk, run, delivered.remarks) == NAMES


def test_a_report_without_any_room_goes_elsewhere_and_says_so(small_disk: Path) -> None:
    fill(small_disk)
    run = big_run(1)
    delivered = delivery.deliver(run, small_disk, Reserve(small_disk))
    assert delivered.path is not None
    assert not delivered.path.is_relative_to(small_disk)
    assert str(delivered.path) in delivered.remarks[0]
    assert "No space left on device" in delivered.remarks[0]
    assert cases(delivered.path) == 2
    assert check_whole(small_disk, run, delivered.remarks) == set()


@pytest.mark.parametrize("kilobytes", [4, 8, 12, 16, 24, 40, 80, 160, 400, 800])
def test_a_disk_that_fills_anywhere_leaves_no_torn_report(small_disk: Path, kilobytes: int) -> None:
    fill(small_disk, leave=kilobytes * 1024)
    run = big_run(3)
    delivered = delivery.deliver(run, small_disk)
    check_whole(small_disk, run, delivered.remarks)


@pytest.mark.parametrize("size", [0, 100, 1000, 5000, 50_000, 200_000])
def test_a_limit_on_files_leaves_no_torn_report(tmp_path: Path, size: int) -> None:
    run = big_run(3)
    with files_no_larger_than(size):
        delivered = delivery.deliver(run, tmp_path, Reserve(tmp_path))
    there = check_whole(tmp_path, run, delivered.remarks)
    if size == 0:
        assert delivered.path is None
        assert "there is no report" in delivered.remarks[0]
        assert there == set()


def test_reports_of_an_earlier_run_are_not_taken_for_this_ones(small_disk: Path) -> None:
    old, new = big_run(1), run_of(*(Result(f"b.py::{n}", Verdict.PASS, n) for n in range(2000)))
    delivery.deliver(old, small_disk)
    fill(small_disk)
    delivered = delivery.deliver(new, small_disk)
    for each in FORMATS:
        path = small_disk / each.name
        assert not path.exists() or path.read_bytes() == each.render(new, small_disk)
    check_whole(small_disk, new, delivered.remarks)


def test_what_was_there_is_forgotten(tmp_path: Path) -> None:
    delivery.deliver(big_run(1), tmp_path)
    (tmp_path / "mine.txt").touch()
    delivery.forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_reserve_leaves_nothing_behind(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, 4096)
    (entry,) = tmp_path.iterdir()
    assert entry.stat().st_blocks * 512 >= 4096
    reserve.give_back()
    reserve.give_back()
    assert not list(tmp_path.iterdir())
