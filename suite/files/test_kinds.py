# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of files: those that nobody preserves, and what is preserved without being a memfd."""

import os
import stat
import struct
from collections.abc import Callable
from errno import ENOENT, ENOSPC, ENOSYS

import pytest

from fixtures.agent.errors import SyscallError
from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Descriptor, Luo, Memfd, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

AT_REMOVEDIR = 0x200  # include/uapi/linux/fcntl.h
AT_SYMLINK_FOLLOW = 0x400
O_TMPFILE = 0o20200000  # include/uapi/asm-generic/fcntl.h

MNT_DETACH = 2  # include/linux/fs.h
AF_UNIX, AF_INET, AF_NETLINK = 1, 2, 16  # include/linux/socket.h
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3  # include/linux/net.h
CLOCK_MONOTONIC = 1
UFFD_USER_MODE_ONLY = 1  # include/uapi/linux/userfaultfd.h
IPC_PRIVATE, IPC_RMID = 0, 0  # include/uapi/linux/ipc.h
NULL_DEVICE = 1 << 8 | 3  # Documentation/admin-guide/devices.txt

Opener = Callable[[Luo], int]


def call(name: str, *args: int | bytes | str) -> Opener:
    """A system call that gives the descriptor."""
    return lambda luo: luo.actor.syscall(name, *args)


def opened(path: str, flags: int = os.O_RDONLY) -> Opener:
    """Something that is there."""
    return call("openat", uapi.AT_FDCWD, path, flags, 0)


def pair(name: str, *args: int, end: int = 0) -> Opener:
    """A system call that writes two descriptors into its last argument, and pipe2() its last but one."""

    def make(luo: Luo) -> int:
        both = bytearray(8)
        luo.actor.syscall(name, *args, both, *([0] if name == "pipe2" else []))
        return int(struct.unpack("<ii", both)[end])

    return make


def scratch(luo: Luo) -> str:
    """A name in tmpfs that no other test uses."""
    return f"/tmp/luo-cts-{luo.actor.pid}"


def in_tmpfs(mode: int, device: int = 0, *, unlink: bool = True) -> Opener:
    """A new file of some type in tmpfs, opened, with or without its name."""

    def make(luo: Luo) -> int:
        name = scratch(luo)
        if stat.S_ISDIR(mode):
            luo.actor.syscall("mkdirat", uapi.AT_FDCWD, name, 0o700)
        else:
            luo.actor.syscall("mknodat", uapi.AT_FDCWD, name, mode | 0o600, device)
        flags = os.O_RDONLY if stat.S_ISDIR(mode) else os.O_RDWR | os.O_NONBLOCK
        fd = luo.actor.syscall("openat", uapi.AT_FDCWD, name, flags, 0)
        if unlink:
            remove(luo)
        return fd

    return make


def remove(luo: Luo) -> None:
    """Take away what a test left in tmpfs, if it did."""
    for flags in (0, AT_REMOVEDIR):
        luo.actor.raw("unlinkat", uapi.AT_FDCWD, scratch(luo), flags)


def one_of_two_names(luo: Luo) -> int:
    fd = in_tmpfs(stat.S_IFREG, unlink=False)(luo)
    other = scratch(luo) + "-link"
    luo.actor.syscall("linkat", uapi.AT_FDCWD, scratch(luo), uapi.AT_FDCWD, other, 0)
    luo.actor.syscall("unlinkat", uapi.AT_FDCWD, other, 0)
    return fd


