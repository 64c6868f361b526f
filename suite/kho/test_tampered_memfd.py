# SPDX-License-Identifier: GPL-2.0-only
"""A preserved memfd that was broken on its way: the next kernel refuses it, and nobody else suffers."""

from collections.abc import Callable
from errno import EBUSY, EEXIST, EINVAL, EIO, ENOENT, EOPNOTSUPP

import pytest

from fixtures.agent.errors import SyscallError
from fixtures.agent.pattern import pattern
from fixtures.held import Held
from fixtures.luo import PAGE, Luo, Memfd, refused
from fixtures.machine import Machine
from fixtures.scenario import Kexec
from kernel.abi import memfd as abi
from kernel.abi import radix
from kernel.abi.memfd import MemfdV2
from kernel.abi.memory import Memory
from suite.boot.log import said
from suite.kho.found import file_in, memfd_in
from suite.kho.tamper import NOWHERE
from suite.scenario import Scenario

Change = Callable[[Memory, abi.Memfd], None]

# So many folios that their array takes two pages.
PAGES = 300
UNKNOWN_SEAL = 1 << 6


def tampering(luo: Luo, change: Change, token: int = 1) -> Kexec:
    """The handover at which ``change`` gets hold of a file of the test's session ``vm``."""
    name = luo.name("vm")

    def look(held: Held) -> None:
        change(held.memory, memfd_in(held, name, token))

    return Kexec(at_handover=look)


def unknown_seal(memory: Memory, memfd: abi.Memfd) -> None:
    assert isinstance(memfd.header, MemfdV2)
    memfd.header.replace(seals=memfd.header.seals | UNKNOWN_SEAL).write(memory)


def fewer_pages(memory: Memory, memfd: abi.Memfd) -> None:
    memfd.header.replace(total_pages=memfd.header.total_pages - 1).write(memory)


def more_pages(memory: Memory, memfd: abi.Memfd) -> None:
    memfd.header.replace(total_pages=memfd.header.total_pages + 1).write(memory)


def no_pages(memory: Memory, memfd: abi.Memfd) -> None:
    memfd.header.replace(total_pages=0).write(memory)


def page_of_array_nowhere(memory: Memory, memfd: abi.Memfd) -> None:
    assert memfd.area is not None
    memory.write(memfd.area.chunks[0].address + 8, NOWHERE.to_bytes(8, "little"))


def page_of_array_left_out(memory: Memory, memfd: abi.Memfd) -> None:
    assert memfd.area is not None
    memory.write(memfd.area.chunks[0].address + 16, bytes(8))


def folio_nowhere(memory: Memory, memfd: abi.Memfd) -> None:
    memfd.folios[1].replace(pfn=NOWHERE // PAGE).write(memory)


def folios_nowhere(memory: Memory, memfd: abi.Memfd) -> None:
    """With a third one left out, behind the first that cannot be restored."""
    for folio, pfn in zip(memfd.folios[1:], (NOWHERE // PAGE, NOWHERE // PAGE + 1, 0), strict=False):
        folio.replace(pfn=pfn).write(memory)


def place_taken(memory: Memory, memfd: abi.Memfd) -> None:
    memfd.folios[1].replace(index=memfd.folios[0].index).write(memory)


BROKEN = {
    "unknown seal": (unknown_seal, EOPNOTSUPP, "tampering.seals"),
    "fewer pages": (fewer_pages, EINVAL, "tampering.array"),
    "more pages": (more_pages, EINVAL, "tampering.array"),
    "no pages": (no_pages, EINVAL, "tampering.array"),
    "page of the array nowhere": (page_of_array_nowhere, EINVAL, "tampering.array"),
    "page of the array left out": (page_of_array_left_out, EINVAL, "tampering.array"),
    "folio nowhere": (folio_nowhere, EIO, "tampering.folio"),
    "several folios nowhere": (folios_nowhere, EIO, "tampering.folio"),
    "place taken": (place_taken, EEXIST, "tampering.folio"),
}


@pytest.mark.parametrize(
    ("change", "errno"),
    [
        pytest.param(change, errno, id=what, marks=pytest.mark.clause("tampering.file", clause))
        for what, (change, errno, clause) in BROKEN.items()
    ],
)
def test_broken_file_is_refused_every_time_and_its_neighbour_is_not(
    luo: Luo, change: Change, errno: int
) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(PAGE), size=PAGES * PAGE), token=1)
    session.preserve(luo.memfd(pattern(3 * PAGE, seed=2)), token=2)

    luo = yield tampering(luo, change)

    session = luo.retrieve_session("vm")
    for _ in range(2):
        with refused(errno):
            session.retrieve(1)
    assert session.retrieve(2).read_all() == pattern(3 * PAGE, seed=2)
    session.finish()
    session.close()


@pytest.mark.clause("tampering.file", "tampering.folio")
def test_log_names_the_folio_that_cannot_be_restored(luo: Luo, machine: Machine) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(3 * PAGE)), token=1)
    address = NOWHERE + 7 * PAGE

    def elsewhere(memory: Memory, memfd: abi.Memfd) -> None:
        memfd.folios[2].replace(pfn=address // PAGE).write(memory)

    luo = yield tampering(luo, elsewhere)

    session = luo.retrieve_session("vm")
    with refused(EIO):
        session.retrieve(1)
    assert len(said(machine, f"memfd_luo: Unable to restore folio at physical address: {address:x}")) == 1


@pytest.mark.parametrize("change", [folios_nowhere, page_of_array_nowhere], ids=["folios", "array"])
@pytest.mark.clause("tampering.dropped")
def test_broken_file_can_be_given_up(luo: Luo, change: Change) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(5 * PAGE)), token=1)

    luo = yield tampering(luo, change)

    session = luo.retrieve_session("vm")
    session.finish()
    with refused(ENOENT):
        session.retrieve(1)


