# SPDX-License-Identifier: GPL-2.0-only
"""Memory that the hardware lost, inside of a memfd: no reader may take it for data."""

from contextlib import suppress
from errno import EIO

import pytest

from fixtures.agent.errors import ActorGone, SyscallError
from fixtures.agent.pattern import pattern
from fixtures.deadline import Deadline
from fixtures.luo import PAGE, Luo, Memfd, refused
from fixtures.machine import Machine
from fixtures.pages import advise, pfns
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.memfd.scratch import memfd_in_scratch, scratch_frames
from suite.scenario import Scenario

SIZE = 4 * PAGE


def lose_page(luo: Luo, file: Memfd, number: int) -> None:
    """Have the kernel believe that the hardware lost the page; it kills who uses it."""
    victim = luo.actor.fork()
    with suppress(ActorGone):
        advise(Memfd(victim, file.fd), PAGE, uapi.MADV_HWPOISON, offset=number * PAGE)
    victim.kill()


@pytest.mark.clause("memory.poison")
@pytest.mark.parametrize("when", ["before", "while"])
def test_lost_page_is_not_handed_over_as_data(luo: Luo, when: str) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    # Preserving moves pages out of scratch memory, and there they stay: the next test is about a page within.
    session.preserve(ram, token=1)
    session.close()
    session = luo.create_session("vm")
    if when == "before":
        lose_page(luo, ram, 0)
        with refused(EIO):
            ram.read(PAGE, 0)
    try:
        session.preserve(ram, token=1)
    except SyscallError:
        return  # a file that is not whole need not be taken
    if when == "while":
        lose_page(luo, ram, 0)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    got = luo.actor.raw("pread64", ram.fd, bytearray(PAGE), PAGE, 0)
    assert got < 0, "a page that the hardware lost is read as data"


@pytest.mark.alone
@pytest.mark.clause("memory.poison.scratch")
def test_lost_page_in_scratch_memory_does_not_hold_up_preserve(luo: Luo, machine: Machine) -> None:
    scratch = scratch_frames(luo)
    session = luo.create_session("vm")
    ram = memfd_in_scratch(luo, scratch)
    lose_page(luo, ram, next(place for place, pfn in enumerate(pfns(ram, ram.size)) if pfn in scratch))
    preserver = luo.actor.fork()
    program = preserver.program()
    argument = uapi.liveupdate_session_preserve_fd(fd=ram.fd, token=1)
    program.syscall("ioctl", session.fd, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, bytes(argument), check=False)
    call = preserver.start(program)
    luo.actor.agent.wait_for(call.done, Deadline(machine.pace.last_words))
    assert call.done(), "preserving a file with a lost page in scratch memory never ends"
