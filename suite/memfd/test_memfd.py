# SPDX-License-Identifier: GPL-2.0-only
"""What of a memfd survives a handover, in short."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo
from fixtures.scenario import KEXEC
from suite.scenario import Scenario


@pytest.mark.clause("memfd.contents", "memfd.size", "memfd.position")
def test_contents_size_and_position_survive(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(3 * PAGE + 17))
    ram.seek(4099)
    session.preserve(ram, token=7)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(7)
    assert ram.tell() == 4099
    assert ram.read_all() == pattern(3 * PAGE + 17)


@pytest.mark.clause("memfd.size", "memfd.contents")
@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * 1024 * 1024 - 1])
def test_every_size_survives_to_the_byte(luo: Luo, size: int) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(size)), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.size == size
    assert ram.read_all() == pattern(size)
