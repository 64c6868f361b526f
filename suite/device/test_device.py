# SPDX-License-Identifier: GPL-2.0-only
"""/dev/liveupdate itself: who may open it, and when, and what it is to others."""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from errno import (
    EACCES,
    EBADF,
    EBUSY,
    EEXIST,
    EINVAL,
    EIO,
    ENODEV,
    ENOTDIR,
    EOPNOTSUPP,
    EPERM,
    ESPIPE,
)

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.program import Arg
from fixtures.allocations import Allocations, openat
from fixtures.luo import DEVICE, PAGE, Descriptor, Device, Luo, refused
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from suite.able import or_skip
from suite.device.calls import CONTENT, HERE, NEXT, TOKEN, Maker, name_of_new, send
from suite.scenario import Scenario

O_PATH = os.O_PATH | os.O_CLOEXEC
MISC_MAJOR = 10  # include/uapi/linux/major.h
NOBODY = 65534


def open_device(actor: Actor, flags: int = os.O_RDWR | os.O_CLOEXEC, path: str = DEVICE) -> Descriptor:
    return Descriptor(actor, actor.syscall("openat", uapi.AT_FDCWD, path, flags, 0))


def is_free(actor: Actor) -> bool:
    fd = actor.raw("openat", uapi.AT_FDCWD, DEVICE, os.O_RDWR | os.O_CLOEXEC, 0)
    if fd >= 0:
        actor.syscall("close", fd)
    assert fd >= 0 or fd == -EBUSY
    return fd >= 0


@contextmanager
def bystander(luo: Luo) -> Iterator[Actor]:
    """A process that has nothing of the test's open."""
    actor = luo.actor.agent.spawn()
    try:
        yield actor
    finally:
        actor.close()


def socket_pair(actor: Actor) -> tuple[int, int]:
    ends = bytearray(8)
    af_unix, sock_stream = 1, 1  # include/linux/socket.h
    actor.syscall("socketpair", af_unix, sock_stream, 0, ends)
    left, right = struct.unpack("<ii", ends)
    return left, right


@pytest.mark.clause("device.mode")
def test_node_is_a_misc_device_for_root_alone(luo: Luo) -> None:
    answer = bytearray(256)
    luo.actor.syscall("statx", uapi.AT_FDCWD, DEVICE, 0, uapi.STATX_BASIC_STATS, answer)
    # struct statx, include/uapi/linux/stat.h
    uid, gid, mode = struct.unpack_from("<IIH", answer, 20)
    major, minor = struct.unpack_from("<II", answer, 128)
    assert stat.S_ISCHR(mode)
    assert (uid, gid, stat.S_IMODE(mode)) == (0, 0, 0o600)
    assert major == MISC_MAJOR
    assert [str(minor), "liveupdate"] in map(
        str.split, luo.actor.read_file("/proc/misc").decode().splitlines()
    )


@pytest.mark.clause("device.mode")
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR], ids=["read", "write", "both"])
def test_device_is_not_for_another_user(luo: Luo, flags: int) -> None:
    with bystander(luo) as other:
        become_nobody(other)
        with refused(EACCES):
            open_device(other, flags)
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
@pytest.mark.parametrize(
    "flags",
    [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_NONBLOCK, os.O_RDWR | os.O_TRUNC],
    ids=["read", "write", "both", "nonblocking", "truncating"],
)
def test_second_open_is_refused_while_the_first_lasts(luo: Luo, flags: int) -> None:
    first = open_device(luo.actor, flags)
    with bystander(luo) as other:
        for again in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_NONBLOCK):
            with refused(EBUSY):
                open_device(luo.actor, again)
            with refused(EBUSY):
                open_device(other, again)
    first.close()
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_refused_open_takes_nothing_from_the_first(luo: Luo) -> None:
    device = luo.device
    with refused(EBUSY):
        Device.open(luo.actor)
    device.create_session(luo.name("vm"))


@pytest.mark.clause("device.exclusive")
def test_other_paths_lead_to_the_same_device(luo: Luo) -> None:
    luo.actor.syscall("symlinkat", DEVICE, uapi.AT_FDCWD, "/tmp/other-path")
    link = f"/proc/self/fd/{luo.device.fd}"
    for path in ("/tmp/other-path", link):
        with refused(EBUSY):
            open_device(luo.actor, path=path)
    luo.close_device()
    open_device(luo.actor, path="/tmp/other-path").close()
    luo.actor.syscall("unlink", "/tmp/other-path")


