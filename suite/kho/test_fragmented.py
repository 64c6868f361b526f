# SPDX-License-Identifier: GPL-2.0-only
"""Memory in which every other page is preserved: the next kernel boots in it and hands over again."""

import pytest

from fixtures.luo import PAGE, Luo, Memfd
from fixtures.pages import meminfo, pfns
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

SEED = 11
# Written in one request, which takes an emulator a tenth of a second
_STEP = 4096 * PAGE


def scattered(luo: Luo, size: int) -> Memfd:
    """A file of ``size`` bytes whose pages have free ones between them."""
    kept, given_back = luo.memfd(size=size), luo.memfd(size=size)
    with kept.mapped(size) as mine, given_back.mapped(size) as other:
        for start in range(0, size, _STEP):
            program = luo.actor.program()
            for page in range(start, min(start + _STEP, size), PAGE):
                program.fill(mine + page, PAGE, SEED, page)
                program.fill(other + page, 1, SEED)
            luo.actor.run(program)
    given_back.close()
    return kept


def pairs(frames: list[int]) -> int:
    """How many of the frames have the next one beside them."""
    return len({frame + 1 for frame in frames} & set(frames))


def cross_twice(luo: Luo, size: int) -> Scenario:
    ram = scattered(luo, size)
    luo.create_session("vm").preserve(ram, token=1)
    before = pfns(ram, size)
    assert pairs(before) < len(before) // 2, "the pages are not scattered"

    for generation in (1, 2):
        luo = yield KEXEC

        session = luo.retrieve_session("vm")
        ram = session.retrieve(1)
        assert pfns(ram, size) == before
        assert ram.first_difference(size, SEED) is None
        session.finish()
        if generation == 1:
            luo.create_session("vm").preserve(ram, token=1)


@pytest.mark.clause("kho.fragmented", "handover.chain")
def test_every_other_page_crosses_twice(luo: Luo) -> Scenario:
    yield from cross_twice(luo, 8 << 20)


@pytest.mark.soak
@pytest.mark.boot(memory=512)
@pytest.mark.clause("kho.fragmented", "handover.chain")
def test_half_of_memory_in_every_other_page_crosses_twice(luo: Luo) -> Scenario:
    free = meminfo(luo.actor)["MemFree"] * PAGE
    yield from cross_twice(luo, free * 2 // 5 // PAGE * PAGE)
