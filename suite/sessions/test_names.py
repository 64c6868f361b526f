# SPDX-License-Identifier: GPL-2.0-only
"""Session names: what is a name, and whose it is."""

from errno import EEXIST, EINVAL

import pytest

from fixtures.luo import Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

LONGEST = uapi.LIVEUPDATE_SESSION_NAME_LENGTH - 1


@pytest.mark.clause("session.name.unique")
def test_second_session_of_the_same_name_is_refused(luo: Luo) -> None:
    luo.create_session("vm")
    with refused(EEXIST):
        luo.create_session("vm")


@pytest.mark.clause("session.name.reuse")
def test_name_is_free_again_once_its_session_is_closed(luo: Luo) -> None:
    luo.create_session("vm").close()
    luo.create_session("vm")


@pytest.mark.clause("session.name.empty")
def test_empty_name_is_refused(luo: Luo) -> None:
    with refused(EINVAL):
        luo.create_session(b"")


@pytest.mark.clause("session.name.unterminated")
def test_name_without_a_terminator_is_refused(luo: Luo) -> None:
    with refused(EINVAL):
        luo.create_session(b"n" * (LONGEST + 1))


@pytest.mark.clause("session.get-name")
def test_session_tells_its_name(luo: Luo) -> None:
    session = luo.create_session("vm")
    assert session.get_name() == luo.name("vm")


@pytest.mark.clause("session.link")
def test_link_of_the_descriptor_names_the_session(luo: Luo) -> None:
    session = luo.create_session("vm")
    assert session.link == f"anon_inode:[luo_session] {luo.name('vm').decode()}"


@pytest.mark.clause("session.cloexec")
def test_descriptor_is_closed_on_exec(luo: Luo) -> None:
    assert luo.create_session("vm").cloexec


@pytest.mark.clause("session.name.longest", "session.get-name", "session.retrieve")
def test_longest_name_survives_whole(luo: Luo) -> Scenario:
    name = luo.name("vm").rjust(LONGEST, b"n")
    luo.create_session(name)

    luo = yield KEXEC

    session = luo.retrieve_session(name)
    assert session.get_name() == name
    assert session.link == f"anon_inode:[luo_session] {name.decode()}"
    assert session.cloexec
