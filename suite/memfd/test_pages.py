# SPDX-License-Identifier: GPL-2.0-only
"""The pages of a preserved memfd: where they lie, that they stay there, how they look in the next kernel."""

import struct
from errno import EBUSY, ENOMEM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, refused
from fixtures.pages import advise, drain_batches, page_out, pages, pfns, resident, swap
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.able import given
from suite.memfd.scattered import pairs, scattered
from suite.memfd.scratch import memfd_in_scratch, scratch_frames
from suite.scenario import Scenario

MIB = 1 << 20
SIZE = 16 * PAGE
SEED = 5


@pytest.mark.clause("memory.frames")
def test_pages_are_the_same_before_and_after(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    session.preserve(ram, token=1)
    before = pfns(ram, SIZE)

    luo = yield KEXEC

    assert pfns(luo.retrieve_session("vm").retrieve(1), SIZE) == before


@pytest.mark.clause("memory.frames", "memfd.contents")
def test_every_other_page_of_memory_survives(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    kept = scattered(luo, 1024 * PAGE, SEED)
    session.preserve(kept, token=1)
    before = pfns(kept, 1024 * PAGE)
    given(pairs(before) < 512, "the pages are not scattered")

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert pfns(ram, 1024 * PAGE) == before
    assert ram.first_difference(1024 * PAGE, SEED) is None


@pytest.mark.clause("memory.dirty")
@pytest.mark.parametrize("origin", ["written", "mapped", "read", "hole", "fallocated", "late"])
def test_page_counts_as_written_wherever_it_came_from(luo: Luo, origin: str) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE) if origin == "written" else b"", size=SIZE)
    if origin == "mapped":
        ram.fill(SIZE, seed=0)
    elif origin == "read":
        advise(ram, SIZE, uapi.MADV_POPULATE_READ)
    elif origin == "fallocated":
        luo.actor.syscall("fallocate", ram.fd, 0, 0, SIZE)
    session.preserve(ram, token=1)
    if origin == "late":
        ram.fill(SIZE, seed=0)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    looks = [page.has(uapi.KPF_DIRTY, uapi.KPF_UPTODATE, uapi.KPF_SWAPBACKED) for page in pages(ram, SIZE)]
    assert looks == [True] * 16, "pages that reclaim may drop, or that are not the kernel's own"
    zeros = origin in ("read", "hole", "fallocated")
    assert ram.read_all() == (bytes(SIZE) if zeros else pattern(SIZE))


@pytest.mark.clause("memory.pinned")
def test_preserved_page_is_neither_moved_nor_swapped(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    session.preserve(ram, token=1)
    before = pfns(ram, SIZE)
    with swap(luo.actor, 4 * MIB):
        page_out(ram, SIZE)
        assert resident(ram, SIZE) == 16
    luo.actor.write_file("/proc/sys/vm/compact_memory", b"1")
    with refused(EBUSY):
        advise(ram, PAGE, uapi.MADV_SOFT_OFFLINE)
    assert pfns(ram, SIZE) == before
    assert ram.read_all() == pattern(SIZE)
    session.close()
    with swap(luo.actor, 4 * MIB):
        page_out(ram, SIZE)
        assert resident(ram, SIZE) == 0, "pages that are not preserved any more cannot be swapped"
    assert ram.read_all() == pattern(SIZE)


@pytest.mark.clause("memory.swapped-out", "memfd.contents")
def test_swapped_out_pages_come_back_and_survive(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    with swap(luo.actor, 4 * MIB):
        page_out(ram, SIZE)
        assert resident(ram, SIZE) == 0, "nothing was swapped out"
        session.preserve(ram, token=1)
        assert resident(ram, SIZE) == 16

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)


@pytest.mark.clause("memory.scratch", "memfd.contents")
def test_pages_in_scratch_memory_are_moved_out(luo: Luo) -> Scenario:
    scratch = scratch_frames(luo)
    session = luo.create_session("vm")
    ram = memfd_in_scratch(luo, scratch)
    size = ram.size
    ram.fill(size, SEED)
    session.preserve(ram, token=1)
    before = pfns(ram, size)
    assert not scratch.intersection(before), "preserved pages lie in scratch memory"

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert pfns(ram, size) == before
    assert ram.first_difference(size, SEED) is None


@pytest.mark.clause("memory.scratch")
def test_page_in_scratch_memory_that_is_in_use_is_refused(luo: Luo) -> None:
    scratch = scratch_frames(luo)
    session = luo.create_session("vm")
    ram = memfd_in_scratch(luo, scratch)
    place = next(place for place, pfn in enumerate(pfns(ram, ram.size)) if pfn in scratch)
    # What was spliced into a pipe is the file's own page, and stays there until the pipe is closed.
    program = luo.actor.program()
    ends = program.buffer(8, out=True)
    offset = program.buffer(struct.pack("<Q", place * PAGE))
    program.syscall("pipe2", ends, 0)
    program.syscall("splice", ram.fd, offset, ends.s32(4), 0, PAGE, 0)
    pipe = struct.unpack("<ii", luo.actor.run(program).bytes(ends))
    with refused(ENOMEM):
        session.preserve(ram, token=1)
    for fd in pipe:
        luo.actor.syscall("close", fd)
    session.preserve(ram, token=1)
    assert not scratch.intersection(pfns(ram, ram.size)), "preserved pages lie in scratch memory"


@pytest.mark.clause("memory.frames", "memfd.contents")
def test_locked_pages_survive(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    address = luo.actor.syscall("mmap", 0, SIZE, uapi.PROT_READ, uapi.MAP_SHARED, ram.fd, 0)
    luo.actor.syscall("mlock", address, SIZE)
    session.preserve(ram, token=1)
    before = pfns(ram, SIZE)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert pfns(ram, SIZE) == before
    assert ram.read_all() == pattern(SIZE)


@pytest.mark.clause("memory.frames", "memfd.contents")
def test_pages_are_the_same_over_two_handovers(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    session.preserve(ram, token=1)
    before = pfns(ram, SIZE)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    session.finish()
    luo.create_session("vm, again").preserve(ram, token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm, again").retrieve(1)
    assert pfns(ram, SIZE) == before
    assert ram.read_all() == pattern(SIZE)


@pytest.mark.clause("memory.ordinary")
def test_retrieved_page_can_be_moved(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    before = pfns(ram, SIZE)
    drain_batches(luo.actor)
    # The page frame goes out of use, one for each run of this test; what is in it moves.
    advise(ram, PAGE, uapi.MADV_SOFT_OFFLINE)
    after = pfns(ram, SIZE)
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    assert ram.read_all() == pattern(SIZE)
