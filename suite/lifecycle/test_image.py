# SPDX-License-Identifier: GPL-2.0-only
"""How the next kernel was loaded, and what that means for what is preserved."""

import os
from collections.abc import Callable
from errno import EBUSY, EINVAL, ENOENT

import pytest

from fixtures import kexec_load
from fixtures.agent.client import Actor
from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, refused
from fixtures.machine import Machine
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from suite.boot.log import said
from suite.boot.scratch import scratch
from suite.lifecycle.reboot import INITRD, kernel_image, load, reboot, unload
from suite.scenario import Scenario

SIZE = 5_001
LOADED = Kexec(loaded=True)
# Scratch areas large enough for a kernel to boot in, and too small for the crash kernel even all together.
CRASH_SIZE = 192 << 20
CRASH = pytest.mark.boot(f"crashkernel={CRASH_SIZE} {scratch('32M,64M,64M')}")


@CRASH
@pytest.mark.clause("handover.image.independent", "memfd.contents")
@pytest.mark.parametrize("order", ["again", "before", "between", "after"])
def test_sessions_cross_whenever_the_kernel_was_loaded(
    luo: Luo, load_kernel: Callable[[Kexec], None], order: str
) -> Scenario:
    if order in ("before", "again"):
        load_kernel(KEXEC)
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    if order == "between":
        load_kernel(KEXEC)
    session.preserve(luo.memfd(pattern(SIZE, seed=2)), token=2)
    if order == "again":
        unload(luo.actor)
    if order in ("after", "again"):
        load_kernel(KEXEC)

    luo = yield LOADED

    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == pattern(SIZE)
    assert session.retrieve(2).read_all() == pattern(SIZE, seed=2)


def load_the_old_way(actor: Actor) -> None:
    """kexec_load(2) of a kernel of this run, with the command line that this one got."""
    cmdline = actor.read_file("/proc/cmdline").decode().strip()
    kexec_load.load(actor, kernel_image(actor), INITRD, cmdline)


@pytest.mark.alone
@pytest.mark.clause("handover.kexec-load")
def test_kexec_load_carries_nothing_and_starts_afresh(luo: Luo, machine: Machine) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)
    load_the_old_way(luo.actor)

    luo = yield LOADED

    assert said(machine, "KHO: found", "KHO: exec from", "luo: Retrieved") == []
    with refused(ENOENT):
        luo.retrieve_session("vm")
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE, seed=2)), token=1)


def load_crash_kernel(actor: Actor) -> None:
    load(actor, kernel_image(actor), INITRD, flags=uapi.KEXEC_FILE_ON_CRASH)
    assert actor.read_file("/sys/kernel/kexec_crash_loaded") == b"1\n"


@CRASH
@pytest.mark.clause("handover.refused")
def test_reboot_while_a_kernel_is_being_loaded_is_refused(luo: Luo) -> None:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    loader = luo.actor.fork()
    kernel = loader.syscall("openat", uapi.AT_FDCWD, kernel_image(loader), os.O_RDONLY, 0)
    flags = uapi.KEXEC_FILE_ON_CRASH | uapi.KEXEC_FILE_NO_INITRAMFS
    program = loader.program()
    for _ in range(3):
        # A crash kernel holds the same lock as one for a live update, and cannot be jumped to by reboot(2).
        program.syscall("kexec_file_load", kernel, -1, 1, b"\0", flags)
    loading = loader.start(program)
    while not loading.done():
        with refused(EBUSY, EINVAL):
            reboot(luo.actor)
    loading.wait()
    loader.close()
    session.preserve(luo.memfd(pattern(SIZE)), token=2)


@CRASH
@pytest.mark.clause("handover.crash-kernel", "memfd.contents")
def test_sessions_cross_beside_a_loaded_crash_kernel(
    luo: Luo, load_kernel: Callable[[Kexec], None]
) -> Scenario:
    load_crash_kernel(luo.actor)
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)
    load_kernel(KEXEC)

    luo = yield LOADED

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)


@CRASH
@pytest.mark.clause("handover.crash-kernel.room")
def test_next_kernel_has_room_for_a_crash_kernel_too(
    luo: Luo, load_kernel: Callable[[Kexec], None]
) -> Scenario:
    assert crash_size(luo) == CRASH_SIZE
    load_kernel(KEXEC)

    luo = yield LOADED

    assert crash_size(luo) == CRASH_SIZE, "the next kernel found no room for a crash kernel"


@pytest.mark.soak
@pytest.mark.boot("crashkernel=64M", memory=512)
@pytest.mark.clause("handover.crash-kernel", "handover.crash-kernel.room", "memfd.contents")
def test_crash_kernel_is_loaded_in_each_of_five_generations(luo: Luo) -> Scenario:
    for generation in range(5):
        load_crash_kernel(luo.actor)
        luo.create_session("vm").preserve(luo.memfd(pattern(SIZE, seed=generation)), token=1)

        luo = yield KEXEC

        assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE, seed=generation)


def crash_size(luo: Luo) -> int:
    """Bytes set aside for a crash kernel."""
    return int(luo.actor.read_file("/sys/kernel/kexec_crash_size"))
