# SPDX-License-Identifier: GPL-2.0-only
"""kho=, liveupdate= and kho_scratch=, along one chain of kernels on a machine with little memory.

A kernel that is started without KHO data boots as from cold, so that one machine sees every parameter in one
short chain: what each kernel offers, what its log says, and what became of what it was handed.
"""

from collections.abc import Generator
from errno import ENOENT

import pytest

from fixtures.luo import DEVICE, Luo, refused
from fixtures.machine import Machine
from fixtures.pages import total_memory
from fixtures.scenario import Kexec
from suite.boot.log import said
from suite.boot.scratch import NAMES, areas, scratch
from suite.scenario import Scenario

SIZE = 16 << 20  # two such files fit beside scratch areas that take half of the memory
MALFORMED = (
    "16M",
    "16M,,16M",
    "0,0,0",
    "16M,16M,16M,1",
    "16M,16M,16Mx",
    "x%",
    "12345678901%",
    "9999999999%",
    "",
)

ABSENT = pytest.mark.boot(bare=True, memory=256)
TOO_BIG = Kexec(f"kho=on liveupdate=on {scratch('64M,1T,64M')}")
BARE = ("kho", "liveupdate", *NAMES)  # without a value, which each of them needs
ON = Kexec(
    f"kho=1 liveupdate=1 kho=perhaps liveupdate=perhaps {' '.join(map(scratch, MALFORMED))} {' '.join(BARE)}"
)
LUO_OFF = Kexec("kho=on liveupdate=on liveupdate=0 liveupdate=perhaps")
BACK = Kexec("kho=y liveupdate=y")
KHO_OFF = Kexec("liveupdate=on kho=0")
PERCENT = Kexec(f"kho=on liveupdate=on {scratch('150%')}")
CHAIN = (TOO_BIG, ON, LUO_OFF, BACK, KHO_OFF, PERCENT)
FIRST, REFUSED, SECOND, WITHOUT_LUO, THIRD, WITHOUT_KHO, LAST = range(7)

DEBUGFS = "/sys/kernel/debug/kho"


NUMBER = "luo: Retrieved live update data, liveupdate number: "


def go(luo: Luo, generation: int) -> Generator[Kexec, Luo, Luo]:
    """Along the chain to ``generation``."""
    while luo.generation < generation:
        luo = yield CHAIN[luo.generation]
    return luo


@ABSENT
@pytest.mark.clause("boot.liveupdate", "lifecycle.off-by-default")
def test_device_is_there_when_live_update_and_kho_are_on(luo: Luo) -> Scenario:
    held = []
    for generation in range(LAST + 1):
        luo = yield from go(luo, generation)
        held.append(luo.actor.exists(DEVICE))
    assert held == [generation in (SECOND, THIRD, LAST) for generation in range(LAST + 1)]


@ABSENT
@pytest.mark.clause("boot.kho")
def test_scratch_areas_are_there_when_kho_is_on(luo: Luo) -> Scenario:
    held = []
    for generation in range(REFUSED, LAST + 1):
        luo = yield from go(luo, generation)
        held.append(luo.actor.exists(f"{DEBUGFS}/out/scratch_len"))
    expected = (SECOND, WITHOUT_LUO, THIRD, LAST)
    assert held == [generation in expected for generation in range(REFUSED, LAST + 1)]


@ABSENT
@pytest.mark.clause("boot.liveupdate.needs-kho")
def test_log_says_that_live_update_is_off_for_want_of_kho(luo: Luo, machine: Machine) -> Scenario:
    held = []
    for generation in range(LAST + 1):
        luo = yield from go(luo, generation)
        held.append(len(said(machine, "luo: Disabling liveupdate because KHO is disabled")))
    assert held == [int(generation in (REFUSED, WITHOUT_KHO)) for generation in range(LAST + 1)]


@ABSENT
@pytest.mark.clause("boot.scratch.too-big")
def test_log_says_that_kho_is_off_when_scratch_does_not_fit(luo: Luo, machine: Machine) -> Scenario:
    luo = yield from go(luo, REFUSED)

    assert len(said(machine, "KHO: Failed to reserve scratch area, disabling kexec handover")) == 1
    assert not luo.actor.exists(DEBUGFS)


