# SPDX-License-Identifier: GPL-2.0-only
"""The memory map of kho-v1, 6.16 to 7.0: a chain of chunks that point to bitmaps, each of one order.

Source: struct khoser_mem_chunk and deserialize_bitmap() of kernel/liveupdate/kexec_handover.c in 6.19.
"""

from dataclasses import dataclass

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.preserved import Blocks, MemoryMap, Part, set_bits
from kernel.abi.radix import Geometry
from kernel.abi.structure import Struct
from kernel.abi.visited import Visited
from kernel.release import KernelRelease

# 6.18 made a bitmap a page, under the same compatible string.
_SMALL_BITMAP = 512
_FIRST_WITH_PAGES = KernelRelease(6, 18)


def bitmap_bytes(release: KernelRelease, page_size: int) -> int:
    """The size of a bitmap that a kernel of ``release`` writes; nothing in memory tells."""
    return page_size if release.series >= _FIRST_WITH_PAGES.series else _SMALL_BITMAP


@dataclass(frozen=True, slots=True)
class Chunk(Struct):
    """struct khoser_mem_chunk_hdr; it fills a page with its elements."""

    FORMAT = "<QII"

    next: int
    order: int
    count: int


@dataclass(frozen=True, slots=True)
class Element(Struct):
    """struct khoser_mem_bitmap_ptr: ``start`` is the address that bit 0 stands for."""

    FORMAT = "<QQ"

    start: int
    bitmap: int


def read(memory: Memory, first: int, size: int, visited: Visited, where: str = "memory map") -> MemoryMap:
    """All chunks, with bitmaps of ``size`` bytes.

    Raises Broken for a chain that leaves RAM or meets itself, and for blocks that no kernel can have meant.
    """
    chain = _Chain(memory, size, visited, where)
    address = first
    while address:
        address = chain.chunk(address)
    return MemoryMap(first, memory.page_size, chain.blocks.done(), tuple(chain.parts))


class _Chain:
    def __init__(self, memory: Memory, size: int, visited: Visited, where: str) -> None:
        self.blocks = Blocks(memory, where)
        self.parts: list[Part] = []
        self._memory = memory
        self._size = size
        self._where = where
        self._visited = visited

    def chunk(self, address: int) -> int:
        """Returns the address of the next one."""
        where = f"{self._where}: chunk at {address:#x}"
        self._visited.once(address, where)
        self._memory.aligned(address, where)
        chunk = Chunk.unpack(self._memory, address, where)
        room = (self._memory.page_size - Chunk.size_of()) // Element.size_of()
        if chunk.count > room:
            raise Broken(f"{chunk.count} elements where {room} have room", where)
        if chunk.order > Geometry(self._memory.page_size).max_order:
            raise Broken(f"order {chunk.order} is too high", where)
        self.parts.append(Part(address, self._memory.page_size, "bitmap chunk"))
        elements = Element.unpack_array(self._memory, address + Chunk.size_of(), chunk.count, where)
        for number, element in enumerate(elements):
            self._bitmap(element, chunk.order, f"{where}: element {number}")
        return chunk.next

    def _bitmap(self, element: Element, order: int, where: str) -> None:
        block = self._memory.page_size << order
        if element.start % (block * self._size * 8):
            raise Broken(f"{element.start:#x} is not where a bitmap of order {order} can start", where)
        if element.bitmap % self._size:
            raise Broken(f"{element.bitmap:#x} is not the address of a bitmap", where)
        self._visited.once(element.bitmap, where)
        bitmap = self._memory.read(element.bitmap, self._size, where)
        self.parts.append(Part(element.bitmap, self._size, "bitmap"))
        for bit in set_bits(bitmap):
            self.blocks.add(element.start + bit * block, order, where)
