# SPDX-License-Identifier: GPL-2.0-only
"""Which ioctl numbers the device and the sessions know, and where."""

from collections.abc import Iterable
from errno import errorcode

import pytest

from fixtures.luo import Descriptor, Luo, session_argument
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.device.calls import CONTENT, TOKEN, send
from suite.scenario import Scenario

DEVICE = (uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION)
SESSION = (
    uapi.LIVEUPDATE_SESSION_PRESERVE_FD,
    uapi.LIVEUPDATE_SESSION_RETRIEVE_FD,
    uapi.LIVEUPDATE_SESSION_FINISH,
    uapi.LIVEUPDATE_SESSION_GET_NAME,  # before 7.2 it is not known, and not judged
)
EVERY = tuple(uapi.LIVEUPDATE_IOCTL_TYPE << 8 | number for number in range(256))

# include/uapi/asm-generic/ioctl.h: a direction (2 bits), a size (14 bits), a type and a number (8 bits each).
WRITE, READ = 1 << 30, 2 << 30
SIZE = 1 << 16
TCGETS = 0x5401  # by which isatty(3) asks, include/uapi/asm-generic/ioctls.h

# Any call could do something with this, were it taken for one of its own.
PLAUSIBLE = session_argument(b"of a number that is not known")


def with_other_bits(numbers: Iterable[int]) -> list[int]:
    """The same numbers with every direction, with sizes, and with the types before and after LUO's."""
    upper = (WRITE, READ, READ | WRITE, SIZE, 72 * SIZE, READ | WRITE | 72 * SIZE, 0x3FFF * SIZE)
    types = (-1 << 8, 1 << 8)
    return [number + bits for number in numbers for bits in (*upper, *types)]


def outcomes(file: Descriptor, numbers: Iterable[int], argument: bytes | int) -> dict[str, list[str]]:
    """What the calls gave, by the name of the errno, with the numbers that gave it."""
    numbers = list(numbers)
    program = file.actor.program()
    calls = [program.syscall("ioctl", file.fd, number, argument, check=False) for number in numbers]
    results = file.actor.run(program)
    told: dict[str, list[str]] = {}
    for number, call in zip(numbers, calls, strict=True):
        result = results.raw(call)
        told.setdefault(errorcode.get(-result, str(result)), []).append(f"{number:#x}")
    return told


def check_not_known(file: Descriptor, numbers: Iterable[int], argument: bytes | int = PLAUSIBLE) -> None:
    told = outcomes(file, numbers, argument)
    told.pop("ENOTTY", None)
    assert not told, f"refused with {', '.join(sorted(told))}, not with ENOTTY: {told}"


@pytest.mark.clause("ioctl.unknown")
def test_every_other_number_is_no_ioctl_of_the_device(luo: Luo) -> None:
    check_not_known(luo.device, (*(number for number in EVERY if number not in DEVICE), TCGETS))


@pytest.mark.clause("ioctl.unknown")
def test_every_other_number_is_no_ioctl_of_a_new_session(luo: Luo) -> None:
    session = luo.create_session("vm")
    check_not_known(session, (*(number for number in EVERY if number not in SESSION), TCGETS))


@pytest.mark.clause("ioctl.unknown")
def test_every_other_number_is_no_ioctl_of_a_retrieved_session(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    check_not_known(session, (*(number for number in EVERY if number not in SESSION), TCGETS))
    assert session.retrieve(TOKEN).read_all() == CONTENT


@pytest.mark.clause("ioctl.unknown.bits")
def test_known_number_with_other_bits_is_no_ioctl(luo: Luo) -> None:
    check_not_known(luo.device, with_other_bits(DEVICE))
    check_not_known(luo.create_session("vm"), with_other_bits(SESSION[:3]))


@pytest.mark.clause("ioctl.unknown.bits")
def test_known_number_with_other_bits_is_no_ioctl_of_a_retrieved_session(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    check_not_known(session, with_other_bits(SESSION[:3]))
    assert session.retrieve(TOKEN).read_all() == CONTENT


@pytest.mark.clause("ioctl.get-name")
def test_get_name_with_other_bits_is_no_ioctl(luo: Luo) -> None:
    check_not_known(luo.create_session("vm"), with_other_bits(SESSION[3:]))


@pytest.mark.clause("ioctl.unknown.argument")
def test_number_that_is_not_known_stays_so_without_an_argument(luo: Luo) -> None:
    """User space that asks for a feature need not have an argument for it."""
    check_not_known(luo.device, with_other_bits(DEVICE), 0)
    check_not_known(luo.create_session("vm"), with_other_bits(SESSION[:3]), 0)


@pytest.mark.clause("ioctl.place")
def test_device_and_sessions_take_each_their_own_ioctls(luo: Luo) -> None:
    session = luo.create_session("vm")
    name = luo.name("other")
    told = outcomes(session, DEVICE, session_argument(name))
    told |= outcomes(luo.device, SESSION, session_argument(name))
    assert not told.keys() - {"ENOTTY", "EINVAL"}
    luo.create_session(name)


@pytest.mark.clause("ioctl.place")
def test_retrieved_session_takes_no_ioctl_of_the_device(luo: Luo) -> Scenario:
    send(luo)
    luo.create_session("other").preserve(luo.memfd(CONTENT), token=TOKEN)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    told = outcomes(session, DEVICE, session_argument(luo.name("other")))
    assert not told.keys() - {"ENOTTY", "EINVAL"}
    assert luo.retrieve_session("other").retrieve(TOKEN).read_all() == CONTENT
