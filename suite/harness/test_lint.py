# SPDX-License-Identifier: GPL-2.0-only
"""The project's own rules, as tests."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCES = {".c", ".config", ".h", ".ini", ".log", ".py", ".sh", ".S", ".xsd", ".yaml"}
SPDX = "SPDX-License-Identifier: GPL-2.0-only"
# In two halves, or this file would break its own rule.
UNFINISHED = re.compile(r"\b(" + "TO" + "DO|FIX" + r"ME)\b")


def project_files() -> list[Path]:
    """What git tracks or would track, or everything that is not generated where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


FILES = project_files()
SCRIPTS = [path for path in FILES if not path.suffix and path.read_bytes()[:2] == b"#!"]


def tool(*arguments: str) -> None:
    """Run a Python tool over the project; its complaints are the failure."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    tool("ruff", "check", ".")


def test_everything_is_formatted() -> None:
    tool("ruff", "format", "--check", ".")


def test_types_hold() -> None:
    tool("mypy", "--strict")


def test_the_project_is_seen() -> None:
    names = {str(path.relative_to(ROOT)) for path in FILES}
    assert {"run", ".ci/run", "tox.ini", "reports/model.py", "suite/harness/test_lint.py"} <= names


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.suffix in SOURCES or path in SCRIPTS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_source_file_says_its_licence_first(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    # Before it may stand only what has to be first: the interpreter, or XML's own declaration.
    first = 1 if lines[0].startswith(("#!", "<?xml")) else 0
    assert SPDX in lines[first]


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        if path.name != "LICENSE"
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_can_be_run(path: Path) -> None:
    assert os.access(path, os.X_OK)
    if "bash" in path.read_text(encoding="utf-8").partition("\n")[0]:
        checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_run_and_tox_start_the_same() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    by_tox = {
        name.removeprefix("testenv:").replace("testenv", "conformance"): section["commands"]
        for name, section in tox.items()
        if "commands" in section
    }
    by_run = re.findall(r"^    (\w+)\) command=\((.*)\) ;;$", (ROOT / "run").read_text(), re.MULTILINE)
    assert {name: f"{command} {{posargs}}" for name, command in by_run} == by_tox
