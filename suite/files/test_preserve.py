# SPDX-License-Identifier: GPL-2.0-only
"""Putting files into a session: what is taken, what is refused, and what a refusal leaves."""

import os
from errno import EBADF, EBUSY, EEXIST, ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Descriptor, Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario


@pytest.mark.clause("file.token.unique")
def test_token_is_taken_once_in_a_session(luo: Luo) -> None:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"first"), token=7)
    with refused(EEXIST):
        session.preserve(luo.memfd(b"second"), token=7)


@pytest.mark.clause("file.preserve.twice")
@pytest.mark.parametrize("how", ["same session", "other session", "dup"])
def test_file_is_preserved_once(luo: Luo, how: str) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(b"x")
    session.preserve(ram, token=1)
    with refused(EBUSY):
        if how == "other session":
            luo.create_session("other").preserve(ram, token=1)
        else:
            session.preserve(ram.dup() if how == "dup" else ram, token=2)


@pytest.mark.clause("file.bad-descriptor")
def test_descriptor_that_is_not_open_is_refused(luo: Luo) -> None:
    session = luo.create_session("vm")
    with refused(EBADF):
        session.preserve(Descriptor(luo.actor, -1), token=1)


@pytest.mark.clause("file.unsupported")
def test_file_of_a_kind_that_nobody_preserves_is_refused(luo: Luo) -> None:
    session = luo.create_session("vm")
    null = luo.actor.syscall("openat", uapi.AT_FDCWD, "/dev/null", os.O_RDWR, 0)
    with refused(ENOENT):
        session.preserve(Descriptor(luo.actor, null), token=1)


@pytest.mark.clause("file.preserve", "file.retrieve.unknown-token", "file.retrieve.again")
def test_retrieving_goes_by_token_and_repeats(luo: Luo) -> Scenario:
    tokens = (0, 1, 2**63, 2**64 - 1)
    session = luo.create_session("vm")
    for seed, token in enumerate(tokens):
        session.preserve(luo.memfd(pattern(5000, seed=seed)), token=token)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(3)
    for seed, token in reversed(list(enumerate(tokens))):
        ram = session.retrieve(token)
        assert ram.read_all() == pattern(5000, seed=seed)
        ram.seek(17)
        assert session.retrieve(token).tell() == 17, "the second descriptor is of another open file"
