# SPDX-License-Identifier: GPL-2.0-only
"""Everything that one kernel hands to the next, from KHO's FDT on.

Everything keeps its physical address, so that a test can change it where it is:

    with open(ram, "r+b") as file:
        memory = Ram.of_machine(file.fileno(), "q35")
        handover = Handover.read(memory)
        handover.luo.session("vm").file(7).entry.replace(token=9).write(memory)
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from kernel.abi import bitmaps, luo, metadata, radix, reserve_mem, search
from kernel.abi.errors import Broken
from kernel.abi.luo import Luo
from kernel.abi.memfd import Memfd
from kernel.abi.memory import Memory
from kernel.abi.metadata import KexecMetadata
from kernel.abi.preserved import MemoryMap
from kernel.abi.reserve_mem import ReservedMemory
from kernel.abi.root import MapForm, Root, Subtree
from kernel.abi.visited import Visited


class Place(NamedTuple):
    """Where a part of a file's contents is; offset in the file, physical address and length in bytes."""

    offset: int
    address: int
    length: int


@dataclass(frozen=True)
class Handover:
    """``others`` are blobs of whoever else uses KHO; they are not looked into."""

    page_size: int
    root: Root
    memory_map: MemoryMap
    metadata: KexecMetadata | None
    luo: Luo | None
    reserved: ReservedMemory | None
    others: tuple[Subtree, ...]

    @classmethod
    def read(
        cls,
        memory: Memory,
        of: Root | None = None,
        *,
        bitmap_bytes: int | None = None,
        opaque: Container[str] = (),
    ) -> Self:
        """The handover ``of`` a root; without one, the one that the kernel prepares, else the one it got.

        ``bitmap_bytes`` is for 6.16 and 6.17, see bitmaps.bitmap_bytes(); ``opaque`` are handlers whose data
        is not looked into. Raises Broken for the first thing that contradicts the ABI, and where there is no
        handover.
        """
        if of is None:
            of = _newest(memory)
        visited = Visited()
        for address in (of.address, *(subtree.blob for subtree in of.subtrees)):
            visited.once(address, f"KHO FDT at {of.address:#x}")
        blobs = {subtree.name: subtree for subtree in of.subtrees}
        about, state, areas = (blobs.pop(one, None) for one in (metadata.NAME, luo.NAME, reserve_mem.NAME))
        return cls(
            memory.page_size,
            of,
            _memory_map(memory, of, bitmap_bytes or memory.page_size, visited),
            metadata.read(memory, about.blob, about.size or 0) if about else None,
            luo.read(memory, state.blob, state.size, visited, opaque) if state else None,
            reserve_mem.read(memory, areas.blob, areas.size) if areas else None,
            tuple(blobs.values()),
        )

    def places(self, memfd: Memfd) -> Iterator[Place]:
        """Where a memfd's contents are; the memory map knows how large a folio is.

        Raises Broken for a folio that is not preserved, or not as a whole.
        """
        shift = self.page_size.bit_length() - 1
        for index, folio in enumerate(memfd.folios):
            if folio.pfn:
                address = folio.pfn << shift
                order = self.memory_map.orders.get(address)
                if order is None:
                    raise Broken(
                        f"the folio at {address:#x} is not preserved",
                        f"memfd at {memfd.header.address:#x}: entry {index}",
                    )
                yield Place(folio.index << shift, address, self.page_size << order)

    def contents(self, memory: Memory, memfd: Memfd) -> bytes:
        """All bytes of a memfd, up to its size. Raises Broken as places() does, and if RAM holds less."""
        size = memfd.header.size
        if size > memory.pages * memory.page_size:
            raise Broken(f"{size} bytes are more than RAM", f"memfd at {memfd.header.address:#x}")
        data = bytearray(size)
        for offset, address, length in self.places(memfd):
            taken = min(length, size - offset)
            data[offset : offset + taken] = memory.read(address, taken, f"folio at {address:#x}")
        return bytes(data)


def _newest(memory: Memory) -> Root:
    handovers = search.find(memory)
    found = handovers.outgoing or handovers.incoming
    if found is None:
        raise Broken("no KHO FDT is here", "RAM")
    return found.root


def _memory_map(memory: Memory, of: Root, bitmap_bytes: int, visited: Visited) -> MemoryMap:
    if of.abi.map_form is MapForm.RADIX:
        return radix.read(memory, of.memory_map, visited)
    if not of.memory_map:
        raise Broken("there is no memory map, so it was not finalized", f"KHO FDT at {of.address:#x}")
    return bitmaps.read(memory, of.memory_map, bitmap_bytes, visited)
