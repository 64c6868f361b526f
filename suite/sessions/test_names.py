# SPDX-License-Identifier: GPL-2.0-only
"""Session names: what is a name, and whose it is."""

from errno import EEXIST, EINVAL, ENOENT

import pytest

from fixtures.luo import Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario
from suite.sessions.crowd import close_all, create_labelled, outcomes, own, retrieve_labels

CREATE = uapi.LIVEUPDATE_IOCTL_CREATE_SESSION
RETRIEVE = uapi.LIVEUPDATE_IOCTL_RETRIEVE_SESSION
LONGEST = uapi.LIVEUPDATE_SESSION_NAME_LENGTH - 1

# Each differs from its neighbours in one respect only: length, case, white space, composition of one letter.
ALIKE = [b"v", b"vm", b"vm1", b"VM", b"Vm", b"vm ", b" vm", b"vm\n", b"v\xc3\xa9", b"ve\xcc\x81", b"v\xe9"]


def with_every_byte(luo: Luo) -> list[bytes]:
    """Names that hold, together, each byte but NUL."""
    return [own(luo, bytes(range(first, first + 51))) for first in range(1, 256, 51)]


def of_every_length() -> list[bytes]:
    """Names of 1 to 63 bytes, each the beginning of the next: most are too short to be a test's own."""
    return [b"/" * length for length in range(1, LONGEST + 1)]


@pytest.mark.clause("session.name.unique")
def test_second_session_of_the_same_name_is_refused(luo: Luo) -> None:
    luo.create_session("vm")
    with refused(EEXIST):
        luo.create_session("vm")


@pytest.mark.clause("session.name.unique")
def test_refused_second_session_takes_nothing_from_the_first(luo: Luo) -> Scenario:
    first = luo.create_session("vm")
    with refused(EEXIST):
        luo.create_session("vm")
    first.preserve(luo.memfd(b"first"), token=1)
    # Whatever a refusal leaves where blocks are full (see test_boundaries.py), one more session fills.
    luo.create_session("other")

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"first"


@pytest.mark.clause("session.name.reuse")
def test_name_is_free_again_once_its_session_is_closed(luo: Luo) -> None:
    luo.create_session("vm").close()
    luo.create_session("vm")


@pytest.mark.clause("session.name.reuse", "session.close-unpreserves")
def test_session_that_took_over_a_name_keeps_nothing_of_its_forerunner(luo: Luo) -> Scenario:
    first = luo.create_session("vm")
    first.preserve(luo.memfd(b"first"), token=1)
    first.close()
    luo.create_session("vm").preserve(luo.memfd(b"second"), token=2)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(1)
    assert session.retrieve(2).read_all() == b"second"


@pytest.mark.clause("session.name.exact")
def test_names_that_look_alike_are_different_names(luo: Luo) -> Scenario:
    names = [own(luo, raw) for raw in ALIKE]
    create_labelled(luo, names)

    luo = yield KEXEC

    strangers = [own(luo, raw) for raw in (b"", b"vM", b"vm2", b"vm  ", b"vm\t", b"v\xc3", b"v\xc3\xa9 ")]
    assert outcomes(luo.device, RETRIEVE, strangers) == [-ENOENT] * len(strangers)
    assert retrieve_labels(luo, names) == names


@pytest.mark.clause("session.name.any-bytes")
def test_every_byte_but_nul_is_a_name(luo: Luo) -> None:
    names = [bytes([value]) for value in range(1, 256)]
    sessions = create_labelled(luo, names)
    assert outcomes(luo.device, CREATE, names) == [-EEXIST] * 255
    close_all(sessions)
    assert outcomes(luo.device, CREATE, names) == [0] * 255


@pytest.mark.clause("session.name.any-bytes")
def test_names_of_all_bytes_survive(luo: Luo) -> Scenario:
    names = with_every_byte(luo)
    create_labelled(luo, names)

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names


@pytest.mark.clause("session.get-name")
def test_names_of_all_bytes_are_told_before_and_after_a_handover(luo: Luo) -> Scenario:
    names = with_every_byte(luo)
    assert [luo.create_session(name).get_name() for name in names] == names

    luo = yield KEXEC

    assert [luo.retrieve_session(name).get_name() for name in names] == names


@pytest.mark.clause("session.name.longest", "session.name.exact")
def test_names_of_every_length_survive_each_with_its_own_files(luo: Luo) -> Scenario:
    names = of_every_length()
    create_labelled(luo, names)

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names


