# SPDX-License-Identifier: GPL-2.0-only
"""Scratch areas that do not fit, and kernels that have to do with one of them."""

from collections.abc import Generator

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import DEVICE, PAGE, Luo
from fixtures.machine import Machine
from fixtures.pages import total_memory
from fixtures.scenario import KEXEC, Kexec
from suite.boot.log import said
from suite.boot.scratch import areas, scratch
from suite.kho.shape import MIB
from suite.scenario import Scenario

OFF = Kexec("kho=off liveupdate=off")
TOO_BIG = {
    "lowmem scratch buffer": scratch("64G,64M,64M"),
    "global scratch buffer": scratch("64M,1T,64M"),
    # The low and the global area are made by then, and for the third node the first one's too.
    "nid 0 scratch buffer": scratch("16M,16M,1T"),
    "nid 2 scratch buffer": scratch("16M,16M,200M"),
}


# Whole pageblocks of 2 MiB, and not all of them whole blocks of the largest order, 4 MiB: the allocator looks
# at their neighbours, which a kernel that initialises struct pages late has not got to.
ODD = ("66M,34M,18M", "98M,6M,22M", "70M,30M,26M", "0,130M,0")


@pytest.mark.soak
@pytest.mark.boot(bare=True, nodes=(640, 0, 128))
@pytest.mark.clause("kho.scratch.given-back", "boot.scratch.too-big")
def test_area_that_does_not_fit_is_named_and_the_others_are_given_back(
    luo: Luo, machine: Machine
) -> Scenario:
    luo = yield OFF
    without = total_memory(luo.actor)
    for which, words in TOO_BIG.items():
        luo = yield Kexec(f"kho=on liveupdate=on {words}")
        assert said(machine, "KHO: Failed to reserve") == [
            f"KHO: Failed to reserve {which}",
            "KHO: Failed to reserve scratch area, disabling kexec handover",
        ]
        assert not luo.actor.exists(DEVICE)
        # Kernels differ a little from boot to boot.
        assert abs(total_memory(luo.actor) - without) < 4 * MIB


def cross_twice(luo: Luo) -> Generator[Kexec, Luo, None]:
    first = areas(luo.actor)
    luo.create_session("vm").preserve(luo.memfd(pattern(3 * PAGE)), token=1)
    for _ in range(2):
        luo = yield KEXEC

        assert areas(luo.actor) == first
        session = luo.retrieve_session("vm")
        ram = session.retrieve(1)
        assert ram.read_all() == pattern(3 * PAGE)
        session.finish()
        luo.create_session("vm").preserve(ram, token=1)


@pytest.mark.soak
@pytest.mark.boot(scratch("128M,0,0"), memory=512)
@pytest.mark.clause("kho.scratch.one-area")
def test_low_area_alone_is_enough(luo: Luo) -> Scenario:
    yield from cross_twice(luo)


@pytest.mark.soak
@pytest.mark.boot(scratch("0,128M,0"), memory=512)
@pytest.mark.clause("kho.scratch.one-area")
def test_global_area_alone_is_enough(luo: Luo) -> Scenario:
    yield from cross_twice(luo)


@pytest.mark.soak
@pytest.mark.boot(scratch("0,0,128M"), memory=512)
@pytest.mark.clause("kho.scratch.one-area")
def test_area_of_the_node_alone_is_enough(luo: Luo) -> Scenario:
    yield from cross_twice(luo)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(
            sizes,
            marks=[
                pytest.mark.boot(scratch(sizes), memory=1024),
                *([pytest.mark.soak] if sizes != ODD[0] else []),
            ],
        )
        for sizes in ODD
    ],
)
@pytest.mark.clause("kho.scratch.any-size")
def test_areas_of_odd_sizes_carry_over(luo: Luo, sizes: str) -> Scenario:
    yield from cross_twice(luo)
