# SPDX-License-Identifier: GPL-2.0-only
"""Sessions under several processes and threads at once."""

import os
from collections.abc import Callable
from errno import EEXIST, EINVAL, ENOENT

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.program import Buffer, Program, Ref, Results
from fixtures.luo import Device, Luo, Memfd, refused, session_argument
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.boot.unusual import UNUSUAL
from suite.scenario import Scenario
from suite.sessions.crowd import create_labelled, outcomes, own

CREATE = uapi.LIVEUPDATE_IOCTL_CREATE_SESSION
RETRIEVE = uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION
FD = uapi.offset(uapi.liveupdate_ioctl_create_session, "fd")
RUNNERS = 4
SLOW = 32 << 20  # bytes of holes that a preserve has to fill: a long time

pytestmark = UNUSUAL

Make = Callable[[Actor], Actor]
KINDS = pytest.mark.parametrize("make", [Actor.thread, Actor.fork], ids=["threads", "processes"])


class Race:
    """Several actors that begin at one moment."""

    def __init__(self, luo: Luo, make: Make, runners: int = RUNNERS) -> None:
        self._luo = luo
        pair = bytearray(8)
        luo.actor.syscall("pipe2", pair, os.O_CLOEXEC)
        self._start = int.from_bytes(pair[:4], "little")
        self._shot = int.from_bytes(pair[4:], "little")
        self.device = luo.device.fd
        self.actors = [make(luo.actor) for _ in range(runners)]
        self.programs = [actor.program() for actor in self.actors]
        for program in self.programs:
            program.syscall("read", self._start, program.buffer(1), 1)

    def run(self) -> list[Results]:
        """Carry out all programs at once."""
        pendings = [actor.start(program) for actor, program in zip(self.actors, self.programs, strict=True)]
        self._luo.actor.syscall("write", self._shot, bytes(len(pendings)), len(pendings))
        return [pending.wait() for pending in pendings]

    def over(self) -> None:
        """End the actors, and what they have open as processes."""
        for actor in self.actors:
            actor.close()


def call(program: Program, device: int, number: int, name: bytes) -> tuple[Ref, Buffer]:
    """CREATE_SESSION or RETRIEVE_SESSION, which may fail; and its argument."""
    argument = program.buffer(session_argument(name), out=True)
    return program.syscall("ioctl", device, number, argument, check=False), argument


@KINDS
@pytest.mark.clause("session.concurrent.create", "session.name.unique")
def test_name_that_several_want_at_once_goes_to_one(luo: Luo, make: Make) -> None:
    names = [own(luo, b"%d" % number) for number in range(100)]
    race = Race(luo, make)
    calls = [[call(program, race.device, CREATE, name)[0] for name in names] for program in race.programs]
    told = [[results.raw(ref) for ref in refs] for results, refs in zip(race.run(), calls, strict=True)]
    for each in zip(*told, strict=True):
        assert sorted(each) == [-EEXIST] * (RUNNERS - 1) + [0]
    race.over()


@KINDS
@pytest.mark.clause("session.concurrent.create")
def test_exactly_the_sessions_that_were_left_open_cross(luo: Luo, make: Make) -> Scenario:
    def names(runner: int) -> list[bytes]:
        return [own(luo, b"%d %d" % (runner, number)) for number in range(40)]

    race = Race(luo, make)
    for runner, program in enumerate(race.programs):
        for number, name in enumerate(names(runner)):
            for _ in range(3):
                _, argument = call(program, race.device, CREATE, name)
                program.syscall("close", argument.s32(FD))
            _, argument = call(program, race.device, CREATE, name)
            if number % 8:
                program.syscall("close", argument.s32(FD))
        if make is not Actor.thread:
            program.syscall("close", race.device)
    race.run()

    luo = yield KEXEC

    kept = [name for runner in range(RUNNERS) for name in names(runner)[::8]]
    gone = [name for runner in range(RUNNERS) for name in names(runner) if name not in kept]
    assert outcomes(luo.device, RETRIEVE, gone) == [-ENOENT] * len(gone)
    assert outcomes(luo.device, RETRIEVE, kept) == [0] * len(kept)


@pytest.mark.clause("session.concurrent.retrieve", "session.retrieve.twice")
@KINDS
def test_session_that_several_retrieve_and_close_at_once_goes_to_one(luo: Luo, make: Make) -> Scenario:
    names = [own(luo, b"%d" % number) for number in range(40)]
    # With a file in each, its end takes a while, and others come to wait for it.
    create_labelled(luo, names)

    luo = yield KEXEC

    race = Race(luo, make)
    calls: list[list[Ref]] = []
    for program in race.programs:
        calls.append([])
        for name in names:
            ref, argument = call(program, race.device, RETRIEVE, name)
            program.syscall("close", argument.s32(FD), check=False)
            calls[-1].append(ref)
    told = [[results.raw(ref) for ref in refs] for results, refs in zip(race.run(), calls, strict=True)]
    for each in zip(*told, strict=True):
        assert each.count(0) == 1
        assert set(each) <= {0, -EINVAL, -ENOENT}
    assert outcomes(luo.device, RETRIEVE, names) == [-ENOENT] * len(names)
    race.over()


