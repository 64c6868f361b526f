# SPDX-License-Identifier: GPL-2.0-only
"""Several hosts and who has them: workers of one run wait for each other, another run is told."""

import multiprocessing
import os
import stat
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fixtures.targets.base import NoMachines
from fixtures.targets.hosts import Host, Way
from fixtures.targets.rack import Rack
from kernel.errors import LuoCtsError

HOSTS = tuple(Host(f"h{number}", Way(f"h{number}.example"), f"{number:032x}") for number in range(2))


def hold(pipe: Connection, run: str, locks: Path) -> None:
    """Take a host, say which, and keep it until told to go."""
    rack = Rack(HOSTS, run, locks)
    seat = rack.take()
    pipe.send(seat.host.name)
    while pipe.recv() == "group":
        if rack.wanted:
            rack.free(seat)
            rack.give_way()
            pipe.send("gave way")
            seat = rack.take()
            pipe.send(seat.host.name)
        else:
            pipe.send("nobody wants it")


def start(run: str, locks: Path) -> tuple[Connection, str]:
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=hold, args=(there, run, locks), daemon=True)
    process.start()
    assert here.poll(60)
    return here, here.recv()


def test_two_machines_are_two_hosts_and_a_third_has_none(tmp_path: Path) -> None:
    rack = Rack(HOSTS, "run", tmp_path)
    first, second = rack.take(), rack.take()
    assert {first.host.name, second.host.name} == {"h0", "h1"}
    with pytest.raises(LuoCtsError, match="all of h0, h1 have a machine already"):
        rack.take()
    rack.free(second)
    assert rack.take() is second, "what we had is ours"


def test_another_run_is_told_who_has_the_hosts(tmp_path: Path) -> None:
    first, name = start("their run", tmp_path)
    rack = Rack(HOSTS, "our run", tmp_path)
    assert rack.take().host.name != name
    second = Rack(HOSTS[:1] if name == "h0" else HOSTS[1:], "our run", tmp_path)
    with pytest.raises(LuoCtsError, match=rf"{name} is in use by process \d+ of user {os.getuid()}"):
        second.take()
    first.send("go")


def test_lock_is_everybodys_and_goes_with_its_process(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        rack = Rack(HOSTS[:1], "run", tmp_path)
        rack.take()
    finally:
        os.umask(before)
    (lock,) = tmp_path.glob("*.lock")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666
    rack.close()
    assert Rack(HOSTS[:1], "another", tmp_path).take().host.name == "h0"


def test_dead_host_is_left_and_all_dead_are_the_end(tmp_path: Path) -> None:
    rack = Rack(HOSTS, "run", tmp_path)
    seat = rack.take()
    rack.bury(seat, f"{seat.host.name} stays dead: no answer")
    again = rack.take()
    assert again.host.name != seat.host.name
    # Another worker of the run knows as well.
    other = Rack((seat.host,), "run", tmp_path)
    with pytest.raises(NoMachines, match="h0 stays dead: no answer"):
        other.take()
    # Another run may find that somebody has mended it.
    assert Rack((seat.host,), "next run", tmp_path).take().host.name == "h0"
    rack.bury(again, "h1 stays dead: no answer")
    with pytest.raises(NoMachines, match="no host is left: h0 stays dead: no answer; h1 stays dead"):
        rack.take()
    rack.forget()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".lock"]


def test_worker_without_a_host_gets_that_of_another_where_its_group_ends(tmp_path: Path) -> None:
    theirs, name = start("run", tmp_path)
    rack = Rack(HOSTS, "run", tmp_path)
    mine = rack.take()
    theirs.send("group")
    assert theirs.recv() == "nobody wants it"
    rack.bury(mine, f"{mine.host.name} stays dead")
    taken: list[str] = []
    waiter = threading.Thread(target=lambda: taken.append(rack.take().host.name))
    waiter.start()
    answer = "nobody wants it"
    while answer == "nobody wants it":
        theirs.send("group")
        assert theirs.poll(60)
        answer = theirs.recv()
    assert answer == "gave way"
    waiter.join(60)
    assert taken == [name]
    # And back: now it is they who wait, and we who end a group.
    rack.free(rack.seats[0])
    while not rack.wanted:
        os.sched_yield()
    rack.give_way()
    assert theirs.poll(60)
    assert theirs.recv() == name
    theirs.send("go")
