# SPDX-License-Identifier: GPL-2.0-only
"""Live update's own state, broken on its way: the blob, blocks of sessions and of files, their entries.

What is read when the device is opened makes every session unusable, so that these tests are alone. What is
read while the kernel boots ends it, on machines of the test's own.
"""

from collections.abc import Callable
from errno import EINVAL, EIO, ENOENT

import pytest

from fixtures.death import Death
from fixtures.forced import FIXED_PLACE
from fixtures.held import Held
from fixtures.luo import DEVICE, PAGE, Luo, refused
from fixtures.machine import Machine
from fixtures.runner import Runner
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from kernel.abi import fdt
from kernel.abi.blocks import MAX_BLOCKS, Block, capacity
from kernel.abi.luo import FileEntry, SessionEntry, State
from kernel.abi.luo import Luo as Written
from suite.boot.log import said
from suite.files.requests import preserve_many
from suite.kho.found import file_in, memfd_in, session_in
from suite.kho.tamper import (
    NOWHERE,
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

FILE_BLOCK = capacity(FileEntry, PAGE)
SESSION_BLOCK = capacity(SessionEntry, PAGE)
NAME, OTHER = b"vm", b"other"
FAILED = "The incoming tree failed to initialize properly"


def prepare(luo: Luo) -> None:
    """A session with two blocks of files, one with a single file, and a second block of sessions."""
    preserve_many(luo.create_session(NAME), range(FILE_BLOCK + 1))
    preserve_many(luo.create_session(OTHER), [0])
    luo.create_crowd([f"crowd {number}" for number in range(SESSION_BLOCK)], 0, b"")


def written(held: Held) -> Written:
    assert held.handover.luo is not None
    return held.handover.luo


# What is read when the device is opened


def files_in_block(block: int, count: int) -> Change:
    def change(held: Held) -> None:
        session_in(held, NAME).blocks[block].replace(count=count).write(held.memory)

    return change


def file_blocks_in_a_cycle(held: Held) -> None:
    first, second = session_in(held, NAME).blocks
    second.replace(next=first.address).write(held.memory)


def file_block_follows_itself(held: Held) -> None:
    first, _ = session_in(held, NAME).blocks
    first.replace(next=first.address).write(held.memory)


def more_files(held: Held) -> None:
    entry = session_in(held, NAME).entry
    entry.replace(count=entry.count + 1).write(held.memory)


def fewer_files(held: Held) -> None:
    entry = session_in(held, NAME).entry
    entry.replace(count=1).write(held.memory)


def unknown_handler(held: Held) -> None:
    file_in(held, NAME, 5).entry.replace(compatible=b"memfd-v0".ljust(48, b"\0")).write(held.memory)


def name_of_another(held: Held) -> None:
    session_in(held, OTHER).entry.replace(name=NAME.ljust(64, b"\0")).write(held.memory)


COUNT = "luo: Block contains invalid entry count: "
CORRUPT = "luo: Block set is corrupted"
MISMATCH = "luo: File count mismatch: expected "
FILES = f"luo: Failed to deserialize files for session [{NAME.decode()}]"

UNREADABLE = {
    "block without files": (files_in_block(0, 0), f"{COUNT}0", FILES),
    "block with too many files": (files_in_block(0, FILE_BLOCK + 1), f"{COUNT}{FILE_BLOCK + 1}", FILES),
    "second block without files": (files_in_block(1, 0), f"{COUNT}0", FILES),
    "two blocks in a cycle": (file_blocks_in_a_cycle, CORRUPT, FILES),
    "block that follows itself": (file_block_follows_itself, CORRUPT, FILES),
    "more files": (more_files, f"{MISMATCH}{FILE_BLOCK + 2}, found {FILE_BLOCK + 1}", FILES),
    "fewer files": (fewer_files, f"{MISMATCH}1, found {FILE_BLOCK + 1}", FILES),
    "unknown handler": (unknown_handler, "luo: No registered handler for compatible 'memfd-v0'", FILES),
    "name twice": (name_of_another, f"luo: Failed to insert session [{NAME.decode()}]", ""),
}
TELLING = "block without files", "more files"  # of each check one


@pytest.mark.alone
@pytest.mark.parametrize(
    ("change", "cause", "consequence"),
    [
        pytest.param(
            *case,
            id=what,
            marks=[
                *([pytest.mark.clause("tampering.blocks")] if case[1].startswith((COUNT, CORRUPT)) else []),
                *([pytest.mark.clause("tampering.byte")] if case[1].startswith(COUNT) else []),
                *([pytest.mark.clause("tampering.counts")] if case[1].startswith(MISMATCH) else []),
                *([] if what in TELLING else [pytest.mark.soak]),
            ],
        )
        for what, case in UNREADABLE.items()
    ],
)
@pytest.mark.clause("tampering.sticky")
def test_sessions_that_cannot_be_read_are_refused_for_ever_with_a_word_in_the_log(
    luo: Luo, machine: Machine, change: Change, cause: str, consequence: str
) -> Scenario:
    prepare(luo)

    luo = yield Kexec(at_handover=change)

    for _ in range(3):
        with refused(EIO):
            luo.retrieve_session(OTHER)
    assert len(said(machine, cause)) == 1
    assert not consequence or len(said(machine, consequence)) == 1


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.clause("tampering.sticky")
def test_handover_after_one_that_could_not_be_read_is_like_any_other(luo: Luo) -> Scenario:
    prepare(luo)

    luo = yield Kexec(at_handover=name_of_another)

    with refused(EIO):
        luo.create_session("new")

    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session(OTHER)
    preserve_many(luo.create_session("new"), [1])

    luo = yield KEXEC

    assert luo.retrieve_session("new").retrieve(1).read_all() == b"file 1"


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.parametrize(
    ("blocks", "word"), [(MAX_BLOCKS + 1, ""), (2 * MAX_BLOCKS + 1, CORRUPT)], ids=["more", "twice as many"]
)
@pytest.mark.clause("tampering.blocks")
@pytest.mark.clause("tampering.sticky")
def test_chain_of_more_blocks_than_can_be_is_refused(
    luo: Luo, machine: Machine, blocks: int, word: str
) -> Scenario:
    """The pages of a preserved file are made blocks, each with one entry."""
    prepare(luo)
    big = luo.create_session(b"big")
    ram = luo.memfd(size=blocks * PAGE)
    big.preserve(ram, token=1)

    def chain(held: Held) -> None:
        pages = [folio.pfn * PAGE for folio in memfd_in(held, b"big", 1).folios]
        assert len(pages) == blocks
        for page, following in zip(pages, [*pages[1:], 0], strict=True):
            Block(page, following, 1).write(held.memory)
        session_in(held, OTHER).entry.replace(files=pages[0]).write(held.memory)

    luo = yield Kexec(at_handover=chain)

    for _ in range(2):
        with refused(EIO):
            luo.retrieve_session(NAME)
    assert not word or len(said(machine, word)) == 1


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.clause("tampering.sticky", "tampering.no-warning")
def test_session_whose_files_are_nowhere_is_refused_like_any_other_with_a_wrong_count(luo: Luo) -> Scenario:
    prepare(luo)

    def change(held: Held) -> None:
        session_in(held, OTHER).entry.replace(files=0).write(held.memory)

    luo = yield Kexec(at_handover=change)

    with refused(EIO):
        luo.retrieve_session(OTHER)


# What is read while the kernel boots


def blob_address_short(held: Held) -> None:
    shorten(held.memory, node(held, "LUO").property("preserved-data", "LUO"))


def blob_address_missing(held: Held) -> None:
    tree = held.handover.root.tree
    rename_property(held.memory, tree, node(held, "LUO").property("preserved-data", "LUO"))


def blob_size_short(held: Held) -> None:
    shorten(held.memory, node(held, "LUO").property("blob-size", "LUO"))


def blob_too_small(held: Held) -> None:
    put_word(held.memory, node(held, "LUO").property("blob-size", "LUO"), State.size_of() - 1)


def other_abi(held: Held) -> None:
    held.memory.write(written(held).address, b"luo-v6\0")


def sessions_in_block(block: int, count: int) -> Change:
    def change(held: Held) -> None:
        written(held).blocks[block].replace(count=count).write(held.memory)

    return change


def session_block_follows_itself(held: Held) -> None:
    block = written(held).blocks[0]
    block.replace(next=block.address).write(held.memory)


RETRIEVE = "luo: failed to retrieve LUO state 'LUO' from KHO"
STOPS = {
    "address of the blob short": (blob_address_short, RETRIEVE),
    "no address of the blob": (blob_address_missing, RETRIEVE),
    "size of the blob short": (blob_size_short, "KHO: broken KHO subnode 'LUO'"),
    "blob too small": (blob_too_small, f"luo: LUO state is too small ({State.size_of() - 1} < "),
    "blob of another version": (other_abi, "luo: LUO state is incompatible with 'luo-v5'"),
    "block without sessions": (sessions_in_block(0, 0), f"{COUNT}0"),
    "block with too many sessions": (
        sessions_in_block(0, SESSION_BLOCK + 1),
        f"{COUNT}{SESSION_BLOCK + 1}",
    ),
    "second block without sessions": (sessions_in_block(1, 0), f"{COUNT}0"),
    "block of sessions that follows itself": (session_block_follows_itself, CORRUPT),
}
FATAL = "blob of another version"


def state_tree(held: Held) -> fdt.Tree:
    """Live update's own, until 7.1."""
    tree = written(held).state
    assert isinstance(tree, fdt.Tree)
    return tree


def below(held: Held, name: str) -> fdt.Node:
    child = state_tree(held).root.child(name)
    assert child is not None
    return child


def other_compatible(name: str = "") -> Change:
    def change(held: Held) -> None:
        of = below(held, name) if name else state_tree(held).root
        held.memory.write(of.property("compatible", "LUO").address, b"no")

    return change


def other_node(name: str) -> Change:
    def change(held: Held) -> None:
        rename_node(held.memory, below(held, name), name[:-1] + "x")

    return change


def property_missing(name: str, of: str = "") -> Change:
    def change(held: Held) -> None:
        at = below(held, of) if of else state_tree(held).root
        rename_property(held.memory, state_tree(held), at.property(name, "LUO"))

    return change


TREE_STOPS = {
    "address of the tree short": (blob_address_short, "luo: failed to retrieve FDT 'LUO' from KHO"),
    "size of the tree short": (blob_size_short, "KHO: broken KHO subnode 'LUO'"),
    "tree of another version": (other_compatible(), "luo: FDT 'LUO' is incompatible with 'luo-v1'"),
    "no number": (property_missing("liveupdate-number"), "luo: Unable to get live update number"),
    "no sessions": (other_node("luo-session"), "luo: Unable to get session node: [luo-session]"),
    "sessions of another version": (other_compatible("luo-session"), "luo: Session node incompatible"),
    "no address of sessions": (
        property_missing("luo-session-header", "luo-session"),
        "luo: Unable to get session header",
    ),
    "no FLBs": (other_node("luo-flb"), "luo: Unable to get FLB node [luo-flb]"),
    "FLBs of another version": (other_compatible("luo-flb"), "luo: FLB node is incompatible with"),
    "no address of FLBs": (
        property_missing("luo-flb-header", "luo-flb"),
        "luo: Unable to get FLB header property",
    ),
}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param(*case, id=what, marks=[] if what == FATAL else [pytest.mark.soak])
        for what, case in STOPS.items()
    ],
)
@pytest.mark.clause("tampering.stop")
def test_kernel_that_cannot_read_live_updates_state_does_not_go_on_with_it(
    own_machines: Runner, change: Change, word: str
) -> None:
    stops(own_machines, change, word)


