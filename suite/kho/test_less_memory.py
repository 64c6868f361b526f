# SPDX-License-Identifier: GPL-2.0-only
"""A next kernel that may use less memory than the one before: mem= of hosts that give the rest to guests."""

import pytest

from fixtures.agent.errors import SyscallError
from fixtures.luo import PAGE, Luo
from fixtures.pages import pfns, total_memory
from fixtures.scenario import Kexec
from suite.boot.scratch import scratch
from suite.scenario import Scenario

MIB = 1 << 20
SIZE = 64 * MIB
SEED = 5

# Half of memory lies below 4 GiB, and all scratch memory there; a memfd gets its own from above.
BELOW, TOP = 512, 4096 + 512
HALVES = pytest.mark.boot(scratch("128M,0,0"), memory=1024, below_4g=BELOW)


def cross(luo: Luo, limit: int) -> Scenario:
    """``limit``: MiB."""
    ram = luo.memfd(size=SIZE)
    ram.fill(SIZE, SEED)
    assert min(pfns(ram, SIZE)) * PAGE >= 4096 * MIB
    luo.create_session("vm").preserve(ram, token=1)

    luo = yield Kexec(f"mem={limit}M")

    assert total_memory(luo.actor) < min(limit, 1024) * MIB
    try:
        ram = luo.retrieve_session("vm").retrieve(1)
    except SyscallError:
        assert limit < TOP
    else:
        assert ram.first_difference(SIZE, SEED) is None


@pytest.mark.soak
@HALVES
@pytest.mark.clause("kho.less-memory")
def test_limit_above_all_memory_changes_nothing(luo: Luo) -> Scenario:
    yield from cross(luo, TOP)


@pytest.mark.soak
@HALVES
@pytest.mark.clause("kho.less-memory")
def test_file_outside_of_the_limit_comes_back_whole_or_not_at_all(luo: Luo) -> Scenario:
    yield from cross(luo, BELOW)
