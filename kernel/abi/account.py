# SPDX-License-Identifier: GPL-2.0-only
"""Whose every preserved page is: what the parts of a handover claim, held against its memory map."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Self

from kernel.abi import metadata, reserve_mem
from kernel.abi.handover import Handover
from kernel.abi.luo import Luo, Session
from kernel.abi.memfd import Memfd
from kernel.abi.preserved import Part, Preserved
from kernel.abi.structure import Struct


class Preservation(Enum):
    """How memory was given to KHO, which says what blocks of it the map has."""

    FOLIO = "kho_alloc_preserve() or kho_preserve_folio(): one block, of a size that is a power of two"
    PAGES = "kho_preserve_pages(): as few aligned blocks as cover it"
    NONE = "not at all: what KHO itself needs no longer than in early boot"


class Claim(NamedTuple):
    part: Part
    preservation: Preservation

    def blocks(self, page_size: int) -> Iterator[Preserved]:
        """What the map has of it."""
        if self.preservation is Preservation.FOLIO:
            yield Preserved(self.part.address, _order(self.part.length, page_size))
        elif self.preservation is Preservation.PAGES:
            yield from _split(self.part.address, self.part.length, page_size)


def claims(handover: Handover) -> Iterator[Claim]:
    """Everything that the handover is known to need; a memfd's folio counts as large as the map has it."""
    page = handover.page_size
    for part in handover.memory_map.parts:
        yield Claim(part, Preservation.NONE)
    yield _folio(handover.root.address, page, "KHO FDT")
    about, luo, reserved = handover.metadata, handover.luo, handover.reserved
    if about is not None:
        yield _folio(about.address, about.size_of(), metadata.NAME)
    if luo is not None:
        yield _folio(luo.address, luo.state.size_of() if isinstance(luo.state, Struct) else page, "LUO state")
        yield from _of_luo(handover, luo)
    if reserved is not None:
        yield _pages(reserved.tree.address, page, f"{reserve_mem.NAME} FDT")
        for area in reserved.areas:
            # The kernel shifts the size: what is less than a page at its end is not preserved.
            yield _pages(area.start, area.size // page * page, f"reserve_mem '{area.name}'")
    for other in handover.others:
        yield _folio(other.blob, other.size or 1, f"blob '{other.name}'")


def owners(handover: Handover) -> dict[int, str]:
    """Who owns a page, in words, by the page's address; preserved or not."""
    page = handover.page_size
    found: dict[int, str] = {}
    for claim in claims(handover):
        part = claim.part
        for address in range(part.address // page * page, part.address + part.length, page):
            found[address] = part.what
    return found


@dataclass(frozen=True)
class Account:
    """What does not add up; nothing, where the kernel did right.

    ``unowned`` are blocks of the map that nothing claims; ``missing`` those that something claims and the map
    has not. A block of another order than its user asks for is in both. ``shared`` are claims to the same
    memory.
    """

    unowned: tuple[Preserved, ...]
    missing: tuple[tuple[Preserved, Part], ...]
    shared: tuple[tuple[Part, Part], ...]

    @classmethod
    def of(cls, handover: Handover) -> Self:
        page = handover.page_size
        everything = list(claims(handover))
        asked = {block: claim.part for claim in everything for block in claim.blocks(page)}
        held = set(handover.memory_map.blocks)
        return cls(
            tuple(block for block in handover.memory_map.blocks if block not in asked),
            tuple((block, part) for block, part in asked.items() if block not in held),
            tuple(_shared([claim.part for claim in everything])),
        )

    @property
    def balanced(self) -> bool:
        return not (self.unowned or self.missing or self.shared)

    def __str__(self) -> str:
        lines = [f"nobody owns the block of order {order} at {address:#x}" for address, order in self.unowned]
        lines += [
            f"{part.what} at {part.address:#x}: its block of order {block.order} at {block.address:#x}"
            " is not preserved"
            for block, part in self.missing
        ]
        lines += [f"{one.what} and {two.what} share memory at {two.address:#x}" for one, two in self.shared]
        return "\n".join(lines) or "every preserved page has its owner"


def _folio(address: int, length: int, what: str) -> Claim:
    return Claim(Part(address, length, what), Preservation.FOLIO)


def _pages(address: int, length: int, what: str) -> Claim:
    return Claim(Part(address, length, what), Preservation.PAGES)


def _of_luo(handover: Handover, luo: Luo) -> Iterator[Claim]:
    for part in luo.storage:
        yield Claim(part, Preservation.FOLIO)
    for session in luo.sessions:
        for file in session.files:
            if file.memfd is not None:
                yield from _of_memfd(handover, file.memfd, session, file.token)


def _of_memfd(handover: Handover, memfd: Memfd, session: Session, token: int) -> Iterator[Claim]:
    name = f"memfd '{session.name}'/{token}"
    page = handover.page_size
    yield _folio(memfd.header.address, memfd.header.size_of(), name)
    if memfd.area is not None:
        for chunk in memfd.area.chunks:
            yield _pages(chunk.address, page, f"{name} vmalloc chunk")
        for block in memfd.area.blocks:
            yield _pages(block, memfd.area.block_size, f"{name} folio array")
    for index, folio in enumerate(memfd.folios):
        if folio.pfn:
            order = handover.memory_map.orders.get(folio.pfn * page, 0)
            yield _folio(folio.pfn * page, page << order, f"{name} folio {index}")


def _order(length: int, page_size: int) -> int:
    """get_order() of include/asm-generic/getorder.h."""
    return (-(-length // page_size) - 1).bit_length()


def _split(address: int, length: int, page_size: int) -> Iterator[Preserved]:
    """kho_preserve_pages(), on a machine with one NUMA node."""
    number, end = address // page_size, -(-(address + length) // page_size)
    while number < end:
        largest = (end - number).bit_length() - 1
        alignment = (number & -number).bit_length() - 1
        order = min(alignment, largest) if number else largest
        yield Preserved(number * page_size, order)
        number += 1 << order


def _shared(parts: list[Part]) -> Iterator[tuple[Part, Part]]:
    last: Part | None = None
    for part in sorted(parts):
        if last is not None and part.address < last.address + last.length:
            yield last, part
        if last is None or part.address + part.length > last.address + last.length:
            last = part
