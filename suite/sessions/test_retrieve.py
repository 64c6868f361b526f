# SPDX-License-Identifier: GPL-2.0-only
"""Taking sessions back in the next kernel, and what becomes of those that are not."""

import random
from errno import EINVAL, EMFILE, ENFILE, ENOENT

import pytest

from fixtures.luo import Luo, refused, session_argument
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario
from suite.sessions.crowd import create_labelled, outcomes, own, retrieve_labels
from suite.sessions.limits import no_free_descriptor, no_free_file

RETRIEVE = uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION


@pytest.mark.clause("session.retrieve.unknown")
def test_session_that_never_was_cannot_be_retrieved(luo: Luo) -> None:
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.type")
def test_outgoing_session_is_not_there_to_be_retrieved(luo: Luo) -> None:
    luo.create_session("vm")
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.retrieve", "session.retrieve.any-order")
def test_sessions_are_retrieved_in_any_order(luo: Luo, rng: random.Random) -> Scenario:
    names = [own(luo, b"%d" % number) for number in range(60)]
    create_labelled(luo, names)
    rng.shuffle(names)

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names


@pytest.mark.clause("session.retrieve.twice", "session.retrieve.closed")
def test_session_is_retrieved_once(luo: Luo) -> Scenario:
    luo.create_session("vm")

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(EINVAL):
        luo.retrieve_session("vm")
    session.close()
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.retrieve.twice", "session.retrieve.closed")
def test_finished_session_is_not_retrieved_again(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    session.retrieve(1)
    session.finish()
    with refused(EINVAL):
        luo.retrieve_session("vm")
    session.close()
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.retrieve", "session.retrieve.twice")
def test_sessions_wait_until_the_device_is_opened_again(luo: Luo) -> Scenario:
    for name in ("first", "second"):
        luo.create_session(name).preserve(luo.memfd(name.encode()), token=1)

    luo = yield KEXEC

    first = luo.retrieve_session("first")
    luo.close_device()
    assert luo.retrieve_session("second").retrieve(1).read_all() == b"second"
    with refused(EINVAL):
        luo.retrieve_session("first")
    assert first.retrieve(1).read_all() == b"first"


@pytest.mark.clause("session.empty")
def test_session_in_which_nothing_is_preserved_crosses(luo: Luo) -> Scenario:
    luo.create_session("before")
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)
    luo.create_session("behind")

    luo = yield KEXEC

    for name in ("behind", "before"):
        session = luo.retrieve_session(name)
        with refused(ENOENT):
            session.retrieve(1)
        session.finish()
        session.close()
    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"x"


@pytest.mark.clause("session.close-unpreserves")
def test_closed_session_does_not_reach_the_next_kernel(luo: Luo) -> Scenario:
    ram = luo.memfd(b"dropped")
    session = luo.create_session("dropped")
    session.preserve(ram, token=1)
    session.close()
    ram.truncate(1 << 16)
    luo.create_session("kept")

    luo = yield KEXEC

    luo.retrieve_session("kept")
    with refused(ENOENT):
        luo.retrieve_session("dropped")


@pytest.mark.clause("session.retrieve.short-of-files")
def test_session_can_be_retrieved_after_there_was_no_free_descriptor(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    device = luo.device
    with no_free_descriptor(luo.actor), refused(EMFILE):
        device.retrieve_session(luo.name("vm"))
    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"x"


@pytest.mark.clause("session.retrieve.short-of-files")
def test_session_can_be_retrieved_after_there_was_no_free_file(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    with no_free_file(luo) as device, refused(ENFILE):
        device.ioctl(RETRIEVE, session_argument(luo.name("vm")))
    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"x"


@pytest.mark.clause("session.create.short-of-files")
def test_name_is_free_after_its_session_found_no_free_descriptor(luo: Luo) -> None:
    device = luo.device
    with no_free_descriptor(luo.actor), refused(EMFILE):
        device.create_session(luo.name("vm"))
    luo.create_session("vm")


@pytest.mark.clause("session.create.short-of-files")
def test_name_is_free_after_its_session_found_no_free_file(luo: Luo) -> None:
    with no_free_file(luo) as device, refused(ENFILE):
        device.ioctl(uapi.LIVEUPDATE_IOCTL_CREATE_SESSION, session_argument(luo.name("vm")))
    luo.create_session("vm")


@pytest.mark.clause("session.unclaimed", "session.retrieve.unknown")
@pytest.mark.parametrize("handovers", [1, 2], ids=["one more", "two more"])
def test_session_that_nobody_retrieved_is_gone_after_further_handovers(luo: Luo, handovers: int) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    for _ in range(handovers):
        luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.unclaimed")
def test_session_that_is_retrieved_and_still_open_does_not_cross_again(luo: Luo) -> Scenario:
    for name in ("untouched", "begun", "finished"):
        luo.create_session(name).preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    luo.retrieve_session("untouched")
    luo.retrieve_session("begun").retrieve(1)
    finished = luo.retrieve_session("finished")
    finished.retrieve(1)
    finished.finish()

    luo = yield KEXEC

    names = [luo.name(name) for name in ("untouched", "begun", "finished")]
    assert outcomes(luo.device, RETRIEVE, names) == [-ENOENT] * 3


@pytest.mark.clause("session.unclaimed", "session.name.kinds")
def test_new_session_crosses_beside_an_unclaimed_one_of_its_name(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"old"), token=1)

    luo = yield KEXEC

    luo.create_session("vm").preserve(luo.memfd(b"new"), token=2)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(1)
    assert session.retrieve(2).read_all() == b"new"
