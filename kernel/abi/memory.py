# SPDX-License-Identifier: GPL-2.0-only
"""Physical memory as the decoders see it: guest RAM in a file, or a few blobs at their addresses."""

import os
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from kernel.abi.errors import Broken

PAGE_SIZE = 4096

# The guest sees video memory and ROM between these, whatever the file behind its RAM holds there.
# hw/i386/pc.c: pc_memory_init(), and the BIOS area of hw/i386/x86-common.c
_LEGACY_HOLE = range(0xA0000, 0x100000)
_ABOVE_4G = 1 << 32


@dataclass(frozen=True, order=True)
class Extent:
    """A stretch of physical memory, and where its bytes are in a file; all in bytes."""

    start: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


def q35_layout(size: int) -> tuple[Extent, ...]:
    """Where a q35 machine with ``size`` bytes of RAM has the bytes of its memory backend.

    Source: pc_q35_init() of hw/i386/pc_q35.c. Memory that does not fit below 4 GiB keeps 2 GiB there if there
    are 2.75 GiB or more, so that addresses at 1 GiB boundaries lie at such boundaries of the host too.
    """
    low = 0x80000000 if size >= 0xB0000000 else 0xB0000000
    below = min(size, low)
    first = min(below, _LEGACY_HOLE.start)
    extents = [
        Extent(0, 0, first),
        Extent(_LEGACY_HOLE.stop, _LEGACY_HOLE.stop, below - _LEGACY_HOLE.stop),
        Extent(_ABOVE_4G, below, size - below),
    ]
    return tuple(extent for extent in extents if extent.length > 0)


def virt_layout(size: int) -> tuple[Extent, ...]:
    """The same for aarch64's virt: one stretch from 1 GiB on (VIRT_MEM of hw/arm/virt.c)."""
    return (Extent(0x40000000, 0, size),)


# By QEMU's names of its machines, as kernel.arch has them.
LAYOUTS = {"q35": q35_layout, "virt": virt_layout}


