# SPDX-License-Identifier: GPL-2.0-only
"""Preserved vmalloc areas (since 6.18): a descriptor, and a chain of chunks with the addresses of pages.

Source: include/linux/kho/abi/kexec_handover.h, kho_preserve_vmalloc() of kernel/liveupdate/kexec_handover.c.
"""

from dataclasses import dataclass

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.preserved import words
from kernel.abi.structure import Struct
from kernel.abi.visited import Visited

VM_ALLOC = 0x0001
HUGE_VMAP = 0x0002
_FLAGS = VM_ALLOC | HUGE_VMAP


@dataclass(frozen=True, slots=True)
class Descriptor(Struct):
    """struct kho_vmalloc: ``order`` is that of every block of pages in the area."""

    FORMAT = "<QIHH"

    first: int
    total_pages: int
    flags: int
    order: int


@dataclass(frozen=True, slots=True)
class Chunk(Struct):
    """struct kho_vmalloc_hdr, and how many of the addresses after it count: up to the first zero."""

    FORMAT = "<Q"

    next: int


@dataclass(frozen=True)
class Area:
    """``blocks`` are the addresses of its blocks of ``2**order`` pages, in the order of its contents."""

    descriptor: Descriptor
    chunks: tuple[Chunk, ...]
    blocks: tuple[int, ...]
    block_size: int  # bytes

    @property
    def length(self) -> int:
        return len(self.blocks) * self.block_size

    def contents(self, memory: Memory, length: int, where: str) -> bytes:
        """The first ``length`` bytes; the caller has checked that there are as many."""
        blocks = self.blocks[: -(-length // self.block_size)]
        return b"".join(memory.read(block, self.block_size, where) for block in blocks)[:length]

    def place(self, offset: int) -> int:
        """The physical address of a byte of it."""
        index, rest = divmod(offset, self.block_size)
        return self.blocks[index] + rest


def read(memory: Memory, descriptor: Descriptor, visited: Visited, where: str) -> Area:
    """Raises Broken unless the chain has exactly the pages that the descriptor promises, each once."""
    where = f"{where}: vmalloc area at {descriptor.address:#x}"
    if descriptor.flags & ~_FLAGS:
        raise Broken(f"flags {descriptor.flags:#x} are not known", where)
    if descriptor.total_pages > memory.pages:
        raise Broken(f"{descriptor.total_pages} pages are more than RAM has", where)
    if descriptor.total_pages % (1 << descriptor.order):
        raise Broken(f"{descriptor.total_pages} pages are no blocks of order {descriptor.order}", where)
    block_size = memory.page_size << descriptor.order
    wanted = descriptor.total_pages >> descriptor.order
    chunks: list[Chunk] = []
    blocks: list[int] = []
    address = descriptor.first
    while address:
        at = f"{where}: chunk at {address:#x}"
        visited.once(address, at)
        page = memory.page(address, at)
        chunk = next(Chunk.parse(page[: Chunk.size_of()], address))
        chunks.append(chunk)
        for index, block in enumerate(_addresses(page)):
            if len(blocks) == wanted:
                raise Broken(f"more than the {wanted} blocks that there should be", at)
            visited.once(block, f"{at}: entry {index}")
            _check(memory, block, block_size, f"{at}: entry {index}")
            blocks.append(block)
        address = chunk.next
    if len(blocks) != wanted:
        raise Broken(f"{len(blocks)} blocks, not {wanted}", where)
    return Area(descriptor, tuple(chunks), tuple(blocks), block_size)


def _addresses(page: bytes) -> list[int]:
    entries = list(words(page)[1:])
    return entries[: entries.index(0)] if 0 in entries else entries


def _check(memory: Memory, block: int, size: int, where: str) -> None:
    if block % memory.page_size or not memory.holds(block, size):
        raise Broken(f"{block:#x} is no block of {size} bytes in RAM", where)
