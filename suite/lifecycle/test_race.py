# SPDX-License-Identifier: GPL-2.0-only
"""Calls on one CPU while another is in the reboot call.

Racers are processes that create, fill and close sessions without a pause. Each keeps a diary in a memfd that
is itself handed over: what each of its calls gave, written down the moment it returned. Until the kernel
takes stock calls succeed, from then on none comes back. So the diaries say to the call what the next kernel
must find.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOENT, errorcode

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.program import Program
from fixtures.luo import PAGE, Device, Luo, session_argument
from fixtures.machine import Machine
from fixtures.scenario import Kexec
from kernel import uapi
from suite.lifecycle.reboot import add_reboot
from suite.scenario import Scenario

RACERS = 3
TURNS = 1500  # ten times what a racer gets through
WARM = 20  # turns before anybody calls reboot
KEPT = 8  # one session of so many stays open; 6.19 to 7.1 cannot hold more than 819
TOKENS = (1, 2)
CALLS = 1 + len(TOKENS) + 1  # create, preserve each, close
NOT_RETURNED = 1 << 62
CONTENT = 2 * PAGE
SESSION_FD = uapi.offset(uapi.liveupdate_ioctl_create_session, "fd")


def seed(racer: int, turn: int, token: int) -> int:
    return racer << 32 | turn << 8 | token


def race(luo: Luo, diaries: list[int], delays: list[int]) -> None:
    """Set the racers off all at once, and when they are under way make a reboot call for each of ``delays``.

    A delay is a number of system calls that come first. The harness's own call follows, at about that time.
    """
    device = Device.open(luo.actor)
    start, go = pipe(luo.actor)
    hear, tell = pipe(luo.actor)
    for racer, diary in enumerate(diaries):
        actor = luo.actor.fork()
        actor.start(racing(luo, actor, racer, device, diary, start, tell))
    reboots = [(luo.actor.fork(), delay) for delay in delays]
    device.close()
    luo.actor.syscall("write", go, bytes(len(diaries)), len(diaries))
    for _ in diaries:
        luo.actor.syscall("read", hear, bytearray(1), 1)
    for actor, delay in reboots:
        actor.start(rebooting(actor, delay))


def pipe(actor: Actor) -> tuple[int, int]:
    ends = bytearray(8)
    actor.syscall("pipe2", ends, 0)
    reader, writer = struct.unpack("<ii", ends)
    return reader, writer


def rebooting(actor: Actor, delay: int) -> Program:
    program = actor.program()
    for _ in range(delay):
        program.syscall("getpid")
    add_reboot(program)
    return program


def racing(luo: Luo, actor: Actor, racer: int, device: Device, diary: int, start: int, tell: int) -> Program:
    protection = uapi.PROT_READ | uapi.PROT_WRITE
    entry = actor.syscall("mmap", 0, TURNS * CALLS * 8, protection, uapi.MAP_SHARED, diary, 0)
    kind = uapi.liveupdate_session_preserve_fd
    program = actor.program()
    content = program.buffer(CONTENT)
    program.syscall("read", start, program.buffer(1), 1)
    for turn in range(TURNS):
        if turn == WARM:
            program.syscall("write", tell, b"x", 1)
        session = program.buffer(session_argument(luo.name(f"{racer}.{turn}")))
        fd = session.s32(SESSION_FD)
        calls = [
            program.syscall("ioctl", device.fd, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, session, check=False)
        ]
        program.store(entry, calls[0])
        for token in TOKENS:
            program.fill(content, CONTENT, seed(racer, turn, token))
            ram = program.syscall("memfd_create", "luo-cts", uapi.MFD_ALLOW_SEALING)
            program.syscall("pwrite64", ram, content, CONTENT, 0)
            argument = program.buffer(bytes(kind(fd=-1, token=token)))
            program.store(argument + uapi.offset(kind, "fd"), ram, size=4)
            preserved = program.syscall(
                "ioctl", fd, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, argument, check=False
            )
            program.store(entry + 8 * token, preserved)
            program.syscall("close", ram)
        if turn % KEPT:
            program.store(entry + 8 * (CALLS - 1), program.syscall("close", fd, check=False))
        entry += 8 * CALLS
    return program


@dataclass(frozen=True)
class Turn:
    """What a racer wrote down of one turn: the results of its calls, None for one that did not return."""

    racer: int
    number: int
    created: int | None
    preserved: tuple[int | None, ...]
    closed: int | None

    @property
    def errors(self) -> list[str]:
        results = (self.created, *self.preserved, self.closed)
        return [errorcode.get(-value, str(value)) for value in results if value is not None and value < 0]


def read_diary(racer: int, diary: bytes) -> Iterator[Turn]:
    """The racer's turns, up to the one in which a call did not return."""
    for number in range(TURNS):
        words = struct.unpack_from(f"<{CALLS}q", diary, number * CALLS * 8)
        created, *preserved, closed = (None if word == NOT_RETURNED else word for word in words)
        yield Turn(racer, number, created, tuple(preserved), closed)
        if None in (created, *preserved) or (closed is None and number % KEPT):
            return


