# SPDX-License-Identifier: GPL-2.0-only
"""Every allocation of every call fails once: the call says so, changes nothing, and can be made again."""

from collections.abc import Callable, Iterator, Sequence
from errno import EIO, ENOMEM, ENOSPC, errorcode

import pytest

from fixtures.agent.pattern import pattern
from fixtures.allocations import Allocations, Attempt, Call, ioctl, openat
from fixtures.forced import Forced
from fixtures.level import UNUSED_PAGES_SLACK, Level
from fixtures.luo import DEVICE, PAGE, Descriptor, Luo, Memfd, Session, refused
from fixtures.machine import Machine
from fixtures.pages import huge_memfds
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from kernel.abi.blocks import capacity
from kernel.abi.luo import FileEntry, SessionEntry
from suite.able import given, or_skip
from suite.faults.acts import begin_preserve, begin_retrieve
from suite.files.requests import preserve_many, wrong_contents
from suite.scenario import Scenario

SESSION_BLOCK = capacity(SessionEntry, PAGE)
FILE_BLOCK = capacity(FileEntry, PAGE)

# More than any call here allocates: whoever comes as far goes round in circles.
MOST = 400

# More sessions than RETRIEVE_FD makes allocations (26), each of which may fail for good, and FINISH (3).
MANY, SOME = 40, 10
PAGES = 2 * UNUSED_PAGES_SLACK
TOKEN, SEED = 1, 3
TOO_MANY = "the call makes more allocations than there are sessions to try them with"
HUGE = 2 << 20


@pytest.fixture
def allocations(luo: Luo) -> Allocations:
    return of(luo)


def of(luo: Luo) -> Allocations:
    with or_skip():
        return Allocations(luo.actor)


def sweep(allocations: Allocations, call: Call, undo: Callable[[Attempt], None]) -> Attempt:
    """Let one allocation after the other fail, until the call makes no more; the last attempt of all.

    ``undo``: what to do when it got by without the one that failed.
    """
    for nth in numbers():
        attempt = allocations.fail(nth, call)
        if not attempt.fired:
            assert attempt.result >= 0, f"made without a fault it gives {name_of(attempt)}"
            return attempt
        if attempt.result < 0:
            assert attempt.result == -ENOMEM, f"without allocation {nth} it gives {name_of(attempt)}"
        else:
            undo(attempt)
    raise AssertionError("it has no end")


def numbers() -> Iterator[int]:
    yield from range(1, MOST)
    raise AssertionError(f"a call makes {MOST} allocations and more")


def name_of(attempt: Attempt) -> str:
    return errorcode.get(-attempt.result, str(attempt.result))


def closes(luo: Luo, kind: type[uapi.Argument]) -> Callable[[Attempt], None]:
    """Close the descriptor that an answer holds."""
    offset = uapi.offset(kind, "fd")

    def undo(attempt: Attempt) -> None:
        fd = int.from_bytes(attempt.answer[offset : offset + 4], "little", signed=True)
        Descriptor(luo.actor, fd).close()

    return undo


def session_call(luo: Luo, number: int, name: str) -> Call:
    argument = uapi.liveupdate_ioctl_create_session(fd=-1, name=uapi.session_name(luo.name(name)))
    return ioctl(luo.device, number, argument)


def preserve_call(session: Session, file: Memfd, token: int) -> Call:
    argument = uapi.liveupdate_session_preserve_fd(fd=file.fd, token=token)
    return ioctl(session, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, argument)


def retrieve_call(session: Session, token: int) -> Call:
    return ioctl(
        session, uapi.LIVEUPDATE_SESSION_RETRIEVE_FD, uapi.liveupdate_session_retrieve_fd(fd=-1, token=token)
    )


def all_fail(luo: Luo, call: Call, *, below: Sequence[str]) -> int:
    with or_skip():
        return of(luo).fail_all(call, below=below)


# Before the handover


