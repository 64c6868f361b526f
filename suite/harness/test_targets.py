# SPDX-License-Identifier: GPL-2.0-only
"""What every target has to do, the same tests for all of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from fixtures.agent.client import Agent
from fixtures.agent.errors import AgentError
from fixtures.deadline import Deadline
from fixtures.setup import Options, Setup
from fixtures.targets.base import End, Instance, Load, Target
from fixtures.targets.qemu import QemuInstance
from kernel.kernel import Kernel
from suite.harness.conftest import DEFAULT_KERNEL
from suite.harness.process_target import ProcessInstance, ProcessTarget

SECONDS = 60.0

Start = Callable[[], tuple[Instance, "Watch"]]


class Watch:
    """Reads an instance's console, which would else fill up and stop it, and remembers how it ended."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ends: list[End] = []
        self._said = b""
        self._changed = threading.Condition()

    def on_end(self, end: End) -> None:
        with self._changed:
            self.ends.append(end)
            self._changed.notify_all()

    def read(self, console: socket.socket) -> None:
        def run() -> None:
            with suppress(OSError):
                while data := console.recv(1 << 16):
                    with self._changed:
                        self._said += data
                        self._changed.notify_all()

        threading.Thread(target=run, daemon=True).start()

    def end(self) -> End:
        assert self.ended(self.seconds), "nobody said that it ended"
        return self.ends[0]

    def ended(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.ends), seconds)

    def says(self, text: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self._said, self.seconds), f"only {self._said!r}"


class TargetContract(ABC):
    """Inherit, and give ``target``, ``load`` and ways to end an instance from outside.

    ``seconds`` is what anything here may take, ``gone`` how a loss of power looks.
    """

    seconds = SECONDS
    gone = End.GONE

    @pytest.fixture
    @abstractmethod
    def target(self) -> Target: ...

    @pytest.fixture
    @abstractmethod
    def load(self, target: Target) -> Load: ...

    @abstractmethod
    def kill(self, instance: Instance) -> None:
        """Take its power away."""

    @abstractmethod
    def reset(self, instance: Instance, agent: Agent) -> None:
        """Have it reset itself."""

    @pytest.fixture
    def start(self, target: Target, load: Load) -> Iterator[Start]:
        instances: list[Instance] = []

        def begin() -> tuple[Instance, Watch]:
            watch = Watch(self.seconds)
            instance = target.start(load, f"t{len(instances)}", watch.on_end)
            watch.read(instance.console)
            instances.append(instance)
            return instance, watch

        yield begin
        for instance in instances:
            instance.stop()
            instance.console.close()

    def test_console_and_channel_come_up(self, start: Start) -> None:
        instance, watch = start()
        watch.says(b"Linux version")
        agent = Agent(instance.channel)
        hello = agent.await_hello(Deadline(self.seconds))
        assert agent.main.syscall("getpid") == hello.actor_pid
        assert watch.ends == []

    def test_two_at_once_are_two(self, start: Start) -> None:
        first, second = (Agent(start()[0].channel) for _ in range(2))
        first.await_hello(Deadline(self.seconds))
        second.await_hello(Deadline(self.seconds))
        for agent, name in ((first, b"first"), (second, b"second")):
            fd = agent.main.syscall("memfd_create", "x", 0)
            agent.main.syscall("write", fd, name, len(name))
        assert [agent.main.read_file(f"/proc/self/fd/{fd}") for agent in (first, second)] == [
            b"first",
            b"second",
        ]

    def test_loss_of_power_is_told_and_the_channel_ends(self, start: Start) -> None:
        instance, watch = start()
        agent = Agent(instance.channel)
        agent.await_hello(Deadline(self.seconds))
        self.kill(instance)
        assert watch.end() is self.gone
        with pytest.raises(AgentError):
            agent.main.syscall("getpid")

    def test_reset_is_told(self, start: Start) -> None:
        instance, watch = start()
        agent = Agent(instance.channel)
        agent.await_hello(Deadline(self.seconds))
        self.reset(instance, agent)
        assert watch.end() is End.RESET

    def test_stop_is_final_silent_and_may_be_repeated(self, start: Start) -> None:
        instance, watch = start()
        Agent(instance.channel).await_hello(Deadline(self.seconds))
        instance.stop()
        instance.stop()
        assert watch.ends == []
        assert instance.channel.fileno() == -1

    def test_diagnosis_says_something_dead_or_alive(self, start: Start) -> None:
        instance, watch = start()
        assert instance.diagnose()
        self.kill(instance)
        watch.end()
        assert instance.diagnose()


class TestProcess(TargetContract):
    @pytest.fixture
    def target(self, tmp_path: Path) -> Target:
        return ProcessTarget(tmp_path)

    @pytest.fixture
    def load(self, target: Target, tmp_path: Path) -> Load:
        return Load(tmp_path, tmp_path, "")

    def kill(self, instance: Instance) -> None:
        assert isinstance(instance, ProcessInstance)
        instance.process.kill()

    def reset(self, instance: Instance, agent: Agent) -> None:
        assert isinstance(instance, ProcessInstance)
        instance.end(End.RESET)


@cache
def prepared(target: str) -> Setup:
    return Setup.prepare(Options(DEFAULT_KERNEL, target=target, accel="tcg"))


class TestQemu(TargetContract):
    name = "qemu"

    @pytest.fixture
    def setup(self, default_kernel: Kernel) -> Setup:
        return prepared(self.name)

    @pytest.fixture
    def target(self, setup: Setup) -> Target:
        return setup.target

    @pytest.fixture
    def load(self, setup: Setup) -> Load:
        return setup.load()

    def kill(self, instance: Instance) -> None:
        assert isinstance(instance, QemuInstance)
        os.kill(instance.process.pid, signal.SIGKILL)

    def reset(self, instance: Instance, agent: Agent) -> None:
        # By itself: what comes over a serial line at once after the boot may be lost.
        program = agent.main.program()
        fd = program.syscall("openat", -100, "/proc/sysrq-trigger", os.O_WRONLY, 0)
        program.syscall("write", fd, b"b", 1)
        agent.main.start(program)

    def test_memory_is_a_file_of_ours(self, start: Start, setup: Setup) -> None:
        instance, watch = start()
        assert isinstance(instance, QemuInstance)
        watch.says(b"Linux version")
        assert os.fstat(instance.ram[0]).st_size == setup.target.memory_mib << 20  # type: ignore[attr-defined]
        with open(f"/proc/self/fd/{instance.ram[0]}", "rb") as ram:  # noqa: PTH123
            assert b"Linux version " + setup.kernel.release.encode() in ram.read()

    def test_no_emulator_outlives_the_process_that_started_it(self, setup: Setup, tmp_path: Path) -> None:
        code = """
import json, os, signal, sys
from fixtures.setup import Setup
setup = Setup.from_json(json.load(sys.stdin))
instance = setup.target.start(setup.load(), "orphan", lambda end: None)
print(instance.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(setup.to_json()), capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        pid = int(done.stdout)
        deadline = Deadline(SECONDS)
        while Path(f"/proc/{pid}/exe").exists() and not deadline.expired:
            os.sched_yield()
        assert not Path(f"/proc/{pid}/exe").exists()


class TestVirtme(TestQemu):
    """The same machine with this host's userland in it."""

    name = "virtme"
