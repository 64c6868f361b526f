# SPDX-License-Identifier: GPL-2.0-only
"""What one kernel writes for the next is what was asked of it: read from outside, while the machine is held.

Everything is found from KHO's FDT alone. The tests share one handover with all other scenarios, so that what
they say of the whole of it they say of everybody's sessions.
"""

from collections import Counter

import pytest

from fixtures.agent.pattern import pattern
from fixtures.held import Held
from fixtures.luo import PAGE, Luo
from fixtures.machine import Machine
from fixtures.pages import pfns
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from kernel.abi.account import Account
from kernel.abi.blocks import capacity
from kernel.abi.handover import Handover
from kernel.abi.luo import FileEntry, SessionEntry
from kernel.abi.memfd import DIRTY, UPTODATE, MemfdV2
from suite.files.requests import preserve_many
from suite.kho.found import memfd_in, session_in
from suite.kho.frames import preserved, preserved_frames, scratch_areas, touching
from suite.scenario import Scenario

SESSION_BLOCK = capacity(SessionEntry, PAGE)
FILE_BLOCK = capacity(FileEntry, PAGE)


@pytest.mark.clause("abi.contents")
def test_host_finds_every_byte_of_several_sessions(luo: Luo) -> Scenario:
    wanted: dict[tuple[bytes, int], bytes] = {}
    for number, name in enumerate(map(luo.name, ("red", "green", "blue"))):
        session = luo.create_session(name)
        for token, size in enumerate((1, PAGE, 3 * PAGE + 17, 40 * PAGE)):
            wanted[name, token] = pattern(size, 100 * number + token)
            session.preserve(luo.memfd(wanted[name, token]), token)

    def look(held: Held) -> None:
        for (name, token), data in wanted.items():
            memfd = memfd_in(held, name, token)
            assert held.handover.contents(held.memory, memfd) == data, f"{name!r}, {token}"

    luo = yield Kexec(at_handover=look)

    for (name, token), data in wanted.items():
        if token == 0:
            session = luo.retrieve_session(name)
        assert session.retrieve(token).read_all() == data


@pytest.mark.clause("abi.contents")
def test_write_after_preserve_is_in_the_handover(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(5 * PAGE))
    session.preserve(ram, token=1)
    late = pattern(PAGE + 100, seed=9)
    ram.write(late, 2 * PAGE - 50)
    whole = bytearray(pattern(5 * PAGE))
    whole[2 * PAGE - 50 : 2 * PAGE - 50 + len(late)] = late

    def look(held: Held) -> None:
        memfd = memfd_in(held, luo.name("vm"), 1)
        assert held.handover.contents(held.memory, memfd) == whole

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.contents")
def test_holes_are_in_the_handover_as_zeros(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"begin", size=64 * PAGE), token=1)

    def look(held: Held) -> None:
        memfd = memfd_in(held, luo.name("vm"), 1)
        assert held.handover.contents(held.memory, memfd) == b"begin".ljust(64 * PAGE, b"\0")

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.account")
def test_every_preserved_page_has_an_owner_and_every_owner_its_pages(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(33 * PAGE)), token=1)
    given_up = luo.create_session("given up")
    given_up.preserve(luo.memfd(pattern(33 * PAGE)), token=1)
    given_up.close()

    def look(held: Held) -> None:
        account = Account.of(held.handover)
        assert account.balanced, str(account)
        assert held.handover.memory_map.blocks

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.scratch")
def test_nothing_preserved_lies_in_scratch_memory(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(16 * PAGE)), token=1)
    scratch = scratch_areas(luo.actor)
    assert scratch

    def look(held: Held) -> None:
        inside = [part for part in preserved(held.handover.memory_map) if touching(part, scratch)]
        assert inside == []

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.map.only")
def test_memory_that_nobody_preserved_is_not_in_the_map(luo: Luo) -> Scenario:
    preserved, given_up, never = (luo.memfd(pattern(8 * PAGE, seed)) for seed in range(3))
    session = luo.create_session("vm")
    session.preserve(preserved, token=1)
    other = luo.create_session("given up")
    other.preserve(given_up, token=1)
    other.close()
    kept = set(pfns(preserved, 8 * PAGE))
    free = {*pfns(given_up, 8 * PAGE), *pfns(never, 8 * PAGE)}

    def look(held: Held) -> None:
        mapped = preserved_frames(held.handover.memory_map)
        assert kept <= mapped
        assert not free & mapped

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.map.only")
def test_map_names_exactly_the_frames_of_the_file(luo: Luo) -> Scenario:
    ram = luo.memfd(pattern(70 * PAGE))
    luo.create_session("vm").preserve(ram, token=1)
    frames = pfns(ram, 70 * PAGE)

    def look(held: Held) -> None:
        memfd = memfd_in(held, luo.name("vm"), 1)
        places = sorted(held.handover.places(memfd))
        named = [
            (place.address + offset) // PAGE for place in places for offset in range(0, place.length, PAGE)
        ]
        assert named[:70] == frames

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.map.restored")
def test_unpreserving_takes_the_map_back_to_what_it_was(luo: Luo, machine: Machine) -> None:
    def preserved() -> Counter[tuple[int, int]]:
        return Counter(Handover.read(machine.instance.memory()).memory_map.blocks)

    before = preserved()
    session = luo.create_session("vm")
    held = preserved()
    session.preserve(luo.memfd(pattern(300 * PAGE)), token=1)
    session.preserve(luo.memfd(b"", size=8 << 20), token=2)
    assert sum((preserved() - held).values()) >= 4  # two headers, two arrays; the files besides
    session.close()
    left = preserved()
    # LUO keeps a block of sessions for the next one (kernel/liveupdate/luo_session.c)
    assert sum((left - before).values()) <= 1
    assert before - left == Counter()
    luo.create_session("vm").close()
    assert preserved() == left


