# SPDX-License-Identifier: GPL-2.0-only
"""KHO's own state, broken on its way: device tree, memory map, scratch areas, metadata, what debugfs shows.

It is everybody's, so that these tests are alone.
"""

from collections.abc import Callable
from errno import ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.death import Death
from fixtures.forced import FIXED_PLACE
from fixtures.held import Held
from fixtures.luo import PAGE, Luo, refused
from fixtures.machine import Machine
from fixtures.plugin import release_under_test
from fixtures.runner import Runner
from fixtures.scenario import Kexec
from kernel.abi import search
from kernel.abi.memory import Memory
from kernel.abi.metadata import KexecMetadata
from kernel.abi.scratch import Area
from kernel.abi.setup_data import Record
from kernel.window import Window
from suite.boot.log import said
from suite.boot.scratch import areas
from suite.kho.tamper import (
    NOWHERE,
    copies,
    ending,
    node,
    null,
    put_word,
    rename_node,
    rename_property,
    shorten,
)
from suite.scenario import Scenario

Change = Callable[[Held], None]

METADATA = "kexec-metadata"
REVIVAL = "KHO: disabling KHO revival"
SUB_FDTS = "/sys/kernel/debug/kho/in/sub_fdts"

# More than is mapped at once in early boot: NR_FIX_BTMAPS pages of arch/x86/include/asm/fixmap.h
TOO_LONG = 1 << 20

# More than memblock has room for before it can grow: INIT_MEMBLOCK_REGIONS of mm/memblock.c
MANY_AREAS = 200


def prepare(luo: Luo) -> None:
    luo.create_session("vm").preserve(luo.memfd(pattern(3 * PAGE)), token=1)


def shown(luo: Luo) -> set[str]:
    """The blobs that debugfs shows of those that were handed over."""
    return {name for name in ("LUO", METADATA) if luo.actor.exists(f"{SUB_FDTS}/{name}")}


# What all else depends on


def no_magic(held: Held) -> None:
    held.memory.write(held.handover.root.address, bytes(4))


def other_tree(held: Held) -> None:
    compatible = held.handover.root.tree.root.property("compatible", "KHO FDT")
    held.memory.write(compatible.address, b"kho-v0")


def no_map(held: Held) -> None:
    put_word(held.memory, held.handover.root.map_property(), 0)


def map_missing(held: Held) -> None:
    tree = held.handover.root.tree
    rename_property(held.memory, tree, held.handover.root.map_property())


def map_short(held: Held) -> None:
    shorten(held.memory, held.handover.root.map_property())


NO_MAP = "KHO: failed to get preserved memory map"
OTHER_VERSION = "device tree of another version"
UNREADABLE = {
    OTHER_VERSION: (other_tree, "KHO: setup: handover FDT ("),
    "no device tree": (no_magic, "KHO: setup: handover FDT ("),
    "no memory map": (no_map, REVIVAL),
    "memory map not named": (map_missing, NO_MAP),
    "address of the memory map short": (map_short, NO_MAP),
}


def boots_as_from_cold(luo: Luo, machine: Machine, cause: str) -> None:
    assert len(said(machine, cause)) == 1
    assert len(said(machine, REVIVAL)) == 1
    assert said(machine, "KHO: found kexec handover data", "luo: Retrieved live update data") == []
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.alone
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        pytest.param(
            *case,
            id=what,
            marks=[pytest.mark.clause("tampering.root", "releases.other-version")]
            if what == OTHER_VERSION
            else [pytest.mark.clause("tampering.root"), pytest.mark.soak],
        )
        for what, case in UNREADABLE.items()
    ],
)
def test_kernel_that_cannot_read_khos_tree_boots_as_from_cold_and_says_so(
    luo: Luo, machine: Machine, change: Change, cause: str
) -> Scenario:
    prepare(luo)

    luo = yield Kexec(at_handover=change)

    boots_as_from_cold(luo, machine, cause)
    prepare(luo)


@pytest.fixture
def unchecked_image(pytestconfig: pytest.Config) -> None:
    """The image that is loaded may be changed: until 7.2 the purgatory finds that out, and goes no further.

    Source: kexec_calculate_store_digests() of kernel/kexec_file.c.
    """
    release = release_under_test(pytestconfig)
    if release is not None and not Window(since="7.3").holds(release):
        pytest.skip(f"the purgatory of {release} checks what the next kernel is told of its handover")


