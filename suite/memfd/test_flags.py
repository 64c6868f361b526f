# SPDX-License-Identifier: GPL-2.0-only
"""Flags, mode, owner and what else belongs to a file: what is kept, and what is as on a new memfd."""

import fcntl
import os
import struct
import time
from errno import ENOENT

import pytest

from fixtures.luo import Luo, Memfd, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.memfd.calls import reopened, status
from suite.scenario import Scenario

O_LARGEFILE = 0o100000  # include/uapi/asm-generic/fcntl.h; os.O_LARGEFILE is 0 in a 64-bit program


def properties(file: Memfd) -> dict[str, int]:
    """What a new memfd has the same each time."""
    facts = status(file)
    program = file.actor.program()
    flags = program.syscall("fcntl", file.fd, uapi.F_GETFL, 0)
    signal = program.syscall("fcntl", file.fd, fcntl.F_GETSIG, 0)
    receiver = program.syscall("fcntl", file.fd, fcntl.F_GETOWN, 0)
    lease = program.syscall("fcntl", file.fd, fcntl.F_GETLEASE, 0)
    results = file.actor.run(program)
    return {
        "attributes": facts.attributes,
        "links": facts.links,
        "owner": facts.owner,
        "group": facts.group,
        "mode": facts.mode,
        "flags": results[flags],
        "signal": results[signal],
        "receiver": results[receiver],
        "lease": results[lease],
    }


@pytest.mark.clause("memfd.reset")
def test_what_is_not_preserved_is_as_on_a_new_memfd(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    program = luo.actor.program()
    program.syscall("fchmod", ram.fd, 0o640)
    program.syscall("fcntl", ram.fd, fcntl.F_SETOWN, luo.actor.pid)
    program.syscall("fcntl", ram.fd, fcntl.F_SETSIG, 10)
    program.syscall("fcntl", ram.fd, uapi.F_SETFL, os.O_APPEND | os.O_NONBLOCK | os.O_NOATIME)
    program.syscall("fchown", ram.fd, 1001, 1002)
    luo.actor.run(program)
    session.preserve(ram, token=1)
    changed = properties(ram)
    new = properties(luo.memfd(b"x"))
    assert {name for name in new if new[name] != changed[name]} == {
        "owner", "group", "mode", "flags", "signal", "receiver",
    }  # fmt: skip

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert properties(ram) == properties(luo.memfd(b"x"))


@pytest.mark.clause("memfd.reset")
@pytest.mark.parametrize("flags", [0, uapi.MFD_EXEC, uapi.MFD_CLOEXEC], ids=["none", "exec", "cloexec"])
def test_memfd_made_with_other_flags_is_as_a_new_one(luo: Luo, flags: int) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"x", flags=flags), token=1)

    luo = yield KEXEC

    assert properties(luo.retrieve_session("vm").retrieve(1)) == properties(luo.memfd(b"x"))


@pytest.mark.clause("memfd.reset")
def test_times_are_those_of_the_retrieval(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    luo.actor.syscall("utimensat", ram.fd, 0, struct.pack("<4q", 1000, 0, 2000, 0), 0)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    # The clock that file times are taken from ticks once a jiffy.
    earliest = luo.actor.clock(time.CLOCK_REALTIME) // 10**9 - 1
    ram = session.retrieve(1)
    latest = luo.actor.clock(time.CLOCK_REALTIME) // 10**9
    facts = status(ram)
    for when in (facts.accessed, facts.changed, facts.modified):
        assert earliest <= when <= latest


@pytest.mark.clause("memfd.reset")
def test_locks_are_gone(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    luo.actor.syscall("flock", ram.fd, fcntl.LOCK_EX)
    # struct flock of a 64-bit program: type, whence, start, length (0: to the end), process
    luo.actor.syscall(
        "fcntl", ram.fd, fcntl.F_OFD_SETLK, struct.pack("<hh4xqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    )
    session.preserve(ram, token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    other = reopened(ram, os.O_RDWR)
    luo.actor.syscall("flock", other.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock = struct.pack("<hh4xqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    luo.actor.syscall("fcntl", other.fd, fcntl.F_OFD_SETLK, lock)


@pytest.mark.clause("memfd.status-flags")
@pytest.mark.parametrize(
    "flags",
    [os.O_RDWR, os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_SYNC | os.O_NONBLOCK],
    ids=["read-write", "read-only", "write-only", "append", "sync, nonblock"],
)
def test_retrieved_memfd_is_open_for_reading_and_writing(luo: Luo, flags: int) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(reopened(luo.memfd(b"abcdef"), flags), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.flags == os.O_RDWR | O_LARGEFILE
    ram.write(b"x", 1)
    assert ram.read_all() == b"axcdef"


@pytest.mark.clause("memfd.cloexec")
def test_retrieved_descriptor_is_the_same_with_and_without_close_on_exec(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    for token, flags in enumerate((uapi.MFD_CLOEXEC, 0)):
        ram = luo.memfd(b"x", flags=flags)
        assert ram.cloexec == bool(flags)
        session.preserve(ram, token)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with_flag, without = session.retrieve(0), session.retrieve(1)
    assert with_flag.cloexec == without.cloexec
    for ram in (with_flag, without):
        for flag in (0, uapi.FD_CLOEXEC):
            luo.actor.syscall("fcntl", ram.fd, uapi.F_SETFD, flag)
            assert ram.cloexec == bool(flag)


@pytest.mark.clause("memfd.link")
def test_link_of_a_retrieved_memfd_says_what_it_is(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    assert ram.link == "/memfd:luo-cts (deleted)"
    session.preserve(ram, token=1)

    luo = yield KEXEC

    link = luo.retrieve_session("vm").retrieve(1).link
    assert link.startswith("/memfd:"), f"the link is {link!r}"


@pytest.mark.clause("memfd.hugetlb")
@pytest.mark.parametrize("size", [0, uapi.MFD_HUGE_2MB], ids=["default size", "2 MiB"])
def test_memfd_of_huge_pages_is_refused(luo: Luo, size: int) -> None:
    session = luo.create_session("vm")
    with refused(ENOENT):
        session.preserve(luo.memfd(flags=uapi.MFD_HUGETLB | size), token=1)
