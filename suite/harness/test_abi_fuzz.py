# SPDX-License-Identifier: GPL-2.0-only
"""Whatever memory holds: a handover is read, or Broken is raised, and both soon."""

import time
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.abi import blocks, dump, fdt, luo, metadata, reserve_mem, root, scratch, search, vmalloc
from kernel.abi.account import Account, owners
from kernel.abi.errors import Broken
from kernel.abi.handover import Handover
from kernel.abi.luo import FileEntry
from kernel.abi.memory import Blobs
from kernel.abi.visited import Visited
from suite.harness import abi_image
from suite.harness.abi_image import HIGH, LOW, PAGE, RELEASES, Image, MemfdSpec

SECONDS = 5  # far more than any of it takes, far less than a loop does
BASE = 0x10000


@cache
def sample(release: str) -> tuple[bytes, bytes, int, tuple[int, ...]]:
    """A handover, and the addresses of all the pages that it is made of."""
    image = Image(low=bytearray(1 << 20), high=bytearray(1 << 18))
    specs = {"a": {1: MemfdSpec(b"x" * 5 * PAGE, orders=(0, 1, 1)), 2: MemfdSpec(b"")}, "b": {}}
    of = abi_image.handover(image, RELEASES[release], specs)
    handover = Handover.read(image.memory(), root.read(image.memory(), of))
    pages = sorted(page for page, what in owners(handover).items() if "folio 0" not in what)
    return bytes(image.low), bytes(image.high), of, tuple(pages)


def copy(release: str) -> tuple[Blobs, int, tuple[int, ...]]:
    """The same in memory that may be written to."""
    low, high, of, pages = sample(release)
    return Blobs({LOW: low, HIGH: high}), of, pages


def read_everything(memory: Blobs, of: int) -> None:
    started = time.perf_counter()
    with suppress(Broken):
        handover = Handover.read(memory, root.read(memory, of))
        assert str(Account.of(handover))
        assert list(dump.handover(handover))
        for session in handover.luo.sessions if handover.luo else ():
            for file in session.files:
                if file.memfd is not None:
                    handover.contents(memory, file.memfd)
    assert time.perf_counter() - started < SECONDS


@pytest.mark.parametrize("release", RELEASES)
@settings(max_examples=250)
@given(data=st.data())
def test_a_handover_with_words_changed(release: str, data: st.DataObject) -> None:
    """Words, since nearly everything is one; most become addresses of other parts, to be followed."""
    memory, of, pages = copy(release)
    numbers = st.one_of(
        st.sampled_from(pages),
        st.sampled_from(pages).map(lambda page: page // PAGE),
        st.integers(0, 300),
        st.integers(0, (1 << 64) - 1),
        st.integers(0, 63).map(lambda bit: 1 << bit),
    )
    # The start of a page is where headers are; in the rest of most there is nothing.
    offsets = st.one_of(st.integers(0, 15), st.integers(0, 511)).map(lambda word: word * 8)
    changes = st.lists(st.tuples(st.sampled_from(pages), offsets, numbers), min_size=1, max_size=4)
    for page, offset, number in data.draw(changes):
        memory.write(page + offset, abi_image.words(number))
    read_everything(memory, of)


@pytest.mark.parametrize("release", RELEASES)
@settings(max_examples=120)
@given(data=st.data())
def test_a_handover_with_bytes_changed(release: str, data: st.DataObject) -> None:
    memory, of, pages = copy(release)
    for _ in range(data.draw(st.integers(1, 6))):
        address = data.draw(st.sampled_from(pages)) + data.draw(st.integers(0, 200))
        memory.write(address, bytes([data.draw(st.integers(0, 255))]))
    read_everything(memory, of)


@pytest.mark.parametrize("release", RELEASES)
@settings(max_examples=120)
@given(data=st.data())
def test_a_handover_with_pages_exchanged(release: str, data: st.DataObject) -> None:
    """A pointer that leads to a part of another kind: all of it looks like something."""
    memory, of, pages = copy(release)
    one, other = data.draw(st.sampled_from(pages)), data.draw(st.sampled_from(pages))
    here, there = memory.read(one, PAGE), memory.read(other, PAGE)
    memory.write(one, there)
    memory.write(other, here)
    read_everything(memory, of)


@given(st.binary(max_size=3 * PAGE), st.integers(0, 2 * PAGE))
@settings(max_examples=80)
def test_rubbish_is_refused_by_every_decoder(blob: bytes, size: int) -> None:
    memory = Blobs({BASE: blob.ljust(2 * PAGE, b"\1")})
    for read in (
        lambda: fdt.parse(memory, BASE, size, "tree"),
        lambda: root.read(memory, BASE),
        lambda: luo.read(memory, BASE, size, Visited()),
        lambda: metadata.read(memory, BASE, size),
        lambda: reserve_mem.read(memory, BASE, size),
        lambda: scratch.read(memory, BASE, size),
        lambda: blocks.read(memory, BASE, FileEntry, Visited(), "files"),
        lambda: vmalloc.read(memory, vmalloc.Descriptor.unpack(memory, BASE, ""), Visited(), ""),
        lambda: search.find(memory),
    ):
        with suppress(Broken):
            read()


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=80)
def test_a_state_of_any_content(body: bytes) -> None:
    """Behind the right name, any addresses: nothing that they lead to is RAM, or it is this page itself."""
    memory = Blobs({BASE: (b"luo-v5\0\0" + body[8:]).ljust(PAGE, b"\0")})
    try:
        found = luo.read(memory, BASE, 32, Visited())
    except Broken:
        return
    assert found.sessions == ()


def test_memory_made_to_keep_a_decoder_busy() -> None:
    """Sessions without end, each with the files of all: the first that is met twice ends it."""
    entry_room, file_room = 51, 63
    pages = 4000
    ram = bytearray(pages * PAGE)
    file = b"memfd-v2".ljust(48, b"\0") + abi_image.words(BASE + 2 * PAGE, 1)
    session = b"s".ljust(64, b"\0") + abi_image.words(BASE + PAGE, file_room)
    ram[:32] = b"luo-v5\0\0" + abi_image.words(1, BASE + 3 * PAGE, 0)
    ram[PAGE : PAGE + 16 + 64 * file_room] = abi_image.words(0, file_room) + file * file_room
    for page in range(3, pages):
        after = BASE + (page + 1) * PAGE if page + 1 < pages else 0
        start = page * PAGE
        ram[start : start + 16 + 80 * entry_room] = abi_image.words(after, entry_room) + session * entry_room
    started = time.perf_counter()
    with pytest.raises(Broken, match="something else leads to"):
        luo.read(Blobs({BASE: bytes(ram)}), BASE, 32, Visited())
    assert time.perf_counter() - started < SECONDS
