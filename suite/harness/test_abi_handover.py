# SPDX-License-Identifier: GPL-2.0-only
"""Whole handovers of every ABI: what is in them, who owns what, and what is refused."""

import re
import struct
from dataclasses import replace

import pytest

from kernel.abi import blocks, metadata, radix, reserve_mem, root, scratch, vmalloc
from kernel.abi.account import Account, Preservation, claims, owners
from kernel.abi.errors import Broken
from kernel.abi.handover import Handover
from kernel.abi.luo import FileEntry, Luo, SessionEntry
from kernel.abi.memfd import Memfd, MemfdV2
from kernel.abi.memory import Blobs
from kernel.abi.preserved import Preserved
from kernel.abi.root import MapForm, Root
from kernel.abi.structure import Struct
from kernel.abi.visited import Visited
from kernel.uapi import F_SEAL_SHRINK, F_SEAL_WRITE
from suite.harness import abi_image, abi_libfdt
from suite.harness.abi_image import HIGH, LOW, LOW_SIZE, PAGE, RELEASES, Image, MemfdSpec, chain, words


def content(size: int) -> bytes:
    """Bytes that repeat nowhere."""
    numbers = (number * 0x9E3779B97F4A7C15 % (1 << 64) for number in range(size // 8 + 1))
    return b"".join(struct.pack("<Q", number) for number in numbers)[:size]


SEALS = F_SEAL_SHRINK | F_SEAL_WRITE
SPECS = {
    "vm": {
        7: MemfdSpec(content(3 * PAGE + 17), position=4099, seals=SEALS),
        (1 << 64) - 1: MemfdSpec(b""),
        0: MemfdSpec(content(11 * PAGE), orders=(3, 0, 1)),
    },
    "empty": {},
    "n" * 63: {1: MemfdSpec(content(300 * PAGE))},
}


def make(release: str = "7.2", sessions: abi_image.Sessions = SPECS) -> tuple[Image, Blobs, Root]:
    image = Image()
    address = abi_image.handover(image, RELEASES[release], sessions)
    memory = image.memory()
    return image, memory, root.read(memory, address)


def luo_of(handover: Handover) -> Luo:
    assert handover.luo is not None
    return handover.luo


def memfd_of(handover: Handover, session: str = "vm", token: int = 7) -> Memfd:
    memfd = luo_of(handover).session(session).file(token).memfd
    assert memfd is not None
    return memfd


@pytest.mark.parametrize("release", RELEASES)
def test_everything_that_went_in_is_found(release: str) -> None:
    image, memory, of = make(release)
    handover = Handover.read(memory, of)
    luo = luo_of(handover)
    assert of.abi.compatible == f"kho-v{RELEASES[release].kho}"
    assert luo.compatible == f"luo-v{RELEASES[release].luo}"
    assert luo.number == 3
    assert [session.name for session in luo.sessions] == list(SPECS)
    for name, specs in SPECS.items():
        session = luo.session(name)
        assert [file.token for file in session.files] == list(specs)
        for token, spec in specs.items():
            memfd = memfd_of(handover, name, token)
            assert (memfd.header.size, memfd.header.pos) == (len(spec.content), spec.position)
            assert handover.contents(memory, memfd) == spec.content
            assert [place.length for place in handover.places(memfd)] == [
                PAGE << order for order in spec.folio_orders()
            ]
            if isinstance(memfd.header, MemfdV2):
                assert memfd.header.seals == spec.seals
    assert (luo.flbs is not None) == RELEASES[release].flb
    if luo.flbs is not None:
        assert [(flb.data, flb.count) for flb in luo.flbs.entries] == [(5, 2)]
    assert handover.reserved is not None
    assert [(area.name, area.size) for area in handover.reserved.areas] == [("trace", 3 * PAGE)]
    assert (handover.metadata is not None) == (RELEASES[release].kho > 1)
    if handover.metadata is not None:
        assert (handover.metadata.release, handover.metadata.kexec_count) == ("7.3.4-test", 1)
    assert list(handover.memory_map.blocks) == sorted(image.preserved)


@pytest.mark.parametrize("release", RELEASES)
def test_every_preserved_page_has_an_owner(release: str) -> None:
    image, memory, of = make(release)
    handover = Handover.read(memory, of)
    account = Account.of(handover)
    assert account.balanced, str(account)
    assert str(account) == "every preserved page has its owner"
    words_of = owners(handover)
    preserved = {
        page for address, order in image.preserved for page in range(address, address + (PAGE << order), PAGE)
    }
    assert preserved | set(image.map_pages) == words_of.keys()
    assert words_of[of.address] == "KHO FDT"
    named = set(words_of.values())
    tables = (
        {"bitmap chunk", "bitmap"} if of.abi.map_form is MapForm.BITMAPS else {"radix table", "radix leaf"}
    )
    luo = {"session block", "file block of session 'vm'"}
    if RELEASES[release].luo == 1:
        luo = {"session array", "file array of session 'vm'"}
    assert (
        tables
        | luo
        | {
            "LUO state",
            "reserve_mem 'trace'",
            "memblock FDT",
            "memfd 'vm'/7",
            "memfd 'vm'/7 vmalloc chunk",
            "memfd 'vm'/7 folio array",
            "memfd 'vm'/7 folio 3",
        }
        <= named
    )
    assert {
        claim.part.what for claim in claims(handover) if claim.preservation is Preservation.NONE
    } == tables


def test_a_page_without_owner_is_named() -> None:
    image = Image()
    image.folio()  # a leak
    leaked, order = image.preserved[0]
    of = abi_image.handover(image, RELEASES["7.2"], {})
    handover = Handover.read(memory := image.memory(), root.read(memory, of))
    account = Account.of(handover)
    assert account.unowned == (Preserved(leaked, order),)
    assert not account.balanced
    assert str(account) == f"nobody owns the block of order 0 at {leaked:#x}"


def test_a_part_that_is_not_preserved_is_named() -> None:
    _, memory, of = make()
    session = luo_of(Handover.read(memory, of)).session("vm")
    block = session.blocks[0].address
    radix.locate(memory, of.memory_map, block, 0).flip(memory)
    account = Account.of(Handover.read(memory, of))
    assert [(one, part.what) for one, part in account.missing] == [
        (Preserved(block, 0), "file block of session 'vm'")
    ]
    assert str(account) == (
        f"file block of session 'vm' at {block:#x}: its block of order 0 at {block:#x} is not preserved"
    )


def test_a_folio_that_is_not_preserved_has_no_contents() -> None:
    _, memory, of = make()
    folio = memfd_of(Handover.read(memory, of)).folios[2]
    radix.locate(memory, of.memory_map, folio.pfn * PAGE, 0).flip(memory)
    handover = Handover.read(memory, of)
    with pytest.raises(Broken, match=r"entry 2: the folio at 0x[0-9a-f]+ is not preserved"):
        handover.contents(memory, memfd_of(handover))
    assert [part.what for _, part in Account.of(handover).missing] == ["memfd 'vm'/7 folio 2"]


def test_memory_with_two_owners_is_named() -> None:
    _, memory, of = make()
    handover = Handover.read(memory, of)
    start = handover.reserved.areas[0].node.property("start", "") if handover.reserved else None
    assert start is not None
    memory.write(start.address, words(memfd_of(handover).folios[0].pfn * PAGE))
    account = Account.of(Handover.read(memory, of))
    shared = {frozenset((one.what, two.what)) for one, two in account.shared}
    assert frozenset(("memfd 'vm'/7 folio 0", "reserve_mem 'trace'")) in shared


@pytest.mark.parametrize(
    ("start", "pages", "orders"),
    [(0, 1, [0]), (4, 3, [1, 0]), (3, 6, [0, 2, 0]), (8, 8, [3]), (6, 10, [1, 3]), (1, 1, [0])],
)
def test_pages_are_preserved_in_the_blocks_that_the_kernel_makes(
    start: int, pages: int, orders: list[int]
) -> None:
    """kho_preserve_pages(), by hand: each block as large as its address and what is left allow."""
    image = Image()
    base = LOW + LOW_SIZE - 64 * PAGE + start * PAGE
    at = base
    for order in orders:
        image.preserved.append((at, order))
        at += PAGE << order
    blob = image.folio(abi_image.memblock({"area": (base, pages * PAGE)}))
    address = image.folio()
    nodes: abi_libfdt.Content = {
        "compatible": b"kho-v4\0",
        "preserved-memory-map": words(image.radix()),
        "memblock": {"preserved-data": words(blob), "blob-size": words(PAGE)},
    }
    image.put(address, abi_libfdt.build(nodes))
    memory = image.memory()
    account = Account.of(Handover.read(memory, root.read(memory, address)))
    assert account.balanced, str(account)


@pytest.mark.parametrize("release", RELEASES)
def test_a_changed_entry_is_written_back_where_it_was(release: str) -> None:
    _, memory, of = make(release)
    handover = Handover.read(memory, of)
    session = luo_of(handover).session("vm")
    session.entry.replace(name=b"other").write(memory)
    session.file(7).entry.replace(token=9).write(memory)
    memfd = memfd_of(handover)
    memfd.header.replace(pos=5).write(memory)
    last = memfd.folios[3]
    last.replace(flags=1).write(memory)
    memory.write(last.address_of("index"), words(3))
    again = Handover.read(memory, of)
    changed = memfd_of(again, "other", 9)
    assert changed.header == memfd.header.replace(pos=5)
    assert changed.folios == (*memfd.folios[:3], last.replace(flags=1))


def test_the_address_of_a_field() -> None:
    entry = SessionEntry(0x1000, b"vm", 0x2000, 3)
    assert [entry.address_of(name) for name in ("name", "files", "count")] == [0x1000, 0x1040, 0x1048]
    with pytest.raises(ValueError, match="address"):
        entry.address_of("address")


# The entries of one kind of table, changed one at a time: the change, and what is said of it.
LUO_LIES = [
    ("session", {"name": b"x" * 64}, "the name has no terminating NUL"),
    ("session", {"count": 4}, "4 files are expected, 3 found"),
    ("session", {"files": 0}, "3 files are expected, 0 found"),
    ("session", {"files": 12345}, "address 0x3039 is not that of a page"),
    ("session", {"files": HIGH * 2}, "lie outside of RAM"),
    ("session block", {"count": 0}, "0 entries in a block for 1 to 51"),
    ("session block", {"count": 52}, "52 entries in a block for 1 to 51"),
    ("session block", {"next": HIGH * 3}, "lie outside of RAM"),
    ("file block", {"count": 64}, "64 entries in a block for 1 to 63"),
    ("file", {"compatible": b"y" * 48}, "the file's handler has no terminating NUL"),
    ("file", {"compatible": b"memfd-v3"}, "handler 'memfd-v3' is unknown; known: memfd-v1, memfd-v2"),
    ("file", {"data": 0}, "memfd-v2 at 0x0: 4096 bytes at 0x0 lie outside of RAM"),
    ("memfd", {"nr_folios": 257}, "257 folios are said to be in 4096 bytes"),
    ("memfd", {"nr_folios": (1 << 64) - 1}, "folios are said to be in"),
    ("memfd", {"flags": 1}, "flags 0x1 are not 0"),
    ("memfd", {"seals": 0x40}, "seals 0x40 are not all known"),
    ("memfd", {"first": 8}, "address 0x8 is not that of a page"),
    ("memfd", {"first": 0}, "0 blocks, not 1"),
    ("memfd", {"total_pages": 2}, "1 blocks, not 2"),
    ("memfd", {"total_pages": 0}, "more than the 0 blocks that there should be"),
    ("memfd", {"total_pages": 0xFFFFFFFF}, "4294967295 pages are more than RAM has"),
    ("memfd", {"area_flags": 4}, "flags 0x4 are not known"),
    ("memfd", {"area_order": 1}, "1 pages are no blocks of order 1"),
    ("memfd", {"area_order": 0xFFFF}, "1 pages are no blocks of order 65535"),
    ("memfd", {"size": PAGE}, r"folio array: entry 1: page 1 of a file of 4096 bytes"),
    ("folio", {"pfn": 1 << 40}, r"folio array: entry 0: pfn 0x10000000000 lies outside of RAM"),
    ("folio", {"flags": 4}, "flags 0x4 are not all known"),
    ("folio", {"index": 4}, "page 4 of a file of 12305 bytes"),
    ("flb", {"count": 64}, "64 objects where 63 have room"),
    ("flb", {"pages": 2}, "2 pages, not 1"),
    ("flb entry", {"name": b"z" * 48}, "the object's name has no terminating NUL"),
    ("state", {"compatible": b"luo-v4\0\0"}, r"unknown ABI b'luo-v4.*known: luo-v1, luo-v5"),
    ("state", {"sessions": 1 << 63}, "lie outside of RAM"),
    ("state", {"flbs": PAGE // 2}, "address 0x800 is not that of a page"),
    ("metadata", {"version": 2}, "version 2 is unknown; known: 1"),
    ("metadata", {"previous_release": b"r" * 65}, "the release has no terminating NUL"),
]


@pytest.mark.parametrize(("part", "changes", "said"), LUO_LIES)
def test_a_lie_is_refused_and_named(part: str, changes: dict[str, object], said: str) -> None:
    _, memory, of = make()
    handover = Handover.read(memory, of)
    luo = luo_of(handover)
    session = luo.session("vm")
    memfd = memfd_of(handover)
    assert luo.flbs is not None
    parts: dict[str, object] = {
        "session": session.entry,
        "session block": luo.blocks[0],
        "file block": session.blocks[0],
        "file": session.file(7).entry,
        "memfd": memfd.header,
        "folio": memfd.folios[0],
        "flb": luo.flbs.header,
        "flb entry": luo.flbs.entries[0],
        "state": luo.state,
        "metadata": handover.metadata,
    }
    chosen = parts[part]
    assert isinstance(chosen, Struct)
    chosen.replace(**changes).write(memory)
    with pytest.raises(Broken, match=said) as broken:
        Handover.read(memory, of)
    assert re.search(r"0x[0-9a-f]+", broken.value.where)


def test_an_array_of_sessions_that_does_not_fit_is_refused() -> None:
    _, memory, of = make("7.0")
    luo = luo_of(Handover.read(memory, of))
    assert luo.session_header is not None
    luo.session_header.replace(count=820).write(memory)
    with pytest.raises(Broken, match="820 sessions where 819 have room"):
        Handover.read(memory, of)
    luo.session_header.write(memory)
    luo.session("vm").entry.replace(count=129).write(memory)
    with pytest.raises(Broken, match="129 files where 128 have room"):
        Handover.read(memory, of)
    luo.session("vm").entry.replace(files=0).write(memory)
    with pytest.raises(Broken, match="3 files that are nowhere"):
        Handover.read(memory, of)


def test_a_handler_of_somebody_else_is_let_pass_if_asked() -> None:
    _, memory, of = make()
    entry = luo_of(Handover.read(memory, of)).session("vm").file(7).entry
    entry.replace(compatible=b"vfio-v1", data=3).write(memory)
    file = luo_of(Handover.read(memory, of, opaque=("vfio-v1",))).session("vm").file(7)
    assert (file.compatible, file.memfd) == ("vfio-v1", None)


def test_no_part_is_reached_in_two_ways() -> None:
    """Else a few pages could keep a decoder busy for ever, each file with all files below it."""
    _, memory, of = make()
    luo = luo_of(Handover.read(memory, of))
    vm, other = luo.session("vm"), luo.session("n" * 63)
    cases = [
        other.entry.replace(files=vm.entry.files, count=vm.entry.count),
        other.files[0].entry.replace(data=vm.files[0].entry.data),
        vm.blocks[0].replace(next=vm.blocks[0].address),
        luo.blocks[0].replace(next=luo.address),
        memfd_of(Handover.read(memory, of)).folios[1].replace(pfn=of.address // PAGE),
    ]
    for case in cases:
        before = memory.read(case.address, case.size_of())
        case.write(memory)
        with pytest.raises(Broken, match=r"something else leads to 0x[0-9a-f]+ already"):
            Handover.read(memory, of)
        memory.write(case.address, before)
    Handover.read(memory, of)


def test_a_chain_of_blocks_has_the_kernels_limit() -> None:
    entry = struct.pack("<48sQQ", b"memfd-v2", 0, 1)
    count = blocks.MAX_BLOCKS + 1
    ram = bytearray(count * PAGE)
    for number in range(count):
        after = LOW + (number + 1) * PAGE if number + 1 < count else 0
        ram[number * PAGE : number * PAGE + 80] = words(after, 1) + entry
    memory = Blobs({LOW: bytes(ram)})
    with pytest.raises(Broken, match="more than 10000 blocks"):
        blocks.read(memory, LOW, FileEntry, Visited(), "files")
    memory.write(LOW + (count - 2) * PAGE, words(0))
    assert len(blocks.read(memory, LOW, FileEntry, Visited(), "files").entries) == blocks.MAX_BLOCKS


def test_many_sessions_fill_many_blocks() -> None:
    image = Image()
    entries = [struct.pack("<64sQQ", f"s{number}".encode(), 0, 0) for number in range(130)]
    head = chain(image, entries)
    found = blocks.read(image.memory(), head, SessionEntry, Visited(), "sessions")
    assert [block.count for block in found.blocks] == [51, 51, 28]
    assert [entry.pack() for entry in found.entries] == entries


@pytest.mark.parametrize("count", [1, 510, 511, 512])
def test_an_area_of_any_length_is_read(count: int) -> None:
    """511 addresses fill a chunk, and a full chunk has an empty one behind it."""
    image = Image(low=bytearray(LOW_SIZE * 2))
    data = b"".join(words(number) * (PAGE // 8) for number in range(count))
    address = image.folio(image.vmalloc(data))
    memory = image.memory()
    area = vmalloc.read(memory, vmalloc.Descriptor.unpack(memory, address, ""), Visited(), "test")
    assert len(area.chunks) == count // 511 + 1
    assert area.length == len(data)
    assert area.contents(memory, len(data) - 5, "test") == data[:-5]
    assert memory.word(area.place(len(data) - 8)) == count - 1


def test_a_chain_of_empty_chunks_ends() -> None:
    image = Image()
    one, other = image.folio(), image.folio()
    image.put(one, words(other))
    image.put(other, words(one))
    with pytest.raises(Broken, match="something else leads to"):
        vmalloc.read(image.memory(), vmalloc.Descriptor(0, one, 1, 1, 0), Visited(), "test")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compatible": b"kho-v2\0"}, "unknown ABI 'kho-v2'; known: kho-v1, kho-v3, kho-v4"),
        ({"compatible": b"kho-v4"}, "unknown ABI"),
        ({"preserved-memory-map": bytes(4)}, "has 4 bytes, not 8"),
        ({"preserved-memory-map": words(0)}, "lie outside of RAM"),
        ({"preserved-memory-map": words(LOW + 8)}, "not that of a page"),
        ({"x": {"preserved-data": words(LOW)}}, "node 'x' has no property 'blob-size'"),
        ({"x": {"fdt": words(LOW)}}, "node 'x' has no property 'preserved-data'"),
        ({"x": {"preserved-data": words(LOW), "blob-size": words(0)}}, "has no byte"),
        ({"x": {"preserved-data": words(0), "blob-size": words(1)}}, "lies outside of RAM"),
        ({"x": {"preserved-data": words(LOW), "blob-size": words(LOW_SIZE + 1)}}, "lies outside of RAM"),
        ({"LUO": {"preserved-data": words(LOW), "blob-size": words(31)}}, "31 bytes, less than 32"),
        (
            {"kexec-metadata": {"preserved-data": words(LOW), "blob-size": words(72)}},
            "72 bytes, less than 73",
        ),
    ],
)
def test_a_root_that_lies_is_refused(changes: abi_libfdt.Content, said: str) -> None:
    image = Image()
    address = image.folio()
    first: abi_libfdt.Content = {"compatible": b"kho-v4\0", "preserved-memory-map": words(image.radix())}
    nodes = {**first, **changes}
    image.put(address, abi_libfdt.build(nodes))
    memory = image.memory()
    with pytest.raises(Broken, match=said) as broken:
        Handover.read(memory, root.read(memory, address))
    assert broken.value.where.startswith(("KHO FDT at", "LUO blob at", "kexec-metadata at"))


def test_a_map_that_was_not_finalized_is_said_to_be_so() -> None:
    _, memory, of = make("6.19")
    memory.write(of.map_property().address, bytes(8))
    with pytest.raises(Broken, match="it was not finalized"):
        Handover.read(memory, root.read(memory, of.address))


def test_blobs_of_others_are_kept_and_owned() -> None:
    image = Image()
    blob, address = image.folio(order=1), image.folio()
    nodes: abi_libfdt.Content = {
        "compatible": b"kho-v4\0",
        "preserved-memory-map": words(image.radix()),
        "test": {"preserved-data": words(blob), "blob-size": words(PAGE + 1)},
    }
    image.put(address, abi_libfdt.build(nodes))
    memory = image.memory()
    handover = Handover.read(memory, root.read(memory, address))
    assert [(other.name, other.blob, other.size) for other in handover.others] == [("test", blob, PAGE + 1)]
    assert Account.of(handover).balanced
    assert owners(handover)[blob + PAGE] == "blob 'test'"


@pytest.mark.parametrize(
    ("start", "size", "said"),
    [(0, PAGE, "are no RAM"), (LOW, 0, "are no RAM"), (LOW, LOW_SIZE + 1, "are no RAM")],
)
def test_a_reserved_area_is_ram(start: int, size: int, said: str) -> None:
    image = Image()
    address = image.folio(abi_image.memblock({"area": (start, size)}))
    with pytest.raises(Broken, match=f"area 'area'.*{said}"):
        reserve_mem.read(image.memory(), address, None)


def test_a_metadata_blob_may_be_larger_than_what_is_known_of_it() -> None:
    image = Image()
    address = image.folio(struct.pack("<I65sI", 1, b"7.3.4", 12))
    assert metadata.read(image.memory(), address, 100).kexec_count == 12


@pytest.mark.parametrize(
    ("areas", "size", "said"),
    [
        ([(LOW, PAGE), (HIGH, PAGE)], 32, None),
        ([(LOW, PAGE), (LOW, PAGE)], 32, "overlaps another"),
        ([(LOW, PAGE), (LOW + PAGE // 2, PAGE)], 32, "are no scratch area"),
        ([(LOW, LOW_SIZE + 1)], 16, "are no scratch area"),
        ([(0, PAGE)], 16, "are no scratch area"),
        ([(LOW, PAGE)], 0, "are no array"),
        ([(LOW, PAGE)], 24, "are no array"),
        ([(LOW, PAGE)], 16 << 20, "are no array"),
    ],
)
def test_scratch_areas(areas: list[tuple[int, int]], size: int, said: str | None) -> None:
    image = Image()
    address = image.folio(b"".join(words(*area) for area in areas))
    memory = image.memory()
    if said is None:
        found = scratch.read(memory, address, size)
        assert [(area.start, area.length) for area in found] == areas
        found[1].replace(length=2 * PAGE).write(memory)
        assert scratch.read(memory, address, size)[1].length == 2 * PAGE
    else:
        with pytest.raises(Broken, match=said):
            scratch.read(memory, address, size)


def test_small_bitmaps_are_read_when_asked_for() -> None:
    image = Image()
    release = replace(RELEASES["6.19"], bitmap=512)
    of = abi_image.handover(image, release, SPECS)
    memory = image.memory()
    handover = Handover.read(memory, root.read(memory, of), bitmap_bytes=512)
    assert list(handover.memory_map.blocks) == sorted(image.preserved)
    assert Account.of(handover).balanced
