# SPDX-License-Identifier: GPL-2.0-only
"""A preserved memfd: its size and position, and an array of the folios that hold its contents.

Source: include/linux/kho/abi/memfd.h, mm/memfd_luo.c; the first form is that of 6.19 and 7.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from kernel.abi import vmalloc
from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.structure import Struct
from kernel.abi.visited import Visited
from kernel.uapi import (
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
)

DIRTY = 1 << 0
UPTODATE = 1 << 1
_PFN_BITS = 52
_ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC


@dataclass(frozen=True, slots=True)
class MemfdV1(Struct):
    """struct memfd_luo_ser of 6.19, with its struct kho_vmalloc unfolded. ``pos`` and ``size`` in bytes."""

    FORMAT = "<QQQQIHH"

    pos: int
    size: int
    nr_folios: int
    first: int
    total_pages: int
    area_flags: int
    area_order: int


@dataclass(frozen=True, slots=True)
class MemfdV2(Struct):
    """The same since 7.1; ``flags`` has to be 0."""

    FORMAT = "<QQIIQQIHH"

    pos: int
    size: int
    seals: int
    flags: int
    nr_folios: int
    first: int
    total_pages: int
    area_flags: int
    area_order: int


# By the compatible string of the file handler.
FORMS: Mapping[str, type[MemfdV1 | MemfdV2]] = MappingProxyType({"memfd-v1": MemfdV1, "memfd-v2": MemfdV2})


@dataclass(frozen=True, slots=True)
class Folio(Struct):
    """struct memfd_luo_folio_ser; ``index`` counts pages of the file. A pfn of 0 stands for no folio."""

    FORMAT = "<QQ"

    pfn: int
    flags: int
    index: int

    @classmethod
    def of_items(cls, address: int, items: tuple[Any, ...]) -> Self:
        word, index = items
        return cls(address, word & (1 << _PFN_BITS) - 1, word >> _PFN_BITS, index)

    def items(self) -> tuple[Any, ...]:
        return self.flags << _PFN_BITS | self.pfn, self.index

    def address_of(self, name: str) -> int:
        """Pfn and flags share a word, and so an address."""
        return self.address + (8 if name == "index" else 0)


@dataclass(frozen=True)
class Memfd:
    """``area`` holds the array of folios; None for a memfd that has none."""

    header: MemfdV1 | MemfdV2
    area: vmalloc.Area | None
    folios: tuple[Folio, ...]


def read(memory: Memory, address: int, compatible: str, visited: Visited, where: str) -> Memfd:
    """``compatible`` is one of FORMS. Raises Broken for counts and addresses that cannot be true."""
    where = f"{where}: {compatible} at {address:#x}"
    visited.once(address, where)
    memory.aligned(address, where)
    header = FORMS[compatible].unpack(memory, address, where)
    if isinstance(header, MemfdV2):
        if header.flags:
            raise Broken(f"flags {header.flags:#x} are not 0", where)
        if header.seals & ~_ALL_SEALS:
            raise Broken(f"seals {header.seals:#x} are not all known", where)
    if not header.nr_folios:
        return Memfd(header, None, ())
    area = vmalloc.read(memory, _descriptor(header), visited, where)
    # The kernel does not check this: it would read beyond the area.
    if header.nr_folios * Folio.size_of() > area.length:
        raise Broken(f"{header.nr_folios} folios are said to be in {area.length} bytes", where)
    if header.nr_folios > memory.pages:
        raise Broken(f"{header.nr_folios} folios are more than RAM has pages", where)
    return Memfd(header, area, _folios(memory, header, area, visited, f"{where}: folio array"))


def _descriptor(header: MemfdV1 | MemfdV2) -> vmalloc.Descriptor:
    return vmalloc.Descriptor(
        header.address_of("first"), header.first, header.total_pages, header.area_flags, header.area_order
    )


def _folios(
    memory: Memory, header: MemfdV1 | MemfdV2, area: vmalloc.Area, visited: Visited, where: str
) -> tuple[Folio, ...]:
    shift = memory.page_shift
    folios: list[Folio] = []
    left = header.nr_folios * Folio.size_of()
    for block in area.blocks:
        data = memory.read(block, min(left, area.block_size), where)
        folios += Folio.parse(data, block)
        left -= len(data)
        if not left:
            break
    for index, folio in enumerate(folios):
        if folio.pfn:
            if not memory.holds(folio.pfn << shift, memory.page_size):
                raise Broken(f"pfn {folio.pfn:#x} lies outside of RAM", f"{where}: entry {index}")
            visited.once(folio.pfn << shift, f"{where}: entry {index}")
        if folio.flags & ~(DIRTY | UPTODATE):
            raise Broken(f"flags {folio.flags:#x} are not all known", f"{where}: entry {index}")
        if folio.index << shift >= header.size:
            raise Broken(f"page {folio.index} of a file of {header.size} bytes", f"{where}: entry {index}")
    return tuple(folios)
