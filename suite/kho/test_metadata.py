# SPDX-License-Identifier: GPL-2.0-only
"""What each kernel tells the next of itself, along a chain of five."""

import pytest

from fixtures.luo import Luo
from fixtures.machine import Machine
from fixtures.scenario import KEXEC
from kernel.abi import metadata
from kernel.abi.metadata import KexecMetadata
from suite.boot.log import said
from suite.kho.debugfs import DESK, IN, OUT, blob, desk
from suite.scenario import Scenario

KERNELS = 5
EXEC_FROM = "KHO: exec from: "


def decoded(data: bytes) -> KexecMetadata:
    return metadata.read(desk(data), DESK, len(data))


@pytest.mark.clause("kho.metadata", "handover.previous-release")
def test_each_of_five_kernels_is_told_of_the_one_before(luo: Luo, machine: Machine) -> Scenario:
    for count in range(1, KERNELS):
        release = luo.actor.read_file("/proc/sys/kernel/osrelease").decode().strip()
        sent = blob(luo.actor, OUT, metadata.NAME)
        told = decoded(sent)
        assert (told.version, told.release, told.kexec_count) == (metadata.VERSION, release, count)
        assert told.previous_release.rstrip(b"\0") == release.encode(), "something stands behind the release"

        luo = yield KEXEC

        assert blob(luo.actor, IN, metadata.NAME) == sent
        assert said(machine, EXEC_FROM) == [f"{EXEC_FROM}{release} (count {count})"]
