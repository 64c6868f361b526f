# SPDX-License-Identifier: GPL-2.0-only
"""Many sessions in one request, each told apart by what it holds."""

from collections.abc import Sequence

from fixtures.luo import Descriptor, Luo, Session, session_argument
from kernel import uapi

_FD = uapi.offset(uapi.liveupdate_ioctl_create_session, "fd")
_ROOM = uapi.LIVEUPDATE_SESSION_NAME_LENGTH


def own(luo: Luo, raw: bytes) -> bytes:
    """A name that ends in ``raw`` and that no other test has."""
    return luo.name("") + b":" + raw


def create_labelled(luo: Luo, names: Sequence[bytes]) -> list[Session]:
    """Create sessions, each with a memfd in it (token 0) that holds the session's name."""
    kind = uapi.liveupdate_session_preserve_fd
    program = luo.actor.program()
    answers = []
    for name in names:
        created = program.buffer(session_argument(name), out=True)
        program.syscall("ioctl", luo.device.fd, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, created)
        memfd = program.syscall("memfd_create", "luo-cts", 0)
        program.syscall("pwrite64", memfd, name, len(name), 0)
        argument = program.buffer(bytes(kind(fd=-1, token=0)))
        program.store(argument + uapi.offset(kind, "fd"), memfd, size=4)
        program.syscall("ioctl", created.s32(_FD), uapi.LIVEUPDATE_SESSION_PRESERVE_FD, argument)
        program.syscall("close", memfd)
        answers.append(created)
    results = luo.actor.run(program)
    return [
        Session(luo.actor, session_fd(results.bytes(answer)), name)
        for name, answer in zip(names, answers, strict=True)
    ]


def retrieve_labels(luo: Luo, names: Sequence[bytes]) -> list[bytes]:
    """Retrieve sessions by name and read what the memfd in each says; the sessions stay open."""
    kind = uapi.liveupdate_session_retrieve_fd
    program = luo.actor.program()
    labels = []
    for name in names:
        found = program.buffer(session_argument(name), out=True)
        program.syscall("ioctl", luo.device.fd, uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION, found)
        answer = program.buffer(bytes(kind(fd=-1, token=0)), out=True)
        program.syscall("ioctl", found.s32(_FD), uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, answer)
        memfd = answer.s32(uapi.offset(kind, "fd"))
        label = program.buffer(_ROOM, out=True)
        program.trim(label, program.syscall("pread64", memfd, label, _ROOM, 0))
        program.syscall("close", memfd)
        labels.append(label)
    results = luo.actor.run(program)
    return [results.bytes(label) for label in labels]


def outcomes(device: Descriptor, number: int, names: Sequence[bytes]) -> list[int]:
    """What CREATE_SESSION or RETRIEVE_SESSION (``number``) gives for each name: 0 or -errno."""
    program = device.actor.program()
    calls = [
        program.syscall("ioctl", device.fd, number, program.buffer(session_argument(name)), check=False)
        for name in names
    ]
    results = device.actor.run(program)
    return [results.raw(call) for call in calls]


def close_all(sessions: Sequence[Descriptor]) -> None:
    """Close descriptors of one actor in one request."""
    program = sessions[0].actor.program()
    for session in sessions:
        program.syscall("close", session.fd)
    sessions[0].actor.run(program)


def session_fd(answer: bytes) -> int:
    return uapi.liveupdate_ioctl_create_session.from_buffer_copy(answer).fd
