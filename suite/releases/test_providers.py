# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own users of KHO and LUO: they leave something behind, check it in the next kernel, and tell.

lib/test_kho.c saves folios with a checksum when it boots and was handed nothing of its own.
lib/tests/liveupdate.c has three objects that are preserved with the first file and finished with the last.
"""

from collections.abc import Sequence
from dataclasses import replace
from errno import ENOENT

import pytest

from fixtures.held import Held
from fixtures.luo import Luo, refused
from fixtures.machine import Machine
from fixtures.scenario import Kexec
from kernel.abi.luo import FlbEntry
from suite.boot.log import said
from suite.kho.debugfs import present
from suite.releases.kernels import Kernels
from suite.scenario import Scenario

# The objects count all files of a machine.
pytestmark = [pytest.mark.releases, pytest.mark.alone]

VARIANT = "test-providers"
OBJECTS = 3


def lines(machine: Machine) -> list[str]:
    """What the objects said in this generation, without the beginning that all lines have."""
    return [line.removeprefix("liveupdate test: ") for line in said(machine, "liveupdate test: ")]


def each(what: str) -> list[str]:
    """The line of every object."""
    return [f"liveupdate-test-flb-v{number}: {what}" for number in range(OBJECTS)]


PRESERVED, UNDONE = each("preserve was triggered"), each("unpreserve was triggered")
FOUND, FINISHED = each("found flb data from the previous boot"), each("finish was triggered")


def registered(told: Sequence[str]) -> Sequence[str]:
    """The lines besides those on registration, one for each handler, which every boot has."""
    others = [line for line in told if not line.startswith(f"Registered {OBJECTS} FLBs")]
    assert len(others) < len(told)
    return others


@pytest.mark.clause("releases.test-kho")
def test_saved_folios_are_whole_in_the_next_kernel(luo: Luo, machine: Machine, kernels: Kernels) -> Scenario:
    luo = yield kernels.variant(VARIANT)
    assert said(machine, "test_kho: ") == []
    assert present(luo.actor, "out/sub_fdts/kho_test")

    luo = yield kernels.variant(VARIANT)
    assert said(machine, "test_kho: ") == ["test_kho: KHO restore succeeded"]
    assert present(luo.actor, "in/sub_fdts/kho_test")


@pytest.mark.clause("releases.test-flb")
def test_objects_live_from_the_first_file_to_the_last(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    # Nothing is handed over by such a kernel: the next one boots as from cold.
    luo = yield Kexec("kho=off")
    luo = yield kernels.variant(VARIANT)
    assert registered(lines(machine)) == []

    first, second = luo.create_session("first"), luo.create_session("second")
    assert registered(lines(machine)) == []
    first.preserve(luo.memfd(b"1"), token=1)
    assert sorted(registered(lines(machine))) == PRESERVED
    second.preserve(luo.memfd(b"2"), token=1)
    first.close()
    assert sorted(registered(lines(machine))) == PRESERVED
    second.close()
    assert sorted(registered(lines(machine))[OBJECTS:]) == UNDONE

    for name in ("first", "second"):
        luo.create_session(name).preserve(luo.memfd(name.encode()), token=1)
    assert sorted(registered(lines(machine))[2 * OBJECTS :]) == PRESERVED

    luo = yield kernels.variant(VARIANT)
    assert sorted(registered(lines(machine))) == FOUND
    for name in ("first", "second"):
        assert sorted(registered(lines(machine))) == FOUND
        session = luo.retrieve_session(name)
        assert session.retrieve(1).read_all() == name.encode()
        session.finish()
    assert sorted(registered(lines(machine))[OBJECTS:]) == FINISHED


@pytest.mark.clause("releases.test-flb.unknown")
def test_kernel_that_does_not_know_the_objects_takes_the_files(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    luo = yield kernels.variant(VARIANT)
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield kernels.back
    assert lines(machine) == []
    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == b"x"
    session.finish()


@pytest.mark.clause("releases.test-flb.new")
def test_objects_that_the_kernel_before_did_not_know_leave_the_files_alone(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield kernels.variant(VARIANT)
    assert registered(lines(machine)) == []
    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == b"x"
    session.finish()
    assert registered(lines(machine)) == []
    with refused(ENOENT):
        session.retrieve(1)


def first_object(held: Held) -> FlbEntry:
    assert held.handover.luo is not None
    assert held.handover.luo.flbs is not None
    return held.handover.luo.flbs.entries[0]


def other_data(held: Held) -> None:
    entry = first_object(held)
    entry.replace(data=entry.data ^ 1).write(held.memory)


def no_files(held: Held) -> None:
    first_object(held).replace(count=0).write(held.memory)


def without(told: Sequence[str], name: str) -> list[str]:
    return [line for line in told if not line.startswith(f"{name}: ")]


@pytest.mark.clause("releases.test-flb.refused", "tampering.no-warning")
def test_object_that_its_owner_does_not_take_back_is_told_and_holds_up_no_file(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    luo = yield kernels.variant(VARIANT)
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield replace(kernels.variant(VARIANT), at_handover=other_data)
    name = "liveupdate-test-flb-v0"
    told = registered(lines(machine))
    assert f"liveupdate_flb_get_incoming for {name} failed: -EINVAL" in told
    assert [line for line in told if line in FOUND] == without(FOUND, name)
    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == b"x"
    session.finish()
    finished = registered(lines(machine))[len(told) :]
    assert sorted(finished) == without(FINISHED, name)


@pytest.mark.clause("tampering.no-warning")
def test_object_of_no_file_is_no_reason_for_a_warning(
    luo: Luo, machine: Machine, kernels: Kernels
) -> Scenario:
    luo = yield kernels.variant(VARIANT)
    luo.create_session("vm").preserve(luo.memfd(b"x"), token=1)

    luo = yield replace(kernels.variant(VARIANT), at_handover=no_files)
    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == b"x"
    session.finish()
