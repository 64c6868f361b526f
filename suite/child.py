# SPDX-License-Identifier: GPL-2.0-only
"""The suite, run by one of its commands."""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from kernel.errors import LuoCtsError

ROOT = Path(__file__).parents[1]


def divided(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """A command's own arguments, and those after ``--``, which are pytest's."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def shared(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[argparse.Namespace, Sequence[str]]:
    """A command's own arguments by its ``parser``, and all others, which are pytest's."""
    parser.allow_abbrev = False
    own, after = divided(words)
    options, others = parser.parse_known_args(own)
    return options, [*others, *after]


def directory_of(name: str, out: Path) -> Path:
    """Where in ``out`` the report of a run of that name is."""
    return out / re.sub(r"[^\w.-]+", "-", name)


def judge(wanted: str, directory: Path, arguments: Sequence[str]) -> int:
    """Run the suite on the kernel spec ``wanted``; its exit status."""
    (directory / "results.json").unlink(missing_ok=True)
    # fmt: off
    command = [
        sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--ignore=suite/harness",
        f"--kernel={wanted}", f"--report-dir={directory}", *arguments,
    ]
    # fmt: on
    return outlast(command)


def leave(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Be the command ``main``, whose errors are one sentence and its exit status."""
    try:
        sys.exit(main(sys.argv[1:]))
    except LuoCtsError as error:
        print(f"luo-cts: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


def outlast(command: Sequence[str]) -> int:
    """Its exit status. After Ctrl-C, which reaches it too, and SIGTERM it still writes its report."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    before = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(signal.SIGINT))
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, before)
