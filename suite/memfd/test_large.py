# SPDX-License-Identifier: GPL-2.0-only
"""Memfds of hundreds of MiB and more, too slow for every run."""

import pytest

from fixtures.luo import PAGE, Luo
from fixtures.machine import Machine
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

SEED = 7

# 16 bytes stand for each folio, in pages of which a chunk of KHO lists 511 (kho_preserve_vmalloc()).
CHUNK = 511 * (PAGE // 16)


def be_patient(luo: Luo, machine: Machine) -> None:
    """Every call may take long: an emulator zeroes or compares 4 GiB in 20 s and more."""
    luo.actor.agent.deadline_seconds = 20 * machine.pace.call


@pytest.mark.soak
@pytest.mark.boot(memory=4096)
@pytest.mark.clause("memfd.contents", "memfd.size")
@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_file_whose_list_of_pages_fills_a_chunk_survives(luo: Luo, machine: Machine, count: int) -> Scenario:
    be_patient(luo, machine)
    session = luo.create_session("vm")
    ram = luo.memfd(size=count * PAGE)
    ram.fill(count * PAGE, SEED)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    be_patient(luo, machine)
    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    assert ram.size == count * PAGE
    assert ram.first_difference(count * PAGE, SEED) is None
    session.finish()
    ram.close()


@pytest.mark.soak
@pytest.mark.boot(memory=8192)
@pytest.mark.clause("memfd.contents", "memfd.size", "memfd.holes")
def test_file_beyond_4_gib_survives(luo: Luo, machine: Machine) -> Scenario:
    size = (4 << 30) + PAGE + 5
    be_patient(luo, machine)
    session = luo.create_session("vm")
    ram = luo.memfd(b"the beginning", size=size)
    ram.write(b"the end", size - 7)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    be_patient(luo, machine)
    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.size == size
    assert ram.read(PAGE, 0) == b"the beginning".ljust(PAGE, b"\0")
    assert ram.read(2 * PAGE, size - PAGE - 5) == bytes(PAGE - 2) + b"the end"
