# SPDX-License-Identifier: GPL-2.0-only
"""The two forms of the memory map, and the address of every bit in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.abi import bitmaps, radix
from kernel.abi.errors import Broken
from kernel.abi.memory import Blobs
from kernel.abi.preserved import MemoryMap
from kernel.abi.radix import Geometry
from kernel.abi.visited import Visited
from kernel.release import KernelRelease
from suite.harness.abi_image import LOW, PAGE, Image, words

PAGE_SIZES = (4096, 16384, 65536)
WORD = (1 << 64) - 1
ROOT = 0x10000


def kernels_key(address: int, order: int, page_shift: int) -> int:
    """kho_encode_radix_key(), line by line, in unsigned 64-bit arithmetic."""
    shift = page_shift + order
    high = 1 << (64 - shift) & WORD
    low = address >> shift
    return high | low


def kernels_page(key: int, page_shift: int) -> tuple[int, int]:
    """kho_decode_radix_key(), the same way."""
    order_bit = len(bin(key)) - 2 - 1  # fls64(key) - 1
    order = 64 - (page_shift + order_bit)
    return key << (page_shift + order) & WORD, order


def read_radix(memory: Blobs, root: int = ROOT) -> MemoryMap:
    return radix.read(memory, root, Visited())


def read_bitmaps(memory: Blobs, first: int, size: int = PAGE) -> MemoryMap:
    return bitmaps.read(memory, first, size, Visited())


def tree(page_size: int, keys: list[int], more: int = 0) -> Blobs:
    """Memory with a tree of ``keys`` from ROOT on, placed by the kernel's two index functions."""
    shift = page_size.bit_length() - 1
    table_log2, bitmap_log2 = shift - 3, shift + 3
    depth = {4096: 6, 16384: 5, 65536: 4}[page_size]  # facts of the ABI, not computed
    pages = [bytearray(page_size)]
    for key in keys:
        node = 0
        for level in range(depth - 1, 0, -1):
            index = (key >> ((level - 1) * table_log2 + bitmap_log2)) % (1 << table_log2)
            at = slice(index * 8, index * 8 + 8)
            if not any(pages[node][at]):
                pages[node][at] = words(ROOT + len(pages) * page_size)
                pages.append(bytearray(page_size))
            node = (int.from_bytes(pages[node][at], "little") - ROOT) // page_size
        bit = key % (1 << bitmap_log2)
        pages[node][bit // 8] |= 1 << bit % 8
    return Blobs({ROOT: b"".join(pages) + bytes(more)}, page_size)


@pytest.mark.parametrize(("page_size", "depth", "width"), [(4096, 6, 53), (16384, 5, 51), (65536, 4, 49)])
def test_the_shape_follows_from_the_page_size(page_size: int, depth: int, width: int) -> None:
    geometry = Geometry(page_size)
    assert (geometry.depth, geometry.key_width) == (depth, width)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@given(data=st.data())
def test_keys_of_every_order_are_the_kernels(page_size: int, data: st.DataObject) -> None:
    geometry = Geometry(page_size)
    shift = geometry.page_shift
    for order in range(geometry.max_order + 1):
        address = data.draw(st.integers(0, (1 << 64 - shift - order) - 1)) << shift + order
        key = geometry.encode(address, order)
        assert key == kernels_key(address, order, shift)
        assert kernels_page(key, shift) == geometry.decode(key) == (address, order)


def test_the_kernels_own_examples() -> None:
    """The table in include/linux/kho/abi/kexec_handover.h: order bits 52, 51, 50 and the shifted address."""
    geometry = Geometry(4096)
    for order, bit in ((0, 52), (1, 51), (2, 50)):
        assert geometry.encode(0x40000000, order) == 1 << bit | 0x40000000 >> 12 + order


@pytest.mark.parametrize(
    ("address", "order"), [(0x1000, 1), (0x800, 0), (-4096, 0), (1 << 64, 0), (0, 52), (0, -1)]
)
def test_what_is_no_block_has_no_key(address: int, order: int) -> None:
    with pytest.raises(ValueError, match="order"):
        Geometry(4096).encode(address, order)


@pytest.mark.parametrize("key", [0, 1, 1 << 53, WORD])
def test_what_is_no_key_is_no_block(key: int) -> None:
    with pytest.raises(ValueError, match="no key"):
        Geometry(4096).decode(key)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_a_tree_is_read_whole_with_the_pages_it_is_made_of(page_size: int) -> None:
    shift = page_size.bit_length() - 1
    start = 128 * page_size  # behind the tree itself, and aligned for every block
    blocks = [(start, 0), (start + page_size, 0), (start + 4 * page_size, 2), (start + 8 * page_size, 3)]
    keys = [kernels_key(address, order, shift) for address, order in blocks]
    memory = tree(page_size, keys, more=256 * page_size)
    found = read_radix(memory)
    assert list(found.blocks) == blocks
    assert found.orders[start + 4 * page_size] == 2
    tables = [part.address for part in found.parts if part.what == "radix table"]
    leaves = [part.address for part in found.parts if part.what == "radix leaf"]
    assert tables[0] == ROOT
    # Three orders with a leaf each, below as many tables as come after the levels they share.
    assert len(leaves) == 3
    assert len(set(tables + leaves)) == len(tables) + len(leaves)
    assert all(part.length == page_size for part in found.parts)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_every_bit_has_its_place(page_size: int) -> None:
    shift = page_size.bit_length() - 1
    start = ROOT + 64 * page_size
    blocks = [(start + index * page_size, 0) for index in (0, 1, 7, 8, 63)]
    memory = tree(page_size, [kernels_key(*block, shift) for block in blocks], more=256 * page_size)
    for block in blocks:
        bit = radix.locate(memory, ROOT, *block)
        assert bit.get(memory)
        bit.flip(memory)
        assert block not in read_radix(memory).blocks
        bit.flip(memory)
    unset = radix.locate(memory, ROOT, start + 2 * page_size, 0)
    assert not unset.get(memory)
    unset.flip(memory)
    assert (start + 2 * page_size, 0) in read_radix(memory).blocks
    with pytest.raises(Broken, match="no way to order 5"):
        radix.locate(memory, ROOT, 0, 5)


def key(address: int, order: int = 0) -> int:
    return kernels_key(address, order, 12)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([key(ROOT + 0x100000)], "block of order 0 at 0x110000 lies outside of RAM"),
        ([key(0, 51)], "order 51 at 0x0 lies outside of RAM"),
        ([key(ROOT, 3)], "order 3 at 0x10000 lies outside of RAM"),  # six pages are there, not eight
        ([1], "bit 1: 0x1 is no key"),
        ([0], "bit 0: 0x0 is no key"),
        ([1 << 53], "is no key"),
        ([key(ROOT), key(ROOT, 1)], "order 0 at 0x10000 and of order 1 at 0x10000 overlap"),
        ([key(ROOT, 1), key(ROOT + PAGE)], "order 1 at 0x10000 and of order 0 at 0x11000 overlap"),
    ],
)
def test_keys_that_no_kernel_writes_are_refused(keys: list[int], said: str) -> None:
    with pytest.raises(Broken, match=said):
        read_radix(tree(PAGE, keys))


