# SPDX-License-Identifier: GPL-2.0-only
"""Who holds a file: LUO's reference, what FINISH and close give back, and files that are preserved again."""

from collections.abc import Callable
from errno import EBUSY, EPERM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.cgroup import MIB
from fixtures.level import UNUSED_PAGES_SLACK, Level
from fixtures.luo import PAGE, Luo, Session, refused
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

SIZE = 5000
BIG = 8 * MIB

finish_or_close = pytest.mark.parametrize("end", [Session.finish, Session.close], ids=["finish", "close"])


# LUO's reference


@pytest.mark.clause("file.reference")
def test_file_that_only_the_session_holds_ends_with_it(luo: Luo) -> None:
    before = Level.read(luo.actor)
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    session.preserve(ram, token=1)
    ram.close()
    held = Level.read(luo.actor)
    assert (held.pinned - before.pinned, held.shared - before.shared) == (2, 2)
    session.close()
    after = Level.read(luo.actor)
    assert (after.pinned, after.shared) == (before.pinned, before.shared)


@pytest.mark.clause("file.reference")
def test_file_that_only_the_session_holds_is_handed_over(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(SIZE))
    ram.seek(17)
    session.preserve(ram, token=1)
    ram.close()

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.tell() == 17
    assert ram.read_all() == pattern(SIZE)


@pytest.mark.clause("file.reference")
@finish_or_close
def test_retrieved_file_that_only_the_session_holds_ends_with_it(
    luo: Luo, end: Callable[[Session], None]
) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    before = Level.read(luo.actor)
    session.retrieve(1).close()
    held = Level.read(luo.actor)
    assert (held.shared - before.shared, held.files - before.files) == (2, 1)
    again = session.retrieve(1)
    assert again.read_all() == pattern(SIZE)
    again.close()
    end(session)
    assert Level.read(luo.actor).shared == before.shared


# What is given back


@pytest.mark.clause("file.finish.drops")
@pytest.mark.parametrize("retrieved", [False, True], ids=["nothing retrieved", "one of two retrieved"])
@finish_or_close
def test_files_that_nobody_retrieved_are_dropped(
    luo: Luo, end: Callable[[Session], None], retrieved: bool
) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    session.preserve(luo.memfd(size=BIG), token=2)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1) if retrieved else None
    before = Level.read(luo.actor)
    end(session)
    given_back = Level.read(luo.actor).unused - before.unused
    assert given_back > BIG // PAGE - UNUSED_PAGES_SLACK, "memory of the dropped file is lost"
    if ram:
        assert ram.read_all() == pattern(SIZE)


# Preserved again


@pytest.mark.clause("file.again")
def test_file_of_a_closed_session_is_preserved_again(luo: Luo) -> Scenario:
    ram = luo.memfd(pattern(SIZE))
    for _ in range(3):
        session = luo.create_session("vm")
        session.preserve(ram, token=1)
        session.close()
        ram.truncate(SIZE + PAGE)
        ram.truncate(SIZE)
    luo.create_session("other").preserve(ram, token=2)
    with refused(EPERM):
        ram.truncate(0)

    luo = yield KEXEC

    assert luo.retrieve_session("other").retrieve(2).read_all() == pattern(SIZE)


@pytest.mark.clause("file.again.not-yet")
def test_retrieved_file_is_busy_until_its_session_is_finished(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    following = luo.create_session("vm")
    for file in (ram, ram.dup(), session.retrieve(1)):
        with refused(EBUSY):
            following.preserve(file, token=1)
    ram.truncate(SIZE + PAGE)
    session.finish()
    following.preserve(ram, token=1)


@pytest.mark.clause("file.again")
@finish_or_close
def test_retrieved_file_is_preserved_again_once_its_session_is_finished(
    luo: Luo, end: Callable[[Session], None]
) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    end(session)
    ram.write(b"changed", 1000)
    following = luo.create_session("vm")
    following.preserve(ram, token=1)
    with refused(EPERM):
        ram.truncate(0)

    luo = yield KEXEC

    expected = bytearray(pattern(SIZE))
    expected[1000:1007] = b"changed"
    assert luo.retrieve_session("vm").retrieve(1).read_all() == expected
