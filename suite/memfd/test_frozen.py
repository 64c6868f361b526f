# SPDX-License-Identifier: GPL-2.0-only
"""What a memfd may do while it is preserved, and that it may do everything again afterwards."""

import os
from errno import EBUSY, EEXIST, ENOSPC, EPERM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, Memfd, refused
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from suite.memfd.calls import HARMLESS, READ_WRITE, RESIZES, SIZE, WIDTH, WRITERS, reopened
from suite.scenario import Scenario

CONTENT = pattern(SIZE)

# One flag of the inode refuses them all (mm/shmem.c, SHMEM_F_MAPPING_FROZEN): where it is seen to be set, or
# not to be, these tell.
SOME = [RESIZES[name] for name in ("truncate to more", "write beyond the end", "punch a hole")]


@pytest.mark.clause("memfd.no-resize-while-preserved", "memfd.resize-when-free")
@pytest.mark.parametrize("call", RESIZES)
def test_size_is_fixed_while_preserved_and_free_after(luo: Luo, call: str) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    with refused(EPERM):
        RESIZES[call](ram)
    assert ram.read_all() == CONTENT
    session.close()
    RESIZES[call](ram)
    assert ram.read_all() != CONTENT


@pytest.mark.clause("memfd.no-resize-while-preserved", "memfd.size")
@pytest.mark.parametrize("first", [SIZE - 1, SIZE - PAGE, 0])
def test_write_across_the_end_of_a_preserved_memfd_stops_there(luo: Luo, first: int) -> Scenario:
    """As a disk that fills up: what fits may be written, and the call says how much that was."""
    data = b"x" * (SIZE + PAGE - first)
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    written = luo.actor.raw("pwrite64", ram.fd, data, len(data), first)
    assert written == -EPERM or 0 < written <= SIZE - first
    content = CONTENT if written < 0 else CONTENT[:first] + data[:written] + CONTENT[first + written :]
    assert ram.read_all() == content

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == content


@pytest.mark.clause("file.preserve.twice")
@pytest.mark.parametrize("how", ["same session", "other session"])
def test_refused_preserve_of_a_preserved_memfd_does_not_free_it(luo: Luo, how: str) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    other = luo.create_session("other") if how == "other session" else session
    with refused(EBUSY):
        other.preserve(ram, token=2)
    for resize in SOME:
        with refused(EPERM):
            resize(ram)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == CONTENT


@pytest.mark.clause("memfd.resize-when-free", "memfd.no-resize-while-preserved")
def test_memfd_whose_preserve_was_refused_for_its_token_is_free(luo: Luo) -> None:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(CONTENT), token=1)
    for resize in SOME:
        ram = luo.memfd(CONTENT)
        with refused(EEXIST):
            session.preserve(ram, token=1)
        resize(ram)
        assert ram.read_all() != CONTENT


