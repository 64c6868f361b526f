# SPDX-License-Identifier: GPL-2.0-only
"""Reserved fields, and calls on the wrong kind of session."""

from errno import E2BIG, EINVAL, ENOENT, EOPNOTSUPP

import pytest

from fixtures.luo import Descriptor, Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.device.calls import Call, finish, name_of_new, name_of_retrieved, send
from suite.scenario import Scenario

FIELDS = (1, 1 << 31, 0xFFFFFFFF)


def check_reserved_field(call: Call) -> None:
    for value in FIELDS:
        argument = call.argument[:4] + value.to_bytes(4, "little") + call.argument[8:]
        with refused(EINVAL, EOPNOTSUPP):
            call.make(argument)
    call.undone()


@pytest.mark.clause("ioctl.reserved")
def test_finish_refuses_every_use_of_its_reserved_field(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    check_reserved_field(finish(luo))


@pytest.mark.clause("ioctl.get-name")
def test_get_name_refuses_every_use_of_its_reserved_field(luo: Luo) -> None:
    check_reserved_field(name_of_new(luo))


@pytest.mark.clause("ioctl.get-name")
def test_get_name_refuses_its_reserved_field_on_a_retrieved_session(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    check_reserved_field(name_of_retrieved(luo))


# With files in the session these calls destroy a kernel before 7.1, so there are none.
@pytest.mark.clause("ioctl.session-kind")
def test_new_session_cannot_be_finished(luo: Luo) -> None:
    session = luo.create_session("vm")
    with refused(EINVAL):
        session.finish()


@pytest.mark.clause("ioctl.session-kind")
def test_new_session_retrieves_nothing(luo: Luo) -> None:
    session = luo.create_session("vm")
    with refused(EINVAL, ENOENT):
        session.retrieve(1)


@pytest.mark.clause("ioctl.session-kind")
@pytest.mark.parametrize("reserved", [0, 1])
@pytest.mark.parametrize(("size", "tail"), [(0, b""), (7, b""), (16, bytes(7) + b"\1")])
def test_wrong_kind_of_session_is_refused_with_a_wrong_argument_too(
    luo: Luo, size: int, tail: bytes, reserved: int
) -> None:
    session = luo.create_session("vm")
    argument = uapi.liveupdate_session_finish(size=size, reserved=reserved)
    with refused(EINVAL, E2BIG):
        session.ioctl(uapi.LIVEUPDATE_SESSION_FINISH, bytes(argument) + tail)
    session.preserve(luo.memfd(b"x"), token=1)


@pytest.mark.clause("ioctl.session-kind")
def test_retrieved_session_preserves_nothing(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(EINVAL):
        session.preserve(Descriptor(luo.actor, -1), token=1)