@pytest.mark.clause("allocation.open")
def test_device_that_could_not_be_opened_can_be_opened_again(luo: Luo, allocations: Allocations) -> None:
    last = sweep(allocations, openat(DEVICE), lambda attempt: Descriptor(luo.actor, attempt.result).close())
    Descriptor(luo.actor, last.result).close()
    luo.create_session("vm")


@pytest.mark.clause("allocation.create")
@pytest.mark.parametrize(
    "others",
    [
        pytest.param(0, id="any"),
        # It counts the sessions of the machine.
        pytest.param(SESSION_BLOCK, id="first of a block", marks=pytest.mark.alone),
    ],
)
def test_session_that_could_not_be_made_can_be_made_again(
    luo: Luo, allocations: Allocations, others: int
) -> Scenario:
    crowd = [f"crowd {number}" for number in range(others)]
    kept = luo.create_crowd(crowd, 1, b"x")
    call = session_call(luo, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, "vm")
    last = sweep(allocations, call, closes(luo, uapi.liveupdate_ioctl_create_session))
    # Only those are handed over that were there before, with nothing that an attempt has left between them.
    closes(luo, uapi.liveupdate_ioctl_create_session)(last)
    assert len(kept) == others

    luo = yield KEXEC

    for session, files in luo.retrieve_crowd(crowd, 1):
        assert luo.contents(files, 2) == [b"x"]
        session.finish()


FILES = {
    "empty": (b"", 0),
    "small": (b"x", None),
    "scattered": (pattern(3 * PAGE + 17), 40 * PAGE),
    "large": (pattern(PAGE), 300 * PAGE),
}


@pytest.mark.clause("allocation.preserve")
@pytest.mark.parametrize("others", [0, FILE_BLOCK], ids=["first", "first of a block"])
@pytest.mark.parametrize("shape", FILES)
def test_file_that_could_not_be_preserved_is_as_before_and_can_be_preserved_again(
    luo: Luo, allocations: Allocations, shape: str, others: int
) -> Scenario:
    def others_in() -> Session:
        session = luo.create_session("vm")
        preserve_many(session, range(others))
        return session

    session = others_in()
    content, size = FILES[shape]
    ram = luo.memfd(content, size=size)
    token = 1 << 40
    for nth in numbers():
        before = Level.read(luo.actor)
        attempt = allocations.fail(nth, preserve_call(session, ram, token))
        if not attempt.fired:
            assert attempt.result == 0, f"made without a fault it gives {name_of(attempt)}"
            break
        if attempt.result == 0:  # it did without what failed, and has to do without the next
            session.close()
            session = others_in()
            continue
        assert attempt.result == -ENOMEM, f"without allocation {nth} it gives {name_of(attempt)}"
        after = Level.read(luo.actor)
        assert (after.pinned, after.files) == (before.pinned, before.files), f"allocation {nth}"
        ram.truncate(ram.size)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert wrong_contents(session, range(others)) == {}
    ram = session.retrieve(token)
    assert ram.read_all() == content.ljust(size or len(content), b"\0")


