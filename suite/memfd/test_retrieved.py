# SPDX-License-Identifier: GPL-2.0-only
"""A retrieved memfd is a memfd like any other."""

from errno import EBUSY, EPERM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.level import Level
from fixtures.luo import PAGE, Luo, Session, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.memfd.calls import HARMLESS, READ_WRITE, SIZE, WIDTH, WRITERS
from suite.scenario import Scenario

CONTENT = pattern(SIZE)


def preserved(luo: Luo, size: int = SIZE) -> Session:
    session = luo.create_session("vm")
    ram = luo.memfd(size=size)
    ram.fill(size, seed=0)
    session.preserve(ram, token=1)
    ram.close()
    return session


@pytest.mark.clause("memfd.fresh")
def test_retrieved_memfd_grows_and_shrinks(luo: Luo) -> Scenario:
    preserved(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    session.finish()
    ram.truncate(SIZE + 2 * PAGE)
    assert ram.read_all() == CONTENT + bytes(2 * PAGE)
    ram.write(b"tail", SIZE + PAGE)
    ram.truncate(PAGE + 1)
    ram.truncate(SIZE)
    assert ram.read_all() == CONTENT[: PAGE + 1] + bytes(SIZE - PAGE - 1)


@pytest.mark.clause("memfd.fresh")
def test_retrieved_memfd_is_read_and_written_in_every_way(luo: Luo) -> Scenario:
    preserved(luo)

    luo = yield KEXEC

    content = bytearray(CONTENT)
    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    luo.close_device()
    for number, (name, write) in enumerate(WRITERS.items()):
        data = name.encode().ljust(WIDTH, b".")
        write(ram, data, number * WIDTH)
        content[number * WIDTH : (number + 1) * WIDTH] = data
    session.finish()
    for name, call in HARMLESS.items():
        if not name.endswith("_RANGE"):
            call(ram)
            assert ram.read_all() == content, name


@pytest.mark.clause("memfd.fresh")
@pytest.mark.parametrize("finished", [False, True], ids=["before finish", "after finish"])
def test_retrieved_memfd_is_sealed_like_a_new_one(luo: Luo, finished: bool) -> Scenario:
    preserved(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    if finished:
        session.finish()
    with ram.mapped(SIZE), refused(EBUSY):
        ram.add_seals(uapi.F_SEAL_WRITE)
    ram.add_seals(uapi.F_SEAL_WRITE)
    with refused(EPERM):
        ram.write(b"x", 0)
    ram.add_seals(uapi.F_SEAL_SEAL)
    with refused(EPERM):
        ram.add_seals(uapi.F_SEAL_GROW)
    assert ram.seals == uapi.F_SEAL_WRITE | uapi.F_SEAL_SEAL
    assert ram.read_all() == CONTENT


@pytest.mark.clause("memfd.fresh")
def test_retrieved_memfd_is_shared_and_copied_through_mappings(luo: Luo) -> Scenario:
    preserved(luo)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    luo.close_device()
    program = luo.actor.program()
    shared = program.syscall("mmap", 0, SIZE, READ_WRITE, uapi.MAP_SHARED, ram.fd, 0)
    private = program.syscall("mmap", 0, SIZE, READ_WRITE, uapi.MAP_PRIVATE, ram.fd, 0)
    program.poke(private + PAGE, b"private")
    results = luo.actor.run(program)
    child = luo.actor.fork()
    program = child.program()
    program.poke(results[shared], b"shared")
    program.poke(results[private] + 2 * PAGE, b"child's")
    child.run(program)
    child.close()
    assert ram.read_all() == b"shared" + CONTENT[6:]
    program = luo.actor.program()
    views = [program.peek(results[private] + page * PAGE, 7) for page in range(3)]
    results = luo.actor.run(program)
    ours = [CONTENT[page * PAGE : page * PAGE + 7] for page in range(3)]
    assert [results.bytes(view) for view in views] == [b"shared" + ours[0][6:], b"private", ours[2]]


@pytest.mark.clause("memfd.fresh")
@pytest.mark.parametrize("last", ["descriptor", "mapping", "session"])
def test_last_close_gives_the_memory_back(luo: Luo, last: str) -> Scenario:
    preserved(luo, size=512 * PAGE)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    held = Level.read(luo.actor).shared
    if last == "session":
        ram.close()
        assert Level.read(luo.actor).shared == held
        session.close()
    elif last == "descriptor":
        session.close()
        assert Level.read(luo.actor).shared == held
        ram.close()
    else:
        with ram.mapped(PAGE):
            session.close()
            ram.close()
            assert Level.read(luo.actor).shared == held
    assert held - Level.read(luo.actor).shared == 512


@pytest.mark.clause("memfd.fresh")
def test_truncating_a_retrieved_memfd_gives_the_memory_back(luo: Luo) -> Scenario:
    preserved(luo, size=512 * PAGE)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    held = Level.read(luo.actor).shared
    ram.truncate(0)
    assert held - Level.read(luo.actor).shared == 512
    session.finish()
    assert ram.size == 0


@pytest.mark.clause("memfd.represerve", "memfd.write-after-preserve", "memfd.no-resize-while-preserved")
def test_retrieved_memfd_is_preserved_like_a_new_one(luo: Luo) -> Scenario:
    """Given up and taken again, resized in between; what it was in its first life does not matter."""
    preserved(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    ram.truncate(PAGE)
    session.finish()
    dropped = luo.create_session("dropped")
    dropped.preserve(ram, token=1)
    with refused(EPERM):
        ram.truncate(SIZE)
    dropped.close()
    ram.truncate(SIZE)
    ram.seek(5)
    luo.create_session("kept").preserve(ram, token=2)
    ram.write(b"late", 2 * PAGE)

    luo = yield KEXEC

    ram = luo.retrieve_session("kept").retrieve(2)
    assert ram.tell() == 5
    assert ram.read_all() == CONTENT[:PAGE] + bytes(PAGE) + b"late" + bytes(PAGE - 4)
