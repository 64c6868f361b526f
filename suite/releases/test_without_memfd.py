# SPDX-License-Identifier: GPL-2.0-only
"""A next kernel that cannot take memfds back: it must not pretend that it can, nor take some of it."""

from errno import EIO, ENOENT

import pytest

from fixtures.luo import Luo, refused
from fixtures.machine import Machine
from suite.boot.log import said
from suite.releases.estate import leave
from suite.releases.kernels import Kernels
from suite.scenario import Scenario

pytestmark = pytest.mark.releases

VARIANT = "no-memfd"
TIMES = 3


@pytest.mark.clause("releases.handler-missing")
def test_device_cannot_be_opened_by_whoever_tries(luo: Luo, kernels: Kernels) -> Scenario:
    leave(luo)

    luo = yield kernels.variant(VARIANT)

    for _ in range(TIMES):
        with refused(EIO):
            luo.retrieve_session("vm")
    with refused(EIO):
        luo.create_session("new")


@pytest.mark.clause("releases.handler-missing.said")
def test_log_names_what_is_missing_once(luo: Luo, machine: Machine, kernels: Kernels) -> Scenario:
    leave(luo)

    luo = yield kernels.variant(VARIANT)

    for _ in range(TIMES):
        with refused(EIO):
            luo.retrieve_session("vm")
    assert len(said(machine, "luo: No registered handler for compatible 'memfd-v")) == 1
    failed = said(machine, "luo: Failed to deserialize files for session [")
    assert [line.rpartition(" ")[2] for line in failed] == ["-ENOENT"]


@pytest.mark.alone
@pytest.mark.clause("releases.no-handler-needed")
def test_sessions_without_files_need_no_handler(luo: Luo, kernels: Kernels) -> Scenario:
    luo.create_session("empty")

    luo = yield kernels.variant(VARIANT)
    luo.retrieve_session("empty").finish()
    session = luo.create_session("new")
    with refused(ENOENT):
        session.preserve(luo.memfd(b"x"), token=1)

    luo = yield kernels.back
    luo.retrieve_session("new").finish()


@pytest.mark.clause("releases.handler-missing")
def test_nothing_can_be_preserved_and_the_next_kernel_starts_anew(luo: Luo, kernels: Kernels) -> Scenario:
    leave(luo)

    luo = yield kernels.variant(VARIANT)
    with refused(EIO):
        luo.create_session("new")

    luo = yield kernels.back
    with refused(ENOENT):
        luo.retrieve_session("vm")
    session = luo.create_session("new")
    session.preserve(luo.memfd(b"x"), token=1)