@pytest.mark.clause("allocation.preserve")
def test_file_that_cannot_be_noted_is_refused_and_can_be_preserved_again(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    assert all_fail(luo, preserve_call(session, ram, TOKEN), below=["__xa_insert"]) == -ENOMEM
    ram.truncate(0)
    session.preserve(ram, token=TOKEN)


@pytest.mark.soak
@pytest.mark.alone  # nobody else preserves a huge folio, so that the map has no node for such
@pytest.mark.clause("allocation.preserve")
def test_file_whose_folio_finds_no_place_in_the_map_is_refused_and_can_be_preserved_again(luo: Luo) -> None:
    session = luo.create_session("vm")
    with huge_memfds(luo.actor):
        ram = luo.memfd(size=HUGE)
        ram.fill(HUGE, SEED)
    pinned = Level.read(luo.actor).pinned
    adding = ["kho_radix_add_key", "kho_radix_add_page"]
    assert all_fail(luo, preserve_call(session, ram, TOKEN), below=adding) == -ENOMEM
    assert Level.read(luo.actor).pinned == pinned
    session.preserve(ram, token=TOKEN)


@pytest.mark.forced
@pytest.mark.clause("allocation.preserve")
def test_file_whose_list_cannot_be_preserved_is_refused_and_can_be_preserved_again(
    luo: Luo, machine: Machine
) -> None:
    """Whether a page of the list needs memory for that is a matter of its address, and it seldom does."""
    session, file = luo.create_session("vm"), luo.memfd(b"x")
    with or_skip():
        fault = Forced("kho_preserve_pages", "new_vmalloc_chunk")
        call = machine.force([fault], lambda: begin_preserve(luo.actor, session, file, TOKEN))
    with refused(ENOMEM):
        call.wait()
    file.truncate(PAGE)
    session.preserve(file, TOKEN)
    session.close()


@pytest.mark.clause("allocation.name")
def test_name_that_could_not_be_told_is_told_again(luo: Luo, allocations: Allocations) -> None:
    session = luo.create_session("vm")
    call = ioctl(session, uapi.LIVEUPDATE_SESSION_GET_NAME, uapi.liveupdate_session_get_name())
    last = sweep(allocations, call, lambda attempt: None)
    assert last.answer.rstrip(b"\0").endswith(luo.name("vm"))


# After it


@pytest.mark.clause("allocation.retrieve-session")
def test_session_that_could_not_be_retrieved_can_be_retrieved_again(luo: Luo) -> Scenario:
    names = [f"vm {number}" for number in range(MANY)]
    luo.create_crowd(names, 1, b"x")

    luo = yield KEXEC

    allocations = of(luo)
    name = names.pop()
    for nth in numbers():
        attempt = allocations.fail(nth, session_call(luo, uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION, name))
        if attempt.result < 0:
            assert attempt.fired
            assert attempt.result == -ENOMEM, f"without allocation {nth} it gives {name_of(attempt)}"
            continue
        fd = uapi.liveupdate_ioctl_create_session.from_buffer_copy(attempt.answer).fd
        session = Session(luo.actor, fd, luo.name(name))
        assert session.retrieve(0).read_all() == b"x"
        session.finish()
        if not attempt.fired:
            break
        # It did without what failed, and the next one has to do without the next.
        name = names.pop()


def leave(luo: Luo, sessions: int, pages: int) -> list[str]:
    """Sessions of one file each."""
    names = [f"vm {number}" for number in range(sessions)]
    for name in names:
        session = luo.create_session(name)
        ram = luo.memfd(size=pages * PAGE)
        ram.fill(PAGE, SEED)
        session.preserve(ram, token=TOKEN)
        ram.close()
    return names


@pytest.mark.clause("allocation.retrieve")
def test_file_that_could_not_be_retrieved_gives_its_errno_ever_after(luo: Luo) -> Scenario:
    names = leave(luo, MANY, 1)

    luo = yield KEXEC

    allocations = of(luo)
    wrong = {}
    for nth, name in enumerate(names, 1):
        session = luo.retrieve_session(name)
        attempt = allocations.fail(nth, retrieve_call(session, TOKEN))
        if attempt.result < 0:
            assert attempt.fired
            # tmpfs says ENOSPC where it has no memory for an inode (mm/shmem.c: __shmem_get_inode()).
            if attempt.result not in (-ENOMEM, -ENOSPC):
                wrong[nth] = name_of(attempt)
            with refused(-attempt.result):
                session.retrieve(TOKEN)
        else:
            assert session.retrieve(TOKEN).first_difference(PAGE, SEED) is None
        session.finish()
        if not attempt.fired:
            break
    assert not wrong, f"without an allocation it gives another errno: {wrong}"
    given(not attempt.fired, TOO_MANY)


@pytest.mark.forced
@pytest.mark.clause("allocation.retrieve")
def test_file_whose_list_cannot_be_mapped_gives_its_errno_ever_after(luo: Luo, machine: Machine) -> Scenario:
    """The page tables that it takes are seldom missing."""
    (name,) = leave(luo, 1, 1)

    luo = yield KEXEC

    session = luo.retrieve_session(name)
    with or_skip():
        fault = Forced("vmap_pages_range", "kho_restore_vmalloc")
        call = machine.force([fault], lambda: begin_retrieve(luo.actor, session, TOKEN))
    with refused(ENOMEM):
        call.wait()
    with refused(ENOMEM):
        session.retrieve(TOKEN)
    session.finish()


@pytest.mark.clause("allocation.retrieve.memory")
def test_file_that_could_not_be_retrieved_gives_its_memory_back(luo: Luo) -> Scenario:
    names = leave(luo, MANY, PAGES)

    luo = yield KEXEC

    allocations = of(luo)
    lost = []
    for nth, name in enumerate(names, 1):
        session = luo.retrieve_session(name)
        before = Level.read(luo.actor).unused
        attempt = allocations.fail(nth, retrieve_call(session, TOKEN))
        session.finish()
        if not attempt.fired:
            break
        if attempt.result < 0 and Level.read(luo.actor).unused - before < PAGES - UNUSED_PAGES_SLACK:
            lost.append(nth)
    assert not lost, f"without allocations {lost} of {nth} its memory is lost"
    given(not attempt.fired, TOO_MANY)


@pytest.mark.clause("allocation.retrieve", "memory.no-warning")
def test_file_that_cannot_be_noted_when_it_is_retrieved_is_no_reason_for_a_warning(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=TOKEN)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert all_fail(luo, retrieve_call(session, TOKEN), below=["__xa_insert"]) in (0, -ENOMEM)
    session.finish()


@pytest.mark.clause("allocation.finish")
def test_session_that_is_finished_without_memory_gives_all_of_its_own_back(luo: Luo) -> Scenario:
    names = leave(luo, SOME, PAGES)

    luo = yield KEXEC

    allocations = of(luo)
    finish = uapi.liveupdate_session_finish()
    lost = []
    for nth, name in enumerate(names, 1):
        session = luo.retrieve_session(name)
        before = Level.read(luo.actor).unused
        attempt = allocations.fail(nth, ioctl(session, uapi.LIVEUPDATE_SESSION_FINISH, finish))
        if attempt.result < 0:
            assert attempt.result == -ENOMEM, f"without allocation {nth} it gives {name_of(attempt)}"
            session.finish()
        if not attempt.fired:
            break
        if Level.read(luo.actor).unused - before < PAGES - UNUSED_PAGES_SLACK:
            lost.append(nth)
    assert not lost, f"without allocations {lost} of {nth} its memory is lost"
    given(not attempt.fired, TOO_MANY)


@pytest.mark.soak
@pytest.mark.alone  # every other try makes the machine's sessions unusable
@pytest.mark.clause("device.eio")
def test_device_whose_first_opening_lacks_memory_is_of_no_use_until_the_next_kernel(luo: Luo) -> Scenario:
    for nth in numbers():
        preserve_many(luo.create_session("vm"), range(2))
        luo.create_session("other")

        luo = yield KEXEC

        allocations = of(luo)
        allocations.only_below("luo_session_deserialize")
        attempt = allocations.fail(nth, openat(DEVICE))
        if not attempt.fired:
            assert attempt.result >= 0
            break
        assert attempt.result == -EIO, f"without allocation {nth} it gives {name_of(attempt)}"
        with refused(EIO):
            luo.create_session("new")

        luo = yield KEXEC


@pytest.mark.clause("allocation.reboot")
def test_handover_needs_no_memory(luo: Luo, machine: Machine) -> Scenario:
    preserve_many(luo.create_session("vm"), range(FILE_BLOCK + 1))

    def starve() -> None:
        allocations = of(luo)
        allocations.only_below("liveupdate_reboot")
        allocations.fail_next(machine.admin)

    luo = yield Kexec(before_jump=starve)

    assert wrong_contents(luo.retrieve_session("vm"), range(FILE_BLOCK + 1)) == {}