@pytest.mark.clause("abi.blocks")
@pytest.mark.parametrize("count", [0, 1, FILE_BLOCK - 1, FILE_BLOCK, FILE_BLOCK + 1, 2 * FILE_BLOCK + 1])
def test_blocks_of_files_are_full_but_for_one(luo: Luo, count: int) -> Scenario:
    preserve_many(luo.create_session("vm"), range(count))

    def look(held: Held) -> None:
        session = session_in(held, luo.name("vm"))
        assert session.entry.count == count
        assert sum(block.count for block in session.blocks) == count
        assert len(session.blocks) == -(-count // FILE_BLOCK)
        assert [block.count for block in session.blocks].count(FILE_BLOCK) >= len(session.blocks) - 1
        assert sorted(file.token for file in session.files) == list(range(count))

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.blocks")
def test_blocks_of_sessions_are_as_few_as_hold_them(luo: Luo) -> Scenario:
    sessions = luo.create_crowd([f"crowd {number}" for number in range(2 * SESSION_BLOCK + 3)], 0, b"")
    names = {session.name for session in sessions}

    def look(held: Held) -> None:
        written = held.handover.luo
        assert written is not None
        counts = [block.count for block in written.blocks]
        assert sum(counts) == len(written.sessions)
        assert len(counts) == -(-sum(counts) // SESSION_BLOCK)
        assert names <= {session.entry.name.rstrip(b"\0") for session in written.sessions}

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.session.entry")
def test_names_are_written_whole_and_nothing_after_them(luo: Luo) -> Scenario:
    suffix = luo.name("")
    names = [b"x" * (63 - len(suffix)) + suffix, bytes(range(1, 30)) + suffix, b"\xff\xfe/.. \n" + suffix]
    for name in names:
        luo.create_session(name)

    def look(held: Held) -> None:
        for name in names:
            session = session_in(held, name)
            assert session.entry.name == name.ljust(64, b"\0")
            assert (session.entry.files, session.entry.count) == (0, 0)

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.file.entry")
def test_tokens_and_handlers_are_written_as_given(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    tokens = [0, 1 << 63, (1 << 64) - 1, 7]
    for token in tokens:
        session.preserve(luo.memfd(b"x"), token)

    def look(held: Held) -> None:
        files = session_in(held, luo.name("vm")).files
        assert sorted(file.token for file in files) == sorted(tokens)
        for file in files:
            assert file.entry.compatible == file.compatible.encode().ljust(48, b"\0")
        assert len({file.entry.data for file in files}) == len(tokens)

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.memfd.header")
def test_size_and_position_are_those_of_the_reboot(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(PAGE + 5))
    ram.seek(3)
    session.preserve(ram, token=1)
    ram.seek(1 << 40)  # past the end: a position may be anywhere

    def look(held: Held) -> None:
        header = memfd_in(held, luo.name("vm"), 1).header
        assert (header.size, header.pos) == (PAGE + 5, 1 << 40)

    luo = yield Kexec(at_handover=look)

    assert luo.retrieve_session("vm").retrieve(1).tell() == 1 << 40


@pytest.mark.clause("abi.memfd.seals")
@pytest.mark.parametrize(
    "seals",
    [0, uapi.F_SEAL_SEAL, uapi.F_SEAL_GROW | uapi.F_SEAL_SHRINK, uapi.F_SEAL_WRITE, uapi.F_SEAL_FUTURE_WRITE],
    ids=["none", "seal", "size", "write", "future-write"],
)
def test_seals_are_written_and_no_flag(luo: Luo, seals: int) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(PAGE))
    ram.add_seals(seals)
    session.preserve(ram, token=1)

    def look(held: Held) -> None:
        header = memfd_in(held, luo.name("vm"), 1).header
        assert isinstance(header, MemfdV2)
        assert (header.seals, header.flags) == (seals, 0)

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.memfd.folios")
def test_folios_are_those_of_the_file_in_order_dirty_and_up_to_date(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(100), size=9 * PAGE), token=1)

    def look(held: Held) -> None:
        memfd = memfd_in(held, luo.name("vm"), 1)
        places = list(held.handover.places(memfd))
        assert memfd.header.nr_folios == len(memfd.folios) == len(places)
        assert [place.offset for place in places] == sorted({place.offset for place in places})
        assert sum(place.length for place in places) >= 9 * PAGE
        assert places[0].offset == 0
        # What is written to after PRESERVE has no way of saying so, hence all of it counts as written.
        assert {folio.flags for folio in memfd.folios} == {DIRTY | UPTODATE}

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.memfd.folios")
def test_empty_file_has_no_folio_and_no_array(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(), token=1)

    def look(held: Held) -> None:
        header = memfd_in(held, luo.name("vm"), 1).header
        fields = (header.size, header.pos, header.nr_folios, header.first, header.total_pages)
        assert fields == (0, 0, 0, 0, 0)

    yield Kexec(at_handover=look)


@pytest.mark.clause("abi.number")
def test_number_of_the_live_update_and_the_kernel_are_written(luo: Luo, machine: Machine) -> Scenario:
    for generation in range(2):
        luo.create_session(f"vm {generation}")
        release = machine.hello.release

        def look(held: Held, generation: int = generation, release: str = release) -> None:
            about, written = held.handover.metadata, held.handover.luo
            assert about is not None
            assert written is not None
            assert written.number == generation + 1
            assert (about.kexec_count, about.previous_release.rstrip(b"\0")) == (
                generation + 1,
                release.encode(),
            )

        luo = yield Kexec(at_handover=look)


@pytest.mark.clause("abi.session.carried")
def test_session_that_nobody_carried_along_is_not_written_again(luo: Luo) -> Scenario:
    luo.create_session("left").preserve(luo.memfd(b"x"), token=1)
    luo.create_session("finished").preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    luo.retrieve_session("finished").finish()
    luo.create_session("new")

    def look(held: Held) -> None:
        written = held.handover.luo
        assert written is not None
        names = {session.entry.name.rstrip(b"\0") for session in written.sessions}
        assert luo.name("new") in names
        assert not {luo.name("left"), luo.name("finished")} & names

    yield Kexec(at_handover=look)
