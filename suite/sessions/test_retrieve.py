# SPDX-License-Identifier: GPL-2.0-only
"""Taking sessions back in the next kernel, and what becomes of those that are not."""

from errno import EINVAL, ENOENT

import pytest

from fixtures.luo import Luo, refused
from fixtures.scenario import KEXEC
from suite.scenario import Scenario


@pytest.mark.clause("session.retrieve.unknown")
def test_session_that_never_was_cannot_be_retrieved(luo: Luo) -> None:
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.type")
def test_outgoing_session_is_not_there_to_be_retrieved(luo: Luo) -> None:
    luo.create_session("vm")
    with refused(ENOENT):
        luo.retrieve_session("vm")


@pytest.mark.clause("session.retrieve.twice")
def test_session_is_retrieved_once(luo: Luo) -> Scenario:
    luo.create_session("vm")

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(EINVAL):
        luo.retrieve_session("vm")
    session.close()
    with refused(ENOENT):
        luo.retrieve_session("vm")


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


@pytest.mark.clause("handover.chain", "session.retrieve.unknown")
def test_unclaimed_session_is_gone_after_a_further_handover(luo: Luo) -> Scenario:
    luo.create_session("vm")

    luo = yield KEXEC
    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("vm")
