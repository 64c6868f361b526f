# SPDX-License-Identifier: GPL-2.0-only
"""Which handovers are in a guest's RAM: the one its kernel got, the one it prepares, leftovers.

A KHO FDT starts a page, and x86 names it in a setup_data record. A kernel that runs keeps both that it was
booted with; the record of the one it prepares is there once an image is loaded, in pages that only the jump
puts in place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from kernel.abi import fdt, luo, metadata, root, setup_data
from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.root import Root

_MAGIC = fdt.MAGIC.to_bytes(4, "big")
_AT_ONCE = 1 << 20  # bytes: a multiple of every page size, and not much for a cache


@dataclass(frozen=True)
class Found:
    """A KHO FDT in RAM.

    ``records`` name it. ``booted``: one of them is in a boot_params' chain, so the running kernel got it.
    ``count`` and ``number`` are kexec_count and live update number of its blobs, None where they cannot be
    read; the handover that a kernel prepares has one more than the one it got.
    """

    root: Root
    records: tuple[setup_data.Record, ...]
    booted: bool
    count: int | None
    number: int | None

    @property
    def age(self) -> tuple[int, int]:
        """The higher, the newer."""
        return (-1 if self.count is None else self.count), (-1 if self.number is None else self.number)


@dataclass(frozen=True)
class Handovers:
    """All that was found, oldest first."""

    found: tuple[Found, ...]

    @property
    def incoming(self) -> Found | None:
        """The one that the running kernel was booted with.

        Its memory map and LUO's part of it are whole in early boot alone: the kernel frees them once read.
        """
        return next((one for one in reversed(self.found) if one.booted), None)

    @property
    def outgoing(self) -> Found | None:
        """The one that the running kernel prepares, or None in a kernel that is too early for one."""
        incoming = self.incoming
        later = [
            one for one in self.found if not one.booted and (incoming is None or one.age >= incoming.age)
        ]
        # Of equal age are only those that tell none; a record speaks for one that an image was loaded for.
        return max(later, key=lambda one: (one.age, len(one.records)), default=None)


@dataclass
class _Marks:
    """Addresses at which something interesting may be."""

    trees: list[int] = field(default_factory=list)
    patterns: list[int] = field(default_factory=list)
    headers: list[int] = field(default_factory=list)


def find(memory: Memory) -> Handovers:
    """Searches all of RAM: the 150 MiB that a small guest has touched take a tenth of a second.

    Pages that look like a KHO FDT and cannot be read are left out, if any can; else the first one's Broken is
    raised.
    """
    marks = _search(memory)
    records = [record for at in marks.patterns if (record := setup_data.at_pattern(memory, at))]
    booted = {address for at in marks.headers for address in setup_data.chain(memory, at)}
    found: list[Found] = []
    broken: list[Broken] = []
    for address in marks.trees:
        if b"kho-v" not in memory.read(address, memory.page_size):
            continue
        try:
            one = root.read(memory, address)
        except Broken as error:
            broken.append(error)
            continue
        naming = tuple(record for record in records if record.fdt == address)
        is_booted = any(record.address in booted for record in naming)
        found.append(Found(one, naming, is_booted, _count(memory, one), _number(memory, one)))
    if broken and not found:
        raise broken[0]
    return Handovers(tuple(sorted(found, key=lambda one: (one.age, len(one.records)))))


def _search(memory: Memory) -> _Marks:
    marks = _Marks()
    more = len(setup_data.HEADER_MAGIC) - 1
    for stretch in memory.populated():
        for start in range(stretch.start, stretch.stop, _AT_ONCE):
            end = min(start + _AT_ONCE, stretch.stop)
            data = memory.read(start, min(end + more, stretch.stop) - start)
            marks.trees += _aligned(_MAGIC, start, data, memory.page_size)
            marks.patterns += _aligned(
                setup_data.PATTERN, start, data, setup_data.ALIGNMENT, setup_data.PATTERN_OFFSET
            )
            marks.headers += _anywhere(setup_data.HEADER_MAGIC, start, data)
    return marks


def _aligned(pattern: bytes, start: int, data: bytes, step: int, offset: int = 0) -> Iterator[int]:
    """Addresses of a pattern that are ``offset`` more than a multiple of ``step``.

    A slice of every step's first byte is cheap; to look for zeros among zeros, which RAM is full of, is not.
    """
    first = (offset - start) % step
    for index in _anywhere(pattern[:1], 0, data[first::step]):
        at = first + index * step
        if data.startswith(pattern, at):
            yield start + at


def _anywhere(pattern: bytes, start: int, data: bytes) -> Iterator[int]:
    at = data.find(pattern)
    while at >= 0:
        yield start + at
        at = data.find(pattern, at + 1)


def _count(memory: Memory, one: Root) -> int | None:
    blob = one.subtree(metadata.NAME)
    if blob is None or blob.size is None:
        return None
    try:
        return metadata.read(memory, blob.blob, blob.size).kexec_count
    except Broken:
        return None


def _number(memory: Memory, one: Root) -> int | None:
    blob = one.subtree(luo.NAME)
    if blob is None:
        return None
    try:
        return luo.number(memory, blob.blob, blob.size)
    except Broken:
        return None
