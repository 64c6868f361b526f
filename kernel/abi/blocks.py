# SPDX-License-Identifier: GPL-2.0-only
"""Chains of pages full of entries (since 7.2), which LUO keeps sessions and files in.

Source: include/linux/kho/abi/block.h, kho_block_set_restore() of kernel/liveupdate/kho_block.c.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.structure import Struct
from kernel.abi.visited import Visited

MAX_BLOCKS = 10_000  # KHO_MAX_BLOCKS of kho_block.c

Entry = TypeVar("Entry", bound=Struct)


@dataclass(frozen=True, slots=True)
class Block(Struct):
    """struct kho_block_header_ser: ``count`` entries come right after it."""

    FORMAT = "<QQ"

    next: int
    count: int


@dataclass(frozen=True)
class Chain(Generic[Entry]):
    blocks: tuple[Block, ...]
    entries: tuple[Entry, ...]


def capacity(entry: type[Struct], page_size: int) -> int:
    """How many entries of a kind a block takes."""
    return (page_size - Block.size_of()) // entry.size_of()


def read(memory: Memory, head: int, entry: type[Entry], visited: Visited, where: str) -> Chain[Entry]:
    """The chain from ``head`` on, which may be 0 for none.

    Raises Broken for what the kernel refuses: an empty block, one with too many entries, a cycle, more
    than MAX_BLOCKS; and for blocks outside of RAM, where the kernel would fault.
    """
    blocks: list[Block] = []
    entries: list[Entry] = []
    room = capacity(entry, memory.page_size)
    address = head
    while address:
        at = f"{where}: block at {address:#x}"
        visited.once(address, at)
        if len(blocks) == MAX_BLOCKS:
            raise Broken(f"more than {MAX_BLOCKS} blocks", at)
        memory.aligned(address, at)
        block = Block.unpack(memory, address, at)
        if not 0 < block.count <= room:
            raise Broken(f"{block.count} entries in a block for 1 to {room}", at)
        blocks.append(block)
        entries += entry.unpack_array(memory, address + Block.size_of(), block.count, at)
        address = block.next
    return Chain(tuple(blocks), tuple(entries))
