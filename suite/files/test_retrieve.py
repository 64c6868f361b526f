# SPDX-License-Identifier: GPL-2.0-only
"""Getting files out of a session: any order, again, unknown tokens, several callers."""

import os
from errno import ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, Memfd, Session, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.files.requests import preserve_many, wrong_contents
from suite.scenario import Scenario


def is_one_open_file(one: Memfd, other: Memfd) -> bool:
    """Whether two descriptors share what an open file has: the position, here and there."""
    places = []
    for place in (4001, 17):
        one.seek(place)
        places.append(other.tell())
    return places == [4001, 17]


@pytest.mark.clause("file.retrieve.any-order")
def test_files_are_retrieved_in_any_order(luo: Luo) -> Scenario:
    preserve_many(luo.create_session("vm"), range(5))

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert wrong_contents(session, [3, 0]) == {}
    assert wrong_contents(session, [4, 3, 1, 2]) == {}


@pytest.mark.clause("file.retrieve.again")
def test_file_that_is_retrieved_again_is_the_same_open_file(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(5000)), token=1)
    session.preserve(luo.memfd(pattern(5000)), token=2)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    first, other = session.retrieve(1), session.retrieve(2)
    first.seek(17)
    second = session.retrieve(1)
    assert second.fd != first.fd
    assert second.tell() == 17
    luo.actor.syscall("fcntl", second.fd, uapi.F_SETFL, os.O_APPEND)
    assert first.flags & os.O_APPEND
    assert is_one_open_file(first, second)
    assert not is_one_open_file(first, other)
    assert first.link == second.link
    first.close()
    assert session.retrieve(1).read_all() == second.read_all() == pattern(5000)


@pytest.mark.clause("file.retrieve.again")
def test_retrieves_of_two_threads_at_once_give_one_open_file(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(5000), size=1 << 20), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    argument = bytes(uapi.liveupdate_session_retrieve_fd(fd=-1, token=1))
    started = []
    for actor in (luo.actor, luo.actor.thread()):
        program = actor.program()
        answer = program.buffer(argument, out=True)
        program.syscall("ioctl", session.fd, uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, answer)
        started.append((answer, actor.start(program)))
    answers = [pending.wait().bytes(answer) for answer, pending in started]
    fds = [uapi.liveupdate_session_retrieve_fd.from_buffer_copy(answer).fd for answer in answers]
    one, other = (Memfd(luo.actor, fd) for fd in fds)
    assert one.fd != other.fd
    assert is_one_open_file(one, other)
    assert one.read(5000, 0) == pattern(5000)


@pytest.mark.clause("file.retrieve.again")
def test_another_process_retrieves_the_same_open_file(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(5000)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    child = luo.actor.fork()
    theirs = Session(child, session.fd, session.name).retrieve(1)
    ours = session.retrieve(1)
    assert is_one_open_file(ours, theirs)
    child.close()
    assert ours.read_all() == pattern(5000)


@pytest.mark.clause("file.retrieve.unknown-token")
@pytest.mark.parametrize(
    "tokens", [(), (5,), tuple(range(5, 205, 2))], ids=["no file", "one file", "many files"]
)
def test_unknown_tokens_are_told_from_known_ones(luo: Luo, tokens: tuple[int, ...]) -> Scenario:
    preserve_many(luo.create_session("vm"), tokens)
    preserve_many(luo.create_session("other"), [1000])

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    for token in (0, 4, 6, 2**32 + 5, 2**64 - 5, 2**64 - 1, 1000):
        with refused(ENOENT):
            session.retrieve(token)
    assert wrong_contents(session, tokens) == {}
    with refused(ENOENT):
        session.retrieve(0)
