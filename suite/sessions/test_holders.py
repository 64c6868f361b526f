# SPDX-License-Identifier: GPL-2.0-only
"""Who holds a session: it lives as long as any descriptor of it, wherever that is, and ends with the last."""

from collections.abc import Callable
from errno import EEXIST, ENOENT, EPERM

import pytest

from fixtures.agent.client import Actor
from fixtures.luo import Device, Luo, Memfd, Session, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

_AF_UNIX, _SOCK_STREAM = 1, 1


def memfd_of(actor: Actor, content: bytes) -> Memfd:
    """A memfd in another process than the test's own."""
    program = actor.program()
    fd = program.syscall("memfd_create", "luo-cts", uapi.MFD_ALLOW_SEALING)
    program.syscall("pwrite64", fd, content, len(content), 0)
    return Memfd(actor, actor.run(program)[fd])


def socket_pair(actor: Actor) -> tuple[int, int]:
    pair = bytearray(8)
    actor.syscall("socketpair", _AF_UNIX, _SOCK_STREAM, 0, pair)
    return int.from_bytes(pair[:4], "little"), int.from_bytes(pair[4:], "little")


def owned_by_another(luo: Luo) -> Session:
    """A session "vm" of a process that has nothing else of the test's."""
    device = luo.device
    owner = luo.actor.fork()
    session = Device(owner, device.fd).create_session(luo.name("vm"))
    owner.syscall("close", device.fd)
    return session


def by_fork(session: Session) -> Session:
    return Session(session.actor.fork(), session.fd, session.name)


def by_message(session: Session) -> Session:
    ours, theirs = socket_pair(session.actor)
    heir = session.actor.fork()
    heir.syscall("close", session.fd)
    session.actor.send_fd(ours, session.fd)
    return Session(heir, heir.recv_fd(theirs), session.name)


def by_pidfd(session: Session) -> Session:
    heir = session.actor.fork()
    heir.syscall("close", session.fd)
    pidfd = heir.syscall("pidfd_open", session.actor.pid, 0)
    return Session(heir, heir.syscall("pidfd_getfd", pidfd, session.fd, 0), session.name)


def by_dup(session: Session) -> Session:
    return Session(session.actor, session.dup().fd, session.name)


Way = Callable[[Session], Session]
WAYS = pytest.mark.parametrize(
    "hand_on", [by_fork, by_message, by_pidfd, by_dup], ids=lambda way: way.__name__
)


def kept_by_another(luo: Luo, session: Session, hand_on: Way) -> Session:
    """The session in the hands of another, its first holder having closed it."""
    luo.close_device()
    heir = hand_on(session)
    session.close()
    return heir


def release(luo: Luo, heir: Session) -> None:
    """End the session, and the process that held it if it is another."""
    heir.close()
    if heir.actor is not luo.actor:
        heir.actor.close()


@WAYS
@pytest.mark.clause("session.last-descriptor")
def test_created_session_lives_until_its_last_holder_closes_it(luo: Luo, hand_on: Way) -> None:
    heir = kept_by_another(luo, luo.create_session("vm"), hand_on)
    with refused(EEXIST):
        luo.create_session("vm")
    heir.preserve(memfd_of(heir.actor, b"x"), token=1)
    release(luo, heir)
    luo.create_session("vm")


@WAYS
@pytest.mark.clause("session.last-descriptor")
def test_session_crosses_in_the_hands_of_another_and_is_handed_on_there(luo: Luo, hand_on: Way) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"x"), token=1)
    kept_by_another(luo, session, hand_on)

    luo = yield KEXEC

    heir = kept_by_another(luo, luo.retrieve_session("vm"), hand_on)
    ram = heir.retrieve(1)
    assert ram.read_all() == b"x"
    release(luo, heir)
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.last-descriptor")
def test_session_crosses_whose_only_holder_waits_for_something_else(luo: Luo) -> Scenario:
    session = owned_by_another(luo)
    session.preserve(memfd_of(session.actor, b"x"), token=1)
    holder = session.actor.fork()
    session.actor.close()
    ours, _ = socket_pair(holder)
    waiting = holder.program()
    waiting.syscall("read", ours, waiting.buffer(1), 1)
    holder.start(waiting)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"x"


@pytest.mark.clause("session.last-descriptor")
def test_session_lives_while_its_descriptor_is_on_the_way(luo: Luo) -> None:
    session = luo.create_session("vm")
    ours, theirs = socket_pair(luo.actor)
    luo.actor.send_fd(ours, session.fd)
    session.close()
    with refused(EEXIST):
        luo.create_session("vm")
    arrived = Session(luo.actor, luo.actor.recv_fd(theirs), session.name)
    arrived.preserve(luo.memfd(b"x"), token=1)
    arrived.close()
    luo.create_session("vm")


@pytest.mark.clause("session.last-descriptor")
def test_session_ends_with_the_message_that_nobody_will_receive(luo: Luo) -> None:
    session = luo.create_session("vm")
    ours, theirs = socket_pair(luo.actor)
    luo.actor.send_fd(ours, session.fd)
    session.close()
    luo.actor.syscall("close", theirs)
    luo.create_session("vm")


@pytest.mark.clause("session.last-descriptor", "session.close-unpreserves")
def test_killed_owner_leaves_its_name_and_its_files_free(luo: Luo) -> None:
    ram = luo.memfd(bytes(4096))
    session = owned_by_another(luo)
    session.preserve(Memfd(session.actor, ram.fd), token=1)
    with refused(EPERM):
        ram.truncate(0)
    session.actor.kill()
    ram.truncate(0)
    luo.create_session("vm").preserve(ram, token=1)


@pytest.mark.clause("session.last-descriptor", "session.close-unpreserves")
def test_session_of_a_killed_owner_does_not_cross(luo: Luo) -> Scenario:
    session = owned_by_another(luo)
    session.preserve(memfd_of(session.actor, b"x"), token=1)
    session.actor.kill()

    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.cloexec", "session.last-descriptor")
def test_session_ends_when_its_owner_becomes_another_program(luo: Luo) -> None:
    owner = owned_by_another(luo).actor
    with refused(EEXIST):
        luo.create_session("vm")
    owner.exec()
    luo.create_session("vm")
    owner.close()


@pytest.mark.clause("session.last-descriptor")
def test_session_is_inherited_by_another_program_where_that_is_wanted(luo: Luo) -> None:
    session = owned_by_another(luo)
    owner = session.actor
    owner.syscall("fcntl", session.fd, uapi.F_SETFD, 0)
    owner.exec()
    session.preserve(memfd_of(owner, b"x"), token=1)
    with refused(EEXIST):
        luo.create_session("vm")
    owner.close()
    luo.create_session("vm")


@pytest.mark.clause("session.last-descriptor")
def test_session_outlives_the_thread_that_created_it(luo: Luo) -> None:
    device = luo.device
    thread = luo.actor.thread()
    created = Device(thread, device.fd).create_session(luo.name("vm"))
    thread.close()
    session = Session(luo.actor, created.fd, created.name)
    session.preserve(luo.memfd(b"x"), token=1)
    session.close()
    luo.create_session("vm")
