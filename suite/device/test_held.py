# SPDX-License-Identifier: GPL-2.0-only
"""What others do while a call is inside of the kernel, held there by the memory of its argument."""

from errno import EBADF, EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM

import pytest

from fixtures.luo import Device, Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.device.calls import (
    CONTENT,
    SIZE,
    TOKEN,
    answered_fd,
    create,
    finish,
    preserve,
    retrieve_file,
    retrieve_session,
    send,
)
from suite.device.held import held_before_the_answer, held_before_the_struct, held_in_the_struct
from suite.scenario import Scenario

NAME = uapi.offset(uapi.liveupdate_ioctl_create_session, "name")


@pytest.mark.clause("ioctl.read-once")
def test_session_has_the_name_that_was_read(luo: Luo) -> None:
    """One name is checked and the same is taken; which of the two is the caller's own fault."""
    names = (luo.name("vm"), luo.name("another"))
    held = held_before_the_struct(create(luo))
    held.change(NAME, names[1].ljust(64, b"\0"))
    held.memory.fill()
    held.wait()
    taken = luo.actor.readlink(f"/proc/self/fd/{answered_fd(held.answer)}").removeprefix(
        "anon_inode:[luo_session] "
    )
    assert taken.encode() in names
    for name in names:
        if name.decode() == taken:
            with refused(EEXIST):
                luo.create_session(name)
        else:
            luo.create_session(name)


@pytest.mark.clause("session.name.unterminated")
def test_name_that_loses_its_end_during_the_call_is_refused(luo: Luo) -> None:
    held = held_in_the_struct(create(luo))
    held.memory.fill(b"\xff" * 4 + b"n" * 64)
    with refused(EINVAL):
        held.wait()
    luo.create_session(b"n" * 63)


@pytest.mark.clause("ioctl.read-once")
def test_file_is_preserved_under_the_token_that_was_read(luo: Luo) -> None:
    call = preserve(luo)
    other = luo.memfd(CONTENT)
    held = held_before_the_struct(call)
    later = uapi.liveupdate_session_preserve_fd(fd=other.fd, token=TOKEN + 1)
    held.change(4, bytes(later)[4:])
    held.memory.fill()
    held.wait()
    sizes = []
    for fd, token in ((int.from_bytes(call.argument[4:8], "little"), TOKEN), (other.fd, TOKEN + 1)):
        frozen = luo.actor.raw("ftruncate", fd, SIZE + 1) == -EPERM
        again = uapi.liveupdate_session_preserve_fd(fd=-1, token=token)
        used = luo.actor.raw("ioctl", call.file.fd, call.number, again) == -EEXIST
        sizes.append((frozen, used))
    assert sorted(sizes) == [(False, False), (True, True)]


@pytest.mark.clause("ioctl.reserved")
def test_reserved_field_that_is_set_during_the_call_counts(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    call = finish(luo)
    held = held_in_the_struct(call)
    held.memory.fill(b"\1")
    with refused(EINVAL, EOPNOTSUPP):
        held.wait()
    call.undone()


@pytest.mark.clause("session.create")
def test_new_session_is_there_before_its_descriptor(luo: Luo) -> None:
    """Nobody can close, or take the place of, a descriptor that the caller does not know yet."""
    call = create(luo)
    held = held_before_the_answer(call)
    fd = luo.device.dup().fd - 1  # a descriptor gets the lowest number, and this one went to the call
    with refused(EBADF):
        luo.actor.syscall("close", fd)
    with refused(EBUSY):
        luo.actor.syscall("dup2", luo.device.fd, fd)
    with refused(EEXIST):
        luo.create_session("vm")
    held.memory.release()
    held.wait()
    assert answered_fd(held.answer) == fd
    call.done(held.answer)


@pytest.mark.clause("session.retrieve.twice")
def test_session_whose_descriptor_is_under_way_is_not_handed_out_again(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    call = retrieve_session(luo)
    held = held_before_the_answer(call)
    with refused(EINVAL):
        luo.retrieve_session("vm")
    held.memory.release()
    held.wait()
    call.done(held.answer)


# Whether another call on the same session waits for the answer of the first is the kernel's own affair; until
# 7.1 it does. So a thread makes it, and the answer of the first is let go meanwhile.
@pytest.mark.clause("file.retrieve.again")
def test_file_whose_descriptor_is_under_way_is_retrieved_by_others_too(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    call = retrieve_file(luo)
    held = held_before_the_answer(call)
    program = luo.actor.program()
    second = program.buffer(call.argument, out=True)
    program.syscall("ioctl", call.file.fd, call.number, second)
    pending = luo.actor.thread().start(program)
    held.memory.release()
    held.wait()
    call.done(pending.wait().bytes(second))
    call.done(held.answer)


@pytest.mark.clause("session.finish")
def test_session_finished_while_a_file_is_under_way_lets_it_arrive(luo: Luo) -> Scenario:
    send(luo)

    luo = yield KEXEC

    call = retrieve_file(luo)
    held = held_before_the_answer(call)
    program = luo.actor.program()
    argument = bytes(uapi.liveupdate_session_finish())
    program.syscall("ioctl", call.file.fd, uapi.LIVEUPDATE_SESSION_FINISH, argument)
    pending = luo.actor.thread().start(program)
    held.memory.release()
    held.wait()
    pending.wait()
    with refused(ENOENT):
        call.make(call.argument)
    call.done(held.answer)


@pytest.mark.clause("device.exclusive")
def test_call_under_way_keeps_the_closed_device_busy(luo: Luo) -> None:
    other = luo.actor.fork()
    call = create(luo)
    held = held_before_the_answer(call)
    luo.close_device()
    with refused(EBUSY):
        Device.open(other)
    held.memory.release()
    held.wait()
    Device.open(other).close()
    call.done(held.answer)
    other.close()
