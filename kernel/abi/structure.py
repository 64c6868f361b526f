# SPDX-License-Identifier: GPL-2.0-only
"""Packed structs in memory: read at an address, written back there, one field changed."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct at a physical address. The fields after ``address`` are FORMAT's items, in their order.

    All are little-endian and packed: so are the architectures that have KHO, and so the kernel declares them.
    To tamper: ``entry.replace(token=9).write(memory)``.
    """

    FORMAT: ClassVar[str]

    address: int

    @classmethod
    def size_of(cls) -> int:
        return struct.calcsize(cls.FORMAT)

    @classmethod
    def formats(cls) -> list[str]:
        """FORMAT's items, one for each field."""
        return re.findall(r"\d*[a-zA-Z]", cls.FORMAT)

    @classmethod
    def unpack(cls, memory: Memory, address: int, where: str) -> Self:
        """Raises Broken where it does not lie in RAM."""
        return cls.unpack_array(memory, address, 1, where)[0]

    @classmethod
    def unpack_array(cls, memory: Memory, address: int, count: int, where: str) -> list[Self]:
        """``count`` of them, one after the other; the caller has checked that number."""
        return list(cls.parse(memory.read(address, count * cls.size_of(), where), address))

    @classmethod
    def parse(cls, data: bytes, address: int) -> Iterator[Self]:
        """All that ``data``, read at ``address``, is made of."""
        size = cls.size_of()
        for index, items in enumerate(struct.iter_unpack(cls.FORMAT, data)):
            yield cls.of_items(address + index * size, items)

    @classmethod
    def of_items(cls, address: int, items: tuple[Any, ...]) -> Self:
        return cls(address, *items)

    def items(self) -> tuple[Any, ...]:
        """The values of FORMAT's items."""
        return tuple(getattr(self, field.name) for field in fields(self)[1:])

    def pack(self) -> bytes:
        """Raises struct.error for a value that does not fit."""
        return struct.pack(self.FORMAT, *self.items())

    def replace(self, **changes: Any) -> Self:
        """The same struct at the same address, with other values."""
        return replace(self, **changes)

    def write(self, memory: Memory) -> None:
        memory.write(self.address, self.pack())

    def address_of(self, name: str) -> int:
        """Physical address of one field; raises ValueError for a name that is none's."""
        index = [field.name for field in fields(self)[1:]].index(name)
        before = self.formats()[:index]
        return self.address + struct.calcsize("<" + "".join(before))


def text(raw: bytes, what: str, where: str) -> str:
    """The string in a field of fixed length; raises Broken where no NUL ends it.

    What follows the NUL is left from earlier contents and says nothing. Bytes not UTF-8 become escapes.
    """
    string, end, _ = raw.partition(b"\0")
    if not end:
        raise Broken(f"{what} has no terminating NUL: {raw!r}", where)
    return string.decode(errors="backslashreplace")
