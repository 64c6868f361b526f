# SPDX-License-Identifier: GPL-2.0-only
"""What can be done to a memfd, as data: calls that resize it, that write to it, that change nothing.

A test makes them on a preserved memfd, on one that is free again, or on a retrieved one.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fixtures.luo import PAGE, Memfd
from kernel import uapi

SIZE = 3 * PAGE  # of the memfds that RESIZES and HARMLESS are made for
WIDTH = 32  # bytes that a writer of WRITERS writes

READ_WRITE = uapi.PROT_READ | uapi.PROT_WRITE


def reopened(file: Memfd, flags: int) -> Memfd:
    """Another open file of the same memfd."""
    path = f"/proc/self/fd/{file.fd}"
    return Memfd(file.actor, file.actor.syscall("openat", uapi.AT_FDCWD, path, flags, 0))


class Status(NamedTuple):
    """What statx says of a file; times are whole seconds."""

    attributes: int
    links: int
    owner: int
    group: int
    mode: int
    accessed: int
    changed: int
    modified: int


def status(file: Memfd) -> Status:
    answer = bytearray(256)
    flags, wanted = uapi.AT_EMPTY_PATH, uapi.STATX_BASIC_STATS
    file.actor.syscall("statx", file.fd, "", flags, wanted, answer)
    # struct statx, include/uapi/linux/stat.h
    return Status(*struct.unpack_from("<8x Q3IH 34x q24x q8x q", answer))


def fallocate(file: Memfd, mode: int, offset: int, length: int) -> None:
    file.actor.syscall("fallocate", file.fd, mode, offset, length)


def _truncating_open(file: Memfd) -> None:
    reopened(file, os.O_RDWR | os.O_TRUNC)


def _append(file: Memfd) -> None:
    other = reopened(file, os.O_RDWR | os.O_APPEND)
    other.actor.syscall("write", other.fd, b"x", 1)


def _punch(file: Memfd) -> None:
    fallocate(file, uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE, PAGE, PAGE)


def _remove(file: Memfd) -> None:
    with file.mapped(SIZE) as address:
        file.actor.syscall("madvise", address + PAGE, PAGE, uapi.MADV_REMOVE)


def _from_pipe(file: Memfd, data: bytes, offset: int) -> None:
    program = file.actor.program()
    ends = program.buffer(8)
    program.syscall("pipe2", ends, 0)
    program.syscall("write", ends.s32(4), data, len(data))
    position = program.buffer(offset.to_bytes(8, "little"))
    program.syscall("splice", ends.s32(), 0, file.fd, position, len(data), 0)
    file.actor.run(program)


def _from_file(file: Memfd, data: bytes, offset: int, call: str) -> None:
    """Copy ``data`` from another memfd, inside the kernel."""
    program = file.actor.program()
    source = program.syscall("memfd_create", "source", 0)
    program.syscall("write", source, data, len(data))
    start = program.buffer(bytes(8))
    if call == "sendfile":
        target = program.syscall("openat", uapi.AT_FDCWD, f"/proc/self/fd/{file.fd}", os.O_RDWR, 0)
        program.syscall("lseek", target, offset, os.SEEK_SET)
        program.syscall("sendfile", target, source, start, len(data))
        program.syscall("close", target)
    else:
        position = program.buffer(offset.to_bytes(8, "little"))
        program.syscall("copy_file_range", source, start, file.fd, position, len(data), 0)
    program.syscall("close", source)
    file.actor.run(program)


# Each changes the size, or takes pages away, of a memfd of SIZE bytes.
RESIZES: Mapping[str, Callable[[Memfd], object]] = {
    "truncate to nothing": lambda file: file.truncate(0),
    "truncate to less": lambda file: file.truncate(SIZE - 1),
    "truncate to more": lambda file: file.truncate(SIZE + 1),
    "truncating open": _truncating_open,
    "write beyond the end": lambda file: file.write(b"x", SIZE),
    "append": _append,
    "fallocate beyond the end": lambda file: fallocate(file, 0, SIZE, PAGE),
    "punch a hole": _punch,
    "MADV_REMOVE": _remove,
    "splice beyond the end": lambda file: _from_pipe(file, b"x", SIZE),
    "copy_file_range beyond the end": lambda file: _from_file(file, b"x", SIZE, "copy_file_range"),
    "sendfile beyond the end": lambda file: _from_file(file, b"x", SIZE, "sendfile"),
}


def _store(file: Memfd, data: bytes, offset: int) -> None:
    with file.mapped(offset + len(data)) as address:
        program = file.actor.program()
        program.poke(address + offset, data)
        file.actor.run(program)


def _at_position(file: Memfd, data: bytes, offset: int) -> None:
    file.seek(offset)
    file.actor.syscall("write", file.fd, data, len(data))


def _vector(file: Memfd, data: bytes, offset: int) -> None:
    program = file.actor.program()
    vector = program.buffer(16)
    program.store(vector, program.buffer(data))
    program.store(vector + 8, len(data))
    program.syscall("pwritev2", file.fd, vector, 1, offset, 0, 0)
    file.actor.run(program)


def _through_proc(file: Memfd, data: bytes, offset: int) -> None:
    """As a debugger writes."""
    with file.mapped(offset + len(data)) as address:
        memory = file.actor.syscall("openat", uapi.AT_FDCWD, "/proc/self/mem", os.O_RDWR, 0)
        file.actor.syscall("pwrite64", memory, data, len(data), address + offset)


def _by_thread(file: Memfd, data: bytes, offset: int) -> None:
    Memfd(file.actor.thread(), file.fd).write(data, offset)


def _by_child(file: Memfd, data: bytes, offset: int) -> None:
    """A child stores through the mapping that it inherited."""
    with file.mapped(offset + len(data)) as address:
        child = file.actor.fork()
        program = child.program()
        program.poke(address + offset, data)
        child.run(program)
        child.close()


# Each writes bytes at an offset inside of a memfd.
WRITERS: Mapping[str, Callable[[Memfd, bytes, int], object]] = {
    "pwrite": lambda file, data, offset: file.write(data, offset),
    "write": _at_position,
    "pwritev2": _vector,
    "store": _store,
    "splice": _from_pipe,
    "sendfile": lambda file, data, offset: _from_file(file, data, offset, "sendfile"),
    "copy_file_range": lambda file, data, offset: _from_file(file, data, offset, "copy_file_range"),
    "reopened": lambda file, data, offset: reopened(file, os.O_WRONLY).write(data, offset),
    "dup": lambda file, data, offset: Memfd(file.actor, file.dup().fd).write(data, offset),
    "/proc/self/mem": _through_proc,
    "thread": _by_thread,
    "child": _by_child,
}


def _advise(file: Memfd, advice: int, flags: int = uapi.MAP_SHARED) -> None:
    address = file.actor.syscall("mmap", 0, SIZE, READ_WRITE, flags, file.fd, 0)
    file.actor.raw("madvise", address, SIZE, advice)
    file.actor.syscall("munmap", address, SIZE)


def _private_store(file: Memfd) -> None:
    program = file.actor.program()
    address = program.syscall("mmap", 0, SIZE, READ_WRITE, uapi.MAP_PRIVATE, file.fd, 0)
    program.fill(address, SIZE, 99)
    program.syscall("munmap", address, SIZE)
    file.actor.run(program)


def _protect(file: Memfd) -> None:
    """Change what a mapping allows, there and back."""
    program = file.actor.program()
    address = program.syscall("mmap", 0, SIZE, uapi.PROT_READ, uapi.MAP_SHARED, file.fd, 0)
    for protection in (READ_WRITE, uapi.PROT_READ | uapi.PROT_EXEC, uapi.PROT_NONE, uapi.PROT_READ):
        program.syscall("mprotect", address, SIZE, protection)
    program.syscall("munmap", address, SIZE)
    file.actor.run(program)


def _remap(file: Memfd) -> None:
    """Grow a mapping beyond the end of the file, which does not grow by that."""
    program = file.actor.program()
    address = program.syscall("mmap", 0, SIZE, READ_WRITE, uapi.MAP_SHARED, file.fd, 0)
    moved = program.syscall("mremap", address, SIZE, 4 * SIZE, uapi.MREMAP_MAYMOVE)
    program.syscall("munmap", moved, 4 * SIZE)
    file.actor.run(program)


def _lock_in_memory(file: Memfd) -> None:
    with file.mapped(SIZE) as address:
        file.actor.syscall("mlock", address, SIZE)
        file.actor.syscall("munlock", address, SIZE)


def _flock(file: Memfd) -> None:
    other = reopened(file, os.O_RDWR)
    other.actor.syscall("flock", other.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other.close()


def _seek_data(file: Memfd) -> None:
    other = reopened(file, os.O_RDONLY)
    assert other.seek(0, os.SEEK_DATA) == 0
    assert other.seek(0, os.SEEK_HOLE) == SIZE
    other.close()


def _send_out(file: Memfd) -> None:
    program = file.actor.program()
    target = program.syscall("memfd_create", "target", 0)
    program.syscall("sendfile", target, file.fd, program.buffer(bytes(8)), SIZE)
    program.syscall("close", target)
    file.actor.run(program)


# Each leaves contents and size as they are, on a preserved memfd. What is not implemented, or may be refused
# without harm, ignores the answer.
HARMLESS: Mapping[str, Callable[[Memfd], object]] = {
    "truncate to the same size": lambda file: file.truncate(SIZE),
    "write nothing at the end": lambda file: file.write(b"", SIZE),
    "read beyond the end": lambda file: file.read(PAGE, SIZE - 1),
    "SEEK_DATA and SEEK_HOLE": _seek_data,
    "sendfile from it": _send_out,
    "fsync": lambda file: file.actor.syscall("fsync", file.fd),
    "flock": _flock,
    "fchmod": lambda file: file.actor.syscall("fchmod", file.fd, 0o600),
    "fallocate inside": lambda file: file.actor.raw("fallocate", file.fd, 0, 0, SIZE),
    "fallocate beyond the end, KEEP_SIZE": lambda file: file.actor.raw(
        "fallocate", file.fd, uapi.FALLOC_FL_KEEP_SIZE, SIZE, PAGE
    ),
    "ZERO_RANGE": lambda file: file.actor.raw("fallocate", file.fd, uapi.FALLOC_FL_ZERO_RANGE, 0, PAGE),
    "COLLAPSE_RANGE": lambda file: file.actor.raw(
        "fallocate", file.fd, uapi.FALLOC_FL_COLLAPSE_RANGE, 0, PAGE
    ),
    "INSERT_RANGE": lambda file: file.actor.raw("fallocate", file.fd, uapi.FALLOC_FL_INSERT_RANGE, 0, PAGE),
    "fadvise DONTNEED": lambda file: file.actor.syscall(
        "fadvise64", file.fd, 0, SIZE, os.POSIX_FADV_DONTNEED
    ),
    "private store": _private_store,
    "mprotect": _protect,
    "mremap": _remap,
    "mlock": _lock_in_memory,
    "MADV_DONTNEED": lambda file: _advise(file, uapi.MADV_DONTNEED),
    "MADV_DONTNEED, private": lambda file: _advise(file, uapi.MADV_DONTNEED, uapi.MAP_PRIVATE),
    "MADV_FREE": lambda file: _advise(file, uapi.MADV_FREE),
    "MADV_COLD": lambda file: _advise(file, uapi.MADV_COLD),
    "MADV_PAGEOUT": lambda file: _advise(file, uapi.MADV_PAGEOUT),
    "MADV_COLLAPSE": lambda file: _advise(file, uapi.MADV_COLLAPSE),
    "MADV_POPULATE_WRITE": lambda file: _advise(file, uapi.MADV_POPULATE_WRITE),
}
