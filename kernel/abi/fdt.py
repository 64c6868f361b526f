# SPDX-License-Identifier: GPL-2.0-only
"""Flattened device trees, with the address of everything in them.

The format is that of the Devicetree Specification, chapter 5; its own numbers are big-endian, while KHO keeps
native words in properties. Parsers at hand drop the offsets, and a test that tampers needs them.
"""

import struct
from dataclasses import dataclass, field

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.structure import Struct

MAGIC = 0xD00DFEED
_VERSION = 17  # what libfdt writes; nothing older can be read by this version alone
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
_DEEPEST = 16  # KHO's trees have two levels


@dataclass(frozen=True, slots=True)
class Header(Struct):
    """The only struct here that is big-endian."""

    FORMAT = ">10I"

    magic: int
    totalsize: int
    off_dt_struct: int
    off_dt_strings: int
    off_mem_rsvmap: int
    version: int
    last_comp_version: int
    boot_cpuid_phys: int
    size_dt_strings: int
    size_dt_struct: int


@dataclass(frozen=True)
class Property:
    """``address`` is that of the value, ``name_address`` that of the name in the strings block."""

    name: str
    value: bytes = field(repr=False)
    address: int
    name_address: int

    def word(self, where: str) -> int:
        """A native u64; raises Broken for a value of another length."""
        if len(self.value) != 8:
            raise Broken(
                f"property '{self.name}' at {self.address:#x} has {len(self.value)} bytes, not 8", where
            )
        return int.from_bytes(self.value, "little")

    @property
    def strings(self) -> tuple[str, ...]:
        """The value as a list of strings, which all end with a NUL; empty where it is none."""
        if not self.value.endswith(b"\0"):
            return ()
        return tuple(part.decode(errors="backslashreplace") for part in self.value[:-1].split(b"\0"))


@dataclass(frozen=True)
class Node:
    """``address`` is that of its name; the root's is empty."""

    name: str
    address: int
    properties: tuple[Property, ...]
    children: tuple["Node", ...]

    def property(self, name: str, where: str) -> Property:
        """Raises Broken where there is none."""
        for one in self.properties:
            if one.name == name:
                return one
        raise Broken(f"node '{self.name or '/'}' has no property '{name}'", where)

    def child(self, name: str) -> "Node | None":
        return next((child for child in self.children if child.name == name), None)

    def compatible(self, known: tuple[str, ...], where: str) -> str:
        """Which of the ABIs ``known`` the node is of; raises Broken, naming what was found, if of none."""
        found = self.property("compatible", where).strings
        for one in found:
            if one in known:
                return one
        raise Broken(
            f"node '{self.name or '/'}' is of the unknown ABI {', '.join(map(repr, found)) or '(none)'}"
            f"; known: {', '.join(known)}",
            where,
        )


@dataclass(frozen=True)
class Tree:
    """A whole device tree at a physical address."""

    header: Header
    root: Node

    @property
    def address(self) -> int:
        return self.header.address


@dataclass
class _Open:
    """A node that has not ended yet."""

    name: str
    address: int
    properties: dict[str, Property]
    children: dict[str, Node]

    def close(self) -> Node:
        return Node(self.name, self.address, tuple(self.properties.values()), tuple(self.children.values()))


def parse(memory: Memory, address: int, room: int, where: str) -> Tree:
    """The tree at ``address``, of at most ``room`` bytes.

    Raises Broken for every tree that libfdt would refuse, and for some that it lets pass: properties behind
    nodes, a name twice in a node, anything behind the root.
    """
    header = Header.unpack(memory, address, where)
    _check(header, room, where)
    data = memory.read(address, header.totalsize, where)
    _check_reservations(header, data, where)
    return Tree(header, _Walk(header, data, where).root())


