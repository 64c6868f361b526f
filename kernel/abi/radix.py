# SPDX-License-Identifier: GPL-2.0-only
"""The memory map since kho-v3: a radix tree of keys, each a page's address and order.

Source: include/linux/kho/abi/kexec_handover.h (enum kho_radix_consts) and kho_encode_radix_key() of
kernel/liveupdate/kexec_handover.c.
"""

from dataclasses import dataclass

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.preserved import Blocks, MemoryMap, Part, set_bits, words
from kernel.abi.visited import Visited

_POINTER = 8  # bytes of a table's entry


@dataclass(frozen=True)
class Geometry:
    """What the kernel derives of its page size; ``_log2`` are numbers of bits of a key."""

    page_size: int

    @property
    def page_shift(self) -> int:
        return self.page_size.bit_length() - 1

    @property
    def key_width(self) -> int:
        """A page frame number of order 0, and the order's bit above it."""
        return 64 - self.page_shift + 1

    @property
    def table_log2(self) -> int:
        return (self.page_size // _POINTER).bit_length() - 1

    @property
    def bitmap_log2(self) -> int:
        return self.page_shift + 3

    @property
    def depth(self) -> int:
        """Levels, that of the bitmaps included: level 0 is theirs, the root's is ``depth - 1``."""
        return -(-(self.key_width - self.bitmap_log2) // self.table_log2) + 1

    @property
    def max_order(self) -> int:
        """Of what a key can say; no allocator gives as much."""
        return 63 - self.page_shift

    def encode(self, address: int, order: int) -> int:
        """Raises ValueError for an order that no key can say, and an address that is not aligned to it."""
        if not 0 <= order <= self.max_order:
            raise ValueError(f"order {order} is not between 0 and {self.max_order}")
        if address % (self.page_size << order) or not 0 <= address < 1 << 64:
            raise ValueError(f"{address:#x} is not the address of a block of order {order}")
        shift = self.page_shift + order
        return 1 << (64 - shift) | address >> shift

    def decode(self, key: int) -> tuple[int, int]:
        """Address and order; raises ValueError for what is no key: zero, too wide, of too high an order."""
        if not 0 < key < 1 << self.key_width:
            raise ValueError(f"{key:#x} is no key")
        order_bit = key.bit_length() - 1
        order = 64 - self.page_shift - order_bit
        if order > self.max_order:
            raise ValueError(f"{key:#x} is no key")
        return (key ^ 1 << order_bit) << (self.page_shift + order), order

    def shift(self, level: int) -> int:
        """How far below its own bits of a key a table of ``level`` leaves the rest."""
        return (level - 1) * self.table_log2 + self.bitmap_log2

    def index(self, key: int, level: int) -> int:
        """Which entry of a table of ``level`` leads to ``key``."""
        return key >> self.shift(level) & (1 << self.table_log2) - 1


def read(memory: Memory, root: int, visited: Visited, where: str = "memory map") -> MemoryMap:
    """The whole tree; raises Broken for one that leaves RAM, meets itself, or holds what is no key."""
    tree = _Tree(memory, visited, where)
    tree.table(root, tree.geometry.depth - 1, 0)
    return MemoryMap(root, memory.page_size, tree.blocks.done(), tuple(tree.parts))


class _Tree:
    def __init__(self, memory: Memory, visited: Visited, where: str) -> None:
        self.geometry = Geometry(memory.page_size)
        self.blocks = Blocks(memory, where)
        self.parts: list[Part] = []
        self._memory = memory
        self._where = where
        self._visited = visited

    def table(self, address: int, level: int, key: int) -> None:
        """Deeper than ``depth`` it cannot get, and no page is read twice."""
        where = f"{self._where}: radix table of level {level} at {address:#x}"
        shift = self.geometry.shift(level)
        for index, entry in enumerate(words(self._page(address, "radix table", where))):
            if entry and level > 1:
                self.table(entry, level - 1, key | index << shift)
            elif entry:
                self._leaf(entry, key | index << shift)

    def _leaf(self, address: int, key: int) -> None:
        where = f"{self._where}: radix leaf at {address:#x}"
        for bit in set_bits(self._page(address, "radix leaf", where)):
            try:
                block, order = self.geometry.decode(key | bit)
            except ValueError as error:
                raise Broken(f"bit {bit}: {error}", where) from error
            self.blocks.add(block, order, where)

    def _page(self, address: int, what: str, where: str) -> bytes:
        self._visited.once(address, where)
        page = self._memory.page(address, where)
        self.parts.append(Part(address, self._memory.page_size, what))
        return page


@dataclass(frozen=True)
class Bit:
    """Where a key is: a byte's physical address and the bit in it, as a mask."""

    address: int
    mask: int

    def get(self, memory: Memory) -> bool:
        return bool(memory.read(self.address, 1)[0] & self.mask)

    def flip(self, memory: Memory) -> None:
        memory.write(self.address, bytes([memory.read(self.address, 1)[0] ^ self.mask]))


def locate(memory: Memory, root: int, address: int, order: int) -> Bit:
    """The bit of a block, set or not. Raises Broken where no leaf is there, ValueError as encode() does."""
    geometry = Geometry(memory.page_size)
    key = geometry.encode(address, order)
    node = root
    for level in range(geometry.depth - 1, 0, -1):
        where = f"radix table of level {level} at {node:#x}"
        memory.aligned(node, where)
        entry = node + geometry.index(key, level) * _POINTER
        node = memory.word(entry, where)
        if not node:
            raise Broken(f"no way to order {order} at {address:#x}", where)
    memory.aligned(node, f"radix leaf at {node:#x}")
    bit = key & (1 << geometry.bitmap_log2) - 1
    return Bit(node + bit // 8, 1 << bit % 8)
