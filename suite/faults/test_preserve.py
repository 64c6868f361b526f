# SPDX-License-Identifier: GPL-2.0-only
"""preserve(), unpreserve(), can_preserve() and get_id() that fail or sleep, and how the module is held."""

from errno import EBUSY, EFBIG, EINTR, EIO, ENOENT, ENOMEM, EOPNOTSUPP

import pytest

from fixtures.luo import Luo, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC
from suite.faults.acts import begin_close, begin_preserve
from suite.scenario import Scenario

pytestmark = pytest.mark.provider


@pytest.mark.clause("faults.preserve.failed")
@pytest.mark.parametrize("number", [EFBIG, EINTR, EIO, ENOENT, ENOMEM, EOPNOTSUPP])
def test_preserve_gives_the_errno_of_the_callback_and_works_the_next_time(luo: Luo, number: int) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    file = provider.file("one")
    provider.fail("preserve", "one", number, nth=1)
    with refused(number):
        session.preserve(file, 1)
    # The file, its token and its identifier are free.
    session.preserve(file, 1)
    session.close()
    assert provider.called("preserve", "unpreserve") == ["one"] * 3


@pytest.mark.clause("faults.preserve.failed", "faults.preserve.unpreserved")
def test_failed_preserve_is_not_handed_over_nor_undone_by_the_callback(luo: Luo) -> Scenario:
    provider = Provider(luo)
    session = luo.create_session("vm")
    session.preserve(provider.file("one", content=b"one"), 1)
    provider.fail("preserve", "two", EIO)
    with refused(EIO):
        session.preserve(provider.file("two"), 2)
    session.preserve(provider.file("three", content=b"three"), 3)
    assert provider.called("unpreserve") == []

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(2)
    assert provider.content(session.retrieve(1)) == b"one"
    assert provider.content(session.retrieve(3)) == b"three"


@pytest.mark.clause("faults.can-preserve.no")
def test_file_that_the_handler_does_not_take_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    file = provider.file("one")
    provider.refuse("can_preserve", "one", nth=1)
    with refused(ENOENT):
        session.preserve(file, 1)
    assert provider.called("preserve") == []
    session.preserve(file, 1)
    assert provider.called("can_preserve") == ["one"] * 2
    session.close()


@pytest.mark.clause("faults.handler.second")
def test_handler_that_does_not_take_a_file_leaves_it_to_another(luo: Luo) -> Scenario:
    provider = Provider(luo)
    session = luo.create_session("vm")
    # Of two that say yes one takes it; where the first says no, the other does.
    session.preserve(provider.file("both", "a,b", b"both"), 1)
    provider.refuse("can_preserve", "one", nth=1)
    session.preserve(provider.file("one", "a,b", b"one"), 2)
    handlers = {call.name: call.handler for call in provider.calls if call.op == "preserve"}
    assert handlers == {"both": "a", "one": "b"}
    assert [call.handler for call in provider.calls if call.op == "can_preserve"] == ["a", "a", "b"]

    luo = yield KEXEC

    # In the next kernel it is the compatible string that counts, and nobody is asked.
    provider = Provider(luo)
    session = luo.retrieve_session("vm")
    assert provider.content(session.retrieve(1)) == b"both"
    assert provider.content(session.retrieve(2)) == b"one"
    assert {call.name: call.handler for call in provider.calls if call.op == "retrieve"} == handlers
    assert provider.called("can_preserve") == []


@pytest.mark.clause("faults.get-id")
def test_files_of_one_identifier_are_one_file(luo: Luo) -> None:
    provider = Provider(luo)
    session, other = luo.create_session("vm"), luo.create_session("other")
    for name in ("one", "two"):
        provider.give("get_id", name, luo.actor.pid)
    session.preserve(provider.file("one"), 1)
    second = provider.file("two")
    for each in (session, other):
        with refused(EBUSY):
            each.preserve(second, 2)
    assert "two" not in provider.called("preserve", "unpreserve")
    session.close()
    other.preserve(second, 2)
    other.close()


@pytest.mark.clause("faults.unpreserve")
def test_close_unpreserves_each_file_once_with_what_preserve_left(luo: Luo) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    for token, name in enumerate("abcde"):
        session.preserve(provider.file(name), token)
    session.close()
    assert provider.statuses("unpreserve") == dict.fromkeys("abcde", 1)


# Asleep


@pytest.mark.clause("faults.preserve.asleep")
def test_session_closed_while_a_preserve_sleeps_ends_when_it_is_over(luo: Luo) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    session.preserve(provider.file("before"), 0)
    file = provider.file("one")
    provider.sleep("preserve", "one")
    worker = luo.actor.thread()
    preserving = begin_preserve(worker, session, file, 1)
    provider.wait_until_asleep("preserve", "one")
    session.close()
    assert provider.called("unpreserve") == []
    # The name is taken for as long, and other sessions are nobody's business.
    other = luo.create_session("other")
    other.preserve(provider.file("two"), 1)
    other.close()
    provider.forget("one")
    preserving.wait()
    # Close ends with the last call that uses the session (fs/file_table.c), so it is over by now.
    worker.close()
    assert sorted(provider.called("unpreserve")) == ["before", "one", "two"]
    luo.create_session("vm").close()


