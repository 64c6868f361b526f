# SPDX-License-Identifier: GPL-2.0-only
"""More than one handover, more than one session, more than one of everything."""

import random

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

SIZE = 100_001


@pytest.mark.clause("handover.chain", "memfd.represerve", "memfd.contents")
def test_contents_survive_three_handovers_in_a_row(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    session.preserve(luo.memfd(pattern(SIZE)), token=0)

    for generation in (1, 2, 3):
        luo = yield KEXEC

        session = luo.retrieve_session("vm")
        ram = session.retrieve(generation - 1)
        assert ram.read_all() == pattern(SIZE, seed=generation - 1)
        session.finish()
        session.close()
        ram.write(pattern(SIZE, seed=generation), 0)
        if generation < 3:
            luo.create_session("vm").preserve(ram, token=generation)


# Until 7.1 there is room for 819 sessions in all (luo_session.c, LUO_SESSION_MAX), and others want some.
@pytest.mark.alone
@pytest.mark.clause("session.many", "handover.isolation", "memfd.contents")
def test_two_hundred_sessions_of_three_files_each_survive(luo: Luo, rng: random.Random) -> Scenario:
    names = [f"vm-{number}" for number in range(200)]
    rng.shuffle(names)
    content = pattern(4099)
    luo.create_crowd(names, files=3, content=content)

    luo = yield KEXEC

    rng.shuffle(names)
    files = [file for _, files in luo.retrieve_crowd(names, files=3) for file in files]
    assert len({file.fd for file in files}) == 600
    assert set(luo.contents(files, limit=len(content) + 1)) == {content}


@pytest.mark.clause("handover.isolation", "file.token.unique")
def test_same_token_in_two_sessions_means_two_files(luo: Luo) -> Scenario:
    for number, name in enumerate(("left", "right")):
        luo.create_session(name).preserve(luo.memfd(pattern(SIZE, seed=number)), token=7)

    luo = yield KEXEC

    for number, name in enumerate(("left", "right")):
        assert luo.retrieve_session(name).retrieve(7).read_all() == pattern(SIZE, seed=number)


@pytest.mark.soak
@pytest.mark.clause("handover.chain", "memfd.contents", "memfd.position")
def test_session_is_carried_through_ten_live_updates(luo: Luo) -> Scenario:
    ram = luo.memfd(pattern(SIZE))

    for generation in range(1, 11):
        ram.seek(generation)
        ram.write(generation.to_bytes(8, "little"), 0)
        luo.create_session("vm").preserve(ram, token=generation)

        luo = yield KEXEC

        session = luo.retrieve_session("vm")
        ram = session.retrieve(generation)
        assert ram.tell() == generation
        assert ram.read_all() == generation.to_bytes(8, "little") + pattern(SIZE)[8:]
        session.finish()
        session.close()