@pytest.mark.soak
@pytest.mark.parametrize(("change", "word"), TREE_STOPS.values(), ids=TREE_STOPS)
@pytest.mark.clause("tampering.stop.tree")
def test_kernel_that_cannot_read_live_updates_device_tree_does_not_go_on_with_it(
    own_machines: Runner, change: Change, word: str
) -> None:
    stops(own_machines, change, word)


def stops(own_machines: Runner, change: Change, word: str) -> None:
    def is_off(luo: Luo) -> None:
        with refused(ENOENT):
            luo.actor.syscall("faccessat", uapi.AT_FDCWD, DEVICE, 0)

    end = ending(own_machines, prepare, change, is_off)
    assert end.said(word)
    assert end.said(f"{FAILED} [-")
    assert end.death is None or (end.death.death is Death.PANIC and FAILED in end.death.title)


@pytest.mark.soak
@pytest.mark.clause("tampering.off")
def test_kernel_without_live_update_does_not_mind_what_it_was_handed(own_machines: Runner) -> None:
    end = ending(own_machines, prepare, other_abi, wish=Kexec("liveupdate=off"))
    assert end.death is None, f"{end.death.death}: {end.death.title}"


# Addresses that are followed without a look


def blob_nowhere(held: Held) -> None:
    put_word(held.memory, node(held, "LUO").property("preserved-data", "LUO"), NOWHERE)


