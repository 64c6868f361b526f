# SPDX-License-Identifier: GPL-2.0-only
"""Many files: counts at which the kernel needs another block, thousands, and the limit of older releases."""

import os
from errno import EBADF, EBUSY, EEXIST, ENOENT, ENOSPC

import pytest

from fixtures.luo import Descriptor, Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.files.requests import content, preserve_many, wrong_contents
from suite.scenario import Scenario

BLOCK = 63  # files: a page, less a header of 16 bytes, in entries of 64 (kernel/liveupdate/kho_block.c)
OLD_LIMIT = 128  # files: two pages in entries of 64 (LUO_FILE_MAX in luo_file.c up to 7.1)


@pytest.mark.clause("file.many")
@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1])
def test_refusals_at_a_full_block_change_nothing(luo: Luo, count: int) -> Scenario:
    session = luo.create_session("vm")
    preserve_many(session, range(count))
    null = Descriptor(luo.actor, luo.actor.syscall("openat", uapi.AT_FDCWD, "/dev/null", os.O_RDWR, 0))
    busy = luo.memfd(b"busy")
    luo.create_session("other").preserve(busy, token=1)
    refusals = [(null, ENOENT), (busy, EBUSY), (Descriptor(luo.actor, -1), EBADF)]
    for file, errno in refusals:
        with refused(errno):
            session.preserve(file, token=count)
    if count:
        with refused(EEXIST):
            session.preserve(luo.memfd(b"late"), token=count - 1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(count)
    assert wrong_contents(session, range(count)) == {}
    session.finish()


@pytest.mark.clause("file.many")
def test_session_goes_on_over_a_block_after_a_refusal(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    preserve_many(session, range(BLOCK))
    with refused(EBADF):
        session.preserve(Descriptor(luo.actor, -1), token=BLOCK)
    preserve_many(session, range(BLOCK, 2 * BLOCK + 2))

    luo = yield KEXEC

    assert wrong_contents(luo.retrieve_session("vm"), range(2 * BLOCK + 2)) == {}


@pytest.mark.clause("file.many")
def test_thousands_of_files_in_a_session(luo: Luo) -> Scenario:
    preserve_many(luo.create_session("vm"), range(2000))

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    assert wrong_contents(session, range(1999, -1, -1)) == {}
    session.finish()


@pytest.mark.clause("file.many")
def test_hundreds_of_files_in_each_of_several_sessions(luo: Luo) -> Scenario:
    names = [f"vm{number}" for number in range(4)]
    for number, name in enumerate(names):
        preserve_many(luo.create_session(name), range(number, 800, 4))

    luo = yield KEXEC

    for number, name in enumerate(names):
        assert wrong_contents(luo.retrieve_session(name), range(number, 800, 4)) == {}


@pytest.mark.clause("file.full")
def test_full_session_refuses_another_file_and_keeps_its_own(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    preserve_many(session, range(OLD_LIMIT))
    late = luo.memfd(content(OLD_LIMIT))
    with refused(ENOSPC):
        session.preserve(late, token=OLD_LIMIT)
    luo.create_session("other").preserve(late, token=OLD_LIMIT)

    luo = yield KEXEC

    assert wrong_contents(luo.retrieve_session("vm"), range(OLD_LIMIT)) == {}
    assert wrong_contents(luo.retrieve_session("other"), [OLD_LIMIT]) == {}
