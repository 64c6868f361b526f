# SPDX-License-Identifier: GPL-2.0-only
"""can_finish() that says no, and finish(): who is asked, who is told what, and what is left to LUO."""

from collections.abc import Callable
from errno import EBUSY, ENOENT

import pytest

from fixtures.luo import Luo, Session, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC
from suite.faults.acts import begin_finish, begin_retrieve, preserved
from suite.scenario import Scenario

pytestmark = pytest.mark.provider

finish_or_close = pytest.mark.parametrize("end", [Session.finish, Session.close], ids=["finish", "close"])


@pytest.mark.clause("faults.finish.refused")
@pytest.mark.parametrize("stubborn", ["00", "01", "02"])
def test_finish_is_refused_as_long_as_one_file_cannot(luo: Luo, stubborn: str) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=3)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    assert provider.content(session.retrieve(1)) == b"01"
    provider.refuse("can_finish", stubborn)
    for _ in range(2):
        with refused(EBUSY):
            session.finish()
    assert provider.called("finish") == []
    # All are LUO's still.
    assert provider.content(session.retrieve(0)) == b"00"
    assert provider.content(session.retrieve(1)) == b"01"
    provider.forget(stubborn)
    session.finish()
    assert provider.statuses("finish") == {"00": 1, "01": 1, "02": 0}
    with refused(ENOENT):
        session.retrieve(2)


@pytest.mark.clause("faults.finish.asked")
@finish_or_close
def test_all_files_are_asked_before_the_first_is_finished(
    luo: Luo, end: Callable[[Session], None]
) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=4)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    session.retrieve(3)
    end(session)
    ops = [call.op for call in provider.calls if call.op in ("can_finish", "finish")]
    assert ops == ["can_finish"] * 4 + ["finish"] * 4
    assert (
        provider.statuses("can_finish") == provider.statuses("finish") == {"00": 0, "01": 0, "02": 0, "03": 1}
    )


@pytest.mark.clause("faults.finish.late")
def test_session_closed_while_a_file_cannot_finish_can_be_finished_later(luo: Luo) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=2)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    provider.refuse("can_finish", "01")
    session.close()
    assert provider.called("finish") == []
    provider.forget("01")
    session = luo.retrieve_session("0")
    assert provider.content(session.retrieve(0)) == b"00"
    session.finish()
    assert sorted(provider.called("finish")) == ["00", "01"]


@pytest.mark.clause("faults.finish.held")
def test_session_closed_while_a_file_cannot_finish_stays_and_the_next_update_drops_it(luo: Luo) -> Scenario:
    preserved(luo, Provider(luo), sessions=2, files=2)

    luo = yield KEXEC

    provider = Provider(luo)
    session, other = luo.retrieve_session("0"), luo.retrieve_session("1")
    provider.refuse("can_finish", "01")
    session.close()
    assert provider.called("finish") == []
    assert provider.content(other.retrieve(0)) == b"10"
    other.finish()
    # What LUO still holds is in nobody's way.
    again = luo.create_session("0")
    again.preserve(provider.file("new", content=b"new"), 7)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    with refused(ENOENT):
        session.retrieve(0)
    assert provider.content(session.retrieve(7)) == b"new"
    session.finish()


@pytest.mark.clause("faults.finish.asleep")
@pytest.mark.parametrize("op", ["can_finish", "finish"])
def test_retrieve_waits_for_a_finish_that_sleeps(luo: Luo, op: str) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=2)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    provider.sleep(op, "01")
    finishing = begin_finish(luo.actor.thread(), session)
    provider.wait_until_asleep(op, "01")
    retrieving = begin_retrieve(luo.actor.thread(), session, 0)
    luo.create_session("new").close()
    assert not retrieving.done()
    provider.forget("01")
    finishing.wait()
    with refused(ENOENT):
        retrieving.wait()
    assert provider.called("retrieve") == []
    assert sorted(provider.called("finish")) == ["00", "01"]


@pytest.mark.clause("faults.finish.again")
def test_file_that_was_finished_can_be_preserved_again(luo: Luo) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=1)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    file = session.retrieve(0)
    other = luo.create_session("new")
    with refused(EBUSY):
        other.preserve(file, 1)
    session.finish()
    other.preserve(file, 1)

    luo = yield KEXEC

    provider = Provider(luo)
    assert provider.content(luo.retrieve_session("new").retrieve(1)) == b"00"