class Memory(ABC):
    """Physical memory, made of extents that do not overlap. ``page_size`` is the guest's, in bytes."""

    def __init__(self, extents: Iterable[Extent], page_size: int = PAGE_SIZE) -> None:
        """Raises ValueError for extents that overlap and for a page size that is no power of two."""
        self.extents = tuple(sorted(extents))
        self.page_size = page_size
        if page_size < 512 or page_size & (page_size - 1):
            raise ValueError(f"a page of {page_size} bytes is no power of two")
        for one, next_one in zip(self.extents, self.extents[1:], strict=False):
            if one.end > next_one.start:
                raise ValueError(f"memory at {next_one.start:#x} is there twice")
        self._starts = [extent.start for extent in self.extents]

    @property
    def page_shift(self) -> int:
        return self.page_size.bit_length() - 1

    @property
    def pages(self) -> int:
        """How many pages of RAM there are: more of anything than this cannot be true."""
        return sum(extent.length for extent in self.extents) // self.page_size

    def holds(self, address: int, length: int = 1) -> bool:
        """Whether all of a stretch is RAM."""
        return sum(len(part) for _, part in self._parts(address, length)) == max(length, 0)

    def read(self, address: int, length: int, where: str = "memory") -> bytes:
        """Raises Broken, naming ``where``, if any of it is not RAM."""
        self._check(address, length, where)
        parts = [self._fetch(extent, part) for extent, part in self._parts(address, length)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def word(self, address: int, where: str = "memory") -> int:
        """An unsigned 64-bit number in the byte order of the architectures that have KHO."""
        (value,) = struct.unpack("<Q", self.read(address, 8, where))
        assert isinstance(value, int)
        return value

    def page(self, address: int, where: str = "memory") -> bytes:
        """One whole page; raises Broken for an address that is none's."""
        return self.block(address, self.page_size, where)

    def block(self, address: int, length: int, where: str) -> bytes:
        """``length`` bytes that have to start with a page."""
        self.aligned(address, where)
        return self.read(address, length, where)

    def aligned(self, address: int, where: str) -> None:
        """Raises Broken unless ``address`` is that of a page in RAM."""
        if address % self.page_size:
            raise Broken(f"address {address:#x} is not that of a page", where)
        self._check(address, self.page_size, where)

    def write(self, address: int, data: bytes) -> None:
        """Raises Broken outside of RAM, and OSError where memory was opened for reading alone."""
        self._check(address, len(data), "write")
        done = 0
        for extent, part in self._parts(address, len(data)):
            self._store(extent, part, data[done : done + len(part)])
            done += len(part)

    def populated(self) -> Iterator[range]:
        """The addresses that may hold anything but zeros, for those who search all of it."""
        for extent in self.extents:
            yield range(extent.start, extent.end)

    def _check(self, address: int, length: int, where: str) -> None:
        if not self.holds(address, length):
            raise Broken(f"{length} bytes at {address:#x} lie outside of RAM", where)

    def _parts(self, address: int, length: int) -> Iterator[tuple[Extent, range]]:
        """What of a stretch is RAM, from its start to the first gap: extents, ranges of offsets in them."""
        end = address + length
        index = max(bisect_right(self._starts, address) - 1, 0)
        for extent in self.extents[index:]:
            if not extent.start <= address < min(extent.end, end):
                return
            stop = min(extent.end, end)
            yield extent, range(address - extent.start, stop - extent.start)
            address = stop

    @abstractmethod
    def _fetch(self, extent: Extent, part: range) -> bytes: ...

    @abstractmethod
    def _store(self, extent: Extent, part: range, data: bytes) -> None: ...


class Blobs(Memory):
    """A few stretches of memory, by address; writable."""

    def __init__(self, blobs: Mapping[int, bytes], page_size: int = PAGE_SIZE) -> None:
        super().__init__((Extent(start, 0, len(data)) for start, data in blobs.items()), page_size)
        self._blobs = {start: bytearray(data) for start, data in blobs.items()}

    def _fetch(self, extent: Extent, part: range) -> bytes:
        return bytes(self._blobs[extent.start][part.start : part.stop])

    def _store(self, extent: Extent, part: range, data: bytes) -> None:
        self._blobs[extent.start][part.start : part.stop] = data


class Ram(Memory):
    """Guest RAM in a file: QEMU's memory backend, alive or saved.

    It is read with pread() and not mapped: a look at a page of a mapped memfd that the guest has not touched
    would allocate it, and a search would so allocate all of the guest's memory. Bulk reads cost one copy.
    """

    def __init__(self, descriptor: int, layout: Iterable[Extent], page_size: int = PAGE_SIZE) -> None:
        """``descriptor`` stays the caller's. Raises ValueError where the file is too short for the layout."""
        super().__init__(layout, page_size)
        self._descriptor = descriptor
        size = os.fstat(descriptor).st_size
        needed = max((extent.offset + extent.length for extent in self.extents), default=0)
        if needed > size:
            raise ValueError(f"the layout needs {needed} bytes, and the file has {size}")

    @classmethod
    def of_machine(cls, descriptor: int, machine: str, page_size: int = PAGE_SIZE) -> Self:
        """All of the file, laid out as QEMU's ``machine`` has it; raises ValueError for an unknown one."""
        if machine not in LAYOUTS:
            raise ValueError(f"no layout of machine {machine} is known, only of {', '.join(sorted(LAYOUTS))}")
        return cls(descriptor, LAYOUTS[machine](os.fstat(descriptor).st_size), page_size)

    def populated(self) -> Iterator[range]:
        for extent in self.extents:
            at, end = extent.offset, extent.offset + extent.length
            while at < end:
                try:
                    data = os.lseek(self._descriptor, at, os.SEEK_DATA)
                except OSError:
                    break  # ENXIO: nothing but holes from here on
                if data >= end:
                    break
                at = min(os.lseek(self._descriptor, data, os.SEEK_HOLE), end)
                yield range(extent.start + data - extent.offset, extent.start + at - extent.offset)

    def _fetch(self, extent: Extent, part: range) -> bytes:
        offset, length = extent.offset + part.start, len(part)
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length:
            return data
        # pread() gives at most 2 GiB at once, and less where somebody has cut the file
        parts = [data]
        while data and (done := sum(map(len, parts))) < length:
            data = os.pread(self._descriptor, length - done, offset + done)
            parts.append(data)
        whole = b"".join(parts)
        if len(whole) < length:
            raise Broken(f"the file ends at {len(whole)} of {length} bytes", f"RAM at {extent.start:#x}")
        return whole

    def _store(self, extent: Extent, part: range, data: bytes) -> None:
        offset = extent.offset + part.start
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written