@pytest.mark.clause("session.concurrent.retrieve")
def test_several_retrieve_different_sessions_at_once(luo: Luo) -> Scenario:
    names = [own(luo, b"%d" % number) for number in range(80)]
    create_labelled(luo, names)

    luo = yield KEXEC

    race = Race(luo, Actor.thread)
    mine = [names[runner::RUNNERS] for runner in range(RUNNERS)]
    for program, wanted in zip(race.programs, mine, strict=True):
        for name in wanted:
            call(program, race.device, RETRIEVE, name)
    assert [results.error for results in race.run()] == [None] * RUNNERS
    assert outcomes(luo.device, RETRIEVE, names) == [-EINVAL] * len(names)


@pytest.mark.clause("session.finish", "session.finish.unretrieved")
def test_finish_takes_what_other_threads_have_not_retrieved_yet(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    tokens = range(12)
    for token in tokens:
        session.preserve(luo.memfd(b"%d" % token), token=token)

    luo = yield KEXEC

    kind = uapi.liveupdate_session_retrieve_fd
    session = luo.retrieve_session("vm")
    race = Race(luo, Actor.thread, runners=3)
    answers: list[list[tuple[int, Ref, Buffer]]] = [[], []]
    for order, (program, told) in enumerate(zip(race.programs, answers, strict=False)):
        for token in tokens if order else reversed(tokens):
            argument = program.buffer(bytes(kind(fd=-1, token=token)), out=True)
            number = uapi.LIVEUPDATE_SESSION_RETRIEVE_FD
            told.append(
                (token, program.syscall("ioctl", session.fd, number, argument, check=False), argument)
            )
    finish = bytes(uapi.liveupdate_session_finish())
    race.programs[2].syscall("ioctl", session.fd, uapi.LIVEUPDATE_SESSION_FINISH, finish)
    for results, told in zip(race.run(), answers, strict=False):
        assert {results.raw(ref) for _, ref, _ in told} <= {0, -ENOENT}
        got = {
            token: Memfd(luo.actor, kind.from_buffer_copy(results.bytes(argument)).fd)
            for token, ref, argument in told
            if results.raw(ref) == 0
        }
        assert luo.contents([*got.values()], limit=8) == [b"%d" % token for token in got]
    with refused(ENOENT):
        session.retrieve(0)


class Preserving:
    """A PRESERVE_FD of a big file under way in another actor."""

    def __init__(self, actor: Actor, session: int, ram: Memfd) -> None:
        argument = uapi.liveupdate_session_preserve_fd(fd=ram.fd, token=1)
        program = actor.program()
        self._call = program.syscall(
            "ioctl", session, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, bytes(argument), check=False
        )
        self._pending = actor.start(program)
        while not blocks(ram) and not self._pending.done():
            pass

    def outcome(self) -> int:
        return self._pending.wait().raw(self._call)


def blocks(ram: Memfd) -> int:
    """Blocks of 512 bytes that the file has: those of its holes come while it is preserved."""
    answer = bytearray(144)
    ram.actor.syscall("fstat", ram.fd, answer)
    return int.from_bytes(answer[64:72], "little")  # st_blocks, arch/x86/include/uapi/asm/stat.h


@pytest.mark.clause("session.close-during-preserve", "session.last-descriptor")
def test_session_closed_by_another_thread_ends_when_its_preserve_does(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(size=SLOW)
    preserving = Preserving(luo.actor.thread(), session.fd, ram)
    session.close()
    assert preserving.outcome() == 0
    luo.create_session("vm")
    ram.truncate(0)


@pytest.mark.clause("session.close-during-preserve", "session.last-descriptor")
def test_owner_killed_while_it_preserves_leaves_name_and_file_free(luo: Luo) -> None:
    ram = luo.memfd(size=SLOW)
    device = luo.device
    owner = luo.actor.fork()
    session = Device(owner, device.fd).create_session(luo.name("vm"))
    Preserving(owner, session.fd, ram)
    owner.kill()
    luo.create_session("vm")
    ram.truncate(0)


@pytest.mark.clause("session.close-during-preserve")
def test_other_sessions_come_and_go_while_one_preserves(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(size=SLOW)
    preserving = Preserving(luo.actor.thread(), session.fd, ram)
    for _ in range(3):
        other = luo.create_session("other")
        other.preserve(luo.memfd(b"x"), token=1)
        other.close()
    with refused(EEXIST):
        luo.create_session("vm")
    assert preserving.outcome() == 0
