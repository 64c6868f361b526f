# SPDX-License-Identifier: GPL-2.0-only
"""Files when something has run out: memory of a cgroup, commitment, open files, descriptors."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from errno import EMFILE, ENFILE, ENOMEM, ENOSPC, EPERM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.cgroup import MIB
from fixtures.level import UNUSED_PAGES_SLACK, Level
from fixtures.luo import PAGE, Luo, refused
from fixtures.machine import Machine
from fixtures.scenario import KEXEC
from suite.able import given
from suite.files.requests import Attempts
from suite.scenario import Scenario

FILE = 8 * MIB

Shortage = Callable[[Attempts], AbstractContextManager[None]]


def memory(attempts: Attempts) -> AbstractContextManager[None]:
    """A quarter of what the file needs."""
    return attempts.without_memory(FILE // 4)


def all_memory(attempts: Attempts) -> AbstractContextManager[None]:
    """Not even room for an inode."""
    return attempts.without_memory(0)


@pytest.mark.clause("file.preserve.refused")
@pytest.mark.parametrize(
    ("shortage", "errno"),
    [
        pytest.param(memory, ENOMEM, id="small memory cgroup"),
        pytest.param(Attempts.without_commitment, ENOSPC, id="commit limit"),
    ],
)
def test_file_whose_holes_cannot_be_filled_is_refused_and_left_as_it_was(
    luo: Luo, shortage: Shortage, errno: int
) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(5000), size=FILE)
    before = Level.read(luo.actor)
    attempts = Attempts(session)
    with shortage(attempts):
        attempts.preserve(ram, token=1)
        attempts.preserve(ram, token=1)
    assert attempts.results == [-errno, -errno]
    after = Level.read(luo.actor)
    assert (after.pinned, after.files) == (before.pinned, before.files)
    ram.truncate(PAGE)
    ram.truncate(FILE)
    assert ram.read(FILE, 0) == pattern(PAGE).ljust(FILE, b"\0")
    session.preserve(ram, token=1)
    with refused(EPERM):
        ram.truncate(0)


@pytest.mark.clause("file.retrieve.failed", "file.retrieve.failed.finish")
@pytest.mark.parametrize(
    ("shortage", "errnos"),
    [
        pytest.param(memory, [ENOMEM], id="small memory cgroup"),
        pytest.param(all_memory, [ENOMEM, ENOSPC], id="full memory cgroup"),
        pytest.param(Attempts.without_commitment, [ENOSPC], id="commit limit"),
        pytest.param(Attempts.without_files, [ENFILE], id="file-max"),
    ],
)
def test_failed_retrieve_gives_its_errno_ever_after_and_its_memory_back(
    luo: Luo, machine: Machine, shortage: Shortage, errnos: list[int]
) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(size=FILE), token=1)
    session.preserve(luo.memfd(pattern(5000)), token=2)

    luo = yield KEXEC

    before = Level.read(luo.actor)
    session = luo.retrieve_session("vm")
    attempts = Attempts(session)
    with shortage(attempts):
        attempts.retrieve(1)
        attempts.retrieve(1)
    first, second = attempts.results
    assert -first in errnos
    assert second == first
    with refused(-first):
        session.retrieve(1)
    assert session.retrieve(2).read_all() == pattern(5000)
    session.finish()
    session.close()
    noise = machine.target.noise.unused
    given(
        noise <= UNUSED_PAGES_SLACK,
        f"{noise} pages may be anybody's there: those of the file do not stand out",
    )
    given_back = Level.read(luo.actor).unused - before.unused
    assert given_back > FILE // PAGE - UNUSED_PAGES_SLACK, f"memory of the file is lost: {given_back} came"


@pytest.mark.clause("file.retrieve.no-descriptor")
def test_retrieve_without_a_free_descriptor_number_can_be_repeated(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(5000)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    attempts = Attempts(session)
    with attempts.without_descriptors():
        attempts.retrieve(1)
        attempts.retrieve(2)
    assert attempts.results == [-EMFILE, -EMFILE]
    assert session.retrieve(1).read_all() == pattern(5000)