@pytest.mark.clause("tampering.byte")
def test_another_token_is_another_file(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(PAGE)), token=0x1111_1111_1111_1111)
    name = luo.name("vm")

    def look(held: Held) -> None:
        entry = file_in(held, name, 0x1111_1111_1111_1111).entry
        held.memory.write(entry.address_of("token") + 5, b"\x13")

    luo = yield Kexec(at_handover=look)

    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(0x1111_1111_1111_1111)
    assert session.retrieve(0x1111_1311_1111_1111).read_all() == pattern(PAGE)


@pytest.mark.clause("tampering.byte")
def test_another_byte_in_the_memory_of_a_file_is_read_there_and_nowhere_else(luo: Luo) -> Scenario:
    data = bytearray(pattern(5 * PAGE))
    luo.create_session("vm").preserve(luo.memfd(bytes(data)), token=1)
    place = 3 * PAGE + 1234

    def flip(memory: Memory, memfd: abi.Memfd) -> None:
        address = memfd.folios[3].pfn * PAGE + 1234
        memory.write(address, bytes([memory.read(address, 1)[0] ^ 0x10]))

    luo = yield tampering(luo, flip)

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.first_difference(len(data), 0) == place
    data[place] ^= 0x10
    assert ram.read_all() == data


# Bits of a folio's entry. With others of a pfn a folio would be one of some other file, and a lost dirty bit
# is seen when memory is short alone.
BITS = {
    "pfn": [30, 40, 51],
    "up to date": [53],
    "index": [64, 65, 70, 100, 127],
}


@pytest.mark.clause("tampering.byte")
@pytest.mark.parametrize("bits", BITS.values(), ids=BITS)
def test_another_bit_in_the_entry_of_a_folio_is_noticed(luo: Luo, bits: list[int]) -> Scenario:
    data = pattern(4 * PAGE)
    session = luo.create_session("vm")
    for bit in bits:
        session.preserve(luo.memfd(data), token=bit)
    name = luo.name("vm")

    def look(held: Held) -> None:
        for bit in bits:
            at = memfd_in(held, name, bit).folios[2].address + bit // 8
            held.memory.write(at, bytes([held.memory.read(at, 1)[0] ^ 1 << bit % 8]))

    luo = yield Kexec(at_handover=look)

    session = luo.retrieve_session("vm")
    seen = {}
    for bit in bits:
        try:
            seen[bit] = session.retrieve(bit).read_all() != data
        except SyscallError as error:
            seen[bit] = error.errno in (EIO, EEXIST)
    assert seen == dict.fromkeys(bits, True)


# What the kernel warns of, where it could say it


def folio_not_preserved(memory: Memory, memfd: abi.Memfd, root: int) -> None:
    radix.locate(memory, root, memfd.folios[1].pfn * PAGE, 0).flip(memory)


def folio_twice(memory: Memory, memfd: abi.Memfd, root: int) -> None:
    memfd.folios[1].replace(pfn=memfd.folios[0].pfn).write(memory)


