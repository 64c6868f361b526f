# SPDX-License-Identifier: GPL-2.0-only
"""Scratch areas of a given size, and too small for another kernel."""

from errno import EADDRNOTAVAIL, EINVAL

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, refused
from suite.boot.scratch import areas, scratch
from suite.lifecycle.reboot import INITRD, load, reboot

MIB = 1 << 20
LARGEST_ALIGNMENT = 4 * MIB  # kernel/liveupdate/kexec_handover.c: SCRATCH_ALIGNMENT_BYTES
SMALL = pytest.mark.boot(scratch("0,6M,5M"))


@SMALL
@pytest.mark.clause("boot.scratch.sizes")
def test_areas_have_the_sizes_asked_for(luo: Luo) -> None:
    low, everywhere, node = (size for _, size in areas(luo.actor))
    assert low == 0
    assert 6 * MIB <= everywhere < 6 * MIB + LARGEST_ALIGNMENT
    assert 5 * MIB <= node < 5 * MIB + LARGEST_ALIGNMENT


@SMALL
@pytest.mark.clause("boot.scratch.too-small", "handover.refused")
def test_kernel_without_room_is_refused_before_the_jump_and_sessions_stay(
    luo: Luo, kernel_image: str
) -> None:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(4099)), token=1)
    with refused(EADDRNOTAVAIL):
        load(luo.actor, kernel_image, INITRD)
    assert luo.actor.read_file("/sys/kernel/kexec_loaded") == b"0\n"
    with refused(EINVAL):
        reboot(luo.actor)
    session.preserve(luo.memfd(pattern(4099)), token=2)
    session.close()
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)
