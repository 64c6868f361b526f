# SPDX-License-Identifier: GPL-2.0-only
"""Sessions whose owner is not the process that made them, or lives in namespaces of its own."""

import struct

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, Memfd, Session
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

SIZE = 5_001
AF_UNIX, SOCK_STREAM = 1, 1


def memfd_of(actor: Actor, content: bytes) -> Memfd:
    fd = actor.syscall("memfd_create", "luo-cts", uapi.MFD_ALLOW_SEALING)
    memfd = Memfd(actor, fd)
    memfd.write(content, 0)
    return memfd


@pytest.mark.clause("handover.owner")
@pytest.mark.parametrize(
    "namespaces",
    [0, uapi.CLONE_NEWNS, uapi.CLONE_NEWUTS | uapi.CLONE_NEWIPC, uapi.CLONE_NEWPID],
    ids=["none", "mount", "uts and ipc", "pid of its children"],
)
def test_files_of_an_owner_in_namespaces_of_its_own_cross(luo: Luo, namespaces: int) -> Scenario:
    session = luo.create_session("vm")
    luo.close_device()
    owner = luo.actor.fork()
    owner.syscall("unshare", namespaces)
    Session(owner, session.fd, session.name).preserve(memfd_of(owner, pattern(SIZE)), token=1)
    session.close()

    luo = yield KEXEC

    owner = luo.actor.fork()
    owner.syscall("unshare", namespaces)
    inside = Luo(owner, luo.name("").decode(), luo.generation)
    assert inside.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)
    owner.close()


@pytest.mark.clause("handover.owner")
def test_session_passed_to_a_process_without_rights_crosses(luo: Luo) -> Scenario:
    ends = bytearray(8)
    luo.actor.syscall("socketpair", AF_UNIX, SOCK_STREAM, 0, ends)
    ours, theirs = struct.unpack("<ii", ends)
    owner = luo.actor.fork()
    owner.syscall("setresuid", 1000, 1000, 1000)
    session = luo.create_session("vm")
    luo.actor.send_fd(ours, session.fd)
    session.close()
    passed = Session(owner, owner.recv_fd(theirs), session.name)
    passed.preserve(memfd_of(owner, pattern(SIZE)), token=1)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)


@pytest.mark.clause("handover.owner")
@pytest.mark.parametrize("held", ["session", "session and file", "session in two processes"])
def test_session_crosses_with_whatever_is_still_open(luo: Luo, held: str) -> Scenario:
    session = luo.create_session("vm")
    luo.close_device()
    ram = luo.memfd(pattern(SIZE))
    session.preserve(ram, token=1)
    if held != "session and file":
        ram.close()
    if held == "session in two processes":
        luo.actor.fork()

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)
