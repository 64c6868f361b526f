# SPDX-License-Identifier: GPL-2.0-only
"""./run on machines that lack something: it says what, does what it can, and ends with 3 if it cannot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "run"
NOBODY = 65534


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout with nothing but ./run in it, and a directory bin/ for PATH that has next to nothing."""
    tmp_path.chmod(0o755)
    shutil.copy(RUN, tmp_path)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "dirname", "sh", "tail", "uname"):
        (commands / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def run(directory: Path, *, user: int | None = None, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [directory / "run"],
        env={"PATH": str(directory / "bin"), "HOME": str(directory), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=user,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def fake_apt(directory: Path, script: str) -> None:
    apt = directory / "bin/apt-get"
    apt.write_text(f"#!/bin/sh\n{script}\n")
    apt.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_without_root_and_sudo_it_names_the_command(bare: Path) -> None:
    fake_apt(bare, "exit 0")
    # The path to a temporary directory is closed to others, and there is a step more to a worker's.
    for parent in bare.parents[:3]:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o711)
    status, said = run(bare, user=NOBODY)
    assert status == 3
    assert said.startswith("luo-cts: these packages are missing, and there is neither root nor sudo")
    assert "(as root: apt-get install --yes --no-install-recommends qemu-system-" in said
    assert "flex bison" in said
    assert said.count("\n") == 1


def test_without_apt_it_names_the_packages(bare: Path) -> None:
    status, said = run(bare)
    assert status == 3
    assert "has no apt-get" in said
    assert "flex bison" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_it_says_what_it_installs_before_it_does(bare: Path) -> None:
    fake_apt(bare, 'echo "asked for: $*"; [ "$1" = update ]')
    status, said = run(bare)
    lines = said.splitlines()
    assert status == 3
    assert lines[0].startswith(
        "luo-cts: these Debian packages are missing and will be installed: qemu-system-"
    )
    assert lines[1:3] == ["asked for: update", next(line for line in lines if "asked for: install" in line)]
    assert lines[3].startswith(
        "luo-cts: the packages cannot be installed (is there a network? apt-get install "
    )


def test_without_a_network_it_says_so_in_one_sentence(bare: Path) -> None:
    path = os.environ["PATH"]
    status, said = run(
        bare, PATH=path, PIP_NO_INDEX="1", PIP_FIND_LINKS="/nowhere", PIP_CONFIG_FILE="/dev/null"
    )
    assert status == 3
    assert said.splitlines()[0] == "luo-cts: installing tox into .venv"
    assert said.splitlines()[-1] == "luo-cts: tox cannot be installed into .venv (is there a network?)"


def test_arguments_reach_pytest(bare: Path) -> None:
    for name in ("pyproject.toml", "tox.ini"):
        shutil.copy(RUN.with_name(name), bare)
    for name in (".venv/bin/python", ".venv/bin/tox", ".tox/harness/bin/pytest"):
        program = bare / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text('#!/bin/sh\nprintf "[%s]" "$@"; exit 5\n')
        program.chmod(0o755)
    (bare / ".tox/harness/made-by-run").touch()
    done = subprocess.run(
        [bare / "run", "harness", "--", "-k", "a b", ""], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (
        5,
        "[-c][pyproject.toml][-o][testpaths=suite/harness][-k][a b][]",
    )
