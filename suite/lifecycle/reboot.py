# SPDX-License-Identifier: GPL-2.0-only
"""The system calls that start another kernel, in the ways that the kernel must refuse."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fixtures.agent.client import Actor
from fixtures.agent.program import Arg, Program, Ref
from kernel import uapi

INITRD = "/sys/firmware/initrd"
# include/uapi/linux/futex.h, which cannot be compiled outside of the kernel
FUTEX_WAIT, FUTEX_WAKE = 0, 1
KEXEC_COMMAND = uapi.LINUX_REBOOT_CMD_KEXEC


def add_reboot(
    program: Program,
    command: Arg = KEXEC_COMMAND,
    *,
    magic: int = uapi.LINUX_REBOOT_MAGIC1,
    check: bool = True,
) -> Ref:
    """Add a reboot(2) to the program."""
    return program.syscall("reboot", magic, uapi.LINUX_REBOOT_MAGIC2, command, 0, check=check)


def reboot(actor: Actor, *, magic: int = uapi.LINUX_REBOOT_MAGIC1) -> None:
    """reboot(LINUX_REBOOT_CMD_KEXEC), which only comes back when it is refused."""
    program = actor.program()
    add_reboot(program, magic=magic)
    actor.run(program)


def reboot_from_child_pid_namespace(actor: Actor) -> int:
    """What reboot(LINUX_REBOOT_CMD_KEXEC) gives init of a new PID namespace: 0 or -errno.

    An actor cannot be made in another PID namespace, so this forks in the middle of a program. What parent
    and child do differs by fork's own result, which is 0 in the child: it goes into every argument below.
    Ends ``actor``, and the child with it.
    """
    size = 1 << 20  # more than a pid: the parent's stores, a pid further on, must hit the mapping too
    shared = uapi.MAP_SHARED | uapi.MAP_ANONYMOUS
    base = actor.syscall("mmap", 0, size, uapi.PROT_READ | uapi.PROT_WRITE, shared, -1, 0)
    done, result, never = base, base + 8, base + 16
    actor.syscall("unshare", uapi.CLONE_NEWPID)
    program = actor.program()
    child = program.syscall("fork")
    program.syscall("prctl", uapi.PR_SET_PDEATHSIG, 9)
    # The parent asks for a command that does not exist.
    answer = add_reboot(program, child + KEXEC_COMMAND, check=False)
    program.store(child + result, answer)
    program.store(child + done, 1, size=4)
    program.syscall("futex", done, FUTEX_WAKE, 1, 0, check=False)
    # The child stays for ever. The parent's address is not aligned, or holds another number.
    program.store(child + never, child, size=4)
    program.syscall("futex", child + never, FUTEX_WAIT, 0, 0, check=False)
    program.syscall("futex", done, FUTEX_WAIT, 0, 0, check=False)
    told = program.peek(result, 8)
    value = int.from_bytes(actor.run(program).bytes(told), "little", signed=True)
    actor.kill()
    return value


def load(
    actor: Actor,
    kernel: str,
    initrd: str | None = None,
    cmdline: bytes = b"\0",
    flags: int = 0,
) -> None:
    """kexec_file_load(2) of files in the machine; raises SyscallError when the kernel refuses."""
    with opened(actor, kernel) as kernel_fd:
        if initrd is None:
            flags |= uapi.KEXEC_FILE_NO_INITRAMFS
            actor.syscall("kexec_file_load", kernel_fd, -1, len(cmdline), cmdline, flags)
        else:
            with opened(actor, initrd) as initrd_fd:
                actor.syscall("kexec_file_load", kernel_fd, initrd_fd, len(cmdline), cmdline, flags)


def unload(actor: Actor) -> None:
    """Forget the loaded kernel, if there is one."""
    actor.syscall("kexec_file_load", -1, -1, 0, 0, uapi.KEXEC_FILE_UNLOAD)


@contextmanager
def opened(actor: Actor, path: str) -> Iterator[int]:
    """A file of the machine, open for reading."""
    fd = actor.syscall("openat", uapi.AT_FDCWD, path, os.O_RDONLY | os.O_CLOEXEC, 0)
    try:
        yield fd
    finally:
        actor.syscall("close", fd)