@pytest.mark.clause("device.exclusive")
def test_path_descriptor_does_not_take_the_device(luo: Luo) -> None:
    path = open_device(luo.actor, O_PATH)
    device = luo.device
    open_device(luo.actor, O_PATH).close()
    with refused(EBADF):
        Device(luo.actor, path.fd).create_session(luo.name("vm"))
    device.close()
    again = open_device(luo.actor, path=f"/proc/self/fd/{path.fd}")
    assert not is_free(luo.actor)
    again.close()
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
@pytest.mark.parametrize(
    ("flags", "errno"),
    [(os.O_DIRECTORY, ENOTDIR), (os.O_CREAT | os.O_EXCL, EEXIST), (os.O_DIRECT, EINVAL)],
    ids=["directory", "new", "direct"],
)
def test_open_that_fails_otherwise_does_not_take_the_device(luo: Luo, flags: int, errno: int) -> None:
    with refused(errno):
        open_device(luo.actor, os.O_RDWR | flags)
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_duplicate_keeps_others_out(luo: Luo) -> None:
    device = luo.device
    second = device.dup()
    device.close()
    assert not is_free(luo.actor)
    Device(luo.actor, second.fd).create_session(luo.name("vm"))
    second.close()
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_child_that_inherited_the_device_keeps_others_out(luo: Luo) -> None:
    device = luo.device
    child = luo.actor.fork()
    device.close()
    assert not is_free(luo.actor)
    Device(child, device.fd).create_session(luo.name("vm"))
    child.close()
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_parent_keeps_the_device_that_its_child_closed(luo: Luo) -> None:
    device = luo.device
    child = luo.actor.fork()
    Descriptor(child, device.fd).close()
    assert not is_free(child)
    child.close()
    assert not is_free(luo.actor)
    luo.create_session("vm")


@pytest.mark.clause("device.exclusive")
@pytest.mark.parametrize("flag", [os.O_CLOEXEC, 0], ids=["cloexec", "inherited"])
def test_exec_closes_the_device_that_is_to_be_closed(luo: Luo, flag: int) -> None:
    child = luo.actor.fork()
    open_device(child, os.O_RDWR | flag)
    child.exec()
    assert is_free(luo.actor) == bool(flag)
    child.close()
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_device_is_free_when_its_owner_is_killed(luo: Luo) -> None:
    child = luo.actor.fork()
    Device.open(child).create_session(luo.name("vm"))
    child.kill()
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_device_in_a_socket_keeps_others_out(luo: Luo) -> None:
    left, right = socket_pair(luo.actor)
    child = luo.actor.fork()
    device = luo.device
    luo.actor.send_fd(left, device.fd)
    device.close()
    assert not is_free(luo.actor)
    received = Device(child, child.recv_fd(right))
    assert not is_free(luo.actor)
    received.create_session(luo.name("vm")).close()
    received.close()
    assert is_free(luo.actor)
    child.close()


@pytest.mark.clause("device.exclusive")
def test_device_in_a_socket_that_nobody_reads_is_free_with_the_socket(luo: Luo) -> None:
    left, right = socket_pair(luo.actor)
    device = luo.device
    luo.actor.send_fd(left, device.fd)
    device.close()
    luo.actor.syscall("close", left)
    assert not is_free(luo.actor)
    luo.actor.syscall("close", right)
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_descriptor_taken_from_another_process_is_the_same_open_file(luo: Luo) -> None:
    device = luo.device
    with bystander(luo) as other:
        process = other.syscall("pidfd_open", luo.actor.pid, 0)
        taken = Device(other, other.syscall("pidfd_getfd", process, device.fd, 0))
        device.close()
        assert not is_free(luo.actor)
        taken.create_session(luo.name("vm"))
    assert is_free(luo.actor)


@pytest.mark.clause("device.exclusive")
def test_device_opens_a_thousand_times_in_turn(luo: Luo) -> None:
    program = luo.actor.program()
    for _ in range(1000):
        fd = program.syscall("openat", uapi.AT_FDCWD, DEVICE, os.O_RDWR, 0)
        program.syscall("close", fd)
    luo.actor.run(program)


@pytest.mark.clause("session.create")
def test_sessions_outlive_the_device_descriptor(luo: Luo) -> None:
    session = luo.create_session("vm")
    luo.close_device()
    session.preserve(luo.memfd(b"x"), token=1)


