# SPDX-License-Identifier: GPL-2.0-only
"""The end of a session in the next kernel: finish, close, and calls of the wrong kind of session."""

from errno import EINVAL, ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, refused
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

SIZE = 10_000


@pytest.mark.clause("session.type")
def test_outgoing_session_can_neither_retrieve_nor_finish(luo: Luo) -> None:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    with refused(EINVAL):
        session.retrieve(1)
    with refused(EINVAL):
        session.finish()


@pytest.mark.clause("session.type")
def test_incoming_session_preserves_nothing(luo: Luo) -> Scenario:
    luo.create_session("vm")

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(EINVAL):
        session.preserve(luo.memfd(b"x"), token=1)


@pytest.mark.clause("session.finish", "file.retrieve.unknown-token")
def test_finished_session_is_empty_and_its_retrieved_files_live_on(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    session.preserve(luo.memfd(pattern(SIZE, seed=2)), token=2)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    session.retrieve(2).close()
    session.finish()
    with refused(ENOENT):
        session.retrieve(1)
    assert ram.read_all() == pattern(SIZE)
    ram.truncate(2 * SIZE)


@pytest.mark.clause("session.finish.reserved")
def test_finish_refuses_a_reserved_field_in_use(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(EINVAL):
        session.finish(reserved=1)
    assert session.retrieve(1).read_all() == pattern(SIZE)
    session.finish()
