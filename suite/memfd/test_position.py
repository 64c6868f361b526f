# SPDX-License-Identifier: GPL-2.0-only
"""The file position: it belongs to the open file that was preserved, and counts as it is at the handover."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, Memfd
from fixtures.scenario import KEXEC
from suite.memfd.calls import reopened
from suite.scenario import Scenario

SIZE = 3 * PAGE
CONTENT = pattern(SIZE)
LARGEST = (1 << 63) - 1  # MAX_LFS_FILESIZE, include/linux/fs.h


def seek(offset: int) -> Callable[[Memfd], object]:
    return lambda file: file.seek(offset)


def read(file: Memfd) -> None:
    file.actor.syscall("read", file.fd, bytearray(100), 100)


def write(file: Memfd) -> None:
    file.actor.syscall("write", file.fd, CONTENT[:200], 200)


def nothing(file: Memfd) -> None:
    """Leave the position."""


def elsewhere(file: Memfd) -> None:
    """Read and write without the position, and move that of another open file."""
    file.read(PAGE, 5)
    file.write(CONTENT[6:60], 6)
    file.fill(SIZE, seed=0)
    reopened(file, os.O_RDWR).seek(77)


def by_dup(file: Memfd) -> None:
    Memfd(file.actor, file.dup().fd).seek(33)


def by_child(file: Memfd) -> None:
    child = file.actor.fork()
    Memfd(child, file.fd).seek(44)
    child.close()


@dataclass(frozen=True)
class Move:
    """What is done to a memfd before and after it is preserved, and where the position then is."""

    before: Callable[[Memfd], object]
    after: Callable[[Memfd], object]
    position: int


MOVES = {
    "never moved": Move(nothing, nothing, 0),
    "in the middle": Move(seek(4099), nothing, 4099),
    "at the end": Move(seek(SIZE), nothing, SIZE),
    "beyond the end": Move(seek(SIZE + 12345), nothing, SIZE + 12345),
    "beyond 4 GiB": Move(seek(1 << 33), nothing, 1 << 33),
    "largest": Move(seek(LARGEST), nothing, LARGEST),
    "moved by lseek": Move(seek(17), seek(4099), 4099),
    "moved to the start": Move(seek(17), seek(0), 0),
    "moved to the largest": Move(seek(17), seek(LARGEST), LARGEST),
    "moved from the largest": Move(seek(LARGEST), seek(17), 17),
    "moved by read": Move(seek(17), read, 117),
    "moved by write": Move(seek(0), write, 200),
    "moved by a duplicate": Move(seek(17), by_dup, 33),
    "moved by a child": Move(seek(17), by_child, 44),
    "not moved": Move(seek(17), elsewhere, 17),
}


@pytest.mark.clause("memfd.position")
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_position_at_the_handover_survives(luo: Luo, move: Move) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    move.before(ram)
    session.preserve(ram, token=1)
    move.after(ram)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.tell() == move.position
    assert ram.read_all() == CONTENT


@pytest.mark.clause("memfd.position")
def test_position_is_that_of_the_open_file_which_was_preserved(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    other = reopened(ram, os.O_RDWR)
    session.preserve(other, token=1)
    ram.seek(100)
    other.seek(200)
    other.close()

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).tell() == 200


@pytest.mark.clause("memfd.position")
def test_reading_goes_on_where_it_stopped(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    read(ram)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    data = bytearray(100)
    luo.actor.syscall("read", ram.fd, data, len(data))
    assert data == CONTENT[100:200]
    assert ram.tell() == 200
