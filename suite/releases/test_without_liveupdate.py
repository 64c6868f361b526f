# SPDX-License-Identifier: GPL-2.0-only
"""A next kernel that has KHO and no live update, or neither."""

from errno import ENOENT

import pytest

from fixtures.luo import DEVICE, Luo, refused
from fixtures.machine import Machine
from fixtures.pages import total_memory
from suite.boot.log import said
from suite.boot.scratch import areas
from suite.kho.debugfs import FOLDER, present
from suite.releases.estate import leave
from suite.releases.kernels import Kernels
from suite.scenario import Scenario

pytestmark = pytest.mark.releases

NO_LIVEUPDATE = "no-liveupdate"
NO_KHO = "no-kho"
SIZE = 64 << 20


def starts_anew(luo: Luo) -> None:
    """Nothing is left of the sessions, and new ones can be made."""
    with refused(ENOENT):
        luo.retrieve_session("vm")
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)


@pytest.mark.clause("releases.no-liveupdate")
def test_kernel_without_live_update_takes_part_in_the_handover(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    leave(luo)
    scratch = areas(luo.actor)

    luo = yield kernels.variant(NO_LIVEUPDATE)
    assert not luo.actor.exists(DEVICE)
    assert present(luo.actor, "in/sub_fdts/LUO")
    assert areas(luo.actor) == scratch
    assert said(machine, "luo: ", "KHO: setup:", "KHO: disabling", "KHO: failed") == []

    luo = yield kernels.back
    assert areas(luo.actor) == scratch
    assert said(machine, "KHO: exec from: ")[0].endswith("(count 2)")
    assert said(machine, "luo: Retrieved") == []
    starts_anew(luo)


@pytest.mark.clause("releases.no-liveupdate", "handover.one-generation")
def test_what_no_live_update_asked_for_is_held_for_one_generation(luo: Luo, kernels: Kernels) -> Scenario:
    before = total_memory(luo.actor)
    ram = luo.memfd(size=SIZE)
    ram.fill(SIZE, seed=1)
    luo.create_session("vm").preserve(ram, token=1)

    luo = yield kernels.variant(NO_LIVEUPDATE)
    assert before - total_memory(luo.actor) > SIZE // 2

    luo = yield kernels.back
    assert before - total_memory(luo.actor) < SIZE // 2


@pytest.mark.clause("releases.no-kho")
def test_kernel_without_kho_ignores_what_it_is_handed(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    leave(luo)

    luo = yield kernels.variant(NO_KHO)
    assert len(said(machine, "Passed KHO data, but CONFIG_KEXEC_HANDOVER not set. Ignoring.")) == 1
    assert said(machine, "KHO: ", "luo: ") == []
    assert not luo.actor.exists(DEVICE)
    assert not luo.actor.exists(FOLDER)

    luo = yield kernels.back
    assert said(machine, "KHO: found", "KHO: exec from", "KHO: disabling", "luo: Retrieved") == []
    assert not present(luo.actor, "in/fdt")
    starts_anew(luo)


@pytest.mark.clause("releases.no-kho")
def test_kernel_without_kho_has_all_memory(luo: Luo, kernels: Kernels) -> Scenario:
    before = total_memory(luo.actor)
    ram = luo.memfd(size=SIZE)
    ram.fill(SIZE, seed=1)
    luo.create_session("vm").preserve(ram, token=1)

    luo = yield kernels.variant(NO_KHO)
    assert before - total_memory(luo.actor) < SIZE // 2
