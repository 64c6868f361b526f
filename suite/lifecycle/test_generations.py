# SPDX-License-Identifier: GPL-2.0-only
"""What a session lives through from one generation to the next, and to the one after that."""

import random
from errno import ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, refused
from fixtures.machine import Machine
from fixtures.scenario import KEXEC
from suite.boot.log import said
from suite.scenario import Scenario

SIZE = 100_001

NUMBER = "luo: Retrieved live update data, liveupdate number: "
EXEC_FROM = "KHO: exec from: "


@pytest.mark.clause("handover.number")
def test_log_counts_the_live_updates(luo: Luo, machine: Machine) -> Scenario:
    assert said(machine, NUMBER) == []

    for generation in (1, 2, 3):
        luo = yield KEXEC

        assert luo.generation == generation
        assert said(machine, NUMBER) == [f"{NUMBER}{generation}"]


@pytest.mark.clause("handover.previous-release")
def test_log_names_the_previous_kernel_and_counts_the_kexecs(luo: Luo, machine: Machine) -> Scenario:
    assert said(machine, EXEC_FROM) == []

    for generation in (1, 2, 3):
        release = luo.actor.read_file("/proc/sys/kernel/osrelease").decode().strip()

        luo = yield KEXEC

        assert said(machine, EXEC_FROM) == [f"{EXEC_FROM}{release} (count {generation})"]


@pytest.mark.clause("handover.found")
def test_log_says_that_data_was_handed_over(luo: Luo, machine: Machine) -> Scenario:
    assert said(machine, "KHO: found kexec handover data") == []

    yield KEXEC

    assert len(said(machine, "KHO: found kexec handover data")) == 1
    assert said(machine, "KHO: disabling", "KHO: setup:", "KHO: failed", "KHO: broken", "KHO: Failed") == []


@pytest.mark.clause("handover.empty")
def test_session_without_files_crosses(luo: Luo) -> Scenario:
    luo.create_session("vm")

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    with refused(ENOENT):
        session.retrieve(0)
    session.finish()


@pytest.mark.clause("handover.chain")
def test_session_carried_along_keeps_files_seen_in_no_generation_between(
    luo: Luo, rng: random.Random
) -> Scenario:
    seeds = [rng.getrandbits(64) for _ in range(5)]
    session = luo.create_session("vm")
    for token, seed in enumerate(seeds):
        session.preserve(luo.memfd(pattern(SIZE, seed=seed)), token)

    for _ in range(2):
        luo = yield KEXEC

        session = luo.retrieve_session("vm")
        files = [session.retrieve(token) for token in range(len(seeds))]
        session.finish()
        session.close()
        session = luo.create_session("vm")
        for token, file in enumerate(files):
            session.preserve(file, token)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    for token, seed in enumerate(seeds):
        assert session.retrieve(token).read_all() == pattern(SIZE, seed=seed)


@pytest.mark.clause("handover.one-generation")
@pytest.mark.parametrize("how", ["never opened", "not retrieved", "retrieved", "read", "retrieved again"])
def test_what_was_not_preserved_anew_is_gone_after_the_next_handover(luo: Luo, how: str) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=1)
    session.preserve(luo.memfd(pattern(SIZE)), token=2)

    luo = yield KEXEC

    match how:
        case "not retrieved":
            assert luo.device.fd >= 0
        case "retrieved":
            luo.retrieve_session("vm")
        case "read":
            assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(SIZE)
        case "retrieved again":
            session = luo.retrieve_session("vm")
            session.retrieve(1)
            session.retrieve(1)

    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("vm")
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)


@pytest.mark.clause("handover.first-open")
def test_device_opened_late_still_finds_everything(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    # Memory is used up and given back before anybody looks at what was handed over.
    size = 64 << 20
    hog = luo.memfd(size=size)
    hog.fill(size, seed=3)
    assert hog.first_difference(size, seed=3) is None
    hog.close()
    session = luo.retrieve_session("vm")
    assert session.retrieve(1).read_all() == pattern(SIZE)


@pytest.mark.clause("memfd.represerve")
def test_contents_and_position_of_a_second_life_cross(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(SIZE)), token=1)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    ram = session.retrieve(1)
    ram.seek(77)
    ram.write(b"second life", 0)
    session.finish()
    luo.create_session("vm").preserve(ram, token=9)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(9)
    assert ram.tell() == 77
    assert ram.read_all() == b"second life" + pattern(SIZE)[11:]
