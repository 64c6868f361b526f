# SPDX-License-Identifier: GPL-2.0-only
"""The blob ``kexec-metadata`` (since 7.1): which kernel kexec'd, and how often that has happened.

Source: include/linux/kho/abi/kexec_metadata.h.
"""

from dataclasses import dataclass

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.structure import Struct, text

NAME = "kexec-metadata"
VERSION = 1


@dataclass(frozen=True, slots=True)
class KexecMetadata(Struct):
    """struct kho_kexec_metadata; the release is ``uname -r`` of the kernel that wrote it."""

    FORMAT = "<I65sI"

    version: int
    previous_release: bytes
    kexec_count: int

    @property
    def release(self) -> str:
        return text(self.previous_release, "the release", f"kexec-metadata at {self.address:#x}")


def read(memory: Memory, address: int, size: int) -> KexecMetadata:
    """Raises Broken for another version, too small a blob, and a release without end."""
    where = f"kexec-metadata at {address:#x}"
    if size < KexecMetadata.size_of():
        raise Broken(f"{size} bytes, less than {KexecMetadata.size_of()}", where)
    metadata = KexecMetadata.unpack(memory, address, where)
    if metadata.version != VERSION:
        raise Broken(f"version {metadata.version} is unknown; known: {VERSION}", where)
    text(metadata.previous_release, "the release", where)
    return metadata
