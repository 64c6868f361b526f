# SPDX-License-Identifier: GPL-2.0-only
"""What a memory map says: which blocks of pages the next kernel must leave alone."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory


class Preserved(NamedTuple):
    """A block of ``2**order`` pages at a physical address: a folio, or an aligned part of some pages."""

    address: int
    order: int


class Part(NamedTuple):
    """A stretch of physical memory, in bytes, and in words what it is for."""

    address: int
    length: int
    what: str


@dataclass(frozen=True)
class MemoryMap:
    """``blocks`` are in the order of their addresses and do not overlap.

    ``parts`` is the memory that the map itself is made of. None of it is preserved: the next kernel reads the
    map while it uses scratch memory alone, then lets it go (see kho_extend_scratch() of kexec_handover.c).
    """

    address: int
    page_size: int
    blocks: tuple[Preserved, ...]
    parts: tuple[Part, ...]

    @cached_property
    def orders(self) -> dict[int, int]:
        """The order of each block, by its address."""
        return dict(self.blocks)

    def length(self, block: Preserved) -> int:
        """In bytes."""
        return self.page_size << block.order


class Blocks:
    """Collects blocks, and refuses what no kernel can have meant; so it stays smaller than RAM has pages."""

    def __init__(self, memory: Memory, where: str) -> None:
        self._memory = memory
        self._where = where
        self._blocks: list[Preserved] = []

    def add(self, address: int, order: int, where: str) -> None:
        """Raises Broken for a block that is not all RAM."""
        if not self._memory.holds(address, self._memory.page_size << order):
            raise Broken(f"block of order {order} at {address:#x} lies outside of RAM", where)
        # One block of each order at each place are at most two for a page; more is a map that repeats itself.
        if len(self._blocks) > 2 * self._memory.pages:
            raise Broken("more blocks than RAM has pages", self._where)
        self._blocks.append(Preserved(address, order))

    def done(self) -> tuple[Preserved, ...]:
        """Raises Broken for blocks that overlap: of a page in two of them only one order survives."""
        blocks = sorted(self._blocks)
        end, last = 0, Preserved(0, 0)
        for block in blocks:
            if block.address < end:
                raise Broken(
                    f"blocks of order {last.order} at {last.address:#x} and of order {block.order}"
                    f" at {block.address:#x} overlap",
                    self._where,
                )
            end, last = block.address + (self._memory.page_size << block.order), block
        return tuple(blocks)


def words(page: bytes) -> tuple[int, ...]:
    """A page as native u64."""
    return struct.unpack(f"<{len(page) // 8}Q", page)


def set_bits(bitmap: bytes) -> Iterator[int]:
    """The numbers of the bits that are set, in order."""
    for index, word in enumerate(words(bitmap)):
        while word:
            lowest = word & -word
            yield index * 64 + lowest.bit_length() - 1
            word ^= lowest
