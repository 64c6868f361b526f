# SPDX-License-Identifier: GPL-2.0-only
"""Putting files into a session: tokens, descriptors, the same file twice, and what a refusal leaves."""

import os
from collections.abc import Callable
from errno import EBADF, EBUSY, EEXIST, ENOENT, EPERM

import pytest

from fixtures.agent.errors import SyscallError
from fixtures.agent.pattern import pattern
from fixtures.level import Level
from fixtures.luo import PAGE, Descriptor, Luo, Memfd, Session, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.files.requests import content, preserve_many, wrong_contents
from suite.scenario import Scenario

TOKENS = (0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)

O_PATH = 0o10000000  # include/uapi/asm-generic/fcntl.h


@pytest.mark.clause("file.preserve")
def test_tokens_have_64_bits(luo: Luo) -> Scenario:
    preserve_many(luo.create_session("vm"), TOKENS)

    luo = yield KEXEC

    assert wrong_contents(luo.retrieve_session("vm"), TOKENS) == {}


# Tokens in use


@pytest.mark.clause("file.token.unique", "file.preserve.refused")
def test_token_is_taken_once_in_a_session(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    first, second = luo.memfd(b"first"), luo.memfd(b"second")
    session.preserve(first, token=7)
    with refused(EEXIST):
        session.preserve(second, token=7)
    with refused(EPERM):
        first.truncate(PAGE)
    second.truncate(PAGE)
    session.preserve(second, token=8)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert session.retrieve(7).read_all() == b"first"
    assert session.retrieve(8).read_all() == b"second".ljust(PAGE, b"\0")


@pytest.mark.clause("file.token.scope")
def test_equal_tokens_of_several_sessions_are_several_files(luo: Luo) -> Scenario:
    names = ("a", "b", "c")
    for name in names:
        luo.create_session(name).preserve(luo.memfd(name.encode()), token=1)

    luo = yield KEXEC

    for name in reversed(names):
        assert luo.retrieve_session(name).retrieve(1).read_all() == name.encode()


@pytest.mark.clause("file.token.scope")
def test_token_of_a_closed_session_is_free(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"old"), token=1)
    session.close()
    luo.create_session("vm").preserve(luo.memfd(b"new"), token=1)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"new"


# Descriptors that are none


def a_closed_one(luo: Luo) -> int:
    memfd = luo.memfd(b"x")
    memfd.close()
    return memfd.fd


def a_path(luo: Luo) -> int:
    return reopened(luo.memfd(b"x"), O_PATH).fd


@pytest.mark.clause("file.bad-descriptor", "file.preserve.refused")
@pytest.mark.parametrize(
    "fd",
    [
        pytest.param(lambda luo: -1, id="-1"),
        pytest.param(lambda luo: uapi.AT_FDCWD, id="AT_FDCWD"),
        pytest.param(lambda luo: -(2**31), id="INT_MIN"),
        pytest.param(lambda luo: 2**31 - 1, id="INT_MAX"),
        pytest.param(lambda luo: 1 << 20, id="never opened"),
        pytest.param(a_closed_one, id="closed"),
        pytest.param(a_path, id="O_PATH"),
    ],
)
def test_number_that_is_no_open_file_is_refused(luo: Luo, fd: Callable[[Luo], int]) -> None:
    session = luo.create_session("vm")
    with refused(EBADF):
        session.preserve(Descriptor(luo.actor, fd(luo)), token=1)
    session.preserve(luo.memfd(b"x"), token=1)


# The same file again


def reopened(file: Memfd, flags: int) -> Descriptor:
    path = f"/proc/self/fd/{file.fd}"
    return Descriptor(file.actor, file.actor.syscall("openat", uapi.AT_FDCWD, path, flags, 0))


def same(luo: Luo, file: Memfd) -> Descriptor:
    return file


def duplicate(luo: Luo, file: Memfd) -> Descriptor:
    return file.dup()


def reopened_for_writing(luo: Luo, file: Memfd) -> Descriptor:
    return reopened(file, os.O_RDWR)


def reopened_for_reading(luo: Luo, file: Memfd) -> Descriptor:
    return reopened(file, os.O_RDONLY)


