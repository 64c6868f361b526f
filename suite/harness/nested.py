# SPDX-License-Identifier: GPL-2.0-only
"""A pytest run inside a harness test: what a user would see of a suite that we wrote to fail."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import junitparser

ROOT = Path(__file__).parents[2]

# Wide enough for a cold boot, a batch and the hunt through it on a loaded host under TCG.
SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """How a nested run ended."""

    status: int
    output: str
    directory: Path

    @property
    def cases(self) -> dict[str, junitparser.TestCase]:
        """The cases of junit.xml, which has to be there, by name."""
        cases: dict[str, junitparser.TestCase] = {}
        for suite in junitparser.JUnitXml.fromfile(str(self.directory / "junit.xml")):
            for case in suite:
                assert case.name not in cases, f"two cases called {case.name}"
                cases[case.name] = case
        return cases

    @property
    def verdicts(self) -> dict[str, str]:
        """What junit.xml says of each test: pass, failure, error or skipped."""
        names = {junitparser.Failure: "failure", junitparser.Error: "error", junitparser.Skipped: "skipped"}
        return {
            name: names[type(case.result[0])] if case.result else "pass" for name, case in self.cases.items()
        }

    def message(self, name: str) -> str:
        return str(self.cases[name].result[0].message)


def command(directory: Path, code: str, arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``code`` as a suite of one module, with reports in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    module = directory / "test_nested.py"
    prelude = """
        import errno, os, pytest, random
        from fixtures.luo import *
        from fixtures.scenario import *
        from fixtures.agent.pattern import pattern
        from kernel import uapi
    """
    module.write_text(dedent(prelude) + dedent(code))
    # fmt: off
    return [
        sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT),
        "-p", "no:cacheprovider", "--noconftest",
        "--report-dir", str(directory / "report"), *arguments, str(module),
    ]
    # fmt: on


def run(directory: Path, code: str, *arguments: str, env: dict[str, str] | None = None) -> Outcome:
    """Run ``code`` as a suite and wait for its end."""
    return supervise(directory, code, *arguments, env=env, meanwhile=lambda process: None)


def supervise(
    directory: Path,
    code: str,
    *arguments: str,
    meanwhile: Callable[[subprocess.Popen[str]], None],
    env: dict[str, str] | None = None,
    seconds: float = SECONDS,
) -> Outcome:
    """Run ``code`` as a suite and do something to it ``meanwhile``."""
    output = directory / "output.txt"
    line = command(directory, code, arguments)
    with output.open("w") as stream:
        process = subprocess.Popen(
            line,
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=interruptible,
        )
        try:
            meanwhile(process)
            status = process.wait(seconds)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    text = output.read_text(errors="replace")
    print(text)  # pytest shows it when the test fails
    return Outcome(status, text, directory / "report")


def interruptible() -> None:
    """For a child that is to be interrupted: a shell has its background jobs ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until another process has done something that nobody tells us of."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


def emulators(mark: str) -> list[int]:
    """The QEMUs that have ``mark`` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words and words[0].startswith(b"qemu"):
                found.append(int(entry.name))
    return found
