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
from suite.boot.unusual import CRASH_SIZE, UNUSUAL
from suite.lifecycle.reboot import INITRD, load, reboot, unload
from suite.scenario import Scenario

SIZE = 5_001
LOADED = Kexec(loaded=True)


@pytest.mark.clause("handover.image.independent", "memfd.contents")
def test_sessions_cross_whenever_the_kernel_was_loaded(
    luo: Luo, load_kernel: Callable[[Kexec], None]
) -> Scenario:
    sessions = [luo.create_session("before")]
    load_kernel(KEXEC)
    sessions.append(luo.create_session("after the first"))
    sessions[1].preserve(luo.memfd(pattern(SIZE, seed=1)), token=1)
    unload(luo.actor)
    sessions[0].preserve(luo.memfd(pattern(SIZE, seed=0)), token=1)
    sessions[1].preserve(luo.memfd(pattern(SIZE, seed=1)), token=2)
    for _ in range(2):  # the second takes the place of the first
        load_kernel(KEXEC)
    sessions.append(luo.create_session("after the second"))
    for number, session in enumerate(sessions):
        session.preserve(luo.memfd(pattern(SIZE, seed=number)), token=3)

    luo = yield LOADED

    for number, (name, tokens) in enumerate(
        (("before", (1, 3)), ("after the first", (1, 2, 3)), ("after the second", (3,)))
    ):
        session = luo.retrieve_session(name)
        for token in tokens:
            assert session.retrieve(token).read_all() == pattern(SIZE, seed=number)


def load_the_old_way(actor: Actor, image: str) -> None:
    """kexec_load(2) of a kernel, with the command line that this one got."""
    cmdline = actor.read_file("/proc/cmdline").decode().strip()
    kexec_load.load(actor, image, INITRD, cmdline)


@pytest.mark.alone
@pytest.mark.clause("handover.kexec-load")
def test_kexec_load_carries_nothing_and_starts_afresh(luo: Luo, machine: Machine) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)
    load_the_old_way(luo.actor, machine.kernel_image)

    luo = yield LOADED

    assert said(machine, "KHO: found", "KHO: exec from", "luo: Retrieved") == []
    with refused(ENOENT):
        luo.retrieve_session("vm")
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE, seed=2)), token=1)


def load_crash_kernel(actor: Actor, image: str) -> None:
    load(actor, image, INITRD, flags=uapi.KEXEC_FILE_ON_CRASH)
    assert actor.read_file("/sys/kernel/kexec_crash_loaded") == b"1\n"


@UNUSUAL
@pytest.mark.clause("handover.refused")
def test_reboot_while_a_kernel_is_being_loaded_is_refused(luo: Luo, kernel_image: str) -> None:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    loader = luo.actor.fork()
    kernel = loader.syscall("openat", uapi.AT_FDCWD, kernel_image, os.O_RDONLY, 0)
    flags = uapi.KEXEC_FILE_ON_CRASH | uapi.KEXEC_FILE_NO_INITRAMFS
    program = loader.program()
    # A crash kernel holds the same lock as one for a live update, and cannot be jumped to by reboot(2).
    loads = [program.syscall("kexec_file_load", kernel, -1, 1, b"\0", flags, check=False) for _ in range(3)]
    loading = loader.start(program)
    while not loading.done():
        with refused(EBUSY, EINVAL):
            reboot(luo.actor)
    results = loading.wait()
    # The lock goes to whoever comes first, so a load may be refused as well.
    assert {results.raw(call) for call in loads} <= {0, -EBUSY}
    loader.close()
    session.preserve(luo.memfd(pattern(SIZE)), token=2)


@UNUSUAL
@pytest.mark.clause("handover.crash-kernel", "memfd.contents")
def test_sessions_cross_beside_a_loaded_crash_kernel(luo: Luo, kernel_image: str) -> Scenario:
    load_crash_kernel(luo.actor, kernel_image)
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)


@UNUSUAL
@pytest.mark.clause("handover.crash-kernel.room")
def test_next_kernel_has_room_for_a_crash_kernel_too(luo: Luo) -> Scenario:
    assert crash_size(luo) == CRASH_SIZE

    luo = yield KEXEC

    assert crash_size(luo) == CRASH_SIZE, "the next kernel found no room for a crash kernel"


@pytest.mark.soak
@pytest.mark.boot("crashkernel=64M", memory=512)
@pytest.mark.clause("handover.crash-kernel", "handover.crash-kernel.room", "memfd.contents")
def test_crash_kernel_is_loaded_in_each_of_five_generations(luo: Luo, machine: Machine) -> Scenario:
    for generation in range(5):
        load_crash_kernel(luo.actor, machine.kernel_image)
        luo.create_session("vm").preserve(luo.memfd(pattern(SIZE, seed=generation)), token=1)

        luo = yield KEXEC

        assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE, seed=generation)


def crash_size(luo: Luo) -> int:
    """Bytes set aside for a crash kernel."""
    return int(luo.actor.read_file("/sys/kernel/kexec_crash_size"))