def found(luo: Luo, turns: list[Turn]) -> list[tuple[int, dict[int, bool | None]]]:
    """For each turn the result of retrieving its session, and by token whether the content is right (None:
    there is no such file)."""
    kind = uapi.liveupdate_session_retrieve_fd
    program = luo.actor.program()
    content = program.buffer(CONTENT)
    calls = []
    for turn in turns:
        session = program.buffer(session_argument(luo.name(f"{turn.racer}.{turn.number}")), out=True)
        call = program.syscall(
            "ioctl", luo.device.fd, uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION, session, check=False
        )
        files = {}
        for token in TOKENS:
            file = program.buffer(bytes(kind(fd=-1, token=token)), out=True)
            fd = file.s32(uapi.offset(kind, "fd"))
            got = program.syscall(
                "ioctl", session.s32(SESSION_FD), uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, file, check=False
            )
            program.fill(content, CONTENT)
            program.syscall("pread64", fd, content, CONTENT, 0, check=False)
            difference = program.check(content, CONTENT, seed(turn.racer, turn.number, token), check=False)
            program.syscall("close", fd, check=False)
            files[token] = got, difference
        program.syscall("close", session.s32(SESSION_FD), check=False)
        calls.append((call, files))
    results = luo.actor.run(program)
    return [
        (
            results.raw(call),
            {
                token: None
                if results.raw(got) == -ENOENT
                else results.raw(got) == 0 and results.raw(same) < 0
                for token, (got, same) in files.items()
            },
        )
        for call, files in calls
    ]


def complaint(turn: Turn, retrieved: int, files: dict[int, bool | None]) -> str | None:
    """What is wrong with what crossed of one turn."""
    name = f"session {turn.number} of racer {turn.racer}"
    if retrieved == -ENOENT:
        closing = None not in turn.preserved and turn.number % KEPT
        gone = turn.created is None or closing
        return None if gone else f"{name} was open and is gone"
    if retrieved < 0:
        return f"{name} gives {errorcode.get(-retrieved, retrieved)}"
    if turn.closed == 0:
        return f"{name} had been closed and is here"
    for (token, good), preserved in zip(files.items(), turn.preserved, strict=True):
        if good is None and preserved == 0:
            return f"{name} lost file {token}"
        if good is False:
            return f"{name} has file {token} with other content, or it cannot be retrieved"
    return None


def run_race(luo: Luo, machine: Machine, rng: random.Random, reboots: int) -> Scenario:
    """``reboots``: how many calls come beside the harness's own, where nobody's disk suffers for it."""
    # A host's file systems are whole at the harness's own call alone.
    delays = [rng.randrange(2000) for _ in range(0 if machine.target.has_disks else reboots)]
    empty = struct.pack("<q", NOT_RETURNED) * CALLS * TURNS
    diaries = [luo.memfd(empty) for _ in range(RACERS)]
    log = luo.create_session("diaries")
    for racer, diary in enumerate(diaries):
        log.preserve(diary, token=racer)
    old = luo

    luo = yield Kexec(before_jump=lambda: race(old, [diary.fd for diary in diaries], delays))

    log = luo.retrieve_session("diaries")
    turns = [turn for racer in range(RACERS) for turn in read_diary(racer, log.retrieve(racer).read_all())]
    assert [f"racer {turn.racer}, turn {turn.number}: {turn.errors}" for turn in turns if turn.errors] == []
    outcomes = [
        complaint(turn, retrieved, files)
        for turn, (retrieved, files) in zip(turns, found(luo, turns), strict=True)
    ]
    assert [outcome for outcome in outcomes if outcome is not None] == []


@pytest.mark.alone
@pytest.mark.clause("handover.atomic", "handover.blocks", "handover.reboot.twice")
def test_sessions_cross_whole_while_others_make_and_close_them(
    luo: Luo, machine: Machine, rng: random.Random
) -> Scenario:
    yield from run_race(luo, machine, rng, reboots=1)


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.clause("handover.atomic", "handover.blocks", "handover.reboot.twice")
@pytest.mark.parametrize("repetition", range(50))
def test_sessions_cross_whole_again_and_again(
    luo: Luo, machine: Machine, rng: random.Random, repetition: int
) -> Scenario:
    yield from run_race(luo, machine, rng, reboots=repetition % 3)
