# SPDX-License-Identifier: GPL-2.0-only
"""Device trees: what libfdt makes is read right and in place, and what it would refuse is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.abi import fdt
from kernel.abi.errors import Broken
from kernel.abi.memory import Blobs
from suite.harness import abi_libfdt
from suite.harness.abi_libfdt import Content

BASE = 0x7000
SAMPLE: Content = {
    "compatible": b"kho-v4\0",
    "preserved-memory-map": (0x1234_5678_9ABC).to_bytes(8, "little"),
    "LUO": {"preserved-data": bytes(8), "blob-size": b"\x20" + bytes(7)},
    "memblock": {"odd": b"12345", "empty": b"", "below": {"x": b"y"}},
}

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=12)
CONTENT: st.SearchStrategy[Content] = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=20), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(st.binary(max_size=20), inner), max_size=4),
    max_leaves=8,
)


def parse(blob: bytes, room: int = 4096) -> fdt.Tree:
    return fdt.parse(Blobs({BASE: blob}), BASE, room, "tree")


def content(node: fdt.Node) -> Content:
    properties = {one.name: one.value for one in node.properties}
    return {**properties, **{child.name: content(child) for child in node.children}}


def test_a_tree_is_read_with_its_native_words() -> None:
    tree = parse(abi_libfdt.build(SAMPLE))
    assert content(tree.root) == SAMPLE
    assert tree.root.property("preserved-memory-map", "").word("") == 0x1234_5678_9ABC
    assert tree.root.compatible(("kho-v3", "kho-v4"), "") == "kho-v4"
    assert tree.root.child("none") is None


def test_a_value_and_a_name_are_changed_where_they_are() -> None:
    memory = Blobs({BASE: abi_libfdt.build(SAMPLE)})
    luo = fdt.parse(memory, BASE, 4096, "tree").root.child("LUO")
    assert luo is not None
    size = luo.property("blob-size", "")
    memory.write(size.address, (77).to_bytes(8, "little"))
    memory.write(size.name_address, b"blob-sizE")
    memory.write(luo.address, b"luo")
    changed = abi_libfdt.read(memory.read(BASE, memory.extents[0].length))
    assert changed["luo"] == {"preserved-data": bytes(8), "blob-sizE": (77).to_bytes(8, "little")}


def test_the_header_is_changed_where_it_is() -> None:
    memory = Blobs({BASE: abi_libfdt.build(SAMPLE)})
    header = fdt.parse(memory, BASE, 4096, "tree").header
    header.replace(magic=0xD00DFEEE).write(memory)
    assert memory.read(BASE, 4) == bytes.fromhex("d00dfeee")
    with pytest.raises(Broken, match=r"^tree: no device tree: magic 0xd00dfeee$"):
        fdt.parse(memory, BASE, 4096, "tree")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"totalsize": 39}, "39 bytes where 4096 are"),
        ({"totalsize": 4097}, "4097 bytes where 4096 are"),
        ({"totalsize": 0xFFFFFFFF}, "4294967295 bytes"),
        ({"version": 16}, "version 16"),
        ({"version": 17, "last_comp_version": 18}, "version 17"),
        ({"off_dt_struct": 0xFFFFFFFC}, "structure block"),
        ({"off_dt_struct": 0}, "structure block"),
        ({"size_dt_struct": 0xFFFFFFFC}, "structure block"),
        ({"off_dt_strings": 4090}, "strings block"),
        ({"off_mem_rsvmap": 4088}, "reservation block"),
        ({"size_dt_struct": 8}, "ends too early"),
        ({"size_dt_strings": 4}, "outside of the strings block"),
        ({"off_dt_struct": 58}, "not aligned"),
    ],
)
def test_a_header_that_lies_is_refused(changes: dict[str, int], said: str) -> None:
    memory = Blobs({BASE: abi_libfdt.build(SAMPLE).ljust(4200, b"\0")})
    fdt.parse(memory, BASE, 4096, "tree").header.replace(**changes).write(memory)
    with pytest.raises(Broken, match=said):
        fdt.parse(memory, BASE, 4096, "tree")


def test_a_missing_property_and_one_of_another_length_are_named() -> None:
    root = parse(abi_libfdt.build(SAMPLE)).root
    with pytest.raises(Broken, match=r"^here: node '/' has no property 'fdt'$"):
        root.property("fdt", "here")
    with pytest.raises(Broken, match=r"property 'compatible' at 0x[0-9a-f]+ has 7 bytes, not 8"):
        root.property("compatible", "here").word("here")
    with pytest.raises(Broken, match="unknown ABI 'kho-v4'; known: kho-v5, kho-v6"):
        root.compatible(("kho-v5", "kho-v6"), "here")


def test_a_name_twice_is_refused() -> None:
    blob = abi_libfdt.build({"aa": b"", "ab": b"", "xa": {}, "xb": {}})
    for one, other, said in (
        (b"ab\0", b"aa\0", "property 'aa'"),
        (b"xb\0", b"xa\0", "nodes are called 'xa'"),
    ):
        assert blob.count(one) == 1
        with pytest.raises(Broken, match=said):
            parse(blob.replace(one, other))


def by_hand(*tokens: int, reservations: bytes = bytes(16), strings: bytes = b"name\0") -> bytes:
    """A tree of such a structure block, whose numbers are bare: no libfdt would write it."""
    body = b"".join(token.to_bytes(4, "big") for token in tokens)
    start = 40 + len(reservations)
    size = start + len(body) + len(strings)
    header = [fdt.MAGIC, size, start, start + len(body), 40, 17, 16, 0, len(strings), len(body)]
    return b"".join(number.to_bytes(4, "big") for number in header) + reservations + body + strings


BEGIN, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
NO_NAME, X = 0, 0x78000000  # a node's name, in four bytes


def test_a_tree_made_by_hand_is_read() -> None:
    tokens = (BEGIN, NO_NAME, NOP, PROPERTY, 4, 0, 77, BEGIN, X, NOP, END_NODE, END_NODE, NOP, END)
    assert content(parse(by_hand(*tokens)).root) == {"name": (77).to_bytes(4, "big"), "x": {}}


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ((BEGIN, NO_NAME, BEGIN, X, END_NODE, PROPERTY, 0, 0, END_NODE, END), "token 0x3 is out of place"),
        ((BEGIN, NO_NAME, PROPERTY, 17, 0, 0, END_NODE, END), "of 17 bytes reaches beyond"),
        ((BEGIN, NO_NAME, PROPERTY, 0, 5, END_NODE, END), "name at 5 lies outside of the strings block"),
        ((BEGIN, NO_NAME, END_NODE, BEGIN, NO_NAME, END_NODE, END), "token 0x1 is out of place"),
        ((BEGIN, NO_NAME, BEGIN, NO_NAME, END_NODE, END_NODE, END), "a node has no name"),
        ((BEGIN, X, END_NODE, END), "the root has a name"),
        ((BEGIN, 0x78787878), "name does not end"),
        ((PROPERTY, 0, 0, END), "token 0x3 is out of place"),
        ((END_NODE, END), "token 0x2 is out of place"),
        ((BEGIN, NO_NAME, END), "the tree ends before its root does"),
        ((END,), "the tree ends before its root does"),
        ((BEGIN, NO_NAME, END_NODE), "ends too early"),
        ((), "ends too early"),
        ((BEGIN, NO_NAME, 5, END_NODE, END), "token 0x5 is out of place"),
    ],
)
def test_a_structure_that_makes_no_sense_is_refused(tokens: tuple[int, ...], said: str) -> None:
    with pytest.raises(Broken, match=said):
        parse(by_hand(*tokens))


def test_reservations_have_to_end() -> None:
    tree = (BEGIN, NO_NAME, END_NODE, END)
    one = (1).to_bytes(8, "big") * 2
    assert parse(by_hand(*tree, reservations=one + bytes(16))).root.name == ""
    with pytest.raises(Broken, match="the memory reservations do not end"):
        parse(by_hand(*tree, reservations=one, strings=b"s" * 40))


def test_depth_has_an_end() -> None:
    deep: Content = {}
    for _ in range(40):
        deep = {"n": deep}
    with pytest.raises(Broken, match="out of place"):
        parse(abi_libfdt.build(deep))


@given(CONTENT)
def test_every_tree_of_libfdt_is_read_as_it_was_meant(wanted: Content) -> None:
    blob = abi_libfdt.build(wanted)
    assert content(parse(blob).root) == wanted == abi_libfdt.read(blob)


@given(st.data())
def test_of_a_damaged_tree_nothing_is_read_that_libfdt_refuses(data: st.DataObject) -> None:
    blob = bytearray(abi_libfdt.build(SAMPLE))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(blob) - 1))
        blob[at] = data.draw(st.one_of(st.sampled_from((0, 1, 2, 3, 4, 9, 0xFF)), st.integers(0, 255)))
    with contextlib.suppress(Broken):
        tree = parse(bytes(blob), len(blob))
        whole = bytes(blob[: tree.header.totalsize])
        assert abi_libfdt.accepts(whole)
        assert content(tree.root) == abi_libfdt.read(whole)


@given(st.binary(max_size=300))
def test_rubbish_behind_a_good_header_is_refused_in_time(body: bytes) -> None:
    size = 40 + len(body) // 8 * 8
    header = [fdt.MAGIC, size, 40, 40, 40, 17, 16, 0, (size - 40) // 2 // 4 * 4, (size - 40) // 4 * 4]
    blob = b"".join(number.to_bytes(4, "big") for number in header) + body
    with contextlib.suppress(Broken):
        assert abi_libfdt.accepts(blob[: parse(blob).header.totalsize])


@given(st.binary(max_size=200))
def test_rubbish_is_refused(blob: bytes) -> None:
    with pytest.raises(Broken):
        parse(blob)
