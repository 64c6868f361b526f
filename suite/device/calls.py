# SPDX-License-Identifier: GPL-2.0-only
"""The ioctls as cases, so that one rule can be held against each: one call, made up and not made yet."""

from collections.abc import Callable
from dataclasses import dataclass
from errno import EPERM

from fixtures.agent.pattern import pattern
from fixtures.luo import Descriptor, Luo, Memfd, Session, refused, session_argument
from kernel import uapi

SIZE = 5000
CONTENT = pattern(SIZE)
TOKEN = 7


@dataclass(frozen=True)
class Call:
    """An ioctl that would succeed, and how to see whether it has taken place."""

    file: Descriptor
    number: int
    argument: bytes
    done: Callable[[bytes], None]  # asserts that it was done and gave this answer
    undone: Callable[[], None]  # asserts that nothing was done, lost or left behind

    def make(self, argument: bytes) -> bytes:
        return self.file.ioctl(self.number, argument)

    def sized(self, size: int, tail: bytes = b"") -> bytes:
        """The argument with another size in its first word, and ``tail`` behind it."""
        return size.to_bytes(4, "little") + self.argument[4:] + tail

    def longer(self, tail: bytes) -> bytes:
        """The argument of a user space that knows a larger struct."""
        return self.sized(len(self.argument) + len(tail), tail)


def answered_fd(answer: bytes) -> int:
    """The second word, in which every ioctl that opens a file says its descriptor."""
    return int.from_bytes(answer[4:8], "little", signed=True)


def create(luo: Luo) -> Call:
    name = luo.name("vm")

    def done(answer: bytes) -> None:
        session = Session(luo.actor, answered_fd(answer), name)
        assert session.link == f"anon_inode:[luo_session] {name.decode()}"
        session.close()

    def undone() -> None:
        # With a session of this name left somewhere it would be EEXIST.
        luo.create_session(name).close()

    return Call(luo.device, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, session_argument(name), done, undone)


def preserve(luo: Luo) -> Call:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)

    def done(answer: bytes) -> None:
        with refused(EPERM):
            ram.truncate(SIZE + 1)
        session.close()
        ram.truncate(SIZE)

    def undone() -> None:
        ram.truncate(SIZE + 1)
        ram.truncate(SIZE)

    argument = uapi.liveupdate_session_preserve_fd(fd=ram.fd, token=TOKEN)
    return Call(session, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, bytes(argument), done, undone)


def send(luo: Luo) -> None:
    """What the cases below take up in the next kernel."""
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=TOKEN)


def retrieve_session(luo: Luo) -> Call:
    name = luo.name("vm")

    def done(answer: bytes) -> None:
        _holds_the_file(Session(luo.actor, answered_fd(answer), name))

    def undone() -> None:
        _holds_the_file(luo.retrieve_session(name))

    return Call(luo.device, uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION, session_argument(name), done, undone)


def retrieve_file(luo: Luo) -> Call:
    session = luo.retrieve_session("vm")

    def done(answer: bytes) -> None:
        ram = Memfd(luo.actor, answered_fd(answer))
        assert ram.read_all() == CONTENT
        ram.close()

    argument = uapi.liveupdate_session_retrieve_fd(fd=-1, token=TOKEN)
    return Call(
        session,
        uapi.LIVEUPDATE_SESSION_RETRIEVE_FD,
        bytes(argument),
        done,
        undone=lambda: _holds_the_file(session),
    )


def finish(luo: Luo) -> Call:
    session = luo.retrieve_session("vm")

    def done(answer: bytes) -> None:
        # What is finished is no longer LUO's, and not to be had of it.
        assert (
            luo.actor.raw(
                "ioctl",
                session.fd,
                uapi.LIVEUPDATE_SESSION_RETRIEVE_FD,
                uapi.liveupdate_session_retrieve_fd(fd=-1, token=TOKEN),
            )
            < 0
        ), "the session is finished and still gives its file"

    argument = uapi.liveupdate_session_finish()
    return Call(
        session,
        uapi.LIVEUPDATE_SESSION_FINISH,
        bytes(argument),
        done,
        undone=lambda: _holds_the_file(session),
    )


def get_name(session: Session) -> Call:
    name = session.name.ljust(uapi.LIVEUPDATE_SESSION_NAME_LENGTH, b"\0")

    def done(answer: bytes) -> None:
        told = uapi.liveupdate_session_get_name.from_buffer_copy(answer)
        assert bytes(told.name) == name

    argument = uapi.liveupdate_session_get_name()
    return Call(session, uapi.LIVEUPDATE_SESSION_GET_NAME, bytes(argument), done, undone=lambda: None)


def name_of_new(luo: Luo) -> Call:
    """GET_NAME on a session of this kernel."""
    return get_name(luo.create_session("vm"))


def name_of_retrieved(luo: Luo) -> Call:
    """GET_NAME on a session from the kernel before."""
    return get_name(luo.retrieve_session("vm"))


def _holds_the_file(session: Session) -> None:
    ram = session.retrieve(TOKEN)
    assert ram.read_all() == CONTENT
    ram.close()


Maker = Callable[[Luo], Call]

# By what they can be tried on: a kernel as it was booted, and one that has taken over from another.
HERE: tuple[Maker, ...] = (create, preserve)
NEXT: tuple[Maker, ...] = (retrieve_session, retrieve_file, finish)
