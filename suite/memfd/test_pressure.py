# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a memfd's data when memory is short, before the handover and after it."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.cgroup import memory_cgroup
from fixtures.luo import PAGE, Luo
from fixtures.pages import advise, page_out, resident, swap
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

MIB = 1 << 20
SIZE = 64 * PAGE
SEED = 5


@pytest.mark.clause("memory.pressure", "memfd.write-after-preserve")
@pytest.mark.parametrize("origin", ["hole", "read", "fallocated", "written"])
def test_reclaimed_pages_keep_what_was_written_after_preserve(luo: Luo, origin: str) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE, ~SEED) if origin == "written" else b"", size=SIZE)
    if origin == "read":
        advise(ram, SIZE, uapi.MADV_POPULATE_READ)
    elif origin == "fallocated":
        luo.actor.syscall("fallocate", ram.fd, 0, 0, SIZE)
    session.preserve(ram, token=1)
    ram.fill(SIZE, SEED)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    with swap(luo.actor, 8 * MIB):
        page_out(ram, SIZE)
        assert resident(ram, SIZE) == 0, "nothing was reclaimed"
        assert ram.first_difference(SIZE, SEED) is None


@pytest.mark.clause("memory.pressure")
def test_file_bigger_than_its_cgroup_keeps_its_data(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=8 * MIB)
    session.preserve(ram, token=1)
    ram.fill(8 * MIB, SEED)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with swap(luo.actor, 32 * MIB), memory_cgroup(luo.actor) as group, group.holding(luo.actor):
        group.limit(4 * MIB)
        ram = session.retrieve(1)
        assert resident(ram, 8 * MIB) < 1024 + 256, "the cgroup has more than its limit"
        assert ram.first_difference(8 * MIB, SEED) is None
        session.finish()
        ram.close()