def sessions_nowhere(held: Held) -> None:
    state = written(held).state
    assert isinstance(state, State)
    state.replace(sessions=NOWHERE).write(held.memory)


def next_sessions_nowhere(held: Held) -> None:
    written(held).blocks[0].replace(next=NOWHERE).write(held.memory)


def files_nowhere(held: Held) -> None:
    session_in(held, NAME).entry.replace(files=NOWHERE).write(held.memory)


def next_files_nowhere(held: Held) -> None:
    session_in(held, NAME).blocks[0].replace(next=NOWHERE).write(held.memory)


def header_nowhere(held: Held) -> None:
    file_in(held, NAME, 0).entry.replace(data=NOWHERE).write(held.memory)


def array_nowhere(held: Held) -> None:
    memfd_in(held, NAME, 0).header.replace(first=NOWHERE).write(held.memory)


def more_folios_than_the_array_has(held: Held) -> None:
    memfd_in(held, NAME, 0).header.replace(nr_folios=1 << 20).write(held.memory)


BLOCKS = pytest.mark.clause("tampering.blocks")
FOLLOWED = [
    blob_nowhere,
    pytest.param(sessions_nowhere, marks=BLOCKS),
    pytest.param(next_sessions_nowhere, marks=BLOCKS),
    pytest.param(files_nowhere, marks=BLOCKS),
    pytest.param(next_files_nowhere, marks=BLOCKS),
    header_nowhere,
    array_nowhere,
    more_folios_than_the_array_has,
]


