# SPDX-License-Identifier: GPL-2.0-only
"""Physical memory: what is RAM, what is not, and where QEMU keeps it in a file."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.abi.errors import Broken
from kernel.abi.memory import Blobs, Extent, Ram, q35_layout, virt_layout

MIB, GIB = 1 << 20, 1 << 30
HOLE = range(0xA0000, 0x100000)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "ram", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def test_reads_go_across_blobs_that_touch_and_end_at_gaps() -> None:
    memory = Blobs({0x1000: b"a" * 16, 0x1010: b"b" * 16, 0x2000: b"c" * 8})
    assert memory.read(0x1008, 16) == b"a" * 8 + b"b" * 8
    assert memory.word(0x2000) == 0x6363636363636363
    assert memory.read(0x5000, 0) == b""
    for address, length in ((0xFFF, 2), (0x101F, 2), (0x2000, 9), (0x1000, 1 << 60), (-8, 8), (1 << 64, 1)):
        assert not memory.holds(address, length)
        with pytest.raises(Broken, match=f"^table: {length} bytes at {address:#x} lie outside of RAM$"):
            memory.read(address, length, "table")


def test_what_is_written_is_read_and_nothing_is_written_outside() -> None:
    memory = Blobs({0x1000: bytes(16), 0x1010: bytes(16)})
    memory.write(0x100C, b"12345678")
    assert memory.read(0x1000, 32) == bytes(12) + b"12345678" + bytes(12)
    with pytest.raises(Broken, match="outside of RAM"):
        memory.write(0x101C, b"12345678")
    assert memory.read(0x101C, 4) == bytes(4)


def test_pages_start_at_pages() -> None:
    memory = Blobs({0x1000: bytes(0x2000)})
    assert len(memory.page(0x2000)) == 4096
    for address in (0x1008, 0x3000, 0x2800):
        with pytest.raises(Broken):
            memory.page(address)
    assert memory.pages == 2
    assert Blobs({0: bytes(65536)}, page_size=16384).page_shift == 14


@pytest.mark.parametrize("page_size", [0, 8, 4095, 12288])
def test_a_page_size_is_a_power_of_two(page_size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Blobs({}, page_size)


def test_memory_is_there_once() -> None:
    with pytest.raises(ValueError, match="0x1008 is there twice"):
        Blobs({0x1000: bytes(16), 0x1008: bytes(16)})


# By hand from pc_q35_init(): 0xb0000000 is 2816 MiB.
@pytest.mark.parametrize(
    ("size", "below", "above"),
    [
        (512 * MIB, 512 * MIB, 0),
        (2815 * MIB, 2815 * MIB, 0),
        (2816 * MIB, 2048 * MIB, 768 * MIB),
        (4096 * MIB, 2048 * MIB, 2048 * MIB),
    ],
)
def test_q35_splits_its_memory(size: int, below: int, above: int) -> None:
    low, middle, *high = q35_layout(size)
    assert low == Extent(0, 0, HOLE.start)
    assert middle == Extent(HOLE.stop, HOLE.stop, below - HOLE.stop)
    assert high == ([Extent(4 * GIB, below, above)] if above else [])


def test_a_tiny_q35_has_no_memory_behind_the_hole() -> None:
    assert q35_layout(512 * 1024) == (Extent(0, 0, 512 * 1024),)


def test_virt_starts_at_one_gib() -> None:
    assert virt_layout(512 * MIB) == (Extent(GIB, 0, 512 * MIB),)


def test_ram_is_where_the_layout_says(file: int) -> None:
    os.ftruncate(file, 8 * MIB)
    os.pwrite(file, b"first", 0)
    os.pwrite(file, b"second", 4 * MIB)
    ram = Ram(file, [Extent(4 * GIB, 4 * MIB, 4 * MIB), Extent(0, 0, 4 * MIB)])
    assert ram.read(0, 5) == b"first"
    assert ram.read(4 * GIB, 6) == b"second"
    assert not ram.holds(4 * MIB)
    ram.write(4 * GIB + 1, b"ECOND")
    assert os.pread(file, 6, 4 * MIB) == b"sECOND"


def test_a_layout_is_not_longer_than_its_file(file: int) -> None:
    os.ftruncate(file, MIB)
    with pytest.raises(ValueError, match="needs 1048577 bytes"):
        Ram(file, [Extent(0, 0, MIB + 1)])
    with pytest.raises(ValueError, match="no layout of machine pdp11 is known, only of q35, virt"):
        Ram.of_machine(file, "pdp11")


def test_a_file_that_is_cut_under_way_is_broken(file: int) -> None:
    os.ftruncate(file, MIB)
    ram = Ram(file, [Extent(0, 0, MIB)])
    os.ftruncate(file, 4096)
    with pytest.raises(Broken, match="ends at 96 of 200 bytes"):
        ram.read(4000, 200)


def test_holes_are_neither_searched_nor_filled() -> None:
    descriptor = os.memfd_create("ram")
    try:
        os.ftruncate(descriptor, 64 * MIB)
        os.pwrite(descriptor, b"x", 20 * MIB)
        ram = Ram(descriptor, [Extent(0, 0, 32 * MIB), Extent(GIB, 32 * MIB, 32 * MIB)])
        assert list(ram.populated()) == [range(20 * MIB, 20 * MIB + 4096)]
        assert ram.read(0, 16 * MIB) == bytes(16 * MIB)
        assert os.fstat(descriptor).st_blocks * 512 == 4096
    finally:
        os.close(descriptor)


STARTS = st.integers(0, 40).map(lambda page: page * 64)


@given(
    st.dictionaries(STARTS, st.binary(min_size=1, max_size=64), max_size=6), st.integers(-8, 3000), st.data()
)
def test_reading_is_the_same_as_in_one_array(
    blobs: dict[int, bytes], address: int, data: st.DataObject
) -> None:
    length = data.draw(st.integers(1, 200))
    flat = {start + n: byte for start, blob in blobs.items() for n, byte in enumerate(blob)}
    wanted = [flat.get(at) for at in range(address, address + length)]
    memory = Blobs(blobs, page_size=512)
    assert memory.holds(address, length) == (None not in wanted)
    if None in wanted:
        with pytest.raises(Broken):
            memory.read(address, length)
    else:
        assert list(memory.read(address, length)) == wanted