UNSUPPORTED: dict[str, Opener] = {
    "pipe to read": pair("pipe2", end=0),
    "pipe to write": pair("pipe2", end=1),
    "unix socket": call("socket", AF_UNIX, SOCK_STREAM, 0),
    "socketpair": pair("socketpair", AF_UNIX, SOCK_STREAM, 0),
    "tcp socket": call("socket", AF_INET, SOCK_STREAM, 0),
    "udp socket": call("socket", AF_INET, SOCK_DGRAM, 0),
    "netlink socket": call("socket", AF_NETLINK, SOCK_RAW, 0),
    "eventfd": call("eventfd2", 0, 0),
    "epoll": call("epoll_create1", 0),
    "signalfd": call("signalfd4", -1, bytes(8), 8, 0),
    "timerfd": call("timerfd_create", CLOCK_MONOTONIC, 0),
    "inotify": call("inotify_init1", 0),
    "fanotify": call("fanotify_init", 0, 0),
    "pidfd": lambda luo: luo.actor.syscall("pidfd_open", luo.actor.pid, 0),
    "userfaultfd": call("userfaultfd", UFFD_USER_MODE_ONLY),
    # struct perf_event_attr: PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE_VER0, PERF_COUNT_SW_CPU_CLOCK
    "perf": call("perf_event_open", struct.pack("<IIQ48x", 1, 64, 0), 0, -1, -1, 0),
    # union bpf_attr of BPF_MAP_CREATE: BPF_MAP_TYPE_ARRAY, sizes of key and value, entries
    "bpf map": call("bpf", 0, struct.pack("<IIII", 2, 4, 4, 1), 16),
    "io_uring": call("io_uring_setup", 1, bytes(120)),
    "landlock ruleset": call("landlock_create_ruleset", struct.pack("<Q", 1), 8, 0),
    "filesystem context": call("fsopen", "tmpfs", 0),
    "message queue": lambda luo: luo.actor.syscall("mq_open", "luo-cts", os.O_CREAT | os.O_RDWR, 0o600, 0),
    "namespace": opened("/proc/self/ns/uts"),
    "/dev/null": opened("/dev/null", os.O_RDWR),
    "/dev/zero": opened("/dev/zero", os.O_RDWR),
    "/dev/kmsg": opened("/dev/kmsg"),
    "/dev/mem": opened("/dev/mem"),
    "block device": opened("/dev/ram0"),
    "/proc file": opened("/proc/self/status"),
    "process memory": opened("/proc/self/mem", os.O_RDWR),
    "sysfs file": opened("/sys/kernel/mm/transparent_hugepage/enabled"),
    "debugfs file": opened("/sys/kernel/debug/kho/out/scratch_len"),
    "directory": opened("/"),
    "directory of tmpfs": opened("/tmp"),
    "unlinked directory of tmpfs": in_tmpfs(stat.S_IFDIR),
    "unlinked fifo of tmpfs": in_tmpfs(stat.S_IFIFO),
    "unlinked device node of tmpfs": in_tmpfs(stat.S_IFCHR, NULL_DEVICE),
    "linked file of tmpfs": in_tmpfs(stat.S_IFREG, unlink=False),
    "file of tmpfs with one of two names": one_of_two_names,
    "program that runs": opened("/proc/self/exe"),
    "memfd of huge pages": call("memfd_create", "luo-cts", uapi.MFD_HUGETLB),
    "secret memory": call("memfd_secret", 0),
    "session": lambda luo: luo.create_session("other").fd,
    "device": lambda luo: luo.device.fd,
}


def status(file: Descriptor) -> tuple[int, str]:
    return file.flags, file.link


@pytest.mark.clause("file.unsupported")
@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_file_of_a_kind_that_nobody_preserves_is_refused(luo: Luo, kind: str) -> None:
    session = luo.create_session("vm")
    try:
        file = Descriptor(luo.actor, UNSUPPORTED[kind](luo))
    except SyscallError as error:
        if error.errno == ENOSYS:
            pytest.skip(f"this kernel has no {kind}")
        raise
    try:
        before = status(file)
        for _ in range(2):
            with refused(ENOENT):
                session.preserve(file, token=1)
        assert status(file) == before
    finally:
        remove(luo)
    session.preserve(luo.memfd(b"x"), token=1)


