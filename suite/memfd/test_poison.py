# SPDX-License-Identifier: GPL-2.0-only
"""Memory that the hardware lost, inside of a memfd: no reader may take it for data."""

from contextlib import suppress
from errno import EIO

import pytest

from fixtures.agent.errors import ActorGone, SyscallError
from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, Memfd, refused
from fixtures.pages import advise
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

SIZE = 4 * PAGE


def lose_first_page(luo: Luo, file: Memfd) -> None:
    """Have the kernel believe that the hardware lost the page; it kills who uses it."""
    victim = luo.actor.fork()
    with suppress(ActorGone):
        advise(Memfd(victim, file.fd), PAGE, uapi.MADV_HWPOISON)
    victim.kill()


@pytest.mark.clause("memory.poison")
@pytest.mark.parametrize("when", ["before", "while"])
def test_lost_page_is_not_handed_over_as_data(luo: Luo, when: str) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    if when == "before":
        lose_first_page(luo, ram)
        with refused(EIO):
            ram.read(PAGE, 0)
    try:
        session.preserve(ram, token=1)
    except SyscallError:
        return  # a file that is not whole need not be taken
    if when == "while":
        lose_first_page(luo, ram)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    got = luo.actor.raw("pread64", ram.fd, bytearray(PAGE), PAGE, 0)
    assert got < 0, "a page that the hardware lost is read as data"
