# SPDX-License-Identifier: GPL-2.0-only
"""Every death has its name: on a target that dies on command."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.errors import AgentError
from fixtures.deadline import Deadline
from fixtures.death import Death, MachineDied
from fixtures.machine import Machine, Pace
from fixtures.targets.base import End, Load
from suite.harness.process_target import BANNER, ProcessInstance, ProcessTarget

PANIC = """\
[   10.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009
[   10.000001] CPU: 0 UID: 0 PID: 1 Comm: init Not tainted 9.9.9 #1
[   10.000002] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009 ]---
"""
OOPS = """\
[   10.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   10.000001] #PF: supervisor read access in kernel mode
[   10.000002] Oops: Oops: 0000 [#1] SMP NOPTI
[   10.000003] ---[ end trace 0000000000000000 ]---
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    (tmp_path / "console").mkdir()
    machine = Machine("m0", ProcessTarget(tmp_path), Load(tmp_path, tmp_path, ""), tmp_path / "console", ())
    machine.arrive()
    machine.sync("up", 0)  # so that the console has been read up to here
    # The deadlines of a machine that boots in milliseconds, so that waiting for them is short.
    monkeypatch.setattr(Pace, "LEAST", 0.05)
    machine.pace = Pace(0.05)
    yield machine
    machine.stop()


def instance(machine: Machine) -> ProcessInstance:
    assert isinstance(machine.instance, ProcessInstance)
    return machine.instance


def panics(machine: Machine) -> None:
    instance(machine).print(PANIC)
    instance(machine).end(End.RESET)


def panics_and_stays(machine: Machine) -> None:
    instance(machine).print(PANIC)


def oopses_and_resets(machine: Machine) -> None:
    instance(machine).print(OOPS)
    instance(machine).end(End.RESET)


def resets(machine: Machine) -> None:
    instance(machine).end(End.RESET)


def boots_again(machine: Machine) -> None:
    instance(machine).print(BANNER)


def loses_power(machine: Machine) -> None:
    instance(machine).end(End.GONE)


def stops(machine: Machine) -> None:
    os.kill(machine.hello.pid, signal.SIGSTOP)


def blocks(machine: Machine) -> None:
    os.kill(machine.admin.pid, signal.SIGSTOP)


def dies_without_a_word(machine: Machine) -> None:
    os.kill(machine.hello.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("event", "deaths"),
    [
        (panics, {Death.PANIC}),
        (panics_and_stays, {Death.PANIC}),
        (oopses_and_resets, {Death.OOPS}),
        (resets, {Death.UNEXPECTED_REBOOT}),
        (boots_again, {Death.UNEXPECTED_REBOOT}),
        (loses_power, {Death.EMULATOR_GONE}),
        (stops, {Death.NO_OUTPUT}),
        (blocks, {Death.TIMED_OUT}),
        (dies_without_a_word, {Death.LOST_CHANNEL, Death.EMULATOR_GONE}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_death_has_its_name(machine: Machine, event: Callable[[Machine], None], deaths: set[Death]) -> None:
    actor = machine.agent.spawn()
    block(actor)
    event(machine)
    died = autopsy(machine, lambda: actor.wait_gone(Deadline(1.0)))
    assert died.obituary.death in deaths
    assert died.obituary.generation == 0
    assert "during the test" in str(died)


def autopsy(machine: Machine, wait: Callable[[], object]) -> MachineDied:
    """What a test would be told that makes a call, and then waits."""
    try:
        machine.admin.syscall("getpid", deadline=Deadline(1.0))
        wait()
    except AgentError as error:
        return machine.post_mortem(error, "the test")
    raise AssertionError("the machine is alive")


def block(actor: Actor) -> None:
    """Leave an actor inside a read that never returns."""
    program = actor.program()
    ends = program.buffer(8)
    program.syscall("pipe2", ends, 0)
    program.syscall("read", ends.s32(), program.buffer(1), 1)
    actor.start(program)


def test_title_of_the_panic_is_the_kernel_s(machine: Machine) -> None:
    panics(machine)
    died = autopsy(machine, lambda: machine.agent.wait_for(lambda: False, Deadline(1.0)))
    assert "Attempted to kill init" in died.obituary.title


def test_only_the_kernel_s_deaths_are_its_fault() -> None:
    assert {death for death in Death if death.kernel_fault} == {
        Death.PANIC,
        Death.OOPS,
        Death.NO_OUTPUT,
        Death.TIMED_OUT,
        Death.UNEXPECTED_REBOOT,
    }


def test_machine_that_does_not_come_up_is_an_error_of_its_own(tmp_path: Path) -> None:
    machine = Machine("m0", ProcessTarget(tmp_path, mute=True), Load(tmp_path, tmp_path, ""), tmp_path, ())
    with pytest.raises(MachineDied, match="during its cold boot"):
        machine.arrive(boot_seconds=0.5)


def test_marks_are_found_on_the_console(machine: Machine) -> None:
    before = len(machine.console)
    machine.mark("one")
    line = machine.sync("two", before)
    texts = [entry.text for entry in machine.console.since(before, line + 1)]
    assert [text.split("luo-cts: ")[1] for text in texts] == ["one", "two"]


def test_splat_belongs_to_the_stretch_in_which_it_began(machine: Machine) -> None:
    start = machine.sync("begin", 0)
    instance(machine).print("[   11.000000] WARNING: kernel/a.c:1 at f+0x1/0x2, CPU#0: x/1\n")
    end = machine.sync("end", start)
    assert len(machine.splats_between(start, end)) == 1
    assert machine.splats_between(0, start) == []


def test_mark_that_the_console_garbled_is_written_again(machine: Machine) -> None:
    instance(machine).garble("two")
    line = machine.sync("two", 0)
    assert machine.console.since(line)[0].text.endswith("luo-cts: two")
