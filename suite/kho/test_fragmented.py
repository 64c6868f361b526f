# SPDX-License-Identifier: GPL-2.0-only
"""Memory in which every other page is preserved: the next kernel boots in it and hands over again."""

import pytest

from fixtures.luo import PAGE, Luo
from fixtures.pages import meminfo, pfns
from fixtures.scenario import KEXEC
from suite.able import given
from suite.memfd.scattered import pairs, scattered
from suite.scenario import Scenario

SEED = 11


def cross_twice(luo: Luo, size: int) -> Scenario:
    ram = scattered(luo, size, SEED)
    luo.create_session("vm").preserve(ram, token=1)
    before = pfns(ram, size)
    given(pairs(before) < len(before) // 2, "the pages are not scattered")

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
