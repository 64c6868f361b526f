# SPDX-License-Identifier: GPL-2.0-only
"""Memory that came after the boot: DIMMs, CXL, virtio-mem. The next kernel has it late too."""

import pytest

from fixtures.agent.errors import SyscallError
from fixtures.luo import PAGE, Luo, Memfd
from fixtures.pages import pfns, total_memory
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

MIB = 1 << 20
SIZE = 16 * MIB
SEED = 7
BLOCKS = "/sys/devices/system/memory"

# The DIMM begins at 4 GiB (hw/i386/pc.c: pc_get_device_memory_range()), and so its zone is asked first.
MEMORY, DIMM, BEGIN = 512, 512, 4096 * MIB


def plugged(online: str) -> pytest.MarkDecorator:
    """A machine with a DIMM, and what becomes of its memory by itself."""
    return pytest.mark.boot(f"memhp_default_state={online}", memory=MEMORY, dimm=DIMM)


def need(luo: Luo) -> None:
    """Skip where the kernel does not take such memory."""
    if not luo.actor.exists(f"{BLOCKS}/auto_online_blocks"):
        pytest.skip("this kernel is without CONFIG_MEMORY_HOTPLUG")


def bring_online(luo: Luo) -> None:
    """Have the kernel use the DIMM for whatever it likes."""
    need(luo)
    for block in luo.actor.listdir(BLOCKS):
        state = f"{BLOCKS}/{block}/state"
        if luo.actor.exists(state) and luo.actor.read_file(state) == b"offline\n":
            luo.actor.write_file(state, b"online_kernel")
    assert total_memory(luo.actor) > MEMORY * MIB


def file_from_the_dimm(luo: Luo) -> Memfd:
    ram = luo.memfd(size=SIZE)
    ram.fill(SIZE, SEED)
    assert min(pfns(ram, SIZE)) * PAGE >= BEGIN
    return ram


@plugged("online_kernel")
@pytest.mark.clause("kho.plugged-memory")
def test_kernel_goes_on_that_had_memory_plugged(luo: Luo) -> Scenario:
    need(luo)
    file_from_the_dimm(luo).close()

    luo = yield KEXEC

    file_from_the_dimm(luo).close()


@plugged("offline")
@pytest.mark.clause("kho.plugged-memory")
def test_file_in_plugged_memory_comes_back_or_is_refused(luo: Luo) -> Scenario:
    bring_online(luo)
    session = luo.create_session("vm")
    ram = file_from_the_dimm(luo)
    try:
        session.preserve(ram, token=1)
    except SyscallError:
        return

    luo = yield KEXEC

    bring_online(luo)
    assert luo.retrieve_session("vm").retrieve(1).first_difference(SIZE, SEED) is None


@plugged("online_movable")
@pytest.mark.clause("kho.plugged-memory.movable")
def test_file_leaves_plugged_memory_that_is_to_be_movable(luo: Luo) -> Scenario:
    need(luo)
    session = luo.create_session("vm")
    ram = file_from_the_dimm(luo)
    session.preserve(ram, token=1)
    assert max(pfns(ram, SIZE)) * PAGE < BEGIN

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).first_difference(SIZE, SEED) is None