IMAGE = pytest.mark.usefixtures("unchecked_image")


def records(memory: Memory) -> tuple[Record, ...]:
    """What tells the next kernel of its handover."""
    outgoing = search.find(memory).outgoing
    assert outgoing is not None
    assert outgoing.records
    return outgoing.records


def tree_too_long(held: Held) -> None:
    for record in records(held.memory):
        record.replace(fdt_size=TOO_LONG).write(held.memory)


def areas_too_long(held: Held) -> None:
    for record in records(held.memory):
        record.replace(scratch_size=TOO_LONG).write(held.memory)


# The decompressor looks for a random place in the scratch areas before anybody has checked them.
FIXED = "nokaslr"


@IMAGE
@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        pytest.param(tree_too_long, "KHO: setup: failed to memremap FDT (", "", id="tree"),
        pytest.param(areas_too_long, "KHO: setup: failed to memremap scratch (", FIXED, id="areas"),
        pytest.param(areas_too_long, "KHO: setup: failed to memremap scratch (", "", id="areas, any place"),
    ],
)
@pytest.mark.clause("tampering.root", "tampering.no-warning")
def test_kernel_that_is_told_a_length_out_of_reach_boots_as_from_cold(
    luo: Luo, machine: Machine, change: Change, cause: str, words: str
) -> Scenario:
    prepare(luo)

    luo = yield Kexec(words, at_handover=change)

    boots_as_from_cold(luo, machine, cause)


@IMAGE
@pytest.mark.soak
@pytest.mark.clause("tampering.root")
def test_kernel_that_gets_more_scratch_areas_than_it_can_note_boots_as_from_cold(
    own_machines: Runner,
) -> None:
    known: list[Area] = []

    def note(luo: Luo) -> None:
        prepare(luo)
        known.extend(Area(0, start, length) for start, length in areas(luo.actor))

    def change(held: Held) -> None:
        memory = held.memory
        largest = max(known, key=lambda area: area.length)
        # With a page between them: to memblock, areas that touch are one.
        small = [Area(0, largest.start + 2 * number * PAGE, PAGE) for number in range(MANY_AREAS)]
        # One copy is the old kernel's own, the other a page of the image, which the jump puts in place.
        places = list(copies(memory, b"".join(area.pack() for area in known)))
        assert len(places) >= 2
        for place in places:
            memory.write(place, b"".join(area.pack() for area in small))
        for record in records(memory):
            record.replace(scratch_size=MANY_AREAS * Area.size_of()).write(memory)

    end = ending(own_machines, note, change, wish=Kexec(FIXED))
    assert end.death is None, f"{end.death.death}: {end.death.title}"
    assert end.said("failed to mark the scratch region")
    assert end.said(REVIVAL)


# Metadata


def other_version(held: Held) -> None:
    assert held.handover.metadata is not None
    held.handover.metadata.replace(version=2).write(held.memory)


def size_of_metadata(size: int) -> Change:
    def change(held: Held) -> None:
        put_word(held.memory, node(held, METADATA).property("blob-size", METADATA), size)

    return change


def other_name(held: Held) -> None:
    rename_node(held.memory, node(held, METADATA), METADATA[:-1] + "b")


WHOLE = KexecMetadata.size_of()
ODD_METADATA = {
    "other version": (other_version, "KHO: kexec-metadata version 2 not supported (expected 1)"),
    "size without a version": (size_of_metadata(3), "KHO: kexec-metadata blob too small (3 bytes)"),
    "size without a count": (
        size_of_metadata(WHOLE - 1),
        f"KHO: kexec-metadata blob too small for v1 ({WHOLE - 1} < {WHOLE})",
    ),
    "other name": (other_name, ""),
}


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.parametrize(("change", "word"), ODD_METADATA.values(), ids=ODD_METADATA)
@pytest.mark.clause("tampering.metadata")
def test_kernel_that_cannot_read_metadata_takes_everything_else(
    luo: Luo, machine: Machine, change: Change, word: str
) -> Scenario:
    prepare(luo)

    luo = yield Kexec(at_handover=change)

    assert said(machine, "KHO: exec from: ") == []
    assert [line for line in said(machine, "KHO: kexec-metadata ") if line] == ([word] if word else [])
    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(3 * PAGE)


