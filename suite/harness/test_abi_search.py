# SPDX-License-Identifier: GPL-2.0-only
"""Of several handovers in RAM, which one the kernel got and which one it prepares."""

import os

import pytest

from kernel.abi import search, setup_data
from kernel.abi.errors import Broken
from kernel.abi.handover import Handover
from kernel.abi.memory import Blobs, Extent, Ram
from kernel.abi.search import Found, Handovers
from suite.harness import abi_image, abi_libfdt
from suite.harness.abi_image import LOW, PAGE, RELEASES, Image


def add(image: Image, release: str, count: int) -> int:
    """One more handover in the same RAM; a generation has one more of everything than the last."""
    image.preserved.clear()
    return abi_image.handover(image, RELEASES[release], {}, count=count, number=count)


def booted(image: Image, root: int) -> None:
    """What a kernel keeps of its own boot: boot_params, a record of another type, and KHO's record."""
    page = image.free()
    record = abi_image.record(image, root, at=page + 0x100)
    image.put(page, abi_image.words(record, 9 | 16 << 32))
    abi_image.boot_params(image, page)


def loaded(image: Image, root: int) -> None:
    """An image that waits for its jump: its boot_params points to where its record is not yet."""
    abi_image.record(image, root)
    abi_image.boot_params(image, LOW + 0x800)


def roles(image: Image) -> tuple[int | None, int | None]:
    handovers = search.find(image.memory())

    def address(found: Found | None) -> int | None:
        return None if found is None else found.root.address

    return address(handovers.incoming), address(handovers.outgoing)


def test_a_cold_kernel_prepares_one_and_got_none() -> None:
    image = Image()
    out = add(image, "7.2", 1)
    assert roles(image) == (None, out)
    loaded(image, out)
    assert roles(image) == (None, out)


@pytest.mark.parametrize("release", RELEASES)
def test_both_are_told_apart(release: str) -> None:
    image = Image()
    got = add(image, release, 1)
    booted(image, got)
    out = add(image, release, 2)
    assert roles(image) == (got, out)
    loaded(image, out)
    assert roles(image) == (got, out)
    assert Handover.read(image.memory()).root.address == out


def test_where_they_lie_does_not_matter() -> None:
    image = Image()
    out = add(image, "7.2", 2)
    loaded(image, out)
    got = add(image, "7.2", 1)
    booted(image, got)
    assert roles(image) == (got, out)


def test_a_leftover_of_an_earlier_kernel_is_neither() -> None:
    image = Image()
    old = add(image, "7.2", 1)
    abi_image.record(image, old)
    got = add(image, "7.2", 2)
    booted(image, got)
    assert roles(image) == (got, None)
    assert Handover.read(image.memory()).root.address == got
    out = add(image, "7.2", 3)
    assert roles(image) == (got, out)


def test_the_destination_of_an_image_may_hold_the_record_of_this_kernel() -> None:
    """Each kernel puts the next one's boot_params where its own lie."""
    image = Image()
    got = add(image, "7.2", 1)
    page = image.free()
    record = abi_image.record(image, got, at=page)
    abi_image.boot_params(image, record)
    out = add(image, "7.2", 2)
    abi_image.record(image, out)
    abi_image.boot_params(image, record)
    assert roles(image) == (got, out)


def test_records_are_found_wherever_they_are() -> None:
    image = Image()
    out = add(image, "7.2", 1)
    page = image.free()
    addresses = [page, page + 0x30, image.free() + PAGE - 48]
    for address in addresses:
        abi_image.record(image, out, at=address)
    (found,) = search.find(image.memory()).found
    assert sorted(record.address for record in found.records) == sorted(addresses)
    assert not found.booted


def test_memory_that_starts_in_the_middle_of_a_page_is_searched_too() -> None:
    image = Image()
    out = add(image, "7.2", 1)
    record = abi_image.record(image, out)
    memory = image.memory()
    cut = LOW + 0x808  # a multiple of neither a page nor 16
    pieces = {LOW: image.low[: cut - LOW], cut: image.low[cut - LOW :], abi_image.HIGH: image.high}
    found = search.find(Blobs({start: bytes(piece) for start, piece in pieces.items()}))
    assert found == search.find(memory)
    assert [one.address for one in found.found[0].records] == [record]


def test_what_only_looks_like_a_record_names_nothing() -> None:
    image = Image()
    out = add(image, "7.2", 1)
    for changes in ({"scratch_size": 47}, {"scratch_size": 0}, {"fdt_size": 8192}, {"fdt": out + 1}):
        address = abi_image.record(image, out)
        memory = image.memory()
        (found,) = search.find(memory).found
        (record,) = (one for one in found.records if one.address == address)
        image.put(address, record.replace(**changes).pack())
    assert search.find(image.memory()).found[0].records == ()


def test_a_chain_that_meets_itself_ends() -> None:
    image = Image()
    out = add(image, "7.2", 1)
    page = image.free()
    abi_image.boot_params(image, abi_image.record(image, out, at=page, after=page))
    (found,) = search.find(image.memory()).found
    assert found.booted


def test_a_root_that_cannot_be_read_is_named_only_if_there_is_no_other() -> None:
    image = Image()
    bad = image.folio(abi_libfdt.build({"compatible": b"kho-v9\0"}))
    with pytest.raises(Broken, match=f"^KHO FDT at {bad:#x}: .*unknown ABI 'kho-v9'"):
        search.find(image.memory())
    good = add(image, "7.2", 1)
    assert roles(image) == (None, good)


def test_other_trees_are_no_handovers() -> None:
    image = Image()
    image.folio(abi_libfdt.build({"compatible": b"memblock-v1\0"}))
    assert search.find(image.memory()) == Handovers(())
    with pytest.raises(Broken, match=r"^RAM: no KHO FDT is here$"):
        Handover.read(image.memory())


def test_a_guest_is_searched_across_the_borders_of_pieces() -> None:
    """128 MiB of almost what is searched for, and a boot_params whose magic lies across two pieces."""
    image = Image()
    out = add(image, "7.2", 1)
    descriptor = os.memfd_create("ram")
    try:
        size = 128 << 20
        filler = (b"HdrR\n\0\0\0\n\0\0\0 \0\0\1") * (1 << 16)
        for at in range(0, size, len(filler)):
            os.pwrite(descriptor, filler, at)
        os.pwrite(descriptor, image.low, LOW)
        ram = Ram(descriptor, [Extent(0, 0, size), Extent(abi_image.HIGH, 0, PAGE)])
        record = (64 << 20) + 0x1000
        ram.write(record, setup_data.Record(record, 0, 10, 32, out, PAGE, LOW, 48).pack())
        ram.write((64 << 20) - 2, b"HdrS")
        ram.write((64 << 20) - 2 + 0x4E, abi_image.words(record))
        (found,) = search.find(ram).found
        assert [one.address for one in found.records] == [record]
        assert found.booted
    finally:
        os.close(descriptor)
