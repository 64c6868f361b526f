# SPDX-License-Identifier: GPL-2.0-only
"""A kernel told to do without debugfs."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo
from fixtures.scenario import Kexec
from suite.scenario import Scenario

# Where it goes wrong it does so without end; the first warning is enough.
NO_DEBUGFS = Kexec("debugfs=off panic_on_warn=1")


@pytest.mark.alone
@pytest.mark.clause("boot.debugfs-off")
def test_kernel_without_debugfs_takes_what_is_handed_over(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(4099)), token=1)

    luo = yield NO_DEBUGFS

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(4099)


@pytest.mark.soak
@pytest.mark.boot(bare=True)
@pytest.mark.clause("boot.debugfs-off")
def test_kernel_without_debugfs_offers_live_update(luo: Luo) -> Scenario:
    luo = yield Kexec(f"kho=on liveupdate=on {NO_DEBUGFS.cmdline}")

    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)
