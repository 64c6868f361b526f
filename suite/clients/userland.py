# SPDX-License-Identifier: GPL-2.0-only
"""The distribution whose init runs in a machine: its programs, started by the agent in the init's root."""

import os
import re
import shlex
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from fixtures.agent.client import Actor
from fixtures.agent.errors import ActorGone
from fixtures.agent.program import Buffer, Program
from fixtures.deadline import Deadline
from fixtures.luo import Luo
from kernel import uapi

# As init sees its files.
_ROOT = "/proc/1/root"
_SHELL = "/bin/sh"
_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root")

DIRECTORY = "/run/luo-cts"  # of the machine's; in memory, so that nothing of it is there after a kexec
CLIENT = f"{DIRECTORY}/client.py"
_CLIENT = Path(__file__).with_name("client.py")


class Running:
    """A program that runs in the machine."""

    def __init__(self, userland: "Userland", actor: Actor, output: str) -> None:
        self.actor = actor
        self._userland = userland
        self._output = output

    @property
    def alive(self) -> bool:
        return self.actor.alive

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._userland.read(self._output)

    def wait(self, deadline: Deadline | None = None) -> int:
        """Its exit status once it has ended; -N for one that signal N ended.

        Raises SyscallError where it could not be begun.
        """
        assert self.actor.pending is not None
        with suppress(ActorGone):
            self.actor.pending.wait(deadline)
        assert self.actor.status is not None
        return os.waitstatus_to_exitcode(self.actor.status)

    def stop(self, sign: int = signal.SIGTERM) -> int:
        self.actor.kill(sign)
        return self.wait()


class Userland:
    """The programs of the machine of ``luo``. A test that asks for one that is not there does not apply."""

    def __init__(self, luo: Luo) -> None:
        self._luo = luo
        if not luo.actor.exists(f"{_ROOT}{_SHELL}"):
            pytest.skip("this machine has no userland but the agent: see python -m suite.clients")
        if not luo.actor.exists(f"{_ROOT}{DIRECTORY}"):
            luo.actor.syscall("mkdirat", uapi.AT_FDCWD, f"{_ROOT}{DIRECTORY}", 0o755)
        self.write(CLIENT, _CLIENT.read_text())

    def read(self, path: str) -> str:
        return self._luo.actor.read_file(f"{_ROOT}{path}").decode(errors="replace")

    def write(self, path: str, text: str) -> None:
        self._luo.actor.write_file(f"{_ROOT}{path}", text.encode())

    def exists(self, path: str) -> bool:
        return self._luo.actor.exists(f"{_ROOT}{path}")

    def needs(self, *programs: str) -> None:
        """Skip the test, with the reason, where one of them is missing."""
        for program in programs:
            if self.start(f"command -v {shlex.quote(program)}").wait():
                pytest.skip(f"the machine's userland has no {program}")

    def version(self, command: str) -> str:
        """The first number with a dot, or the first number, of what a program says of itself."""
        said = self.run(command)
        found = re.search(r"\d+(\.\d+)+[\w.~+-]*", said) or re.search(r"\d+", said)
        assert found, f"{command} says {said!r}"
        return found.group()

    def run(self, script: str, *, stdin: int | None = None) -> str:
        """What a shell script says that succeeds. ``stdin`` is a descriptor of the test's own process."""
        running = self.start(script, stdin=stdin)
        status = running.wait()
        said = running.output
        assert status == 0, f"{script} ended with {status}: {said.strip()[-400:]}"
        return said

    def start(self, script: str, *, stdin: int | None = None, keep: Sequence[int] = ()) -> Running:
        """Begin a shell script. It inherits ``stdin`` and the descriptors ``keep``, and no others."""
        # A copy of the test's process has its descriptors, most of which close on exec.
        actor = self._luo.actor.fork() if stdin is not None or keep else self._luo.actor.agent.spawn()
        # Nobody else's, and there before somebody reads it: another test's program may still write.
        output = f"{DIRECTORY}/output.{actor.pid}"
        self.write(output, "")
        program = actor.program()
        for fd in keep:
            program.syscall("fcntl", fd, uapi.F_SETFD, 0)
        where = program.syscall("openat", uapi.AT_FDCWD, "/proc/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, 0)
        program.syscall("setns", where, uapi.CLONE_NEWNS)
        said = program.syscall("openat", uapi.AT_FDCWD, output, os.O_WRONLY | os.O_CLOEXEC, 0)
        if stdin is not None:
            program.syscall("dup3", stdin, 0, 0)
        program.syscall("dup3", said, 1, 0)
        program.syscall("dup3", said, 2, 0)
        words = _words(program, [_SHELL, "-c", script])
        program.syscall("execve", _SHELL, words, _words(program, _ENVIRONMENT))
        actor.start(program)
        return Running(self, actor, output)


def _words(program: Program, words: Sequence[str]) -> Buffer:
    """An array of pointers to strings, with NULL behind the last."""
    array = program.buffer(8 * (len(words) + 1))
    for place, word in enumerate(words):
        program.store(array + 8 * place, program.buffer(word.encode() + b"\0"))
    return array
