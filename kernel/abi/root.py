# SPDX-License-Identifier: GPL-2.0-only
"""KHO's own device tree: the memory map, and the blobs of whoever hands something over.

Source: include/linux/kho/abi/kexec_handover.h, kho_add_subtree() of kernel/liveupdate/kexec_handover.c.
"""

from dataclasses import dataclass
from enum import Enum

from kernel.abi import fdt
from kernel.abi.errors import Broken
from kernel.abi.memory import Memory

MEMORY_MAP = "preserved-memory-map"


class MapForm(Enum):
    BITMAPS = "chain of bitmaps"
    RADIX = "radix tree"


@dataclass(frozen=True)
class RootAbi:
    """What differs between the versions; a property's name, or None where there is no such property."""

    compatible: str
    blob: str
    blob_size: str | None
    map_form: MapForm


ABIS = {
    abi.compatible: abi
    for abi in (
        RootAbi("kho-v1", "fdt", None, MapForm.BITMAPS),  # 6.16 to 7.0
        RootAbi("kho-v3", "preserved-data", "blob-size", MapForm.RADIX),  # 7.1
        RootAbi("kho-v4", "preserved-data", "blob-size", MapForm.RADIX),  # since 7.2
    )
}


@dataclass(frozen=True)
class Subtree:
    """One blob: its address, and its size in bytes where the version tells it."""

    name: str
    blob: int
    size: int | None
    node: fdt.Node


@dataclass(frozen=True)
class Root:
    """``memory_map`` is the address of the map; kho-v1 has 0 there until it is finalized."""

    abi: RootAbi
    tree: fdt.Tree
    memory_map: int
    subtrees: tuple[Subtree, ...]

    @property
    def address(self) -> int:
        return self.tree.address

    def subtree(self, name: str) -> Subtree | None:
        return next((subtree for subtree in self.subtrees if subtree.name == name), None)

    def map_property(self) -> fdt.Property:
        """For tests that tamper with it."""
        return self.tree.root.property(MEMORY_MAP, "KHO FDT")


def read(memory: Memory, address: int) -> Root:
    """The tree in the page at ``address``; nothing that it points to is looked at, but has to be in RAM."""
    where = f"KHO FDT at {address:#x}"
    memory.aligned(address, where)
    tree = fdt.parse(memory, address, memory.page_size, where)
    abi = ABIS[tree.root.compatible(tuple(ABIS), where)]
    memory_map = tree.root.property(MEMORY_MAP, where).word(where)
    if memory_map or abi.map_form is MapForm.RADIX:
        memory.aligned(memory_map, f"{where}: property '{MEMORY_MAP}'")
    subtrees = tuple(_subtree(memory, abi, node, where) for node in tree.root.children)
    return Root(abi, tree, memory_map, subtrees)


def _subtree(memory: Memory, abi: RootAbi, node: fdt.Node, where: str) -> Subtree:
    blob = node.property(abi.blob, where).word(f"{where}: node '{node.name}'")
    size = None
    if abi.blob_size is not None:
        size = node.property(abi.blob_size, where).word(f"{where}: node '{node.name}'")
        if not size:
            raise Broken(f"the blob of node '{node.name}' has no byte", where)
    if not memory.holds(blob, 1 if size is None else size):
        raise Broken(f"the blob of node '{node.name}' at {blob:#x} lies outside of RAM", where)
    return Subtree(node.name, blob, size, node)
