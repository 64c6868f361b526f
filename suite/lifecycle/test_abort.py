# SPDX-License-Identifier: GPL-2.0-only
"""A live update that is given up before the handover, at each stage: all is as it was."""

from collections.abc import Callable
from errno import EINVAL, ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.level import Level
from fixtures.luo import Luo, refused
from fixtures.machine import Machine
from fixtures.scenario import KEXEC, Kexec
from suite.lifecycle.reboot import reboot, unload
from suite.scenario import Scenario

SIZE = 2 << 20
STAGES = ("created", "preserved", "preserved twice", "kernel loaded", "reboot refused")


@pytest.mark.clause("session.close-unpreserves")
@pytest.mark.parametrize("stage", STAGES)
def test_giving_up_takes_memory_back_to_its_level(
    luo: Luo, machine: Machine, load_kernel: Callable[[Kexec], None], stage: str
) -> None:
    reached = STAGES.index(stage)
    ram = luo.memfd(size=SIZE)
    ram.fill(SIZE, seed=1)
    _ = luo.device
    before = Level.read(machine.admin)
    session = luo.create_session("vm")
    if reached >= STAGES.index("preserved"):
        session.preserve(ram, token=1)
    if reached >= STAGES.index("preserved twice"):
        luo.create_session("second").preserve(luo.memfd(b"x"), token=1)
    if reached >= STAGES.index("kernel loaded"):
        load_kernel(KEXEC)
        unload(luo.actor)
    if reached >= STAGES.index("reboot refused"):
        with refused(EINVAL):
            reboot(luo.actor)
    session.close()
    if stage in ("created", "preserved"):
        assert Level.read(machine.admin).left_behind_since(before) == []
    assert ram.first_difference(SIZE, seed=1) is None
    ram.truncate(2 * SIZE)
    luo.create_session("vm").preserve(ram, token=1)


@pytest.mark.clause("session.close-unpreserves")
def test_session_closed_before_the_handover_is_not_handed_over(luo: Luo) -> Scenario:
    session = luo.create_session("given up")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    session.close()

    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("given up")


@pytest.mark.clause("session.close-unpreserves", "memfd.contents")
def test_file_of_a_given_up_session_crosses_in_another(luo: Luo) -> Scenario:
    ram = luo.memfd(pattern(SIZE))
    given_up = luo.create_session("given up")
    given_up.preserve(ram, token=1)
    given_up.close()
    ram.write(b"later", 4096)
    luo.create_session("vm").preserve(ram, token=2)

    luo = yield KEXEC

    kept = luo.retrieve_session("vm").retrieve(2).read_all()
    assert kept == pattern(SIZE)[:4096] + b"later" + pattern(SIZE)[4101:]
