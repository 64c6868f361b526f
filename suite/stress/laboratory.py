# SPDX-License-Identifier: GPL-2.0-only
"""Where scripts are tried: a machine of its own, on which many run side by side and share their handovers.

A script that goes wrong is shrunk by trying many smaller ones, again side by side, so that a round costs as
much as one. Nothing runs without a bound: what a kernel costs that dies of everything is counted.
"""

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from traceback import extract_tb

from fixtures.agent.errors import AgentError, SyscallError
from fixtures.death import KernelFault, MachineDied
from fixtures.luo import Luo
from fixtures.model import SESSIONS_IN_A_BLOCK, Script, shrink
from fixtures.runner import Record, Runner
from fixtures.scenario import KEXEC, Kexec
from suite.stress.lives import NAMES

# What shrinking may cost. Kernels that die of a handover use up the handovers, others never.
ROUNDS = 30
HANDOVERS = 60

# How many smaller scripts are tried at once: so many take about as long as the handover that they share.
SIDE_BY_SIDE = 24


@dataclass
class Failure:
    """A script on which kernel and model disagree."""

    script: Script
    why: str


class Play:
    """A script on its way through the generations of a machine."""

    def __init__(self, script: Script, number: int) -> None:
        self.script = script
        self.parked = False
        self.why: str | None = None
        self._record = Record(f"script {number}", f"~{number}")
        self._generator: Generator[Kexec, Luo, None] | None = None

    @cached_property
    def _source(self) -> str:
        return self.script.source()

    def part(self, runner: Runner) -> None:
        """Run up to the next handover, or to the end."""
        try:
            luo = runner.luo(self._record)
            name = f"part {len(self._record.parts) + 1}"
            with runner.part(self._record, luo, name, lambda: self.parked):
                self.parked = self._advance(luo)
        except MachineDied as died:
            if not died.obituary.death.kernel_fault:
                raise
            self._fail(died)
        except (AssertionError, SyscallError) as error:
            self._fail(error)

    def drop(self) -> None:
        """Give up between two parts."""
        if self._generator is not None:
            with suppress(AgentError, OSError):
                self._generator.close()

    def _advance(self, luo: Luo) -> bool:
        try:
            if self._generator is None:
                space: dict[str, Callable[[Luo], Generator[Kexec, Luo, None] | None]] = {}
                exec(compile(self._source, "<script>", "exec"), space)
                self._generator = space["test_script"](luo)
                if self._generator is None:
                    return False
                next(self._generator)
            else:
                self._generator.send(luo)
        except StopIteration:
            return False
        return True

    def _fail(self, error: BaseException) -> None:
        self.parked = False
        lines = [
            self._source.splitlines()[(frame.lineno or 1) - 1].strip()
            for frame in extract_tb(error.__traceback__)
            if frame.filename == "<script>"
        ]
        said = "\n".join([str(error), *getattr(error, "__notes__", [])])
        self.why = f"{lines[-1]}: {said}" if lines else said


class Laboratory:
    """Tries scripts on machines of ``runner``, which nobody else uses."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._numbers = itertools.count()
        self.handovers = 0

    def first_failure(self, scripts: Sequence[Script]) -> Failure | None:
        """The first of ``scripts`` on which the kernel does not do what the model says.

        When the machine dies in a handover, nobody knows whose doing it is: then it is looked for in halves.
        """
        failures, dead = self._together(scripts)
        if failures:
            return failures[0]
        if dead is None:
            return None
        if len(scripts) == 1:
            return Failure(scripts[0], dead)
        middle = len(scripts) // 2
        found = self.first_failure(scripts[:middle]) or self.first_failure(scripts[middle:])
        if found is None:
            raise KernelFault(f"a handover of {len(scripts)} scripts went wrong, of each half not: {dead}")
        return found

    def shrink(self, failure: Failure) -> Failure:
        """The smallest script like it that was found, and what goes wrong there, alone on a fresh machine."""
        why: dict[Script, str] = {}
        limit = self.handovers + HANDOVERS
        size = SIDE_BY_SIDE

        def find(candidates: Sequence[Script]) -> list[int]:
            nonlocal size
            at = 0
            while at < len(candidates) and self.handovers < limit:
                group = candidates[at : at + size]
                failures, dead = self._together(group)
                if failures:
                    return [at + group.index(failure.script) for failure in failures]
                if dead is None:
                    at += len(group)
                elif size == 1:
                    return [at]
                else:
                    size = 1  # from now on one by one: together nobody would know whose doing it was
            return []

        def alone(script: Script) -> bool:
            self._runner.discard()
            failures, dead = self._together([script])
            said = failures[0].why if failures else dead
            if said is not None:
                why[script] = said
            return said is not None

        if not alone(failure.script.tidy()):
            return Failure(failure.script, f"{failure.why} (not alone, only beside others)")
        least = shrink(failure.script, find, alone, ROUNDS)
        return Failure(least, why[least])

    def _together(self, scripts: Sequence[Script]) -> tuple[list[Failure], str | None]:
        """Run them side by side up to the first part in which one fails.

        Returns those that failed in it, first to last, or how the machine died in a handover.
        """
        runner = self._runner
        if not runner.usable:
            runner.fresh()
        waiting = [Play(script, next(self._numbers)) for script in scripts]
        failures: list[Failure] = []
        ballast = _Ballast(runner)
        for part in itertools.count():
            sessions = 0
            for play in waiting:
                sessions = ballast.clear_of_a_full_block(sessions)
                play.part(runner)
                if play.why is not None:
                    failures.append(Failure(play.script, play.why))
                if not runner.usable:
                    break
                if play.parked:
                    sessions += play.script.parked()[part]
            waiting = [play for play in waiting if play.parked]
            if failures or not waiting:
                break
            self.handovers += 1
            try:
                runner.hand_over(KEXEC)
            except (MachineDied, KernelFault) as error:
                runner.discard()
                if isinstance(error, MachineDied) and not error.obituary.death.kernel_fault:
                    raise
                return [], str(error)
            ballast = _Ballast(runner)
        ballast.drop()
        for play in waiting:
            play.drop()
        if failures:
            runner.discard()  # nobody knows what they have left in the kernel
        return failures, None


class _Ballast:
    """Sessions of nobody, in one generation, made where scripts would come near to a full block of them."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._luo: Luo | None = None
        self._made = 0

    def clear_of_a_full_block(self, sessions: int) -> int:
        """Make sessions until a script is free to add its own to these; how many there are then."""
        while any(
            (sessions + more) % SESSIONS_IN_A_BLOCK == 0 for more in range(not sessions, len(NAMES) + 1)
        ):
            if self._luo is None:
                self._luo = self._runner.luo(Record("ballast", f"~{self._runner.machine.generation}"))
            self._luo.create_session(f"ballast {self._made}")
            self._luo.close_device()
            self._made += 1
            sessions += 1
        return sessions

    def drop(self) -> None:
        if self._luo is not None:
            with suppress(AgentError):
                self._luo.actor.close()
