# SPDX-License-Identifier: GPL-2.0-only
"""32-bit programs on a 64-bit kernel. All structs have the same layout there, with aligned 64-bit fields."""

from errno import ENOSYS

import pytest

from fixtures.agent.errors import SyscallError
from fixtures.luo import Luo
from fixtures.scenario import KEXEC
from suite.able import or_skip
from suite.device.calls import HERE, NEXT, Call, Maker, name_of_new, send
from suite.scenario import Scenario


def make_as_32_bit_program(call: Call) -> bytes:
    try:
        with or_skip():
            return call.file.compat_ioctl(call.number, call.argument)
    except SyscallError as error:
        if error.errno == ENOSYS:
            pytest.skip("the kernel is built without 32-bit programs")
        raise


@pytest.mark.clause("ioctl.compat")
@pytest.mark.parametrize("call", HERE, ids=lambda call: call.__name__)
def test_32_bit_program_makes_the_call(luo: Luo, call: Maker) -> None:
    made = call(luo)
    made.done(make_as_32_bit_program(made))


@pytest.mark.clause("ioctl.compat")
@pytest.mark.parametrize("call", NEXT, ids=lambda call: call.__name__.replace("_", "-"))
def test_32_bit_program_makes_the_call_in_the_next_kernel(luo: Luo, call: Maker) -> Scenario:
    send(luo)

    luo = yield KEXEC

    made = call(luo)
    made.done(make_as_32_bit_program(made))


@pytest.mark.clause("ioctl.get-name")
def test_32_bit_program_asks_for_the_name(luo: Luo) -> None:
    made = name_of_new(luo)
    made.done(make_as_32_bit_program(made))