@pytest.mark.clause("faults.preserve.asleep")
def test_preserve_that_sleeps_and_fails_leaves_a_session_that_works(luo: Luo) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    file = provider.file("one")
    provider.sleep("preserve", "one", then=EIO)
    worker = luo.actor.thread()
    preserving = begin_preserve(worker, session, file, 1)
    provider.wait_until_asleep("preserve", "one")
    provider.forget("one")
    with refused(EIO):
        preserving.wait()
    session.preserve(file, 1)
    session.close()


@pytest.mark.clause("faults.preserve.asleep")
def test_process_killed_in_a_preserve_leaves_nothing(luo: Luo) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    session.preserve(provider.file("before"), 0)
    provider.sleep("preserve", "one")
    file = provider.file("one")
    worker = luo.actor.fork()
    begin_preserve(worker, session, file, 1)
    provider.wait_until_asleep("preserve", "one")
    worker.kill()
    provider.forget("one")
    assert provider.called("unpreserve") == []
    session.preserve(file, 1)
    session.close()
    assert sorted(provider.called("unpreserve")) == ["before", "one"]


@pytest.mark.clause("faults.can-preserve.asleep")
def test_file_can_be_asked_about_for_as_long_as_it_takes(luo: Luo) -> None:
    provider = Provider(luo)
    session, other = luo.create_session("vm"), luo.create_session("other")
    file = provider.file("one")
    provider.sleep("can_preserve", "one")
    worker = luo.actor.thread()
    preserving = begin_preserve(worker, session, file, 1)
    provider.wait_until_asleep("can_preserve", "one")
    other.preserve(provider.file("two"), 1)
    provider.forget("one")
    preserving.wait()
    assert provider.called("preserve") == ["two", "one"]
    for each in (session, other):
        each.close()


@pytest.mark.clause("faults.get-id.asleep")
def test_file_that_another_takes_while_it_is_being_named_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    session, other = luo.create_session("vm"), luo.create_session("other")
    file = provider.file("one")
    provider.sleep("get_id", "one")
    worker = luo.actor.thread()
    preserving = begin_preserve(worker, session, file, 1)
    provider.wait_until_asleep("get_id", "one")
    other.preserve(provider.file("two"), 1)
    other.preserve(file, 2)
    provider.forget("one")
    with refused(EBUSY):
        preserving.wait()
    assert provider.called("preserve") == ["two", "one"]
    other.close()
    session.preserve(file, 1)
    session.close()


@pytest.mark.clause("faults.unpreserve.asleep")
def test_session_whose_close_sleeps_in_a_callback_holds_up_no_other(luo: Luo) -> Scenario:
    provider = Provider(luo)
    session, other = luo.create_session("vm"), luo.create_session("other")
    session.preserve(provider.file("one"), 1)
    provider.sleep("unpreserve", "one")
    worker = luo.actor.thread()
    closing = begin_close(worker, session)
    provider.wait_until_asleep("unpreserve", "one")
    other.preserve(provider.file("two", content=b"two"), 1)
    luo.create_session("third").close()
    provider.forget("one")
    closing.wait()
    assert provider.called("unpreserve") == ["one"]

    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("vm")
    assert Provider(luo).content(luo.retrieve_session("other").retrieve(1)) == b"two"


# The module


@pytest.mark.clause("faults.owner.pinned")
def test_module_is_held_once_for_each_preserved_file(luo: Luo) -> Scenario:
    provider = Provider(luo)
    session, other = luo.create_session("vm"), luo.create_session("other")
    held = []
    for token, name in enumerate(("one", "two", "three")):
        session.preserve(provider.file(name, "y"), token)
        held += provider.owners("handler", "y")
    other.preserve(provider.file("four", "y"), 1)
    held += provider.owners("handler", "y")
    provider.fail("preserve", "five", EIO)
    with refused(EIO):
        other.preserve(provider.file("five", "y"), 2)
    held += provider.owners("handler", "y")
    other.close()
    held += provider.owners("handler", "y")
    assert held == [1, 2, 3, 4, 4, 3]

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("vm")
    held = provider.owners("handler", "y")
    session.retrieve(0)
    held += provider.owners("handler", "y")
    session.finish()
    held += provider.owners("handler", "y")
    assert held == [3, 3, 0]


@pytest.mark.clause("faults.owner.going")
def test_handler_whose_module_goes_away_takes_no_file(luo: Luo) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    file = provider.file("one", "x")
    provider.do("handler-owner", "x", "going")
    with refused(ENOENT):
        session.preserve(file, 1)
    assert provider.called("preserve") == []
    provider.do("handler-owner", "x", "live")
    session.preserve(file, 1)
    session.close()
    assert provider.owners("handler", "x") == [0]
