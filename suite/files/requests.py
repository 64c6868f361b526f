# SPDX-License-Identifier: GPL-2.0-only
"""Requests that tests of files share: many files in one, and calls made while something has run out."""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from fixtures.agent.program import Buffer, Ref
from fixtures.cgroup import memory_cgroup
from fixtures.luo import Descriptor, Session
from kernel import uapi

_MOST = 64  # bytes of a file's content


def content(token: int) -> bytes:
    """What the file of a token holds, other for every token."""
    return f"file {token}".encode()


def preserve_many(session: Session, tokens: Iterable[int]) -> None:
    """Preserve a memfd with its ``content`` for each token; the session alone holds it afterwards."""
    kind = uapi.liveupdate_session_preserve_fd
    program = session.actor.program()
    for token in tokens:
        data = content(token)
        memfd = program.syscall("memfd_create", "luo-cts", 0)
        program.syscall("pwrite64", memfd, data, len(data), 0)
        argument = program.buffer(bytes(kind(fd=-1, token=token)))
        program.store(argument + uapi.offset(kind, "fd"), memfd, size=4)
        program.syscall("ioctl", session.fd, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, argument)
        program.syscall("close", memfd)
    session.actor.run(program)


def wrong_contents(session: Session, tokens: Sequence[int]) -> dict[int, bytes]:
    """Retrieve the files of ``preserve_many`` in this order, and close them; gives those that are wrong."""
    kind = uapi.liveupdate_session_retrieve_fd
    program = session.actor.program()
    buffers: list[Buffer] = []
    for token in tokens:
        answer = program.buffer(bytes(kind(fd=-1, token=token)))
        program.syscall("ioctl", session.fd, uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, answer)
        memfd = answer.s32(uapi.offset(kind, "fd"))
        buffer = program.buffer(_MOST, out=True)
        program.trim(buffer, program.syscall("pread64", memfd, buffer, _MOST, 0))
        program.syscall("close", memfd)
        buffers.append(buffer)
    results = session.actor.run(program)
    found = {token: results.bytes(buffer) for token, buffer in zip(tokens, buffers, strict=True)}
    return {token: data for token, data in found.items() if data != content(token)}


class Attempts:
    """Calls on a session in one request, made while something has run out.

        attempts = Attempts(session)
        with attempts.without_descriptors():
            attempts.retrieve(1)
        assert attempts.results == [-EMFILE]

    None of the calls ends the request; the result of each is 0 or -errno.
    """

    def __init__(self, session: Session) -> None:
        self.actor = session.actor
        self.results: list[int] = []
        self._session = session
        self._program = session.actor.program()
        self._calls: list[Ref] = []

    def preserve(self, file: Descriptor, token: int) -> None:
        argument = uapi.liveupdate_session_preserve_fd(fd=file.fd, token=token)
        self._ioctl(uapi.LIVEUPDATE_SESSION_PRESERVE_FD, argument)

    def retrieve(self, token: int) -> None:
        argument = uapi.liveupdate_session_retrieve_fd(fd=-1, token=token)
        self._ioctl(uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, argument)

    def _ioctl(self, number: int, argument: uapi.Argument) -> None:
        buffer = self._program.buffer(bytes(argument))
        self._calls.append(self._program.syscall("ioctl", self._session.fd, number, buffer, check=False))

    def _run(self) -> None:
        results = self.actor.run(self._program)
        self.results = [results.raw(call) for call in self._calls]

    @contextmanager
    def without_memory(self, room: int) -> Iterator[None]:
        """In a memory cgroup with ``room`` bytes."""
        with memory_cgroup(self.actor) as group:
            group.limit(room)
            with group.around(self._program):
                yield
            self._run()

    @contextmanager
    def without_commitment(self) -> Iterator[None]:
        """The system promises nobody more memory: vm.overcommit_memory=2 with a limit of nothing."""
        with self._sysctl("vm/overcommit_ratio", "0"), self._sysctl("vm/overcommit_memory", "2"):
            yield
        self._run()

    @contextmanager
    def without_descriptors(self) -> Iterator[None]:
        """The process may not open another descriptor."""
        before = self._program.buffer(16)
        none = self._program.buffer(16)
        self._program.syscall("prlimit64", 0, uapi.RLIMIT_NOFILE, 0, before)
        self._program.store(none + 8, before.u64(8))  # the hard limit stays
        self._program.syscall("prlimit64", 0, uapi.RLIMIT_NOFILE, none, 0)
        yield
        self._program.syscall("prlimit64", 0, uapi.RLIMIT_NOFILE, before, 0)
        self._run()

    @contextmanager
    def without_files(self) -> Iterator[None]:
        """The system has no open file left for a process that is not its administrator's: fs.file-max."""
        head = struct.pack("<Ii", uapi._LINUX_CAPABILITY_VERSION_3, 0)
        capabilities = bytearray(24)  # two times: effective, permitted, inheritable
        self.actor.syscall("capget", head, capabilities)
        effective = int.from_bytes(capabilities[:4], "little") & ~(1 << uapi.CAP_SYS_ADMIN)
        with self._sysctl("fs/file-max", "0"):
            self._program.syscall("capset", head, effective.to_bytes(4, "little") + bytes(capabilities[4:]))
            yield
            self._program.syscall("capset", head, bytes(capabilities))
        self._run()

    @contextmanager
    def _sysctl(self, name: str, value: str) -> Iterator[None]:
        """The setting, and after the calls what it was."""
        path = f"/proc/sys/{name}"
        before = self.actor.read_file(path)
        fd = self._program.syscall("openat", uapi.AT_FDCWD, path, os.O_WRONLY | os.O_CLOEXEC, 0)
        self._program.syscall("pwrite64", fd, value.encode(), len(value), 0)
        yield
        self._program.syscall("pwrite64", fd, before, len(before), 0)
        self._program.syscall("close", fd)
