# SPDX-License-Identifier: GPL-2.0-only
"""Every byte of a memfd is there after the handover, however and whenever it came to be, and no other."""

from collections.abc import Callable
from errno import EFBIG, ENOMEM

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, Memfd, refused
from fixtures.pages import blocks
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

MIB = 1 << 20
TIB = 1 << 40
SIZE = 16 * PAGE
SEED = 3
PUNCH = uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE


@pytest.mark.clause("memfd.size", "memfd.contents")
@pytest.mark.parametrize("size", [2 * MIB, 2 * MIB + 1, 8 * MIB + PAGE - 1])
def test_big_file_survives_to_the_byte(luo: Luo, size: int) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=size)
    ram.fill(size, SEED)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.size == size
    assert ram.first_difference(size, SEED) is None
    assert ram.read(PAGE, size - 1) == pattern(1, SEED, size - 1)


@pytest.mark.clause("memfd.holes", "memfd.contents")
@pytest.mark.parametrize("made", ["sparse", "punched"])
@pytest.mark.parametrize(
    ("first", "last"), [(0, 3), (5, 9), (12, 16), (0, 16)], ids=["beginning", "middle", "end", "all"]
)
def test_hole_reads_as_zeros(luo: Luo, first: int, last: int, made: str) -> Scenario:
    content = bytearray(pattern(SIZE, SEED))
    content[first * PAGE : last * PAGE] = bytes((last - first) * PAGE)
    session = luo.create_session("vm")
    ram = luo.memfd(size=SIZE)
    if made == "punched":
        ram.write(pattern(SIZE, SEED), 0)
        luo.actor.syscall("fallocate", ram.fd, PUNCH, first * PAGE, (last - first) * PAGE)
    else:
        ram.write(bytes(content[: first * PAGE]), 0)
        ram.write(bytes(content[last * PAGE :]), last * PAGE)
    assert blocks(ram) == 16 - (last - first)
    session.preserve(ram, token=1)
    assert blocks(ram) == 16

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.read_all() == content
    assert blocks(ram) == 16


@pytest.mark.clause("memfd.holes", "memory.zeroed")
def test_allocated_and_never_written_pages_read_as_zeros(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    # The pages that come next were somebody's: the allocator gives first what was freed last.
    old = luo.memfd(size=8 * MIB)
    old.fill(8 * MIB, SEED)
    old.close()
    ram = luo.memfd()
    luo.actor.syscall("fallocate", ram.fd, 0, 0, 4 * MIB)
    ram.write(b"island", 5 * PAGE + 9)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    content = bytearray(4 * MIB)
    content[5 * PAGE + 9 : 5 * PAGE + 15] = b"island"
    assert luo.retrieve_session("vm").retrieve(1).read_all() == content


@pytest.mark.clause("memfd.size", "memfd.contents")
def test_what_stands_behind_the_end_is_no_part_of_the_file(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(PAGE + 10, SEED))
    luo.actor.syscall("fallocate", ram.fd, uapi.FALLOC_FL_KEEP_SIZE, 0, 4 * PAGE)
    with ram.mapped(2 * PAGE) as address:
        program = luo.actor.program()
        program.poke(address + PAGE + 10, b"behind the end")
        luo.actor.run(program)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.size == PAGE + 10
    assert ram.read(4 * PAGE, 0) == pattern(PAGE + 10, SEED)
    assert blocks(ram) == 2
    ram.write(b"x", 3 * PAGE)
    assert ram.read(PAGE, 2 * PAGE) == bytes(PAGE)


def by_write(file: Memfd, actor: Actor) -> None:
    Memfd(actor, file.fd).write(pattern(SIZE, SEED), 0)


def by_mapping(file: Memfd, actor: Actor) -> None:
    Memfd(actor, file.fd).fill(SIZE, SEED)


@pytest.mark.clause("memfd.write-after-preserve", "memfd.contents")
@pytest.mark.parametrize("who", ["itself", "thread", "process"])
@pytest.mark.parametrize("write", [by_write, by_mapping])
@pytest.mark.parametrize("allocated", [False, True], ids=["hole", "fallocated"])
def test_what_is_written_after_preserve_survives(
    luo: Luo, write: Callable[[Memfd, Actor], None], who: str, allocated: bool
) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=SIZE)
    if allocated:
        luo.actor.syscall("fallocate", ram.fd, 0, 0, SIZE)
    session.preserve(ram, token=1)
    writer = {"itself": lambda: luo.actor, "thread": luo.actor.thread, "process": luo.actor.fork}[who]()
    write(ram, writer)
    if who != "itself":
        writer.close()

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE, SEED)


@pytest.mark.clause("memfd.write-after-preserve")
def test_byte_written_after_preserve_survives_among_older_ones(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE, SEED))
    session.preserve(ram, token=1)
    program = luo.actor.program()
    for place in range(PAGE - 1, SIZE, PAGE):
        program.syscall("pwrite64", ram.fd, b"!", 1, place)
    luo.actor.run(program)

    luo = yield KEXEC

    content = bytearray(pattern(SIZE, SEED))
    content[PAGE - 1 :: PAGE] = b"!" * 16
    assert luo.retrieve_session("vm").retrieve(1).read_all() == content


@pytest.mark.clause("memory.too-many-pages")
@pytest.mark.parametrize(
    "size", [16 * TIB, 16 * TIB + PAGE, 32 * TIB + 3 * PAGE, 2**63 - 1], ids=["16T", "16T+1", "32T+3", "max"]
)
def test_file_of_too_many_pages_is_refused_and_stays_usable(luo: Luo, size: int) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x", size=size)
    with refused(EFBIG):
        session.preserve(ram, token=1)
    assert blocks(ram) == 1
    ram.truncate(2 * PAGE)
    session.preserve(ram, token=1)


@pytest.mark.clause("memory.no-warning")
def test_file_of_a_tebibyte_is_refused_without_a_warning(luo: Luo) -> None:
    luo.actor.write_file("/sys/kernel/debug/clear_warn_once", b"1")
    session = luo.create_session("vm")
    ram = luo.memfd(size=TIB)
    with refused(ENOMEM):
        session.preserve(ram, token=1)