@pytest.mark.clause("memfd.resize-when-free")
def test_file_whose_holes_find_no_room_is_free_after_the_refusal(luo: Luo) -> None:
    """The kernel has already frozen it when it finds out (mm/memfd_luo.c, memfd_luo_preserve())."""
    session = luo.create_session("vm")
    luo.actor.syscall("unshare", uapi.CLONE_NEWNS)
    luo.actor.syscall("mount", "none", "/tmp", "tmpfs", 0, f"size={2 * SIZE}")
    fd = luo.actor.syscall("openat", uapi.AT_FDCWD, "/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
    ram = Memfd(luo.actor, fd)
    for resize in SOME:
        ram.truncate(16 * SIZE)
        ram.write(CONTENT, 0)
        with refused(ENOSPC):
            session.preserve(ram, token=1)
        ram.truncate(SIZE)
        assert ram.read_all() == CONTENT
        resize(ram)
        assert ram.read_all() != CONTENT
    ram.truncate(SIZE)
    session.preserve(ram, token=1)


@pytest.mark.clause("memfd.resize-when-free")
@pytest.mark.parametrize("when", ["before finish", "after finish", "after close"])
def test_retrieved_memfd_may_change_its_size(luo: Luo, when: str) -> Scenario:
    calls = list(RESIZES.values()) if when == "before finish" else SOME
    luo.create_crowd(["vm"], len(calls), CONTENT)

    luo = yield KEXEC

    [(session, files)] = luo.retrieve_crowd(["vm"], len(calls))
    if when == "after finish":
        session.finish()
    elif when == "after close":
        session.close()
    for ram, resize in zip(files, calls, strict=True):
        resize(ram)
        assert ram.read_all() != CONTENT


@pytest.mark.clause("memfd.contents", "memfd.size", "memfd.no-resize-while-preserved")
def test_calls_that_change_nothing_change_nothing(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    for name, call in HARMLESS.items():
        call(ram)
        assert ram.read_all() == CONTENT, name

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == CONTENT


@pytest.mark.clause("memfd.write-after-preserve")
def test_whatever_writes_to_a_preserved_memfd_its_bytes_survive(luo: Luo) -> Scenario:
    content = bytearray(CONTENT)
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    # A page's end and the next one's begin, so that both are written.
    for number, (name, write) in enumerate(WRITERS.items()):
        data = name.encode().ljust(WIDTH, b".")
        offset = PAGE - WIDTH * len(WRITERS) // 2 + number * WIDTH
        write(ram, data, offset)
        content[offset : offset + WIDTH] = data
    assert ram.read_all() == content

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == content


@pytest.mark.clause("memfd.write-after-preserve", "memfd.contents")
def test_stores_through_a_mapping_from_before_survive(luo: Luo) -> Scenario:
    size = 16 * PAGE
    session = luo.create_session("vm")
    ram = luo.memfd(size=size)
    address = luo.actor.syscall("mmap", 0, size, READ_WRITE, uapi.MAP_SHARED, ram.fd, 0)
    session.preserve(ram, token=1)
    ram.close()
    program = luo.actor.program()
    program.fill(address, size, 5)
    luo.actor.run(program)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).first_difference(size, seed=5) is None


@pytest.mark.clause("memfd.contents")
@pytest.mark.parametrize("mapped", ["before", "after"])
def test_stores_into_a_private_mapping_stay_private(luo: Luo, mapped: str) -> Scenario:
    """The mapping is still there at the handover, with its own copies of some pages and the file's others."""
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    program = luo.actor.program()
    address = program.syscall("mmap", 0, SIZE, READ_WRITE, uapi.MAP_PRIVATE, ram.fd, 0)
    program.fill(address + PAGE, PAGE, 99)
    if mapped == "after":
        session.preserve(ram, token=1)
    start = luo.actor.run(program)[address]
    if mapped == "before":
        session.preserve(ram, token=1)
    program = luo.actor.program()
    program.fill(start + 2 * PAGE, PAGE, 98)
    luo.actor.run(program)
    assert ram.read_all() == CONTENT

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == CONTENT


@pytest.mark.clause("memfd.write-after-preserve", "memfd.position")
def test_everything_done_until_the_reboot_call_survives(luo: Luo) -> Scenario:
    """The next kernel is already loaded: writers, mappings and positions go on until the jump."""
    size = 4 * PAGE
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(size))
    early = luo.actor.syscall("mmap", 0, size, READ_WRITE, uapi.MAP_SHARED, ram.fd, 0)
    session.preserve(ram, token=1)
    late = luo.actor.syscall("mmap", 0, size, READ_WRITE, uapi.MAP_SHARED, ram.fd, 0)
    luo.close_device()  # or the child would keep it
    actors = [luo.actor, luo.actor.thread(), luo.actor.fork()]

    def last_words() -> None:
        for number, actor in enumerate(actors):
            program = actor.program()
            program.poke(early + number * PAGE, b"early")
            program.poke(late + number * PAGE + 10, b"late")
            program.syscall("pwrite64", ram.fd, b"pwrite", 6, number * PAGE + 20)
            program.syscall("lseek", ram.fd, 1000 + number, os.SEEK_SET)
            actor.run(program)

    luo = yield Kexec(before_jump=last_words)

    content = bytearray(pattern(size))
    for start in range(0, len(actors) * PAGE, PAGE):
        for offset, data in ((0, b"early"), (10, b"late"), (20, b"pwrite")):
            content[start + offset : start + offset + len(data)] = data
    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.tell() == 1002
    assert ram.read_all() == content


@pytest.mark.clause("memfd.contents", "memfd.no-resize-while-preserved")
def test_link_to_a_preserved_file_loses_nothing(luo: Luo) -> Scenario:
    """A file without a name (O_TMPFILE) may be given one at any time, also while it is preserved."""
    session = luo.create_session("vm")
    fd = luo.actor.syscall("openat", uapi.AT_FDCWD, "/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
    ram = Memfd(luo.actor, fd)
    ram.write(CONTENT, 0)
    session.preserve(ram, token=1)
    path = f"/tmp/{luo.name('linked').decode()}"
    luo.actor.syscall("linkat", fd, "", uapi.AT_FDCWD, path, uapi.AT_EMPTY_PATH)
    assert luo.actor.read_file(path) == CONTENT
    with refused(EPERM):
        luo.actor.syscall("openat", uapi.AT_FDCWD, path, os.O_RDWR | os.O_TRUNC, 0)
    luo.actor.syscall("unlinkat", uapi.AT_FDCWD, path, 0)
    with refused(EPERM):
        ram.truncate(0)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == CONTENT


@pytest.mark.clause("memfd.write-after-preserve", "memfd.no-resize-while-preserved")
def test_preserved_memfd_in_another_process_can_be_written_and_not_resized(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(CONTENT)
    session.preserve(ram, token=1)
    luo.close_device()  # or the child would keep it
    child = luo.actor.fork()
    theirs = reopened(Memfd(child, ram.fd), os.O_RDWR)
    ram.close()
    for resize in SOME:
        with refused(EPERM):
            resize(theirs)
    theirs.fill(SIZE, seed=8)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE, seed=8)
