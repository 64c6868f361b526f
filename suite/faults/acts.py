# SPDX-License-Identifier: GPL-2.0-only
"""What tests of callbacks do over and over: sessions full of provider files, calls under way, a reboot."""

import struct

from fixtures.agent.client import Actor, Pending
from fixtures.luo import Descriptor, Device, Luo, Session, session_argument
from fixtures.provider import Provider
from kernel import uapi

# struct luo_ser, include/linux/kho/abi/luo.h since 7.2
LUO_STATE = "/sys/kernel/debug/kho/out/sub_fdts/LUO"
SESSIONS_PA = 16


def preserved(luo: Luo, provider: Provider, sessions: int, files: int) -> dict[str, Session]:
    """Sessions "0", "1", … with files "00", "01", … that hold their names, under tokens from 0 on."""
    found = {}
    for number in range(sessions):
        session = luo.create_session(str(number))
        for token in range(files):
            name = f"{number}{token}"
            session.preserve(provider.file(name, content=name.encode()), token)
        found[str(number)] = session
    return found


def begin(actor: Actor, session: Session, number: int, argument: bytes) -> Pending:
    """An ioctl of the session under way, in another thread of its process."""
    program = actor.program()
    program.syscall("ioctl", session.fd, number, program.buffer(argument, out=True))
    return actor.start(program)


def begin_create(actor: Actor, device: Device, name: bytes) -> Pending:
    """A session being created in another thread; its descriptor stays open."""
    program = actor.program()
    argument = program.buffer(session_argument(name), out=True)
    program.syscall("ioctl", device.fd, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, argument)
    return actor.start(program)


def begin_preserve(actor: Actor, session: Session, file: Descriptor, token: int) -> Pending:
    argument = uapi.liveupdate_session_preserve_fd(fd=file.fd, token=token)
    return begin(actor, session, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, bytes(argument))


def begin_retrieve(actor: Actor, session: Session, token: int) -> Pending:
    argument = uapi.liveupdate_session_retrieve_fd(fd=-1, token=token)
    return begin(actor, session, uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, bytes(argument))


def begin_finish(actor: Actor, session: Session) -> Pending:
    argument = uapi.liveupdate_session_finish(reserved=0)
    return begin(actor, session, uapi.LIVEUPDATE_SESSION_FINISH, bytes(argument))


def begin_close(actor: Actor, session: Session) -> Pending:
    program = actor.program()
    program.syscall("close", session.fd)
    session.closed = True
    return actor.start(program)


def begin_reboot(actor: Actor) -> Pending:
    program = actor.program()
    program.syscall(
        "reboot", uapi.LINUX_REBOOT_MAGIC1, uapi.LINUX_REBOOT_MAGIC2, uapi.LINUX_REBOOT_CMD_KEXEC, 0
    )
    return actor.start(program)


def sessions_for_the_next_kernel(actor: Actor) -> int:
    """Where LUO says that the sessions are that it hands over; 0: none."""
    (address,) = struct.unpack_from("<Q", actor.read_file(LUO_STATE), SESSIONS_PA)
    return int(address)
