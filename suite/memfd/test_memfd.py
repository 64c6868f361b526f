# SPDX-License-Identifier: GPL-2.0-only
"""What of a memfd survives a handover, and what it may do meanwhile."""

from errno import EPERM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario

PAGE = 4096


@pytest.mark.clause("memfd.contents", "memfd.size", "memfd.position")
def test_contents_size_and_position_survive(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(3 * PAGE + 17))
    ram.seek(4099)
    session.preserve(ram, token=7)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(7)
    assert ram.tell() == 4099
    assert ram.read_all() == pattern(3 * PAGE + 17)


@pytest.mark.clause("memfd.size", "memfd.contents")
@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * 1024 * 1024 - 1])
def test_every_size_survives_to_the_byte(luo: Luo, size: int) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(size)), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    assert ram.size == size
    assert ram.read_all() == pattern(size)


@pytest.mark.clause("memfd.holes")
def test_holes_come_back_as_zeros(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=16 * PAGE)
    ram.write(b"island", 8 * PAGE)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    content = bytearray(16 * PAGE)
    content[8 * PAGE : 8 * PAGE + 6] = b"island"
    assert luo.retrieve_session("vm").retrieve(1).read_all() == content


@pytest.mark.clause("memfd.write-after-preserve")
def test_writes_between_preserve_and_handover_survive(luo: Luo) -> Scenario:
    size = 64 * PAGE
    session = luo.create_session("vm")
    ram = luo.memfd(size=size)
    session.preserve(ram, token=1)
    ram.fill(size, seed=3)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).first_difference(size, seed=3) is None


@pytest.mark.clause("memfd.seals")
def test_seals_set_before_preserve_survive(luo: Luo) -> Scenario:
    seals = uapi.F_SEAL_GROW | uapi.F_SEAL_SHRINK
    session = luo.create_session("vm")
    ram = luo.memfd(b"sealed")
    ram.add_seals(seals)
    session.preserve(ram, token=1)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).seals == seals


@pytest.mark.clause("memfd.seals.late")
def test_seals_set_between_preserve_and_handover_survive(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(b"sealed")
    session.preserve(ram, token=1)
    ram.add_seals(uapi.F_SEAL_GROW)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).seals == uapi.F_SEAL_GROW, "a seal was lost"


@pytest.mark.clause("memfd.cloexec")
def test_retrieved_descriptor_is_closed_on_exec(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"x"), token=1)

    luo = yield KEXEC

    assert luo.retrieve_session("vm").retrieve(1).cloexec


@pytest.mark.clause("memfd.no-resize-while-preserved")
def test_size_is_fixed_while_preserved_and_free_after(luo: Luo) -> None:
    session = luo.create_session("vm")
    ram = luo.memfd(pattern(2 * PAGE))
    session.preserve(ram, token=1)
    for size in (PAGE, 3 * PAGE):
        with refused(EPERM):
            ram.truncate(size)
    with refused(EPERM):
        ram.write(b"x", 2 * PAGE)
    ram.truncate(2 * PAGE)
    session.close()
    ram.truncate(3 * PAGE)
    assert ram.read(2 * PAGE, 0) == pattern(2 * PAGE)
