# SPDX-License-Identifier: GPL-2.0-only
"""Calls that fail by force: in the next kernel while it boots, and in the one that runs."""

import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.targets.gdb import Stub
from kernel.arch import native
from suite.harness.nested import run

NEVER = 0x1234  # no firmware runs anything there

FORCED = """
    from fixtures.forced import FIXED_PLACE, Forced

    FIXED = pytest.mark.boot(FIXED_PLACE)
    STATE = Forced("kho_alloc_preserve", "luo_late_startup")
    pytestmark = pytest.mark.alone

    @FIXED
    def test_state(luo):
        luo = yield Kexec(forced=(STATE,))
        assert not luo.actor.exists(DEVICE)
        luo = yield Kexec(forced=(Forced("kho_alloc_preserve", "luo_late_startup", 2),))
        assert not luo.actor.exists(DEVICE)
        luo = yield KEXEC
        assert luo.actor.exists(DEVICE)

    @FIXED
    def test_not_called(luo):
        luo = yield Kexec(forced=(Forced("misc_register", "luo_late_startup", 1000),))

    @FIXED
    def test_unknown(luo):
        luo = yield Kexec(forced=(Forced("no_such_function", "luo_late_startup"),))

    def test_anywhere(luo):
        luo = yield Kexec(forced=(STATE,))

    def test_running(luo, machine):
        argument = uapi.liveupdate_ioctl_create_session(fd=-1, name=uapi.session_name(b"vm"))
        device = luo.device.fd

        def create():
            program = luo.actor.program()
            program.syscall("ioctl", device, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, bytes(argument))
            return luo.actor.start(program)

        fault = Forced("kho_block_set_grow", "luo_session_create", result=-errno.EXDEV)
        call = machine.force([fault], create)
        with refused(errno.EXDEV):
            call.wait()
        luo.create_session("vm")
"""


@pytest.mark.usefixtures("default_kernel")
def test_calls_fail_by_force_where_they_are_made(tmp_path: Path) -> None:
    outcome = run(tmp_path, FORCED)
    assert outcome.verdicts == {
        "test_state": "pass",
        "test_not_called": "error",
        "test_unknown": "error",
        "test_anywhere": "error",
        "test_running": "pass",
    }
    for test, words in {
        "test_not_called": "the kernel did without call 1000 of misc_register() in luo_late_startup()",
        "test_unknown": "this kernel has no function no_such_function",
        "test_anywhere": "the next kernel is at an unknown place (boot with",
    }.items():
        assert words in outcome.message(test)


# The debugger


@pytest.fixture
def firmware() -> Iterator[socket.socket]:
    """A machine without a kernel, and the socket of its debugger."""
    arch = native()
    ours, debugger = socket.socketpair()
    # fmt: off
    command = [
        arch.qemu, "-nodefaults", "-display", "none", "-machine", arch.qemu_machine, "-S",
        "-chardev", f"socket,id=debugger,fd={debugger.fileno()}", "-gdb", "chardev:debugger",
    ]
    # fmt: on
    with ours, debugger, subprocess.Popen(command, pass_fds=[debugger.fileno()]) as process:
        try:
            yield ours
        finally:
            process.kill()


def test_a_machine_that_runs_is_not_taken_for_one_that_is_held(firmware: socket.socket) -> None:
    stub = Stub(firmware)
    stub.hold_at(NEVER)
    stub.go()
    # Longer than the debugger takes to say that it has heard.
    assert not select.select([stub], [], [], 0.5)[0]
    stub.stop()
    assert stub.register(native().calls.program_counter) != NEVER


def test_registers_and_memory_can_be_read_and_set(firmware: socket.socket) -> None:
    stub, result = Stub(firmware), native().calls.result
    for value in (5, 0):
        stub.put(result, value)
        assert stub.register(result) == value
    first = stub.register(native().calls.program_counter)
    stub.step()
    assert stub.register(native().calls.program_counter) != first
