# SPDX-License-Identifier: GPL-2.0-only
"""/dev/liveupdate itself: who may open it, and when."""

import stat
import struct
from errno import EBUSY

import pytest

from fixtures.luo import DEVICE, Device, Luo, refused
from kernel import uapi


@pytest.mark.clause("device.mode")
def test_node_is_a_character_device_for_root_alone(luo: Luo) -> None:
    answer = bytearray(256)
    luo.actor.syscall("statx", uapi.AT_FDCWD, DEVICE, 0, uapi.STATX_BASIC_STATS, answer)
    uid, gid, mode = struct.unpack_from("<IIH", answer, 20)  # struct statx, include/uapi/linux/stat.h
    assert stat.S_ISCHR(mode)
    assert (uid, gid, stat.S_IMODE(mode)) == (0, 0, 0o600)


@pytest.mark.clause("device.exclusive")
def test_second_open_is_refused_while_the_first_lasts(luo: Luo) -> None:
    first = luo.device
    with refused(EBUSY):
        Device.open(luo.actor)
    first.close()
    Device.open(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_child_that_inherited_the_device_keeps_others_out(luo: Luo) -> None:
    device = luo.device
    child = luo.actor.fork()
    device.close()
    with refused(EBUSY):
        Device.open(luo.actor)
    child.close()
    Device.open(luo.actor)


@pytest.mark.clause("session.create")
def test_sessions_outlive_the_device_descriptor(luo: Luo) -> None:
    session = luo.create_session("vm")
    luo.close_device()
    session.preserve(luo.memfd(b"x"), token=1)
