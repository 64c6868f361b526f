# SPDX-License-Identifier: GPL-2.0-only
"""Who is charged for a memfd's memory, and that every page is counted and comes back."""

from collections.abc import Sequence

import pytest

from fixtures.cgroup import memory_cgroup
from fixtures.level import Level
from fixtures.luo import PAGE, Luo, Memfd, session_argument
from fixtures.pages import blocks, frame_flags, meminfo, pfns
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.able import given
from suite.scenario import Scenario

MIB = 1 << 20
SIZE = 64 * PAGE
SEED = 5

# Pages in the biggest block of the page allocator (MAX_PAGE_ORDER)
BLOCK = 1024

# A cgroup is charged in advance for up to 64 pages by each CPU (mm/memcontrol.c, MEMCG_CHARGE_BATCH).
CHARGE_SLACK = 2 * 64 * PAGE


def shared(luo: Luo) -> int:
    return Level.read(luo.actor).shared


@pytest.mark.clause("memory.accounting", "memfd.holes")
def test_blocks_and_shared_memory_are_counted_to_the_page(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    level = shared(luo)
    ram = luo.memfd(b"start", size=SIZE - 1)
    assert (blocks(ram), shared(luo) - level) == (1, 1)
    session.preserve(ram, token=1)
    assert (blocks(ram), shared(luo) - level) == (64, 64)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    level, promised = shared(luo), meminfo(luo.actor)["Committed_AS"]
    ram = session.retrieve(1)
    assert (blocks(ram), shared(luo) - level) == (64, 64)
    assert meminfo(luo.actor)["Committed_AS"] - promised == 64
    luo.actor.syscall(
        "fallocate", ram.fd, uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE, PAGE, 31 * PAGE
    )
    assert (blocks(ram), shared(luo) - level) == (33, 33)
    ram.truncate(16 * PAGE + 1)
    assert (blocks(ram), shared(luo) - level) == (1, 1)
    session.finish()
    ram.close()
    assert shared(luo) == level
    assert meminfo(luo.actor)["Committed_AS"] == promised


@pytest.mark.clause("memory.charge")
def test_file_is_charged_to_who_retrieves_it(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(size=4 * MIB), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with memory_cgroup(luo.actor) as group, group.holding(luo.actor):
        before = group.usage
        ram = session.retrieve(1)
        assert 4 * MIB <= group.usage - before + CHARGE_SLACK <= 4 * MIB + 2 * CHARGE_SLACK
        session.finish()
        ram.close()
        assert group.usage - before <= CHARGE_SLACK


@pytest.mark.clause("memory.charge")
def test_preserved_file_stays_charged_until_its_session_closes(luo: Luo) -> None:
    session = luo.create_session("vm")
    with memory_cgroup(luo.actor) as group, group.holding(luo.actor):
        ram = luo.memfd(size=4 * MIB)
        ram.fill(4 * MIB, SEED)
        before = group.usage
        session.preserve(ram, token=1)
        ram.close()
        assert group.usage >= before - CHARGE_SLACK
        session.close()
        assert group.usage <= before - 4 * MIB + CHARGE_SLACK


@pytest.mark.clause("memory.abort")
def test_preserving_and_closing_again_and_again_keeps_no_memory(luo: Luo) -> None:
    files = [luo.memfd(size=length * PAGE) for length in (1, 16, 300)]
    level = Level.read(luo.actor)
    cycle(luo, files, 100)
    after = Level.read(luo.actor)
    assert after.shared - level.shared == 317, "the holes are not filled"
    assert after.pinned == level.pinned
    # One page lost a cycle would be 100; the tree of preserved pages keeps its nodes (kho_radix_del_key()).
    assert level.unused - after.unused < 317 + 64


def cycle(luo: Luo, files: Sequence[Memfd], rounds: int) -> None:
    """Preserve the files in a new session and close it, again and again, in one request."""
    kind = uapi.liveupdate_session_preserve_fd
    argument = session_argument(luo.name("cycle"))
    program = luo.actor.program()
    created = program.buffer(argument)
    preserved = [program.buffer(bytes(kind(fd=file.fd, token=n))) for n, file in enumerate(files)]
    session = created.s32(uapi.offset(uapi.liveupdate_ioctl_create_session, "fd"))
    for _ in range(rounds):
        program.syscall("ioctl", luo.device.fd, uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, created)
        for buffer in preserved:
            program.syscall("ioctl", session, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, buffer)
        program.syscall("close", session)
    luo.actor.run(program)


@pytest.mark.clause("memory.release")
def test_memory_of_a_closed_retrieved_file_is_free_again(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(size=8 * MIB), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    before = Level.read(luo.actor).unused
    ram = session.retrieve(1)
    session.finish()
    ram.close()
    assert Level.read(luo.actor).unused - before > 2048 - 64


@pytest.mark.clause("memory.release")
def test_memory_of_a_file_never_retrieved_is_free_after_finish(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(size=8 * MIB), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    before, total = Level.read(luo.actor).unused, meminfo(luo.actor)["MemTotal"]
    session.finish()
    assert Level.read(luo.actor).unused - before > 2048 - 64
    assert meminfo(luo.actor)["MemTotal"] - total >= 2048


@pytest.mark.clause("memory.unretrieved")
def test_memory_of_a_session_never_retrieved_is_kept_for_one_kernel(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=16 * MIB)
    ram.fill(16 * MIB, SEED)
    session.preserve(ram, token=1)
    frames = pfns(ram, 16 * MIB)
    # Whole blocks of the page allocator: the first page of one that is free says so, the others say nothing.
    starts = [frame for frame in frames if frame % BLOCK == 0]
    whole = [range(start, start + BLOCK) for start in starts]
    whole = [block for block in whole if set(block).issubset(frames)]
    given(bool(whole), "the file has no 4 MiB in a row")

    luo = yield KEXEC

    assert not any(frame_flags(luo.actor, frames)), "somebody uses the memory"

    luo = yield KEXEC

    for block in whole:
        assert any(frame_flags(luo.actor, block)), "the memory is still reserved"


@pytest.mark.clause("memory.vmalloc")
def test_retrieving_leaves_the_count_of_mapped_memory_as_it_was(luo: Luo) -> Scenario:
    names = [f"vm {number}" for number in range(40)]
    luo.create_crowd(names, 1, b"x")

    luo = yield KEXEC

    sessions = [luo.retrieve_session(name) for name in names]
    Level.read(luo.actor)
    before = meminfo(luo.actor)["VmallocUsed"]
    for session in sessions:
        session.retrieve(0).close()
        session.finish()
    Level.read(luo.actor)  # which brings the counts of each CPU together
    now = meminfo(luo.actor)["VmallocUsed"]
    told = f"{before} pages were mapped, and now {now} are"
    assert before > 0, told  # a count below nothing is told as 0, and no kernel is without a mapping
    assert before - now < len(names) // 2, told
