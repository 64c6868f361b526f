# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that boots after a panic, and one that could be come back from: neither has to do with KHO."""

import gzip
import os
from collections.abc import Callable
from errno import EINVAL

import pytest

from fixtures.agent.client import Actor, Agent
from fixtures.agent.errors import AgentError
from fixtures.agent.pattern import pattern
from fixtures.deadline import Deadline
from fixtures.kexec_load import mapped
from fixtures.luo import DEVICE, PAGE, Luo, refused
from fixtures.machine import Machine
from fixtures.pages import pfns
from fixtures.runner import Record, Runner
from fixtures.scenario import KEXEC, Boot
from kernel import uapi
from suite.boot.scratch import scratch
from suite.kho.debugfs import FOLDER
from suite.lifecycle.reboot import INITRD, load
from suite.scenario import Scenario

SIZE = 16 * PAGE


def crash(machine: Machine) -> Agent:
    """Have the kernel panic; the agent of the crash kernel."""
    program = machine.admin.program()
    trigger = program.syscall("openat", uapi.AT_FDCWD, "/proc/sysrq-trigger", os.O_WRONLY, 0)
    program.syscall("write", trigger, b"c", 1)
    machine.admin.start(program)
    # One of its own: to the machine's, which does not expect another boot, it would be a death.
    agent = Agent(machine.instance.channel)
    try:
        agent.await_hello(Deadline(machine.pace.handover))
    except AgentError as error:
        raise machine.post_mortem(error, "the boot of the crash kernel") from error
    return agent


@pytest.fixture
def boot_of_crash_kernel(own_machines: Runner) -> Callable[[], tuple[Actor, list[str]]]:
    """Loads a crash kernel beside preserved memory and has the kernel panic: its agent, and what it said."""

    def begin() -> tuple[Actor, list[str]]:
        machine = own_machines.machine
        cmdline = own_machines.setup.cmdline(machine.target, "kho=on liveupdate=on").encode() + b"\0"
        luo = own_machines.luo(Record("load"))
        load(luo.actor, machine.kernel_image, INITRD, cmdline, uapi.KEXEC_FILE_ON_CRASH)
        start = len(machine.console)
        actor = crash(machine).main
        assert actor.exists("/proc/vmcore"), "it does not know of the crash"
        return actor, [line.text for line in machine.console.since(start) if line.generation == 1]

    own_machines.fresh(Boot(f"crashkernel=192M {scratch('32M,64M,64M')}"))
    return begin


@pytest.mark.soak
@pytest.mark.clause("kho.crash.nothing", "kho.crash.memory")
def test_crash_kernel_is_handed_nothing_and_leaves_preserved_memory_alone(
    own_machines: Runner, boot_of_crash_kernel: Callable[[], tuple[Actor, list[str]]]
) -> None:
    luo = own_machines.luo(Record("crash"))
    ram = luo.memfd(pattern(SIZE))
    luo.create_session("vm").preserve(ram, token=1)
    frames = pfns(ram, SIZE)
    _, lines = boot_of_crash_kernel()
    assert [line for line in lines if "KHO: found" in line or "luo: Retrieved" in line] == []
    memory = own_machines.machine.instance.memory()
    assert b"".join(memory.read(frame * PAGE, PAGE) for frame in frames) == pattern(SIZE)


@pytest.mark.soak
@pytest.mark.clause("kho.crash.off")
def test_crash_kernel_has_no_live_update(
    boot_of_crash_kernel: Callable[[], tuple[Actor, list[str]]],
) -> None:
    actor, lines = boot_of_crash_kernel()
    assert not actor.exists(DEVICE)
    assert not actor.exists(FOLDER)
    assert sum("KHO: disabled in the kdump kernel" in line for line in lines) == 1


@pytest.mark.clause("kho.preserve-context", "handover.refused")
def test_image_to_come_back_from_is_refused_where_it_cannot_be(luo: Luo, kernel_image: str) -> Scenario:
    config = gzip.decompress(luo.actor.read_file("/proc/config.gz"))
    if b"CONFIG_KEXEC_JUMP=y" in config:
        pytest.skip("this kernel can come back from a kexec")
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    with mapped(luo.actor, kernel_image) as (image, _):
        program = luo.actor.program()
        segment = program.buffer(
            b"".join(word.to_bytes(8, "little") for word in (image, PAGE, 1 << 24, PAGE))
        )
        program.syscall("kexec_load", 1 << 24, 1, segment, uapi.KEXEC_PRESERVE_CONTEXT)
        with refused(EINVAL):
            luo.actor.run(program)
    assert luo.actor.read_file("/sys/kernel/kexec_loaded") == b"0\n"
    session.preserve(luo.memfd(pattern(SIZE, seed=2)), token=2)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert [session.retrieve(token).read_all() for token in (1, 2)] == [pattern(SIZE), pattern(SIZE, seed=2)]