@pytest.mark.parametrize("entry", [ROOT, 0x8000, ROOT + 8, 1 << 63])
def test_a_table_that_leads_astray_is_refused(entry: int) -> None:
    memory = tree(PAGE, [key(ROOT)])
    memory.write(ROOT, words(entry))
    with pytest.raises(Broken, match=r"radix table of level 4"):
        read_radix(memory)


def test_a_tree_that_shares_nodes_ends_at_once() -> None:
    """All entries of a table lead to one next table: followed, that would be 512 to the fifth leaves."""
    pages = [words(ROOT + (level + 1) * PAGE) * 512 for level in range(5)]
    memory = Blobs({ROOT: b"".join(pages) + bytes(PAGE)})
    with pytest.raises(Broken, match="something else leads to 0x15000 already"):
        read_radix(memory)


def test_a_root_has_to_be_a_page() -> None:
    with pytest.raises(Broken, match="not that of a page"):
        read_radix(tree(PAGE, []), ROOT + 8)


@pytest.mark.parametrize("size", [512, PAGE])
def test_bitmaps_are_read_in_both_sizes(size: int) -> None:
    image = Image()
    for order in (0, 0, 3, 0, 1, 0):
        image.folio(order=order)
    first = image.bitmaps(size)
    found = read_bitmaps(image.memory(), first, size)
    assert list(found.blocks) == sorted(image.preserved)
    assert {part.address // PAGE * PAGE for part in found.parts} == set(image.map_pages)
    assert {part.length for part in found.parts} == {size, PAGE}


@pytest.mark.parametrize(
    ("release", "size"), [("6.16", 512), ("6.17.13", 512), ("6.18-rc1", 4096), ("7.0", 4096)]
)
def test_a_release_tells_the_size_of_its_bitmaps(release: str, size: int) -> None:
    assert bitmaps.bitmap_bytes(KernelRelease.parse(release), 4096) == size


def test_bitmaps_of_the_wrong_size_do_not_pass_for_right_ones() -> None:
    """What 6.18 makes of a map of 6.17: the compatible string is the same."""
    image = Image()
    image.preserved.append((LOW + (2 << 20), 0))
    image.preserved.append((LOW + (2 << 20), 1))
    first = image.bitmaps(512)
    memory = image.memory()
    with pytest.raises(Broken):
        read_bitmaps(memory, first)


CHUNK, BITMAP = LOW + 0x10000, LOW + 0x11000


def chunk(after: int = 0, order: int = 0, count: int = 1, start: int = 0, bitmap: int = BITMAP) -> Blobs:
    image = Image()
    image.put(CHUNK, words(after, count << 32 | order, start, bitmap))
    image.put(BITMAP, bytes(32) + b"\1")  # bit 256: page 0x100000, if the bitmap starts at 0
    return image.memory()


def test_a_chunk_made_by_hand_is_read() -> None:
    assert read_bitmaps(chunk(), CHUNK).blocks == ((LOW, 0),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"after": CHUNK}, "something else leads to 0x110000 already"),
        ({"after": 8}, "address 0x8 is not that of a page"),
        ({"after": 0xFF000}, "outside of RAM"),
        ({"count": 256}, "256 elements where 255 have room"),
        ({"count": 0xFFFFFFFF}, "4294967295 elements"),
        ({"count": 2}, "element 1"),
        ({"order": 52}, "order 52 is too high"),
        ({"order": 0xFFFFFFFF}, "order 4294967295 is too high"),
        ({"order": 4}, "order 4 at 0x1000000 lies outside"),
        ({"start": PAGE}, "0x1000 is not where a bitmap of order 0 can start"),
        ({"start": 1 << 40}, "lies outside of RAM"),
        ({"bitmap": 0}, "outside of RAM"),
        ({"bitmap": BITMAP + 8}, "is not the address of a bitmap"),
        ({"bitmap": CHUNK}, "something else leads to"),
    ],
)
def test_chunks_that_no_kernel_writes_are_refused(changes: dict[str, int], said: str) -> None:
    with pytest.raises(Broken, match=said):
        read_bitmaps(chunk(**changes), CHUNK)