@pytest.mark.soak
@pytest.mark.parametrize("change", FOLLOWED, ids=lambda change: change.__name__.replace("_", " "))
@pytest.mark.clause("tampering.followed")
def test_address_into_nowhere_ends_the_kernel_or_is_refused(
    own_machines: Runner, change: Change, record_property: Callable[[str, object], None]
) -> None:
    def retrieve(luo: Luo) -> None:
        with refused(EIO, EINVAL):
            luo.retrieve_session(NAME).retrieve(0)

    end = ending(own_machines, prepare, change, retrieve)
    record_property("the next kernel", end.outcome)
    assert end.death is None or end.death.death in (Death.PANIC, Death.OOPS)


def retrieve(luo: Luo) -> None:
    with refused(EINVAL):
        luo.retrieve_session(NAME).retrieve(0)


def give_up(luo: Luo) -> None:
    luo.retrieve_session(NAME).finish()


@pytest.mark.soak
@pytest.mark.parametrize("act", [retrieve, give_up], ids=lambda act: act.__name__.replace("_", " "))
@pytest.mark.clause("tampering.followed")
def test_file_whose_state_is_null_is_refused(own_machines: Runner, act: Callable[[Luo], None]) -> None:
    nowhere: list[int] = []

    def find(luo: Luo) -> None:
        prepare(luo)
        nowhere.append(null(luo))

    def header_null(held: Held) -> None:
        file_in(held, NAME, 0).entry.replace(data=nowhere[0]).write(held.memory)

    end = ending(own_machines, find, header_null, act, Kexec(FIXED_PLACE))
    assert end.death is None, end.outcome