# debugfs


def address_missing(held: Held) -> None:
    tree = held.handover.root.tree
    rename_property(held.memory, tree, node(held, METADATA).property("preserved-data", METADATA))


def address_short(held: Held) -> None:
    shorten(held.memory, node(held, METADATA).property("preserved-data", METADATA))


def size_missing(held: Held) -> None:
    tree = held.handover.root.tree
    rename_property(held.memory, tree, node(held, METADATA).property("blob-size", METADATA))


def size_short(held: Held) -> None:
    shorten(held.memory, node(held, METADATA).property("blob-size", METADATA))


def name_of_another(held: Held) -> None:
    """The other one comes first, so that whoever asks for the name finds that one."""
    assert [one.name for one in held.handover.root.tree.root.children].index("LUO") == 0
    rename_node(held.memory, node(held, METADATA), "LUO")


BROKEN = f"KHO: broken KHO subnode '{METADATA}': missing or invalid blob-size property"
NO_SIZE = f"KHO: node {METADATA} missing or invalid blob-size property"
ODD_NODES = {
    "no address": (address_missing, ()),
    "address short": (address_short, (f"KHO: node {METADATA} prop preserved-data has invalid length: 4",)),
    "no size": (size_missing, (BROKEN, NO_SIZE)),
    "size short": (size_short, (BROKEN, NO_SIZE)),
    "name twice": (name_of_another, ("KHO: failed to add blob LUO to debugfs: ",)),
}


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.parametrize(("change", "words"), ODD_NODES.values(), ids=ODD_NODES)
@pytest.mark.clause("tampering.debugfs")
def test_node_that_cannot_be_shown_is_named_and_left_out(
    luo: Luo, machine: Machine, change: Change, words: tuple[str, ...]
) -> Scenario:
    prepare(luo)

    luo = yield Kexec(at_handover=change)

    assert shown(luo) == {"LUO"}
    assert [len(said(machine, word)) for word in words] == [1] * len(words)
    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(3 * PAGE)


# Addresses that are followed without a look


def map_nowhere(held: Held) -> None:
    put_word(held.memory, held.handover.root.map_property(), NOWHERE)


def table_nowhere(held: Held) -> None:
    memory, root = held.memory, held.handover.root.memory_map
    first = next(at for at in range(root, root + PAGE, 8) if memory.word(at))
    memory.write(first, NOWHERE.to_bytes(8, "little"))


def metadata_nowhere(held: Held) -> None:
    put_word(held.memory, node(held, METADATA).property("preserved-data", METADATA), NOWHERE)


@pytest.mark.soak
@pytest.mark.parametrize(
    "change",
    [map_nowhere, table_nowhere, metadata_nowhere],
    ids=lambda change: change.__name__.replace("_", " "),
)
@pytest.mark.clause("tampering.followed")
def test_address_into_nowhere_ends_the_kernel_or_is_refused(
    own_machines: Runner, change: Change, record_property: Callable[[str, object], None]
) -> None:
    end = ending(own_machines, prepare, change)
    record_property("the next kernel", end.outcome)
    if end.death is None:
        assert end.said(REVIVAL) or change is metadata_nowhere
    else:
        assert end.death.death in (Death.PANIC, Death.OOPS)


@pytest.mark.soak
@pytest.mark.clause("tampering.followed")
def test_memory_map_that_is_null_ends_the_kernel_or_is_refused(
    own_machines: Runner, record_property: Callable[[str, object], None]
) -> None:
    nowhere: list[int] = []

    def find(luo: Luo) -> None:
        prepare(luo)
        nowhere.append(null(luo))

    def map_null(held: Held) -> None:
        put_word(held.memory, held.handover.root.map_property(), nowhere[0])

    end = ending(own_machines, find, map_null, wish=Kexec(FIXED_PLACE))
    record_property("the next kernel", end.outcome)
    assert end.said(REVIVAL) if end.death is None else end.death.death in (Death.PANIC, Death.OOPS)