@pytest.mark.clause("session.name.longest")
def test_names_that_differ_in_their_last_byte_are_two(luo: Luo) -> Scenario:
    names = [own(luo, b"").ljust(LONGEST - 1, b"n") + last for last in (b"n", b"m")]
    create_labelled(luo, names)

    luo = yield KEXEC

    assert retrieve_labels(luo, names) == names


@pytest.mark.clause("session.get-name")
def test_names_of_all_kinds_of_length_are_told(luo: Luo) -> None:
    names = [name for name in of_every_length() if len(name) in (1, 2, 31, 32, 62, 63)]
    assert [luo.create_session(name).get_name() for name in names] == names


@pytest.mark.clause("session.get-name")
def test_told_name_ends_with_a_nul_whatever_stood_there(luo: Luo) -> None:
    name = luo.name("vm")
    garbage = uapi.session_name(b"\xff" * uapi.LIVEUPDATE_SESSION_NAME_LENGTH)
    argument = bytes(uapi.liveupdate_session_get_name(name=garbage))
    answer = luo.create_session(name).ioctl(uapi.LIVEUPDATE_SESSION_GET_NAME, argument)
    told = answer[uapi.offset(uapi.liveupdate_session_get_name, "name") :]
    assert told.startswith(name + b"\0")


# Where the garbage stands: right behind the name, and behind the longest of all names.
@pytest.mark.clause("session.name.terminator")
@pytest.mark.parametrize("raw", [b"vm", b"vm".ljust(40, b"n")], ids=["short", "long"])
def test_name_ends_at_its_first_nul(luo: Luo, raw: bytes) -> Scenario:
    name = own(luo, raw)
    padded = (name + b"\0").ljust(LONGEST + 1, b"g")
    luo.create_session(padded).preserve(luo.memfd(b"it"), token=1)
    with refused(EEXIST):
        luo.create_session(name)
    luo.create_session(own(luo, raw + b"g"))

    luo = yield KEXEC

    assert luo.retrieve_session((name + b"\0").ljust(LONGEST + 1, b"x")).retrieve(1).read_all() == b"it"
    with refused(EINVAL):
        luo.retrieve_session(name)


@pytest.mark.clause("session.get-name")
def test_told_name_ends_where_the_created_one_did(luo: Luo) -> None:
    name = luo.name("vm")
    assert luo.create_session(name + b"\0garbage").get_name() == name


@pytest.mark.clause("session.name.empty")
@pytest.mark.parametrize(
    "name", [b"", b"\0vm", b"\0" * 63 + b"v"], ids=["all zero", "next byte", "last byte"]
)
def test_empty_name_is_refused_whatever_stands_behind_it(luo: Luo, name: bytes) -> None:
    with refused(EINVAL):
        luo.create_session(name)


@pytest.mark.clause("session.name.unterminated")
def test_name_without_a_terminator_is_refused(luo: Luo) -> None:
    with refused(EINVAL):
        luo.create_session(own(luo, b"").ljust(LONGEST + 1, b"n"))
    luo.create_session(own(luo, b"").ljust(LONGEST, b"n"))


@pytest.mark.clause("session.retrieve.unknown")
def test_no_session_is_found_under_an_empty_or_unterminated_name(luo: Luo) -> Scenario:
    name = own(luo, b"").ljust(LONGEST, b"n")
    luo.create_session(name)

    luo = yield KEXEC

    for wrong in (b"", b"\0" + name, name + b"n", name[:-1]):
        with refused(ENOENT):
            luo.retrieve_session(wrong)
    luo.retrieve_session(name)


@pytest.mark.clause("session.name.kinds")
def test_preserved_session_and_new_one_may_share_a_name(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"old"), token=1)

    luo = yield KEXEC

    new = luo.create_session("vm")
    old = luo.retrieve_session("vm")
    new.preserve(luo.memfd(b"new"), token=1)
    assert old.retrieve(1).read_all() == b"old"

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"new"


@pytest.mark.clause("session.name.kinds")
def test_ends_of_a_preserved_session_and_of_a_new_one_are_apart(luo: Luo) -> Scenario:
    for name in ("left", "right"):
        luo.create_session(name).preserve(luo.memfd(name.encode()), token=1)

    luo = yield KEXEC

    luo.create_session("left").close()
    assert luo.retrieve_session("left").retrieve(1).read_all() == b"left"
    new = luo.create_session("right")
    luo.retrieve_session("right").close()
    with refused(ENOENT):
        luo.retrieve_session("right")
    with refused(EEXIST):
        luo.create_session("right")
    new.preserve(luo.memfd(b"new"), token=1)
    luo.create_session("last")

    luo = yield KEXEC

    assert luo.retrieve_session("right").retrieve(1).read_all() == b"new"
    with refused(ENOENT):
        luo.retrieve_session("left")