@ABSENT
@pytest.mark.clause("boot.malformed")
def test_malformed_values_are_named_and_change_nothing(luo: Luo, machine: Machine) -> Scenario:
    yield from go(luo, SECOND)

    refused_words = [line.split("'")[1] for line in said(machine, "Malformed early option")]
    # A word that is no boolean, and none at all.
    assert refused_words.count("kho") == 2
    assert refused_words.count("liveupdate") == 2
    # Of the names of the parameter for scratch memory a kernel knows one.
    assert {refused_words.count(name) for name in NAMES} - {0} == {len(MALFORMED) + 1}
    assert said(machine, "KHO: scratch areas", "KHO: scratch scale") == []


@ABSENT
@pytest.mark.clause("boot.scratch.percent")
def test_scratch_in_percent_is_taken(luo: Luo, machine: Machine) -> Scenario:
    yield from go(luo, LAST)

    assert said(machine, "KHO: scratch scale is") == ["KHO: scratch scale is 150%"]


@ABSENT
@pytest.mark.clause("boot.scratch.default")
def test_scratch_is_half_as_big_again_as_the_memory_that_the_boot_took(luo: Luo) -> Scenario:
    luo = yield from go(luo, SECOND)
    twice = sum(size for _, size in areas(luo.actor))

    luo = yield from go(luo, LAST)

    one_and_a_half = sum(size for _, size in areas(luo.actor))
    # Both areas are rounded up, to 4 MiB at most.
    assert abs(one_and_a_half - twice * 3 // 4) <= 3 * (4 << 20)


@ABSENT
@pytest.mark.clause("boot.scratch.reused")
def test_kho_boot_keeps_the_scratch_areas_of_the_kernel_before(luo: Luo) -> Scenario:
    luo = yield from go(luo, SECOND)
    first = areas(luo.actor)

    luo = yield from go(luo, WITHOUT_LUO)
    assert areas(luo.actor) == first


@ABSENT
@pytest.mark.clause("boot.kho.alone")
def test_kernel_without_live_update_hands_over_too(luo: Luo, machine: Machine) -> Scenario:
    luo = yield from go(luo, WITHOUT_LUO)
    first = areas(luo.actor)

    luo = yield from go(luo, THIRD)
    assert areas(luo.actor) == first
    assert len(said(machine, "KHO: exec from: ")) == 1
    assert said(machine, "KHO: disabling", "KHO: setup:", "KHO: failed") == []


@ABSENT
@pytest.mark.clause("boot.liveupdate", "boot.kho", "handover.one-generation")
def test_kernel_that_is_not_to_take_them_loses_sessions_and_the_next_starts_anew(luo: Luo) -> Scenario:
    for generation in (SECOND, THIRD):
        luo = yield from go(luo, generation)
        ram = luo.memfd(size=SIZE)
        ram.fill(SIZE, seed=generation)
        luo.create_session("vm").preserve(ram, token=1)

        luo = yield from go(luo, generation + 2)

        with refused(ENOENT):
            luo.retrieve_session("vm")


@ABSENT
@pytest.mark.clause("handover.one-generation")
def test_memory_that_nobody_took_back_is_free_one_handover_later(luo: Luo) -> Scenario:
    luo = yield from go(luo, SECOND)
    ram = luo.memfd(size=SIZE)
    ram.fill(SIZE, seed=1)
    luo.create_session("vm").preserve(ram, token=1)

    luo = yield from go(luo, WITHOUT_LUO)
    held = total_memory(luo.actor)

    luo = yield from go(luo, THIRD)
    # Kernels differ a little from boot to boot.
    assert total_memory(luo.actor) - held > 3 * SIZE // 4


@ABSENT
@pytest.mark.clause("handover.number")
def test_live_updates_are_counted_anew_after_a_kernel_without(luo: Luo, machine: Machine) -> Scenario:
    told = {}
    for generation in range(LAST + 1):
        luo = yield from go(luo, generation)
        told[generation] = said(machine, NUMBER)
    assert told[THIRD] == told[LAST] == []
