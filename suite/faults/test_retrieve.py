# SPDX-License-Identifier: GPL-2.0-only
"""retrieve() that fails or sleeps, and handlers that are missing in the next kernel."""

from errno import EAGAIN, EINTR, EIO, ENOENT, ENOMEM

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.errors import SyscallError
from fixtures.luo import Luo, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC, Kexec
from suite.faults.acts import begin_close, begin_retrieve, preserved
from suite.scenario import Scenario

pytestmark = pytest.mark.provider


@pytest.mark.clause("faults.retrieve.failed", "faults.finish.status")
@pytest.mark.parametrize("number", [EAGAIN, EINTR, EIO, ENOENT, ENOMEM])
def test_failed_retrieve_fails_for_good_and_others_are_as_good_as_ever(luo: Luo, number: int) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=3)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    provider.fail("retrieve", "01", number, nth=1)
    for _ in range(3):
        with refused(number):
            session.retrieve(1)
    assert provider.called("retrieve") == ["01"]
    assert provider.content(session.retrieve(2)) == b"02"
    session.finish()
    assert provider.statuses("can_finish") == {"00": 0, "01": -number, "02": 1}
    assert provider.statuses("finish") == {"00": 0, "01": -number, "02": 1}


@pytest.mark.clause("faults.retrieve.once")
def test_file_retrieved_by_two_at_once_is_made_once(luo: Luo) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=1)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    provider.sleep("retrieve", "00")
    workers = [luo.actor.thread() for _ in range(2)]
    retrieving = [begin_retrieve(worker, session, 0) for worker in workers]
    provider.wait_until_asleep("retrieve", "00")
    provider.forget("00")
    for each in retrieving:
        each.wait()
    assert provider.called("retrieve") == ["00"]
    session.finish()
    assert provider.statuses("finish") == {"00": 1}


@pytest.mark.clause("faults.retrieve.once")
def test_file_wanted_by_two_at_once_whose_retrieve_fails_fails_for_both(luo: Luo) -> Scenario:
    preserved(luo, Provider(luo), sessions=1, files=1)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("0")
    provider.sleep("retrieve", "00", then=EIO)
    workers = [luo.actor.thread() for _ in range(2)]
    retrieving = [begin_retrieve(worker, session, 0) for worker in workers]
    provider.wait_until_asleep("retrieve", "00")
    provider.forget("00")
    for each in retrieving:
        with refused(EIO):
            each.wait()
    assert provider.called("retrieve") == ["00"]
    session.close()
    assert provider.statuses("finish") == {"00": -EIO}


@pytest.mark.clause("faults.retrieve.asleep")
def test_session_closed_while_a_retrieve_sleeps_is_finished_when_it_is_over(luo: Luo) -> Scenario:
    preserved(luo, Provider(luo), sessions=2, files=2)

    luo = yield KEXEC

    provider = Provider(luo)
    session, other = luo.retrieve_session("0"), luo.retrieve_session("1")
    provider.sleep("retrieve", "00")
    worker = luo.actor.thread()
    retrieving = begin_retrieve(worker, session, 0)
    provider.wait_until_asleep("retrieve", "00")
    session.close()
    # Another session does not wait for it.
    assert provider.content(other.retrieve(1)) == b"11"
    other.finish()
    assert sorted(provider.called("finish")) == ["10", "11"]
    provider.forget("00")
    retrieving.wait()
    worker.close()
    assert provider.statuses("finish") == {"00": 1, "01": 0, "10": 0, "11": 1}


@pytest.mark.clause("faults.finish.asleep")
@pytest.mark.parametrize("op", ["can_finish", "finish"])
def test_close_that_sleeps_in_a_callback_holds_up_no_other_session(luo: Luo, op: str) -> Scenario:
    preserved(luo, Provider(luo), sessions=2, files=2)

    luo = yield KEXEC

    provider = Provider(luo)
    session, other = luo.retrieve_session("0"), luo.retrieve_session("1")
    provider.sleep(op, "01")
    closing = begin_close(luo.actor.thread(), session)
    provider.wait_until_asleep(op, "01")
    assert provider.content(other.retrieve(0)) == b"10"
    other.finish()
    luo.create_session("new").close()
    provider.forget("01")
    closing.wait()
    assert sorted(provider.called("finish")) == ["00", "01", "10", "11"]


# Handlers that are not there

WITHOUT = "luo_cts.handlers=a"


def open_errno(actor: Actor) -> int:
    """The errno of opening the device, 0 for none."""
    try:
        Luo(actor, "", 0).device.close()
    except SyscallError as error:
        return error.errno or 0
    return 0


@pytest.mark.clause("faults.handler.missing")
def test_kernel_without_the_handler_says_so_and_lives(luo: Luo) -> Scenario:
    provider = Provider(luo)
    session = luo.create_session("vm")
    session.preserve(provider.file("one", "a"), 1)
    session.preserve(provider.file("two", "b"), 2)
    luo.create_session("ram").preserve(luo.memfd(b"ram"), 1)

    luo = yield Kexec(cmdline=WITHOUT)

    assert [open_errno(luo.actor) for _ in range(3)] == [EIO] * 3
    assert Provider(luo).called("retrieve", "finish") == []

    luo = yield KEXEC

    # What was not taken is gone; live update works again.
    assert open_errno(luo.actor) == 0
    with refused(ENOENT):
        luo.retrieve_session("vm")
    provider = Provider(luo)
    luo.create_session("vm").preserve(provider.file("one", "b", b"again"), 1)

    luo = yield KEXEC

    assert Provider(luo).content(luo.retrieve_session("vm").retrieve(1)) == b"again"


@pytest.mark.clause("faults.handler.late")
def test_handler_that_comes_before_the_device_is_opened_is_in_time(luo: Luo) -> Scenario:
    provider = Provider(luo)
    luo.create_session("vm").preserve(provider.file("one", "b", b"one"), 1)

    luo = yield Kexec(cmdline=WITHOUT + ",c")

    provider = Provider(luo)
    provider.do("handler-add", "b", "luo-cts-b-v1")
    assert provider.content(luo.retrieve_session("vm").retrieve(1)) == b"one"


@pytest.mark.clause("faults.owner.going")
def test_module_that_goes_away_is_as_good_as_none(luo: Luo) -> Scenario:
    provider = Provider(luo)
    luo.create_session("vm").preserve(provider.file("one", "b"), 1)

    luo = yield Kexec(cmdline=WITHOUT + ",b")

    provider = Provider(luo)
    provider.do("handler-owner", "b", "going")
    assert open_errno(luo.actor) == EIO
    assert provider.owners("handler", "b") == [0]
