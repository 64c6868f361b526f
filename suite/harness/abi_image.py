# SPDX-License-Identifier: GPL-2.0-only
"""RAM with a handover in it, made for tests. It knows the ABI by itself and takes nothing from kernel/abi."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from kernel.abi.memory import Blobs
from suite.harness import abi_libfdt

PAGE = 4096
LOW = 0x100000
LOW_SIZE = 4 << 20
HIGH = 1 << 32  # some of it above 4 GiB, where a word has more than 32 bits
HIGH_SIZE = 1 << 20


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


@dataclass
class Image:
    """Two stretches of RAM, handed out by turns, so that nothing lies in one piece by chance."""

    low: bytearray = field(default_factory=lambda: bytearray(LOW_SIZE))
    high: bytearray = field(default_factory=lambda: bytearray(HIGH_SIZE))
    preserved: list[tuple[int, int]] = field(default_factory=list)
    map_pages: list[int] = field(default_factory=list)
    _next_low: int = LOW + 16 * PAGE
    _next_high: int = HIGH
    _turn: int = 0
    _slots: list[int] = field(default_factory=list)

    def put(self, address: int, data: bytes) -> int:
        store, start = (self.low, LOW) if address < HIGH else (self.high, HIGH)
        offset = address - start
        assert 0 <= offset <= len(store) - len(data)
        store[offset : offset + len(data)] = data
        return address

    def free(self, order: int = 0) -> int:
        """A block that nobody has, aligned to its size."""
        size = PAGE << order
        self._turn += 1
        if order == 0 and self._turn % 3 == 0:
            address = self._next_high
            self._next_high += size
        else:
            address = -(-self._next_low // size) * size
            self._next_low = address + size
        return address

    def folio(self, data: bytes = b"", order: int = 0) -> int:
        """kho_alloc_preserve()."""
        address = self.free(order)
        self.preserved.append((address, order))
        return self.put(address, data)

    def memory(self) -> Blobs:
        return Blobs({LOW: bytes(self.low), HIGH: bytes(self.high)})

    def radix(self) -> int:
        """The radix tree of what is preserved; a key is written out as bits: order bit, then address."""
        nodes: dict[str, int] = {"": self._map_page()}
        for address, order in self.preserved:
            bits = "1" + format(address >> 12 + order, f"0{52 - order}b")
            bits = bits.zfill(5 * 9 + 15)
            path = ""
            for level in range(5):
                index = bits[level * 9 : level * 9 + 9]
                if path + index not in nodes:
                    nodes[path + index] = self._map_page()
                    self.put(nodes[path] + int(index, 2) * 8, words(nodes[path + index]))
                path += index
            byte, bit = divmod(int(bits[45:], 2), 8)
            store, start = (self.low, LOW) if nodes[path] < HIGH else (self.high, HIGH)
            store[nodes[path] + byte - start] |= 1 << bit
        return nodes[""]

    def bitmaps(self, size: int = PAGE) -> int:
        """The chain of chunks of kho-v1: one or more for each order, with bitmaps of ``size`` bytes."""
        chunks: list[tuple[int, int, list[tuple[int, int]]]] = []
        for order in sorted({order for _, order in self.preserved}):
            block = PAGE << order
            maps: dict[int, bytearray] = {}
            for address, _ in (one for one in self.preserved if one[1] == order):
                start = address // (block * size * 8) * (block * size * 8)
                bit = (address - start) // block
                maps.setdefault(start, bytearray(size))[bit // 8] |= 1 << bit % 8
            elements = [(start, self.put(self._bitmap(size), bytes(one))) for start, one in maps.items()]
            chunks.append((self._map_page(), order, elements))
        following = [chunk for chunk, _, _ in chunks[1:]] + [0]
        for (chunk, order, elements), after in zip(chunks, following, strict=True):
            self.put(chunk, struct.pack("<QII", after, order, len(elements)))
            self.put(chunk + 16, b"".join(words(*element) for element in elements))
        return chunks[0][0] if chunks else 0

    def vmalloc(self, data: bytes, order: int = 0) -> bytes:
        """kho_preserve_vmalloc(): returns struct kho_vmalloc."""
        size = PAGE << order
        blocks = [self.folio(data[at : at + size], order) for at in range(0, len(data), size)]
        chunks = [blocks[at : at + 511] for at in range(0, len(blocks), 511)]
        if len(chunks[-1]) == 511:
            chunks.append([])  # a full chunk gets a successor at once
        after = 0
        for chunk in reversed(chunks):
            after = self.folio(words(after, *chunk))
        return struct.pack("<QIHH", after, len(blocks) << order, 1, order)

    def _bitmap(self, size: int) -> int:
        """As the slab allocator does it: side by side where a page takes several."""
        if not self._slots:
            page = self._map_page()
            self._slots += range(page, page + PAGE, size)
        return self._slots.pop(0)

    def _map_page(self) -> int:
        address = self.free()
        self.map_pages.append(address)
        return address


@dataclass(frozen=True)
class MemfdSpec:
    """``orders`` are those of its folios, from the start of the file on."""

    content: bytes
    position: int = 0
    seals: int = 0
    orders: tuple[int, ...] = ()

    def folio_orders(self) -> list[int]:
        if self.orders:
            return list(self.orders)
        return [0] * -(-len(self.content) // PAGE)


Sessions = Mapping[str, Mapping[int, MemfdSpec]]


def memfd(image: Image, spec: MemfdSpec, version: int) -> int:
    entries, index = [], 0
    for order in spec.folio_orders():
        start = index * PAGE
        folio = image.folio(spec.content[start : start + (PAGE << order)], order)
        entries.append(words(folio >> 12 | 3 << 52, index))
        index += 1 << order
    area = image.vmalloc(b"".join(entries)) if entries else bytes(16)
    middle = struct.pack("<II", spec.seals, 0) if version == 2 else b""
    return image.folio(words(spec.position, len(spec.content)) + middle + words(len(entries)) + area)


def file_entries(image: Image, files: Mapping[int, MemfdSpec], version: int) -> list[bytes]:
    name = f"memfd-v{version}".encode()
    return [struct.pack("<48sQQ", name, memfd(image, spec, version), token) for token, spec in files.items()]


def chain(image: Image, entries: list[bytes]) -> int:
    """Blocks of 7.2; returns the address of the first, or 0."""
    room = 4080 // len(entries[0]) if entries else 1
    after = 0
    for at in reversed(range(0, len(entries), room)):
        block = entries[at : at + room]
        after = image.folio(words(after, len(block)) + b"".join(block))
    return after


def flb_page(image: Image, flbs: Mapping[str, tuple[int, int]]) -> int:
    entries = [struct.pack("<48sQQ", name.encode(), *values) for name, values in flbs.items()]
    return image.folio(words(1, len(entries)) + b"".join(entries))


def luo_v5(image: Image, sessions: Sessions, number: int = 3) -> bytes:
    entries = [
        struct.pack("<64sQQ", name.encode(), chain(image, file_entries(image, files, 2)), len(files))
        for name, files in sessions.items()
    ]
    return struct.pack("<8sQQQ", b"luo-v5", number, chain(image, entries), flb_page(image, {"flb": (5, 2)}))


def luo_v1(image: Image, sessions: Sessions, number: int, memfd_version: int, with_flb: bool) -> bytes:
    entries = []
    for name, files in sessions.items():
        array = image.folio(b"".join(file_entries(image, files, memfd_version)), 1) if files else 0
        entries.append(struct.pack("<64sQQ", name.encode(), array, len(files)))
    header = image.folio(words(len(entries)) + b"".join(entries), 4)
    content: dict[str, bytes | abi_libfdt.Content] = {
        "compatible": b"luo-v1\0",
        "liveupdate-number": words(number),
        "luo-session": {"compatible": b"luo-session-v2\0", "luo-session-header": words(header)},
    }
    if with_flb:
        page = flb_page(image, {"flb": (5, 2)})
        content["luo-flb"] = {"compatible": b"luo-flb-v1\0", "luo-flb-header": words(page)}
    return abi_libfdt.build(content)


def memblock(areas: Mapping[str, tuple[int, int]]) -> bytes:
    nodes = {
        name: {"compatible": b"reserve-mem-v1\0", "start": words(start), "size": words(size)}
        for name, (start, size) in areas.items()
    }
    return abi_libfdt.build({"compatible": b"memblock-v1\0", **nodes})


@dataclass(frozen=True)
class Release:
    """What a release writes."""

    kho: int
    luo: int
    memfd: int
    flb: bool = True
    bitmap: int = PAGE


RELEASES = {
    "6.19": Release(kho=1, luo=1, memfd=1, flb=False),
    "7.0": Release(kho=1, luo=1, memfd=1),
    "7.1": Release(kho=3, luo=1, memfd=2),
    "7.2": Release(kho=4, luo=5, memfd=2),
}


def handover(image: Image, release: Release, sessions: Sessions, *, count: int = 1, number: int = 3) -> int:
    """A whole handover; returns the address of KHO's FDT."""
    root = image.folio()
    blobs: dict[str, bytes] = {}
    if release.luo == 5:
        blobs["LUO"] = luo_v5(image, sessions, number)
    else:
        blobs["LUO"] = luo_v1(image, sessions, number, release.memfd, release.flb)
    area = image.free(2)
    # Three pages that start at a multiple of four: kho_preserve_pages() makes blocks of two and of one.
    image.preserved += [(area, 1), (area + 2 * PAGE, 0)]
    blobs["memblock"] = memblock({"trace": (area, 3 * PAGE)})
    if release.kho > 1:
        blobs["kexec-metadata"] = struct.pack("<I65sI", 1, b"7.3.4-test", count)
    content: dict[str, bytes | abi_libfdt.Content] = {"compatible": f"kho-v{release.kho}\0".encode()}
    for name, blob in blobs.items():
        address = image.folio(blob)
        if release.kho == 1:
            content[name] = {"fdt": words(address)}
        else:
            content[name] = {"preserved-data": words(address), "blob-size": words(len(blob))}
    content["preserved-memory-map"] = words(
        image.bitmaps(release.bitmap) if release.kho == 1 else image.radix()
    )
    image.put(root, abi_libfdt.build(content))
    return root


def record(image: Image, root: int, *, at: int | None = None, after: int = 0, scratch: int = 0x200000) -> int:
    """A setup_data record that names ``root``; by default in a page of its own, somewhere in the middle."""
    address = image.free() + 0x8C0 if at is None else at
    return image.put(address, struct.pack("<QIIQQQQ", after, 10, 32, root, PAGE, scratch, 48))


def boot_params(image: Image, chain_start: int, *, at: int | None = None) -> int:
    """A boot_params with a chain of setup_data."""
    address = image.free() if at is None else at
    image.put(address + 0x202, b"HdrS")
    image.put(address + 0x250, words(chain_start))
    return address
