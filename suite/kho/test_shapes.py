# SPDX-License-Identifier: GPL-2.0-only
"""Machines of several NUMA nodes, with memory above 4 GiB and holes in it."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo
from fixtures.pages import pfns
from fixtures.scenario import KEXEC
from suite.boot.scratch import areas
from suite.kho.frames import memfd_of, scratch_areas, system_ram, touching, unusable, within
from suite.kho.shape import GIB, GLOBAL, HOLE, LOW, MIB, NODE, NODES, UNUSUAL
from suite.scenario import Scenario

SIZE = 64 * PAGE


def stretches(frames: list[int]) -> list[range]:
    return [range(frame * PAGE, (frame + 1) * PAGE) for frame in frames]


@UNUSUAL
@pytest.mark.clause("kho.scratch.node")
def test_each_node_with_memory_has_a_scratch_area_of_its_own(luo: Luo) -> Scenario:
    first = areas(luo.actor)
    assert [length for _, length in first] == [LOW, GLOBAL, *(NODE for _ in NODES)]
    for (start, length), memory in zip(first[2:], NODES.values(), strict=True):
        assert within(range(start, start + length), memory)

    for _ in range(2):
        luo = yield KEXEC

        assert areas(luo.actor) == first


@UNUSUAL
@pytest.mark.clause("kho.scratch.low")
def test_low_scratch_area_lies_below_4_gib(luo: Luo) -> None:
    start, length = areas(luo.actor)[0]
    assert start + length <= 4 * GIB


@UNUSUAL
@pytest.mark.clause("kho.memory.node", "memory.frames")
@pytest.mark.parametrize("node", NODES)
def test_pages_of_each_node_cross_twice_and_stay_there(luo: Luo, node: int) -> Scenario:
    ram = memfd_of(luo, node, SIZE, seed=node)
    luo.create_session("vm").preserve(ram, token=1)
    before = pfns(ram, SIZE)
    assert all(within(page, NODES[node]) for page in stretches(before))

    for _ in range(2):
        luo = yield KEXEC

        session = luo.retrieve_session("vm")
        ram = session.retrieve(1)
        assert pfns(ram, SIZE) == before
        assert ram.read_all() == pattern(SIZE, seed=node)
        session.finish()
        luo.create_session("vm").preserve(ram, token=1)


@UNUSUAL
@pytest.mark.clause("kho.memory.high", "memory.frames")
def test_memory_above_4_gib_crosses(luo: Luo) -> Scenario:
    size = 8 * MIB
    ram = memfd_of(luo, 2, size, seed=4)
    luo.create_session("vm").preserve(ram, token=1)
    before = pfns(ram, size)
    assert any(frame * PAGE >= 4 * GIB for frame in before), "all of the file lies below 4 GiB"

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.first_difference(size, seed=4) is None
    assert pfns(ram, size) == before


@UNUSUAL
@pytest.mark.clause("kho.memory.hole")
def test_hole_in_memory_stays_one(luo: Luo) -> Scenario:
    inside = list(range(HOLE.start // PAGE, HOLE.stop // PAGE))
    ram = system_ram(luo.actor)
    assert touching(HOLE, ram) == []

    for generation in range(3):
        if generation:
            luo = yield KEXEC
        assert system_ram(luo.actor) == ram
        assert touching(HOLE, scratch_areas(luo.actor)) == []
        assert unusable(luo.actor, inside) == inside, "the kernel uses memory that it was told is none"


@pytest.mark.soak
@pytest.mark.boot(nodes=(256, 256, 256, 256))
@pytest.mark.clause("kho.scratch.node", "kho.memory.node")
def test_four_nodes_have_their_areas_and_hand_over(luo: Luo) -> Scenario:
    nodes = [range(node * 256 * MIB, (node + 1) * 256 * MIB) for node in range(4)]
    first = areas(luo.actor)
    assert len(first) == 2 + len(nodes)
    for (start, length), memory in zip(first[2:], nodes, strict=True):
        assert length > 0
        assert within(range(start, start + length), [memory])
    session = luo.create_session("vm")
    before = []
    for node in range(4):
        ram = memfd_of(luo, node, SIZE, seed=node)
        session.preserve(ram, token=node)
        before.append(pfns(ram, SIZE))

    for generation in (1, 2):
        luo = yield KEXEC

        assert areas(luo.actor) == first
        session = luo.retrieve_session("vm")
        files = [session.retrieve(node) for node in range(4)]
        assert [pfns(file, SIZE) for file in files] == before
        assert [file.read_all() for file in files] == [pattern(SIZE, seed=node) for node in range(4)]
        session.finish()
        if generation == 1:
            session = luo.create_session("vm")
            for node, file in enumerate(files):
                session.preserve(file, token=node)