@pytest.mark.clause("tampering.no-warning", "tampering.folio")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(folio_not_preserved, id="not preserved"),
        pytest.param(folio_twice, id="twice", marks=pytest.mark.soak),
    ],
)
def test_folio_that_cannot_be_restored_is_no_reason_for_a_warning(
    luo: Luo, change: Callable[[Memory, abi.Memfd, int], None]
) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(3 * PAGE)), token=1)
    name = luo.name("vm")

    def look(held: Held) -> None:
        change(held.memory, memfd_in(held, name, 1), held.handover.root.memory_map)

    luo = yield Kexec(at_handover=look)

    with refused(EIO):
        luo.retrieve_session("vm").retrieve(1)


@pytest.mark.soak
@pytest.mark.clause("tampering.no-warning", "tampering.array")
def test_array_that_begins_in_memory_of_others_is_no_reason_for_a_warning(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(size=PAGE), token=1)
    session.preserve(luo.memfd(pattern(PAGE)), token=2)
    name = luo.name("vm")

    def look(held: Held) -> None:
        zeros = memfd_in(held, name, 1).folios[0].pfn * PAGE
        memfd_in(held, name, 2).header.replace(first=zeros).write(held.memory)

    luo = yield Kexec(at_handover=look)

    session = luo.retrieve_session("vm")
    session.retrieve(1)  # so that its page is not KHO's any more
    with refused(EINVAL):
        session.retrieve(2)


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.clause("tampering.no-warning", "tampering.array")
def test_array_larger_than_memory_is_no_reason_for_a_warning(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(PAGE)), token=1)

    def huge(memory: Memory, memfd: abi.Memfd) -> None:
        memfd.header.replace(total_pages=(1 << 32) - 1).write(memory)

    luo = yield tampering(luo, huge)

    with refused(EINVAL):
        luo.retrieve_session("vm").retrieve(1)


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.clause("tampering.file")
def test_two_files_do_not_share_a_header(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    for token in (1, 2):
        session.preserve(luo.memfd(), token)
    name = luo.name("vm")

    def look(held: Held) -> None:
        first = file_in(held, name, 1).entry
        file_in(held, name, 2).entry.replace(data=first.data).write(held.memory)

    luo = yield Kexec(at_handover=look)

    session = luo.retrieve_session("vm")
    session.retrieve(1)
    with refused(EINVAL, EIO, EBUSY):
        session.retrieve(2)


# What the kernel takes as it stands. Nobody promises a check, so that a refusal is as good.


def taken_or_refused(luo: Luo) -> Memfd | None:
    """File 1 of session ``vm``, or None where the kernel does not take it."""
    try:
        return luo.retrieve_session("vm").retrieve(1)
    except SyscallError as error:
        if error.errno not in (EINVAL, EIO, EOPNOTSUPP):
            raise
        return None


@pytest.mark.clause("tampering.taken")
@pytest.mark.parametrize("size", [0, PAGE + 1, 1 << 40])
def test_size_is_taken_as_it_stands(luo: Luo, size: int) -> Scenario:
    data = pattern(3 * PAGE)
    luo.create_session("vm").preserve(luo.memfd(data), token=1)

    def resize(memory: Memory, memfd: abi.Memfd) -> None:
        memfd.header.replace(size=size).write(memory)

    luo = yield tampering(luo, resize)

    ram = taken_or_refused(luo)
    if ram is not None:
        assert ram.size == size
        assert ram.read(4 * PAGE, 0) == (data + bytes(PAGE))[:size]


@pytest.mark.clause("tampering.taken")
def test_position_that_no_file_can_have_is_left_out(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(PAGE)), token=1)

    def move(memory: Memory, memfd: abi.Memfd) -> None:
        memfd.header.replace(pos=1 << 63).write(memory)

    luo = yield tampering(luo, move)

    ram = taken_or_refused(luo)
    if ram is not None:
        assert (ram.tell(), ram.read_all()) == (0, pattern(PAGE))


@pytest.mark.clause("tampering.taken")
def test_entry_without_a_folio_is_a_hole(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(3 * PAGE)), token=1)

    def leave_out(memory: Memory, memfd: abi.Memfd) -> None:
        memfd.folios[1].replace(pfn=0).write(memory)

    luo = yield tampering(luo, leave_out)

    ram = taken_or_refused(luo)
    if ram is not None:
        data = bytearray(pattern(3 * PAGE))
        data[PAGE : 2 * PAGE] = bytes(PAGE)
        assert ram.read_all() == data
