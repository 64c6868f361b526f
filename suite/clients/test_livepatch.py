# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that was patched while it ran: the sample of its own tree, samples/livepatch."""

from pathlib import Path

import pytest

from fixtures.deadline import Deadline
from fixtures.luo import Luo
from fixtures.scenario import KEXEC
from suite.clients.ledger import Told
from suite.lifecycle.reboot import opened
from suite.scenario import Scenario

pytestmark = pytest.mark.clients

MODULE = "livepatch-sample.ko"
PATCHES = "/sys/kernel/livepatch"
IN_TRANSITION = f"{PATCHES}/livepatch_sample/transition"
# What the patch has /proc/cmdline say
PATCHED = "this has been live patched\n"


def cmdline(luo: Luo) -> str:
    return luo.actor.read_file("/proc/cmdline").decode()


@pytest.mark.clause("client.livepatch", "memfd.contents")
def test_patched_kernel_is_updated_and_its_patch_stays_behind(
    luo: Luo, told: Told, modules: Path
) -> Scenario:
    told("a live patch (samples/livepatch)", "a memfd, by the kernel that is patched; not the patch")
    told.version(luo.actor.agent.hello.release)
    place = f"/tmp/{MODULE}"
    luo.actor.upload(place, (modules / MODULE).read_bytes())
    with opened(luo.actor, place) as fd:
        luo.actor.syscall("finit_module", fd, "", 0)
    luo.actor.syscall("unlinkat", -1, place, 0)
    # Every task has to be seen outside of the patched function.
    deadline = Deadline(luo.actor.agent.deadline_seconds)
    while luo.actor.read_file(IN_TRANSITION) != b"0\n":
        assert not deadline.expired, "the patch does not get through"
    assert cmdline(luo) == PATCHED
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"from a patched kernel"), token=1)

    luo = yield KEXEC

    assert cmdline(luo) != PATCHED
    assert luo.actor.listdir(PATCHES) == []
    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"from a patched kernel"