def become_nobody(actor: Actor) -> None:
    """Leave root and all capabilities behind."""
    program = actor.program()
    program.syscall("setgroups", 0, 0)
    program.syscall("setresgid", NOBODY, NOBODY, NOBODY)
    program.syscall("setresuid", NOBODY, NOBODY, NOBODY)
    actor.run(program)


def check_as_nobody(luo: Luo, make: Maker) -> None:
    call = make(luo)
    become_nobody(luo.actor)
    call.done(call.make(call.argument))


@pytest.mark.clause("device.any-caller")
@pytest.mark.parametrize("call", HERE, ids=lambda call: call.__name__)
def test_descriptor_serves_another_user(luo: Luo, call: Maker) -> None:
    check_as_nobody(luo, call)


@pytest.mark.clause("device.any-caller")
@pytest.mark.parametrize("call", NEXT, ids=lambda call: call.__name__.replace("_", "-"))
def test_descriptor_serves_another_user_in_the_next_kernel(luo: Luo, call: Maker) -> Scenario:
    send(luo)

    luo = yield KEXEC

    check_as_nobody(luo, call)


@pytest.mark.clause("ioctl.get-name")
def test_session_tells_its_name_to_another_user(luo: Luo) -> None:
    check_as_nobody(luo, name_of_new)


def check_ioctls_only(file: Descriptor) -> None:
    """What other files have, and each refusal that fits."""
    buffer = bytes(8)
    calls: list[tuple[str, tuple[Arg, ...], tuple[int, ...]]] = [
        ("read", (file.fd, bytearray(8), 8), (EINVAL,)),
        ("write", (file.fd, buffer, 8), (EINVAL,)),
        ("pread64", (file.fd, bytearray(8), 8, 0), (EINVAL, ESPIPE)),
        ("pwrite64", (file.fd, buffer, 8, 0), (EINVAL, ESPIPE)),
        ("lseek", (file.fd, 0, os.SEEK_END), (ESPIPE,)),
        ("mmap", (0, PAGE, uapi.PROT_READ, uapi.MAP_SHARED, file.fd, 0), (ENODEV,)),
        ("mmap", (0, PAGE, uapi.PROT_READ, uapi.MAP_PRIVATE, file.fd, 0), (ENODEV,)),
        ("ftruncate", (file.fd, PAGE), (EINVAL, EOPNOTSUPP)),
        ("fallocate", (file.fd, 0, 0, PAGE), (ENODEV, EOPNOTSUPP)),
        ("fsync", (file.fd,), (EINVAL,)),
        ("getdents64", (file.fd, bytearray(8), 8), (ENOTDIR,)),
        ("epoll_ctl", (file.actor.syscall("epoll_create1", 0), 1, file.fd, bytes(12)), (EPERM,)),
    ]
    program = file.actor.program()
    made = [(call, program.syscall(call[0], *call[1], check=False)) for call in calls]
    results = file.actor.run(program)
    taken = [(name, results.raw(ref)) for (name, _, errnos), ref in made if -results.raw(ref) not in errnos]
    assert not taken


@pytest.mark.clause("device.ioctl-only")
def test_device_takes_nothing_but_ioctls(luo: Luo) -> None:
    check_ioctls_only(luo.device)
    luo.create_session("vm")


@pytest.mark.clause("device.ioctl-only")
def test_new_session_takes_nothing_but_ioctls(luo: Luo) -> None:
    session = luo.create_session("vm")
    check_ioctls_only(session)
    session.preserve(luo.memfd(CONTENT), token=TOKEN)


@pytest.mark.clause("device.ioctl-only")
def test_retrieved_session_takes_nothing_but_ioctls(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    check_ioctls_only(session)
    assert session.retrieve(TOKEN).read_all() == CONTENT


@pytest.mark.clause("device.open-at-kexec")
def test_device_may_be_open_at_the_handover(luo: Luo) -> Scenario:
    send(luo)
    actor = luo.actor

    def open_at_last() -> None:
        Device.open(actor)

    luo = yield Kexec(before_jump=open_at_last)

    assert luo.retrieve_session("vm").retrieve(TOKEN).read_all() == CONTENT


@pytest.mark.alone  # no session of this machine is to be had afterwards
@pytest.mark.clause("device.eio")
def test_device_that_could_not_read_its_sessions_opens_never_again(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    with or_skip():
        allocations = Allocations(luo.actor)
        allocations.only_below("luo_session_deserialize")
    assert allocations.fail(1, openat(DEVICE)).result == -EIO
    for flags in (os.O_RDWR, os.O_RDONLY):
        with refused(EIO):
            open_device(luo.actor, flags)
