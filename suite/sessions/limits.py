# SPDX-License-Identifier: GPL-2.0-only
"""A process that gets no further descriptor, or no further open file."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from fixtures.agent.client import Actor
from fixtures.luo import Descriptor, Luo
from kernel import uapi

_FILE_MAX = "/proc/sys/fs/file-max"


@contextmanager
def no_free_descriptor(actor: Actor) -> Iterator[None]:
    """Inside, the actor's calls that need a new descriptor get EMFILE."""
    old = bytearray(16)
    actor.syscall("prlimit64", 0, uapi.RLIMIT_NOFILE, 0, old)
    hard = struct.unpack("<QQ", old)[1]
    actor.syscall("prlimit64", 0, uapi.RLIMIT_NOFILE, struct.pack("<QQ", 0, hard), 0)
    try:
        yield
    finally:
        actor.syscall("prlimit64", 0, uapi.RLIMIT_NOFILE, bytes(old), 0)


@contextmanager
def no_free_file(luo: Luo) -> Iterator[Descriptor]:
    """Inside, the system has as many open files as it may; gives the device in a process that heeds that.

    fs/file_table.c, alloc_empty_file(): whoever has CAP_SYS_ADMIN goes beyond file-max.
    """
    device = luo.device
    child = luo.actor.fork()
    child.syscall("capset", struct.pack("<Ii", uapi._LINUX_CAPABILITY_VERSION_3, 0), bytes(24))
    limit = luo.actor.read_file(_FILE_MAX)
    luo.actor.write_file(_FILE_MAX, b"0")
    try:
        yield Descriptor(child, device.fd)
    finally:
        luo.actor.write_file(_FILE_MAX, limit)
        child.close()
