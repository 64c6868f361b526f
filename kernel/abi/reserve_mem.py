# SPDX-License-Identifier: GPL-2.0-only
"""The blob ``memblock``: the areas of the boot parameter reserve_mem=, as a device tree.

Source: include/linux/kho/abi/memblock.h, prepare_kho_fdt() of mm/memblock.c.
"""

from dataclasses import dataclass

from kernel.abi import fdt
from kernel.abi.errors import Broken
from kernel.abi.memory import Memory

NAME = "memblock"
COMPATIBLE = "memblock-v1"
AREA_COMPATIBLE = "reserve-mem-v1"


@dataclass(frozen=True)
class Area:
    """One ``reserve_mem=``; ``start`` and ``size`` in bytes, with the properties that say so."""

    name: str
    start: int
    size: int
    node: fdt.Node


@dataclass(frozen=True)
class ReservedMemory:
    tree: fdt.Tree
    areas: tuple[Area, ...]


def read(memory: Memory, address: int, size: int | None) -> ReservedMemory:
    """``size`` is that of the blob where KHO says it. Raises Broken, also for an area that is not all RAM."""
    where = f"memblock FDT at {address:#x}"
    tree = fdt.parse(memory, address, memory.page_size if size is None else size, where)
    tree.root.compatible((COMPATIBLE,), where)
    return ReservedMemory(tree, tuple(_area(memory, node, where) for node in tree.root.children))


def _area(memory: Memory, node: fdt.Node, where: str) -> Area:
    where = f"{where}: area '{node.name}'"
    node.compatible((AREA_COMPATIBLE,), where)
    start = node.property("start", where).word(where)
    size = node.property("size", where).word(where)
    if not size or not memory.holds(start, size):
        raise Broken(f"{size} bytes at {start:#x} are no RAM", where)
    return Area(node.name, start, size, node)
