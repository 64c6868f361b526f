# SPDX-License-Identifier: GPL-2.0-only
"""How many machines work at once: by what the host has, what the user wants to see, what there is to do."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures import lanes
from fixtures.targets import configuration
from fixtures.targets.base import Load
from fixtures.targets.qemu import emulation
from kernel.arch import native

TESTPATHS = pytest.Config.ArgsSource.TESTPATHS


def config(args_source: object = TESTPATHS, **options: object) -> pytest.Config:
    said: dict[str, Any] = {
        "numprocesses": None,
        "usepdb": False,
        "capture": "fd",
        "collectonly": False,
        "soak": False,
        "keyword": "",
        "clause": [],
    }
    return cast(
        pytest.Config, SimpleNamespace(option=SimpleNamespace(**said | options), args_source=args_source)
    )


@pytest.mark.parametrize(
    ("processors", "available", "expected"),
    [(1, 64, 1), (2, 24, 2), (16, 64, 4), (16, 4, 2), (2, 1, 1)],
    ids=["one processor", "two", "many", "little memory", "too little"],
)
def test_there_are_as_many_lanes_as_the_host_has_room_for(
    processors: int, available: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {available << 20:8} kB\n")
    monkeypatch.setattr(lanes, "_MEMINFO", meminfo)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    assert lanes.count() == expected
    assert lanes.chosen(config()) == (None if expected == 1 else expected)


@pytest.mark.parametrize(
    "wish",
    [
        {"numprocesses": 0},
        {"usepdb": True},
        {"capture": "no"},
        {"collectonly": True},
        {"soak": True},
        {"keyword": "seals"},
        {"clause": ["memfd.*"]},
        {"args_source": pytest.Config.ArgsSource.ARGS},
    ],
    ids=str,
)
def test_who_looks_at_a_part_or_says_how_many_has_no_lanes(
    wish: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "count", lambda: 2)
    assert lanes.chosen(config()) == 2
    assert lanes.chosen(config(**wish)) is None


def test_one_worker_is_left_to_machines_of_their_own_if_they_fill_it() -> None:
    assert lanes.batches(1, 400, 18) == 1
    assert lanes.batches(2, 400, 18) == 1
    assert lanes.batches(2, 400, 2) == 2
    assert lanes.batches(4, 400, 18) == 3


@pytest.mark.parametrize(("workers", "threads"), [(1, "multi"), (2, "single")])
def test_machines_that_crowd_the_host_have_one_thread_each(
    workers: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    target = configuration.load("qemu").target(native(), "tcg", (), workers)
    command = target.command(  # type: ignore[attr-defined]  # QEMU's own
        Load(Path("image"), Path("initramfs"), ""), "m0", ram=[3], console=4, channel=5, monitor=6, debugger=7
    )
    assert emulation(threads) in command
