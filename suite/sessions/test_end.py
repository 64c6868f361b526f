# SPDX-License-Identifier: GPL-2.0-only
"""The end of a retrieved session: by finish or by close, with all, some or none of its files retrieved."""

from collections.abc import Callable
from errno import ENOENT

import pytest

from fixtures.level import UNUSED_PAGES_SLACK, Level
from fixtures.luo import Luo, Session, refused
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

PAGE = 4096
PAGES = 4 * UNUSED_PAGES_SLACK  # of each file: their coming and going stands out of the noise

End = Callable[[Session], None]
ENDS = pytest.mark.parametrize("end", [Session.finish, Session.close], ids=["finish", "close"])


def preserve_two(luo: Luo) -> None:
    session = luo.create_session("vm")
    for token in (1, 2):
        ram = luo.memfd(size=PAGES * PAGE)
        session.preserve(ram, token=token)
        ram.fill(PAGE, seed=token)


@ENDS
@pytest.mark.clause("session.finish", "session.close-finishes", "session.finish.unretrieved")
@pytest.mark.parametrize("retrieved", [[], [1], [1, 2]], ids=["none", "some", "all"])
def test_ended_session_gives_back_what_was_not_retrieved(
    luo: Luo, end: End, retrieved: list[int]
) -> Scenario:
    preserve_two(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    files = {token: session.retrieve(token) for token in retrieved}
    before = Level.read(luo.actor)
    end(session)
    given_back = Level.read(luo.actor).unused - before.unused
    dropped = PAGES * (2 - len(files))
    assert dropped - UNUSED_PAGES_SLACK <= given_back <= dropped + 2 * UNUSED_PAGES_SLACK
    for token, ram in files.items():
        assert ram.first_difference(PAGE, seed=token) is None
        ram.truncate(0)


@pytest.mark.clause("session.finish", "session.finish.again")
@pytest.mark.parametrize("files", [0, 1], ids=["empty", "one file"])
def test_finishing_again_and_then_closing_does_no_harm(luo: Luo, files: int) -> Scenario:
    session = luo.create_session("vm")
    for token in range(files):
        session.preserve(luo.memfd(b"x"), token=token)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    rams = [session.retrieve(token) for token in range(files)]
    for _ in range(3):
        session.finish()
    with refused(ENOENT):
        session.retrieve(0)
    session.close()
    assert [ram.read_all() for ram in rams] == [b"x"] * files
    with refused(ENOENT):
        luo.retrieve_session("vm")


@ENDS
@pytest.mark.clause("session.finish", "session.close-finishes")
def test_end_of_one_session_leaves_the_others_alone(luo: Luo, end: End) -> Scenario:
    names = ["left", "middle", "right"]
    for name in names:
        session = luo.create_session(name)
        for token in (1, 2):
            session.preserve(luo.memfd(b"%s %d" % (name.encode(), token)), token=token)

    luo = yield KEXEC

    left, middle = luo.retrieve_session("left"), luo.retrieve_session("middle")
    first = left.retrieve(1)
    end(middle)
    assert first.read_all() == b"left 1"
    assert left.retrieve(2).read_all() == b"left 2"
    assert luo.retrieve_session("right").retrieve(2).read_all() == b"right 2"


@pytest.mark.clause("session.close-finishes")
def test_file_of_a_closed_session_may_be_preserved_again(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    session.close()
    luo.create_session("vm").preserve(ram, token=2)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(2).read_all() == b"x"
