# SPDX-License-Identifier: GPL-2.0-only
"""A machine is held at the handover: who looks sees what the next kernel gets, and may change it."""

from pathlib import Path

import pytest

from suite.harness.nested import run

LOOKS = """
    from fixtures.agent.protocol import Type

    WORDS = b"these words are nowhere else in the memory of the machine "

    def places(memory, words):
        found = []
        for stretch in memory.populated():
            data = memory.read(stretch.start, len(stretch))
            at = data.find(words)
            while at >= 0:
                found.append(stretch.start + at)
                at = data.find(words, at + 1)
        return found

    def test_seen_and_changed(luo):
        session = luo.create_session("vm")
        ram = luo.memfd(WORDS * 100)
        session.preserve(ram, token=1)
        for generation in range(2):
            marked = WORDS[:-3] + b"%02d " % generation

            def change(held):
                memory = held.memory
                # The file's own pages are the only ones with a page's worth of it from the start.
                firsts = [at for at in places(memory, WORDS[:20] if generation else WORDS) if at % 4096 == 0]
                assert firsts
                for at in firsts:
                    memory.write(at, marked)

            luo = yield Kexec(at_handover=change)
            session = luo.retrieve_session("vm")
            ram = session.retrieve(1)
            assert ram.read(len(WORDS), 0) == marked
            assert ram.read(len(WORDS), len(WORDS)) == WORDS
            if not generation:
                session.finish()
                session.close()
                session = luo.create_session("vm")
                session.preserve(ram, token=1)

    def test_wrong(luo):
        def look(held):
            assert held.memory.pages == 0, "more pages than none"

        luo = yield Kexec(at_handover=look)
        raise AssertionError("not reached")

    def test_beside_them(luo):
        luo.create_session("vm")
        luo = yield KEXEC
        luo.retrieve_session("vm")

    def test_asked_too_late(luo):
        agent = luo.actor.agent

        def ask(held):
            program = agent.main.program()
            program.syscall("openat", uapi.AT_FDCWD, "/asked", os.O_CREAT, 0o600)
            agent.request(Type.RUN, agent.main, program.encode())

        luo = yield Kexec(at_handover=ask)
        assert not luo.actor.exists("/asked")

    @pytest.mark.alone
    def test_refused(luo):
        luo = yield Kexec(loaded=True, at_handover=lambda held: None)
"""

DEATHS = """
    @pytest.mark.alone
    def test_dies_on_the_way(luo):
        fd = luo.actor.syscall("openat", uapi.AT_FDCWD, "/proc/sysrq-trigger", os.O_WRONLY, 0)
        dying = luo.actor.fork()

        def crash():
            program = dying.program()
            program.syscall("write", fd, b"c", 1)
            dying.start(program)

        luo = yield Kexec(before_jump=crash, at_handover=lambda held: None)

    @pytest.mark.alone
    def test_dies_in_the_next(luo):
        def spoil(held):
            memory = held.memory
            for stretch in memory.populated():
                for at in range(stretch.start, stretch.stop, 4096):
                    memory.write(at, b"\\xcc" * min(4096, stretch.stop - at))

        luo = yield Kexec(at_handover=spoil)
"""


@pytest.mark.usefixtures("default_kernel")
def test_looks_see_change_and_fail_by_themselves(tmp_path: Path) -> None:
    outcome = run(tmp_path, LOOKS)
    assert outcome.verdicts == {
        "test_seen_and_changed": "pass",
        "test_wrong": "failure",
        "test_beside_them": "pass",
        "test_asked_too_late": "pass",
        "test_refused": "failure",
    }
    assert outcome.message("test_wrong").startswith("more pages than none")
    assert outcome.message("test_refused").startswith("the kernel refused the handover: reboot(")
    assert outcome.status == 1


@pytest.mark.usefixtures("default_kernel")
def test_machines_that_die_while_they_are_to_be_held_have_their_verdict(tmp_path: Path) -> None:
    outcome = run(tmp_path, DEATHS)
    assert set(outcome.verdicts) == {"test_dies_on_the_way", "test_dies_in_the_next"}
    assert "panic" in outcome.message("test_dies_on_the_way")
    assert outcome.verdicts["test_dies_in_the_next"] in ("failure", "error")
