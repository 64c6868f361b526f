# SPDX-License-Identifier: GPL-2.0-only
"""How many sessions there may be, and what a refused call leaves where a block is full.

Since 7.2 sessions are written into blocks of a page (kho_block.c: 16 bytes of header, then 80 for each of 51
sessions), which are set aside when sessions are created. Tests that count exactly have their own machines.
"""

from errno import EEXIST, EFAULT, EMFILE, ENFILE, ENOENT, ENOMEM

import pytest

from fixtures.luo import Device, Luo, refused, session_argument
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario
from suite.sessions.crowd import create_labelled, outcomes, own, retrieve_labels
from suite.sessions.limits import no_free_descriptor, no_free_file

CREATE = uapi.LIVEUPDATE_IOCTL_CREATE_SESSION
RETRIEVE = uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION

BLOCK = 51
BEFORE_BLOCKS = 819  # luo_session.c below 7.2: LUO_SESSION_MAX, what fits into 16 pages


def numbered(luo: Luo, count: int) -> list[bytes]:
    return [own(luo, b"%d" % number) for number in range(count)]


def create_with_an_answer_that_cannot_be_written(device: Device, name: bytes) -> None:
    actor = device.actor
    program = actor.program()
    page = program.syscall(
        "mmap", 0, 4096, uapi.PROT_READ | uapi.PROT_WRITE, uapi.MAP_PRIVATE | uapi.MAP_ANONYMOUS, -1, 0
    )
    program.poke(page, session_argument(name))
    program.syscall("mprotect", page, 4096, uapi.PROT_READ)
    create = program.syscall("ioctl", device.fd, CREATE, page, check=False)
    program.syscall("munmap", page, 4096)
    assert actor.run(program).raw(create) == -EFAULT


@pytest.mark.alone
@pytest.mark.clause("session.boundary", "session.refused")
def test_sessions_cross_where_blocks_are_full_and_calls_were_refused(luo: Luo) -> Scenario:
    names = numbered(luo, BLOCK + 1)
    create_labelled(luo, names)[20].close()
    gone = names.pop(20)
    with no_free_descriptor(luo.actor), refused(EMFILE):
        luo.create_session("more")
    with no_free_file(luo) as device, refused(ENFILE):
        device.ioctl(CREATE, session_argument(luo.name("more")))
    create_with_an_answer_that_cannot_be_written(luo.device, luo.name("more"))
    outcomes(luo.device, CREATE, [b"", b"n" * 64])  # below 7.1 these are names
    with no_free_descriptor(luo.actor), refused(EMFILE):
        luo.retrieve_session(names[0])
    with refused(ENOENT):
        luo.retrieve_session(names[0])

    luo = yield KEXEC

    assert outcomes(luo.device, RETRIEVE, [gone, luo.name("more")]) == [-ENOENT] * 2
    assert retrieve_labels(luo, names) == names
    names = numbered(luo, 2 * BLOCK + 2)
    create_labelled(luo, names)[BLOCK].close()
    gone = names.pop(BLOCK)

    luo = yield KEXEC

    assert outcomes(luo.device, RETRIEVE, [gone]) == [-ENOENT]
    assert retrieve_labels(luo, names) == names


@pytest.mark.alone
@pytest.mark.clause("session.refused-duplicate")
def test_sessions_cross_after_a_duplicate_was_refused_where_the_block_is_full(luo: Luo) -> Scenario:
    names = numbered(luo, BLOCK)
    create_labelled(luo, names)
    with refused(EEXIST):
        luo.create_session(names[7])

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names


@pytest.mark.clause("session.many")
def test_two_thousand_sessions_cross(luo: Luo) -> Scenario:
    names = [f"{number:04}" for number in range(2000)]
    luo.create_crowd(names, files=0, content=b"")

    luo = yield KEXEC

    # From the end: the kernel looks from the start, and so each name costs all of its search.
    sessions = luo.retrieve_crowd(names[::-1], files=0)
    assert len({session.fd for session, _ in sessions}) == 2000
    assert outcomes(luo.device, RETRIEVE, [luo.name("2000")]) == [-ENOENT]


@pytest.mark.alone
@pytest.mark.clause("session.limit")
def test_sessions_up_to_the_limit_cross_and_the_next_is_refused(luo: Luo) -> Scenario:
    names = numbered(luo, BEFORE_BLOCKS)
    create_labelled(luo, names)
    with refused(ENOMEM):
        luo.create_session("more")

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.clause("session.boundary")
@pytest.mark.parametrize("count", [BLOCK * blocks + more for blocks in (1, 2, 3) for more in (-1, 0, 1)])
def test_every_count_around_full_blocks_crosses(luo: Luo, count: int) -> Scenario:
    names = numbered(luo, count)
    create_labelled(luo, names)

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names
