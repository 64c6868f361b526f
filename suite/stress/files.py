# SPDX-License-Identifier: GPL-2.0-only
"""Words that printed scripts use of a file."""

import os

from fixtures.luo import Memfd
from kernel import uapi


def reopened(file: Memfd) -> Memfd:
    """The same file, opened once more."""
    path = f"/proc/self/fd/{file.fd}"
    return Memfd(file.actor, file.actor.syscall("openat", uapi.AT_FDCWD, path, os.O_RDWR | os.O_CLOEXEC, 0))


def expect(file: Memfd, *, position: int, seals: int, content: bytes) -> None:
    """Everything about ``file`` is as said; one request."""
    __tracebackhide__ = True
    program = file.actor.program()
    here = program.syscall("lseek", file.fd, 0, os.SEEK_CUR)
    sealed = program.syscall("fcntl", file.fd, uapi.F_GET_SEALS, 0)
    # One byte more than there should be, to see a file that is too long.
    buffer = program.buffer(len(content) + 1, out=True)
    program.trim(buffer, program.syscall("pread64", file.fd, buffer, len(content) + 1, 0))
    end = program.syscall("lseek", file.fd, 0, os.SEEK_END)
    program.syscall("lseek", file.fd, here, os.SEEK_SET)
    results = file.actor.run(program)
    assert results[end] == len(content), f"the size is {results[end]}, not {len(content)}"
    assert results[here] == position, f"the position is {results[here]}, not {position}"
    assert results[sealed] == seals, f"the seals are {results[sealed]:#x}, not {seals:#x}"
    found = results.bytes(buffer)
    if found != content:
        at = next(at for at, (is_, should) in enumerate(zip(found, content, strict=True)) if is_ != should)
        raise AssertionError(f"byte {at} is {found[at]:#x}, not {content[at]:#x}")