@pytest.mark.clause("file.preserve.twice")
@pytest.mark.parametrize("again", [same, duplicate, reopened_for_writing, reopened_for_reading])
@pytest.mark.parametrize("where", ["same session", "other session"])
def test_file_is_preserved_once(luo: Luo, where: str, again: Callable[[Luo, Memfd], Descriptor]) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    session.preserve(ram, token=1)
    other = session if where == "same session" else luo.create_session("other")
    with refused(EBUSY):
        other.preserve(again(luo, ram), token=2)
    if other is not session:
        other.close()
    with refused(EPERM):
        ram.truncate(PAGE)


@pytest.mark.clause("file.preserve.twice")
def test_file_is_preserved_once_by_whatever_process(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    child = luo.actor.fork()
    Session(child, session.fd, session.name).preserve(Descriptor(child, ram.fd), token=1)
    with refused(EBUSY):
        session.preserve(ram, token=2)
    child.close()
    with refused(EBUSY):
        session.preserve(ram, token=2)


@pytest.mark.parametrize(
    ("what", "errno"),
    [
        pytest.param("one file", EBUSY, id="one file", marks=pytest.mark.clause("file.preserve.twice")),
        pytest.param("one token", EEXIST, id="one token", marks=pytest.mark.clause("file.token.unique")),
        pytest.param(
            "one file under one token", EEXIST, id="both", marks=pytest.mark.clause("file.token.unique")
        ),
    ],
)
def test_of_two_threads_that_preserve_one_thing_one_succeeds(luo: Luo, what: str, errno: int) -> None:
    session = luo.create_session("vm")
    files = [luo.memfd(size=1 << 20), luo.memfd(size=1 << 20)]
    tokens = [1, 2]
    if "file" in what:
        files[1] = files[0]
    if "token" in what:
        tokens[1] = tokens[0]
    started = []
    for actor, file, token in zip((luo.actor, luo.actor.thread()), files, tokens, strict=True):
        program = actor.program()
        argument = program.buffer(bytes(uapi.liveupdate_session_preserve_fd(fd=file.fd, token=token)))
        number = uapi.LIVEUPDATE_SESSION_PRESERVE_FD
        started.append(
            (program.syscall("ioctl", session.fd, number, argument, check=False), actor.start(program))
        )
    assert sorted(pending.wait().raw(call) for call, pending in started) == [-errno, 0]


@pytest.mark.clause("file.preserve.each-whole")
@pytest.mark.parametrize("again", [same, reopened_for_writing])
@pytest.mark.parametrize("where", ["same session", "other session"])
def test_file_that_is_taken_twice_comes_back_twice(
    luo: Luo, where: str, again: Callable[[Luo, Memfd], Descriptor]
) -> Scenario:
    session = luo.create_session("vm")
    other = session if where == "same session" else luo.create_session("other")
    ram = luo.memfd(pattern(5000))
    session.preserve(ram, token=1)
    try:
        other.preserve(again(luo, ram), token=2)
        taken = True
    except SyscallError:
        taken = False

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == pattern(5000)
    if taken:
        other = session if where == "same session" else luo.retrieve_session("other")
        assert other.retrieve(2).read_all() == pattern(5000)


# What a refusal leaves


@pytest.mark.clause("file.preserve.refused")
def test_refused_files_leave_nothing_in_the_session(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(content(1)), token=1)
    late = luo.memfd(content(2))
    null = Descriptor(luo.actor, luo.actor.syscall("openat", uapi.AT_FDCWD, "/dev/null", os.O_RDWR, 0))
    before = Level.read(luo.actor)
    for file, token, errno in (
        (late, 1, EEXIST),
        (Descriptor(luo.actor, -1), 2, EBADF),
        (null, 3, ENOENT),
    ):
        with refused(errno):
            session.preserve(file, token=token)
    after = Level.read(luo.actor)
    assert (after.pinned, after.shared, after.files) == (before.pinned, before.shared, before.files)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert wrong_contents(session, [1]) == {}
    for token in (2, 3):
        with refused(ENOENT):
            session.retrieve(token)