@pytest.mark.clause("file.unsupported")
def test_session_is_no_file_to_preserve_in_itself(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    with refused(ENOENT):
        session.preserve(session, token=1)

    luo = yield KEXEC

    incoming = luo.retrieve_session("vm")
    with refused(ENOENT):
        luo.create_session("next").preserve(incoming, token=1)
    incoming.finish()


# Accepted, and documented nowhere

SIZE = 4 * PAGE
LATE = b"written after it was preserved"


def tmpfile(luo: Luo) -> Memfd:
    return Memfd(luo.actor, opened("/tmp", O_TMPFILE | os.O_RDWR)(luo))


def unlinked(luo: Luo) -> Memfd:
    return Memfd(luo.actor, in_tmpfs(stat.S_IFREG)(luo))


def shared_anonymous(luo: Luo) -> Memfd:
    protection = uapi.PROT_READ | uapi.PROT_WRITE
    flags = uapi.MAP_SHARED | uapi.MAP_ANONYMOUS
    return mapped_file(luo, luo.actor.syscall("mmap", 0, SIZE, protection, flags, -1, 0))


def sysv(luo: Luo) -> Memfd:
    segment = luo.actor.syscall("shmget", IPC_PRIVATE, SIZE, 0o600)
    address = luo.actor.syscall("shmat", segment, 0, 0)
    luo.actor.syscall("shmctl", segment, IPC_RMID, 0)
    return mapped_file(luo, address)


def mapped_file(luo: Luo, address: int) -> Memfd:
    """What is mapped there."""
    path = f"/proc/self/map_files/{address:x}-{address + SIZE:x}"
    return Memfd(luo.actor, opened(path, os.O_RDWR)(luo))


@pytest.mark.clause("file.unnamed")
@pytest.mark.parametrize("make", [tmpfile, unlinked, shared_anonymous, sysv])
def test_shared_memory_without_a_name_is_refused_or_survives(
    luo: Luo, make: Callable[[Luo], Memfd]
) -> Scenario:
    session = luo.create_session("vm")
    file = make(luo)
    file.write(pattern(SIZE - 17), 0)
    taken = not refuses(lambda: session.preserve(file, token=1))
    file.write(LATE, PAGE)
    size = file.size

    luo = yield KEXEC

    if taken:
        content = bytearray(pattern(SIZE - 17).ljust(size, b"\0"))
        content[PAGE : PAGE + len(LATE)] = LATE
        assert luo.retrieve_session("vm").retrieve(1).read_all() == content


@pytest.mark.clause("file.unnamed")
def test_file_that_gets_a_name_after_it_was_preserved_survives(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    file = tmpfile(luo)
    file.write(pattern(SIZE), 0)
    taken = not refuses(lambda: session.preserve(file, token=1))
    path = f"/proc/self/fd/{file.fd}"
    luo.actor.syscall("linkat", uapi.AT_FDCWD, path, uapi.AT_FDCWD, scratch(luo), AT_SYMLINK_FOLLOW)

    luo = yield KEXEC

    if taken:
        assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)


@pytest.mark.clause("file.unnamed", "file.preserve.refused")
def test_file_whose_holes_exceed_its_filesystem_is_refused_and_left_as_it_was(luo: Luo) -> None:
    session = luo.create_session("vm")
    luo.actor.syscall("mkdirat", uapi.AT_FDCWD, scratch(luo), 0o700)
    luo.actor.syscall("mount", "tmpfs", scratch(luo), "tmpfs", 0, "size=64k")
    file = Memfd(luo.actor, opened(scratch(luo), O_TMPFILE | os.O_RDWR)(luo))
    luo.actor.syscall("umount2", scratch(luo), MNT_DETACH)
    remove(luo)
    file.write(pattern(SIZE), 0)
    file.truncate(1 << 20)
    with refused(ENOSPC, ENOENT):
        session.preserve(file, token=1)
    file.truncate(SIZE + PAGE)
    assert file.read_all() == pattern(SIZE).ljust(SIZE + PAGE, b"\0")


def refuses(preserve: Callable[[], None]) -> bool:
    """Whether the kernel refuses it as a file that nobody preserves; any other refusal is raised."""
    try:
        preserve()
    except SyscallError as error:
        if error.errno == ENOENT:
            return True
        raise
    return False