def _check(header: Header, room: int, where: str) -> None:
    if header.magic != MAGIC:
        raise Broken(f"no device tree: magic {header.magic:#010x}", where)
    if header.version < _VERSION or header.last_comp_version > _VERSION:
        raise Broken(f"device tree of version {header.version}, not {_VERSION}", where)
    if header.last_comp_version > header.version:
        raise Broken(f"version {header.version} is said to need a later one to be read", where)
    if not Header.size_of() <= header.totalsize <= room:
        raise Broken(f"device tree of {header.totalsize} bytes where {room} are", where)
    for name, offset, size in (
        ("structure", header.off_dt_struct, header.size_dt_struct),
        ("strings", header.off_dt_strings, header.size_dt_strings),
        ("reservation", header.off_mem_rsvmap, 16),
    ):
        if offset < Header.size_of() or offset + size > header.totalsize:
            raise Broken(f"{name} block of {size} bytes at {offset} lies outside of the tree", where)
    if header.off_dt_struct % 4 or header.size_dt_struct % 4 or header.off_mem_rsvmap % 8:
        raise Broken("a block is not aligned", where)


def _check_reservations(header: Header, data: bytes, where: str) -> None:
    end = header.off_mem_rsvmap
    while end + 16 <= len(data):
        if data[end : end + 16] == bytes(16):
            return
        end += 16
    raise Broken("the memory reservations do not end", where)


class _Walk:
    """One way through the structure block."""

    def __init__(self, header: Header, data: bytes, where: str) -> None:
        self._address = header.address
        self._where = where
        self._strings_start = header.off_dt_strings
        self._strings = data[header.off_dt_strings : header.off_dt_strings + header.size_dt_strings]
        self._at = header.off_dt_struct
        self._end = header.off_dt_struct + header.size_dt_struct
        self._data = data[: self._end]

    def root(self) -> Node:
        stack: list[_Open] = []
        root: Node | None = None
        while (token := self._number()) != _END:
            if token == _NOP:
                continue
            if token == _BEGIN_NODE and root is None and len(stack) < _DEEPEST:
                stack.append(self._begin(is_root=not stack))
            elif token == _PROPERTY and stack and not stack[-1].children:
                self._property(stack[-1].properties)
            elif token == _END_NODE and stack:
                node = stack.pop().close()
                if not stack:
                    root = node
                elif node.name in stack[-1].children:
                    raise self._broken(f"two nodes are called '{node.name}'")
                else:
                    stack[-1].children[node.name] = node
            else:
                raise self._broken(f"token {token:#x} is out of place")
        if root is None or stack:
            raise self._broken("the tree ends before its root does")
        return root

    def _begin(self, is_root: bool) -> _Open:
        start = self._at
        end = self._data.find(b"\0", start)
        if end < 0:
            raise self._broken("a node's name does not end")
        self._at = _up(end + 1)
        name = self._data[start:end].decode(errors="backslashreplace")
        if bool(name) == is_root:
            raise self._broken("the root has a name" if is_root else "a node has no name")
        return _Open(name, self._address + start, {}, {})

    def _property(self, properties: dict[str, Property]) -> None:
        length, name_offset = self._number(), self._number()
        start = self._at
        if start + length > self._end:
            raise self._broken(f"a property of {length} bytes reaches beyond the structure block")
        self._at = _up(start + length)
        end = self._strings.find(b"\0", name_offset) if name_offset < len(self._strings) else -1
        if end < 0:
            raise self._broken(f"a property's name at {name_offset} lies outside of the strings block")
        name = self._strings[name_offset:end].decode(errors="backslashreplace")
        if name in properties:
            raise self._broken(f"property '{name}' is there twice")
        properties[name] = Property(
            name,
            self._data[start : start + length],
            self._address + start,
            self._address + self._strings_start + name_offset,
        )

    def _number(self) -> int:
        if self._at + 4 > self._end:
            raise self._broken("the structure block ends too early")
        (number,) = struct.unpack_from(">I", self._data, self._at)
        self._at += 4
        assert isinstance(number, int)
        return number

    def _broken(self, what: str) -> Broken:
        return Broken(f"offset {self._at}: {what}", self._where)


def _up(offset: int) -> int:
    """The next multiple of four: everything in the structure block starts at one."""
    return (offset + 3) & ~3
