# SPDX-License-Identifier: GPL-2.0-only
"""Memfds of huge folios (2 MiB on x86): kept as they are, counted by the page, and still divisible."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, Memfd
from fixtures.pages import Page, advise, blocks, huge_memfds, meminfo, page_out, pages, resident, swap
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

MIB = 1 << 20
HUGE = 2 * MIB
SEED = 9


def huge_memfd(luo: Luo, size: int) -> Memfd:
    """A memfd with the pattern in huge folios, but for what is behind the last whole one."""
    file = luo.memfd(size=size)
    with huge_memfds(luo.actor):
        file.fill(size, SEED)
    assert heads(pages(file, size))[0], "the file has no huge folios"
    return file


def heads(found: list[Page]) -> list[bool]:
    """Whether each page is the first of a folio of several; the shape of the folios."""
    return [page.has(uapi.KPF_COMPOUND_HEAD) for page in found]


def tails(found: list[Page]) -> list[bool]:
    return [page.has(uapi.KPF_COMPOUND_TAIL) for page in found]


@pytest.mark.clause("memory.order", "memory.frames", "memfd.contents", "memfd.size")
@pytest.mark.parametrize("size", [HUGE, HUGE + PAGE + 1, 2 * HUGE - 1], ids=["whole", "more", "less"])
def test_huge_folios_stay_whole(luo: Luo, size: int) -> Scenario:
    session = luo.create_session("vm")
    ram = huge_memfd(luo, size)
    session.preserve(ram, token=1)
    before = pages(ram, size)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.size == size
    after = pages(ram, size)
    assert [page.pfn for page in after] == [page.pfn for page in before]
    assert heads(after) == heads(before)
    assert tails(after) == tails(before)
    assert ram.first_difference(size, SEED) is None


@pytest.mark.clause("memory.order.shown")
def test_huge_folio_is_shown_as_one(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = huge_memfd(luo, HUGE)
    session.preserve(ram, token=1)
    assert pages(ram, HUGE)[0].has(uapi.KPF_THP)

    luo = yield KEXEC

    page = pages(luo.retrieve_session("vm").retrieve(1), HUGE)[0]
    assert page.has(uapi.KPF_THP), f"a huge folio is not shown as one, flags {page.flags:#x}"


@pytest.mark.clause("memory.accounting")
def test_huge_folios_are_counted_by_the_page(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(huge_memfd(luo, 2 * HUGE), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    before = meminfo(luo.actor)
    ram = session.retrieve(1)
    session.finish()
    assert (blocks(ram), grown(luo, before)) == (1024, {"Shmem": 1024, "ShmemHugePages": 1024})
    luo.actor.syscall(
        "fallocate", ram.fd, uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE, 0, HUGE + 8 * PAGE
    )
    assert (blocks(ram), grown(luo, before)) == (504, {"Shmem": 504, "ShmemHugePages": 0})
    ram.truncate(HUGE + 10 * PAGE)
    assert (blocks(ram), grown(luo, before)) == (2, {"Shmem": 2, "ShmemHugePages": 0})
    ram.close()
    assert grown(luo, before) == {"Shmem": 0, "ShmemHugePages": 0}
    assert meminfo(luo.actor)["Committed_AS"] == before["Committed_AS"]


def grown(luo: Luo, before: dict[str, int]) -> dict[str, int]:
    now = meminfo(luo.actor)
    return {name: now[name] - before[name] for name in ("Shmem", "ShmemHugePages")}


@pytest.mark.clause("memfd.contents")
def test_divided_folio_keeps_what_is_left(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(huge_memfd(luo, HUGE), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    hole = 5 * PAGE
    luo.actor.syscall(
        "fallocate", ram.fd, uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE, hole, 2 * PAGE
    )
    ram.truncate(HUGE - 9 * PAGE - 1)
    left = bytearray(pattern(HUGE - 9 * PAGE - 1, SEED))
    left[hole : hole + 2 * PAGE] = bytes(2 * PAGE)
    assert ram.read_all() == left
    ram.truncate(HUGE)
    assert ram.read(10 * PAGE, HUGE - 9 * PAGE - 1) == bytes(9 * PAGE + 1)


@pytest.mark.clause("memory.order")
def test_retrieved_huge_folio_is_mapped_as_one(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(huge_memfd(luo, HUGE), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    before = meminfo(luo.actor)["ShmemPmdMapped"]
    address = luo.actor.syscall(
        "mmap", 1 << 40, HUGE, uapi.PROT_READ, uapi.MAP_SHARED | uapi.MAP_FIXED, ram.fd, 0
    )
    with huge_memfds(luo.actor):
        luo.actor.syscall("madvise", address, HUGE, uapi.MADV_HUGEPAGE)
        luo.actor.syscall("madvise", address, HUGE, uapi.MADV_POPULATE_READ)
    assert meminfo(luo.actor)["ShmemPmdMapped"] - before == 512
    luo.actor.syscall("munmap", address, HUGE)


@pytest.mark.clause("memory.pressure")
def test_retrieved_huge_folio_is_swapped_and_comes_back(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(huge_memfd(luo, HUGE), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    with swap(luo.actor, 8 * MIB):
        page_out(ram, HUGE)
        assert resident(ram, HUGE) < 512, "nothing was swapped out"
        assert ram.first_difference(HUGE, SEED) is None


@pytest.mark.clause("memory.pinned")
def test_preserved_huge_folio_is_neither_divided_nor_swapped(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = huge_memfd(luo, HUGE)
    session.preserve(ram, token=1)
    before = pages(ram, HUGE)
    with swap(luo.actor, 8 * MIB):
        page_out(ram, HUGE)
    after = pages(ram, HUGE)
    assert [page.pfn for page in after] == [page.pfn for page in before]
    assert heads(after) == heads(before)
    assert ram.first_difference(HUGE, SEED) is None


@pytest.mark.clause("memory.ordinary")
def test_retrieved_pages_can_be_collapsed(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=HUGE)
    ram.fill(HUGE, SEED)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    advise(ram, HUGE, uapi.MADV_COLLAPSE)
    found = pages(ram, HUGE)
    assert (heads(found)[0], tails(found)) == (True, [False] + [True] * 511)
    assert ram.first_difference(HUGE, SEED) is None
