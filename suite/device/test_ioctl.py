# SPDX-License-Identifier: GPL-2.0-only
"""The rules that hold for every ioctl: numbers, sizes, tails."""

from errno import E2BIG, EINVAL, ENOTTY

import pytest

from fixtures.luo import Luo, refused
from kernel import uapi


def create_argument(luo: Luo, size: int, tail: bytes = b"") -> bytes:
    name = uapi.session_name(luo.name("vm"))
    return bytes(uapi.liveupdate_ioctl_create_session(size=size, fd=-1, name=name)) + tail


# A kernel that took a short argument of CREATE_SESSION would still refuse the empty name in it, and also with
# EINVAL; RETRIEVE_SESSION would look for the name and say ENOENT.
@pytest.mark.clause("ioctl.size.too-small")
@pytest.mark.parametrize("size", [0, 4, 71])
@pytest.mark.parametrize(
    "number",
    [uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION],
    ids=["create", "retrieve"],
)
def test_argument_below_its_smallest_size_is_refused(luo: Luo, number: int, size: int) -> None:
    with refused(EINVAL):
        luo.device.ioctl(number, create_argument(luo, size))


@pytest.mark.clause("ioctl.size.zero-tail")
def test_longer_argument_with_a_tail_of_zeros_is_accepted(luo: Luo) -> None:
    answer = luo.device.ioctl(uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, create_argument(luo, 80, bytes(8)))
    assert uapi.liveupdate_ioctl_create_session.from_buffer_copy(answer).fd >= 0


@pytest.mark.clause("ioctl.size.tail")
@pytest.mark.parametrize("tail", [b"\1" + bytes(7), bytes(7) + b"\1"], ids=["first", "last"])
def test_longer_argument_with_something_in_its_tail_is_refused(luo: Luo, tail: bytes) -> None:
    with refused(E2BIG):
        luo.device.ioctl(uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, create_argument(luo, 80, tail))


@pytest.mark.clause("ioctl.unknown")
@pytest.mark.parametrize("number", [0x02, 0x3F, 0xFF])
def test_unknown_number_is_no_ioctl_of_the_device(luo: Luo, number: int) -> None:
    with refused(ENOTTY):
        luo.device.ioctl(uapi.LIVEUPDATE_IOCTL_TYPE << 8 | number, create_argument(luo, 72))


@pytest.mark.clause("ioctl.unknown")
def test_known_number_with_other_direction_bits_is_no_ioctl(luo: Luo) -> None:
    read_write = 3 << 30  # _IOC_READ | _IOC_WRITE, include/uapi/asm-generic/ioctl.h
    with refused(ENOTTY):
        luo.device.ioctl(read_write | uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, create_argument(luo, 72))
