# SPDX-License-Identifier: GPL-2.0-only
"""Global data that goes with files (FLB): when its callbacks are called, how often, what their failures do.

Handlers are shared by all tests of a machine. The tests of one kernel use "f" and "g" and take their FLBs
back; scenarios, which share generations, have letters that no other test's files name.
"""

from collections.abc import Generator
from errno import EIO, ENODATA, ENODEV, ENOENT, ENOMEM

import pytest

from fixtures.luo import Luo, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC, Kexec
from suite.faults.acts import begin_close, begin_finish, begin_preserve
from suite.scenario import Scenario

pytestmark = pytest.mark.provider


def flb_calls(provider: Provider) -> list[tuple[str, str]]:
    """The FLB callbacks so far, and for which FLB."""
    return [
        (call.op.removeprefix("flb_"), call.name) for call in provider.calls if call.op.startswith("flb_")
    ]


def handed_over(luo: Luo, handler: str) -> Generator[Kexec, Luo, tuple[Luo, Provider]]:
    """Into a next kernel that has the FLB too, with a file of this handler in a session."""
    provider = Provider(luo)
    provider.make_flb("flb", handler)
    luo.create_session("vm").preserve(provider.file("one", handler), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", handler)
    return luo, provider


@pytest.mark.clause("faults.flb.preserve.first", "faults.flb.unpreserve.last")
def test_object_is_there_from_the_first_file_to_the_last(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f", "g")
    session, other = luo.create_session("vm"), luo.create_session("other")
    session.preserve(provider.file("one", "f"), 1)
    assert provider.flb("get-out", "flb") == "flb"
    provider.flb("put-out", "flb")
    session.preserve(provider.file("two", "f"), 2)
    other.preserve(provider.file("three", "g"), 1)
    assert provider.owners("flb", ["flb"]) == [1]
    session.close()
    assert flb_calls(provider) == [("preserve", "flb")]
    other.close()
    assert flb_calls(provider) == [("preserve", "flb"), ("unpreserve", "flb")]
    assert provider.statuses("flb_unpreserve") == {"flb": 1}
    assert provider.owners("flb", ["flb"]) == [0]
    provider.drop_flb("flb", "f", "g")


@pytest.mark.clause("faults.flb.order")
def test_objects_are_unpreserved_in_reverse_and_around_the_file(luo: Luo) -> None:
    provider = Provider(luo)
    names = ["c", "a", "b"]
    for name in names:
        provider.make_flb(name, "f")
    session = luo.create_session("vm")
    session.preserve(provider.file("one", "f"), 1)
    session.close()
    assert provider.called("flb_preserve") == names
    assert provider.called("flb_unpreserve") == names[::-1]
    # The objects are there before the file that needs them, and go after it.
    order = [call.op for call in provider.calls if call.op not in ("can_preserve", "get_id")]
    assert order == ["flb_preserve"] * 3 + ["preserve", "unpreserve"] + ["flb_unpreserve"] * 3
    for name in names:
        provider.drop_flb(name, "f")


@pytest.mark.clause("faults.flb.preserve.failed")
@pytest.mark.parametrize("failing", range(3))
def test_file_is_not_preserved_where_an_object_is_not(luo: Luo, failing: int) -> None:
    provider = Provider(luo)
    names = ["a", "b", "c"]
    for name in names:
        provider.make_flb(name, "f")
    session = luo.create_session("vm")
    file = provider.file("one", "f")
    provider.fail("flb_preserve", names[failing], ENOMEM)
    with refused(ENOMEM):
        session.preserve(file, 1)
    done = names[:failing]
    assert provider.called("flb_preserve") == [*done, names[failing]]
    assert provider.called("flb_unpreserve") == done[::-1]
    assert provider.called("preserve") == []
    assert provider.owners("flb", names) == [0] * 3
    session.preserve(file, 1)
    session.close()
    for name in names:
        provider.drop_flb(name, "f")


@pytest.mark.clause("faults.flb.preserve.failed")
def test_objects_are_undone_where_the_file_fails(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("a", "f")
    provider.make_flb("b", "f")
    session = luo.create_session("vm")
    provider.fail("preserve", "one", EIO)
    with refused(EIO):
        session.preserve(provider.file("one", "f"), 1)
    assert provider.called("flb_unpreserve") == ["b", "a"]
    for name in ("a", "b"):
        provider.drop_flb(name, "f")


@pytest.mark.clause("faults.flb.preserve.first")
def test_object_that_two_files_want_at_once_is_preserved_once(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f", "g")
    session, other = luo.create_session("vm"), luo.create_session("other")
    files = [provider.file("one", "f"), provider.file("two", "g")]
    provider.sleep("flb_preserve", "flb")
    preserving = [
        begin_preserve(luo.actor.thread(), each, file, 1)
        for each, file in zip((session, other), files, strict=True)
    ]
    provider.wait_until_asleep("flb_preserve", "flb")
    provider.forget("flb")
    for each in preserving:
        each.wait()
    assert provider.called("flb_preserve") == ["flb"]
    session.close()
    assert provider.called("flb_unpreserve") == []
    other.close()
    assert provider.called("flb_unpreserve") == ["flb"]
    provider.drop_flb("flb", "f", "g")


@pytest.mark.clause("faults.flb.unpreserve.asleep")
def test_file_that_comes_while_the_object_goes_has_it_preserved_anew(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f", "g")
    session, other = luo.create_session("vm"), luo.create_session("other")
    session.preserve(provider.file("one", "f"), 1)
    file = provider.file("two", "g")
    provider.sleep("flb_unpreserve", "flb")
    closing = begin_close(luo.actor.thread(), session)
    provider.wait_until_asleep("flb_unpreserve", "flb")
    preserving = begin_preserve(luo.actor.thread(), other, file, 1)
    # A file of another handler has nothing to do with it.
    third = luo.create_session("third")
    third.preserve(provider.file("three"), 1)
    third.close()
    assert not preserving.done()
    provider.forget("flb")
    closing.wait()
    preserving.wait()
    assert flb_calls(provider) == [("preserve", "flb"), ("unpreserve", "flb"), ("preserve", "flb")]
    assert provider.flb("get-out", "flb") == "flb"
    provider.flb("put-out", "flb")
    other.close()
    provider.drop_flb("flb", "f", "g")


@pytest.mark.clause("faults.flb.get.reference")
def test_object_that_somebody_holds_outlives_the_last_file(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f")
    session = luo.create_session("vm")
    session.preserve(provider.file("one", "f"), 1)
    assert provider.flb("get-out", "flb") == "flb"
    session.close()
    assert provider.called("flb_unpreserve") == []
    provider.flb("put-out", "flb")
    assert provider.called("flb_unpreserve") == ["flb"]
    provider.drop_flb("flb", "f")


@pytest.mark.clause("faults.flb.get.none.outgoing")
def test_object_that_preserve_did_not_give_is_not_there(luo: Luo) -> None:
    provider = Provider(luo)
    provider.do("flb-make", provider.name("flb"), provider.name("flb"), "empty")
    provider.link_flb("flb", "f")
    session = luo.create_session("vm")
    session.preserve(provider.file("one", "f"), 1)
    with refused(ENOENT):
        provider.flb("get-out", "flb")
    session.close()
    provider.drop_flb("flb", "f")


@pytest.mark.clause("faults.flb.owner")
def test_object_whose_module_goes_away_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f")
    session = luo.create_session("vm")
    file = provider.file("one", "f")
    provider.do("flb-owner", provider.name("flb"), "going")
    with refused(ENODEV):
        session.preserve(file, 1)
    assert provider.called("flb_preserve", "preserve") == []
    provider.do("flb-owner", provider.name("flb"), "live")
    session.preserve(file, 1)
    session.close()
    provider.drop_flb("flb", "f")


@pytest.mark.alone
@pytest.mark.clause("faults.flb.unregister.files")
def test_object_of_a_handler_that_was_taken_back_goes_with_the_last_file(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f", "g")
    session, other = luo.create_session("vm"), luo.create_session("other")
    session.preserve(provider.file("one", "f"), 1)
    other.preserve(provider.file("two", "g"), 1)
    provider.unlink_flb("flb", "f")
    session.close()
    other.close()
    calls = provider.called("flb_preserve", "flb_unpreserve")
    assert calls == ["flb", "flb"], "an object whose handler was taken back stays preserved"


@pytest.mark.alone
@pytest.mark.warns("refcount_t: underflow")
@pytest.mark.clause("faults.flb.put.twice")
def test_object_that_is_put_once_too_often_takes_the_kernel_no_further_than_a_warning(luo: Luo) -> None:
    provider = Provider(luo)
    provider.make_flb("flb", "f")
    provider.flb("put-out", "flb")
    assert flb_calls(provider) == []
    # Files of other handlers have nothing to do with it.
    session = luo.create_session("vm")
    session.preserve(provider.file("one", "g"), 1)
    session.close()


# In the next kernel


@pytest.mark.clause("faults.flb.retrieve", "faults.flb.finish.last")
def test_object_crosses_and_is_finished_with_the_last_file(luo: Luo) -> Scenario:
    provider = Provider(luo)
    provider.make_flb("flb", "h", "i")
    session, other = luo.create_session("vm"), luo.create_session("other")
    session.preserve(provider.file("one", "h"), 1)
    session.preserve(provider.file("two", "h"), 2)
    other.preserve(provider.file("three", "i"), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "h", "i")
    session, other = luo.retrieve_session("vm"), luo.retrieve_session("other")
    for token in (1, 2):
        session.retrieve(token)
        assert provider.flb("get-in", "flb") == "flb"
        provider.flb("put-in", "flb")
    assert provider.owners("flb", ["flb"]) == [1]
    session.finish()
    assert flb_calls(provider) == [("retrieve", "flb")]
    other.finish()
    assert flb_calls(provider) == [("retrieve", "flb"), ("finish", "flb")]
    assert provider.statuses("flb_finish") == {"flb": 1}
    assert provider.owners("flb", ["flb"]) == [0]
    with refused(ENODATA):
        provider.flb("get-in", "flb")


@pytest.mark.clause("faults.flb.finish.asleep")
def test_object_is_not_had_any_more_from_when_its_finish_begins(luo: Luo) -> Scenario:
    provider = Provider(luo)
    provider.make_flb("flb", "t")
    luo.create_session("vm").preserve(provider.file("one", "t"), 1)
    luo.create_session("other").preserve(provider.file("two", content=b"two"), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "t")
    session, other = luo.retrieve_session("vm"), luo.retrieve_session("other")
    assert provider.flb("get-in", "flb") == "flb"
    provider.flb("put-in", "flb")
    provider.sleep("flb_finish", "flb")
    finishing = begin_finish(luo.actor.thread(), session)
    provider.wait_until_asleep("flb_finish", "flb")
    getting = provider.begin(luo.actor.thread(), "flb-get-in", provider.name("flb"))
    # A file of another handler has nothing to do with it.
    assert provider.content(other.retrieve(1)) == b"two"
    other.finish()
    provider.forget("flb")
    finishing.wait()
    with refused(ENODATA):
        getting.wait()
    assert provider.called("flb_finish") == ["flb"]


@pytest.mark.alone
@pytest.mark.clause("faults.flb.finish.unretrieved")
def test_object_that_nobody_retrieved_is_finished(luo: Luo) -> Scenario:
    luo, provider = yield from handed_over(luo, "j")

    luo.retrieve_session("vm").finish()
    # Without retrieve() there is no object that finish() could be given, and the data must not be lost.
    wanted = [("retrieve", "flb"), ("finish", "flb")]
    assert flb_calls(provider) == wanted, "an object that nobody retrieved is not finished"


@pytest.mark.alone
@pytest.mark.clause("faults.flb.new")
def test_object_that_the_kernel_before_did_not_have_is_not_missed(luo: Luo) -> Scenario:
    provider = Provider(luo)
    luo.create_session("vm").preserve(provider.file("one", "k"), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "k")
    with refused(ENOENT):
        provider.flb("get-in", "flb")
    luo.retrieve_session("vm").finish()
    assert flb_calls(provider) == []
    # And the object is as good as new for what is preserved now.
    session = luo.create_session("new")
    session.preserve(provider.file("two", "k"), 1)
    assert provider.flb("get-out", "flb") == "flb"
    provider.flb("put-out", "flb")
    session.close()
    assert flb_calls(provider) == [("preserve", "flb"), ("unpreserve", "flb")]


@pytest.mark.alone
@pytest.mark.clause("faults.flb.retrieve.failed")
def test_failed_retrieve_of_an_object_fails_for_good_and_finish_goes_on(luo: Luo) -> Scenario:
    luo, provider = yield from handed_over(luo, "l")

    provider.fail("flb_retrieve", "flb", EIO)
    for _ in range(3):
        with refused(EIO):
            provider.flb("get-in", "flb")
    assert provider.called("flb_retrieve") == ["flb"]
    assert provider.owners("flb", ["flb"]) == [0]
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_finish") == []


@pytest.mark.clause("faults.flb.retrieve.again")
def test_retrieve_of_an_object_that_failed_can_be_repeated(luo: Luo) -> Scenario:
    luo, provider = yield from handed_over(luo, "l")

    provider.fail("flb_retrieve", "flb", EIO)
    with refused(EIO):
        provider.flb("get-in", "flb")
    assert provider.owners("flb", ["flb"]) == [0]
    assert provider.flb("get-in", "flb") == "flb"
    assert provider.called("flb_retrieve") == ["flb", "flb"]
    provider.flb("put-in", "flb")
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_finish") == ["flb"]


@pytest.mark.alone
@pytest.mark.warns("liveupdate_flb_put_incoming")
@pytest.mark.clause("faults.flb.retrieve.again")
def test_files_of_an_object_that_cannot_be_retrieved_can_be_finished(luo: Luo) -> Scenario:
    luo, provider = yield from handed_over(luo, "l")

    provider.fail("flb_retrieve", "flb", EIO, nth=0)
    with refused(EIO):
        provider.flb("get-in", "flb")
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_finish") == []


@pytest.mark.clause("faults.flb.retrieve.once")
def test_object_that_two_want_at_once_is_retrieved_once(luo: Luo) -> Scenario:
    luo, provider = yield from handed_over(luo, "m")

    provider.sleep("flb_retrieve", "flb")
    getting = [provider.begin(luo.actor.thread(), "flb-get-in", provider.name("flb")) for _ in range(2)]
    provider.wait_until_asleep("flb_retrieve", "flb")
    provider.forget("flb")
    for each in getting:
        each.wait()
    assert provider.called("flb_retrieve") == ["flb"]
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_finish") == []
    provider.flb("put-in", "flb")
    provider.flb("put-in", "flb")
    assert provider.called("flb_finish") == ["flb"]


@pytest.mark.clause("faults.flb.owner")
def test_object_whose_module_goes_away_is_not_retrieved_but_later(luo: Luo) -> Scenario:
    provider = Provider(luo)
    provider.make_flb("flb", "n")
    luo.create_session("vm").preserve(provider.file("one", "n"), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "n")
    provider.do("flb-owner", provider.name("flb"), "going")
    with refused(ENODEV):
        provider.flb("get-in", "flb")
    provider.do("flb-owner", provider.name("flb"), "live")
    assert provider.flb("get-in", "flb") == "flb"
    provider.flb("put-in", "flb")
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_retrieve", "flb_finish") == ["flb"] * 2


@pytest.mark.clause("faults.flb.get.handed-over")
def test_object_that_is_held_at_the_handover_is_finished_with_the_last_file(luo: Luo) -> Scenario:
    provider = Provider(luo)
    provider.make_flb("flb", "o")
    luo.create_session("vm").preserve(provider.file("one", "o"), 1)
    provider.flb("get-out", "flb")

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "o")
    assert provider.flb("get-in", "flb") == "flb"
    provider.flb("put-in", "flb")
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_finish") == ["flb"], "an object that was held at the handover is not finished"


@pytest.mark.clause("faults.flb.retrieve")
def test_object_that_comes_in_and_the_one_that_goes_out_are_two(luo: Luo) -> Scenario:
    provider = Provider(luo)
    provider.make_flb("flb", "p")
    luo.create_session("vm").preserve(provider.file("one", "p"), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "p")
    session = luo.retrieve_session("vm")
    file = session.retrieve(1)
    provider.flb("get-in", "flb")
    session.finish()
    luo.create_session("vm").preserve(file, 1)
    assert provider.flb("get-out", "flb") == "flb"
    provider.flb("put-out", "flb")
    provider.flb("put-in", "flb")
    assert flb_calls(provider) == [("retrieve", "flb"), ("preserve", "flb"), ("finish", "flb")]

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("flb", "p")
    assert provider.flb("get-in", "flb") == "flb"
    provider.flb("put-in", "flb")
    luo.retrieve_session("vm").finish()
    assert provider.called("flb_finish") == ["flb"]


@pytest.mark.clause("faults.flb.serialized")
def test_object_of_a_session_that_was_closed_does_not_cross(luo: Luo) -> Scenario:
    provider = Provider(luo)
    provider.make_flb("kept", "q")
    provider.make_flb("gone", "r")
    luo.create_session("vm").preserve(provider.file("one", "q"), 1)
    session = luo.create_session("closed")
    session.preserve(provider.file("two", "r"), 1)
    session.close()

    luo = yield KEXEC

    provider = Provider(luo)
    provider.make_flb("kept", "q")
    provider.make_flb("gone", "r")
    with refused(ENOENT):
        provider.flb("get-in", "gone")
    assert provider.flb("get-in", "kept") == "kept"
    provider.flb("put-in", "kept")
    luo.retrieve_session("vm").finish()
