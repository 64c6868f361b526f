# SPDX-License-Identifier: GPL-2.0-only
"""From one kernel to another and back: ``--kernel A --next-kernel B --releases``.

What a kernel writes has versions, which it shows in debugfs. A kernel of the same versions takes everything;
one of others takes nothing, says so, and goes on as after a cold boot. In between there is nothing.
"""

import pytest

from fixtures.luo import Luo
from fixtures.machine import Machine
from fixtures.scenario import KEXEC
from suite.releases.estate import Journey
from suite.releases.kernels import Kernels
from suite.releases.sighting import Outcome, Sighting, Witness
from suite.scenario import Scenario

pytestmark = pytest.mark.releases


def judge(sighting: Sighting) -> None:
    """Versions that are equal are taken; others may be taken or refused, and nothing is taken by half."""
    wanted = [Outcome.HANDED_OVER] if sighting.same_abi else [Outcome.HANDED_OVER, Outcome.REFUSED]
    assert sighting.outcome in wanted, sighting.evidence


@pytest.mark.clause("releases.same-version")
def test_kernel_of_the_same_versions_takes_everything(
    luo: Luo, machine: Machine, witness: Witness
) -> Scenario:
    journey = Journey()
    journey.depart(luo)

    luo = yield KEXEC

    sighting = journey.arrive(luo, machine)
    witness.note(sighting)
    if sighting.same_abi is False:
        pytest.skip(f"{sighting.written} were written, and {sighting.understood} are understood")
    assert sighting.outcome is Outcome.HANDED_OVER, sighting.evidence


@pytest.mark.clause("releases.other-version")
def test_kernel_of_other_versions_refuses_everything_and_says_so(luo: Luo, machine: Machine) -> Scenario:
    journey = Journey()
    journey.depart(luo)

    luo = yield KEXEC

    sighting = journey.arrive(luo, machine)
    if sighting.outcome is Outcome.HANDED_OVER:
        pytest.skip("the next kernel takes what is handed to it")
    assert sighting.outcome is Outcome.REFUSED, sighting.evidence
    assert sighting.same_abi is False, sighting.evidence


@pytest.mark.clause("releases.usable")
def test_next_kernel_can_be_used_and_hands_over(luo: Luo, machine: Machine, witness: Witness) -> Scenario:
    journey = Journey()
    journey.depart(luo)

    luo = yield KEXEC
    judge(journey.arrive(luo, machine))
    journey.depart(luo)

    luo = yield KEXEC
    sighting = journey.arrive(luo, machine)
    witness.note(sighting)
    assert sighting.outcome is Outcome.HANDED_OVER, sighting.evidence


@pytest.mark.clause("releases.way-back")
def test_way_back_is_as_good_as_the_way_there(
    luo: Luo, machine: Machine, kernels: Kernels, witness: Witness
) -> Scenario:
    journey = Journey()
    journey.depart(luo)

    luo = yield KEXEC
    judge(journey.arrive(luo, machine))
    journey.depart(luo)

    luo = yield kernels.back
    back = journey.arrive(luo, machine)
    witness.note(back)
    judge(back)
