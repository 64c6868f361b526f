# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.coverage``: what it refuses, what its exit status says, what it writes.

The kernel that takes minutes to build is a guest of a few lines here, which QEMU runs as it runs a kernel.
"""

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from kernel.kernel import Kernel
from reports import delivery, reading
from reports.model import Result, Run, Suite, Verdict
from suite.coverage import __main__ as command
from suite.coverage import blocks
from suite.harness import coverage_guest
from suite.harness.coverage_guest import ALWAYS, IN_LARGE, NAME, Guest, line_of
from suite.harness.nested import ROOT, interruptible, wait_for

STALE = f"""\
- id: not-so
  file: {NAME}
  function: work
  lines: ["{ALWAYS}"]
  reason: It is never called.
"""
TRUE = f"""\
- id: large
  file: {NAME}
  function: large
  reason: Nobody wants more than 100.
- id: call
  file: {NAME}
  function: work
  lines: ["value = large(value);"]
  reason: Nobody wants more than 100.
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    if platform.machine() != "x86_64":
        pytest.skip("the guest is an x86 one")
    return coverage_guest.build(tmp_path_factory.mktemp("guest") / "small", 3)


def kernel_of(guest: Guest, spec: str = "toy") -> Kernel:
    return Kernel(spec, "a guest", "7.3.4", guest.vmlinux, None, guest.vmlinux, None, None, guest.tree)


Measure = Callable[..., int]


@pytest.fixture
def measure(guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Measures the guest in a run that ends with ``status``, or in what is run ``instead``."""
    monkeypatch.setattr(command, "obtain", lambda spec, described: kernel_of(guest, spec))

    def run(*arguments: str, status: int = 0, instead: str = "", unreachable: str = "[]") -> int:
        boot = shlex.join(guest.command("m0", tmp_path / "report" / "blocks", guest.program.stretches))
        script = instead or f"{boot}; exit {status}"
        monkeypatch.setattr(command, "command_line", lambda *_: ["sh", "-c", script])
        (tmp_path / "unreachable.yaml").write_text(unreachable)
        return command.main(
            [
                *("--kernel", "toy", "--source", NAME, "--report-dir", str(tmp_path / "report")),
                *("--unreachable", str(tmp_path / "unreachable.yaml"), *arguments),
            ]
        )

    return run


# Refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--accel", "kvm"], "KVM does not tell what code it runs"),
        (["-k", "x", "--", "--accel=kvm"], "KVM does not tell what code it runs"),
        (["--accel", "fast"], "invalid choice: 'fast'"),
        (["--kernel", "nonsense"], "nonsense"),
        (["--kernel", f"image:{sys.executable}"], ""),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert command.main(["--report-dir", str(tmp_path), *arguments]) == 4
    *usage, sentence = capsys.readouterr().err.splitlines()
    assert says in sentence
    assert all(line.startswith(("usage:", " ")) for line in usage)


def test_kernel_without_source_or_symbols_is_refused(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Kernel("image:x", "image", "7.3.4", guest.vmlinux, None, None, None, None, None)
    monkeypatch.setattr(command, "obtain", lambda spec, described: bare)
    assert command.main(["--kernel", "image:x", "--report-dir", str(tmp_path)]) == 4
    assert "image:x has no source and no debug information" in capsys.readouterr().err


def test_kernels_of_two_sources_are_refused(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = coverage_guest.build(tmp_path / "other", 3)
    both = {"one": kernel_of(guest, "one"), "two": kernel_of(other, "two")}
    monkeypatch.setattr(command, "obtain", lambda spec, described: both[spec])
    assert command.main(["--kernel", "one", "--also", "two", "--report-dir", str(tmp_path)]) == 4
    assert "two and one are of different sources" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["kernel/other.c", "../tree/kernel/guest.c", "kernel", "/etc/passwd"])
def test_what_is_no_source_file_of_the_tree_is_refused(
    measure: Measure, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert measure("--source", name) == 4
    assert f"there is no {name}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["- {id: a}", "{", "words"])
def test_list_of_unreachable_lines_that_is_none_is_refused_before_the_run(
    measure: Measure, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    assert measure(unreachable=text) == 4
    assert "is no list of unreachable lines" in capsys.readouterr().err
    assert not (tmp_path / "report" / "blocks").exists()


def test_report_directory_in_use_is_told_and_left_alone(
    measure: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report" / "blocks").mkdir(parents=True)
    log = tmp_path / "report" / "blocks" / "m0-1.log"
    log.touch()
    with FileLock(tmp_path / "report" / ".lock"):
        assert measure() == 4
    assert "another run writes its report to" in capsys.readouterr().err
    assert log.exists()
    assert measure() == 0
    assert not log.exists()


# Statuses


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_the_status_is_that_of_the_run_and_what_it_reached_is_reported(
    measure: Measure, tmp_path: Path, status: int
) -> None:
    assert measure(status=status, unreachable=TRUE) == status
    report = tmp_path / "report"
    told = json.loads((report / "coverage.json").read_text())
    assert line_of(ALWAYS) in told["files"][NAME]["reached"]
    assert line_of(IN_LARGE) in told["files"][NAME]["unreachable"]
    assert (report / "html" / "index.html").exists()
    assert (report / "html" / f"{NAME}.html").exists()
    assert f"DA:{line_of(IN_LARGE)},0\n" in (report / "coverage.info").read_text()


@pytest.mark.parametrize("status", [4, 5])
def test_a_run_that_did_not_begin_leaves_no_report(measure: Measure, tmp_path: Path, status: int) -> None:
    assert measure(status=status) == status
    assert not (tmp_path / "report" / "coverage.json").exists()


@pytest.mark.parametrize(("status", "expected"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_a_stale_entry_is_named_and_spoils_the_status(
    measure: Measure, capsys: pytest.CaptureFixture[str], status: int, expected: int
) -> None:
    assert measure(status=status, unreachable=TRUE + STALE) == expected
    said = capsys.readouterr().out.splitlines()
    assert f"unreachable not-so: {NAME}:{line_of(ALWAYS)} was reached" in said
    assert [line.split()[1] for line in said if line.startswith("unreachable")] == ["not-so:"]


def test_an_entry_of_a_text_that_is_gone_is_stale(
    measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(unreachable=STALE.replace(ALWAYS, "int worth = 1;")) == 1
    assert "unreachable not-so: work() has no lines 'int worth = 1;'" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "status"), [("exit 0", 3), ("exit 1", 3), ("exit 2", 2)])
def test_a_run_that_logs_nothing_says_so(
    measure: Measure, capsys: pytest.CaptureFixture[str], ending: str, status: int
) -> None:
    assert measure(instead=ending) == status
    assert ("no machine logged any code" in capsys.readouterr().err) == (status == 3)


def test_a_run_that_is_killed_is_reported_as_far_as_it_went(
    measure: Measure, tmp_path: Path, guest: Guest
) -> None:
    boot = shlex.join(guest.command("m0", tmp_path / "report" / "blocks", guest.program.stretches))
    assert measure(instead=f"{boot}; kill -9 $$") == 3
    assert (tmp_path / "report" / "coverage.json").exists()


def test_a_run_on_other_kernels_only_says_so(
    measure: Measure, tmp_path: Path, guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    other = coverage_guest.build(tmp_path / "other", 300, "-O0")
    boot = shlex.join(other.command("m0", tmp_path / "report" / "blocks", guest.program.stretches))
    assert measure(instead=f"{boot}; exit 0") == 3
    assert "all that was logged is other kernels' code" in capsys.readouterr().err


def test_a_kernel_that_changes_meanwhile_is_told(
    measure: Measure, guest: Guest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def obtain(spec: str, described: Sequence[str]) -> Kernel:
        seen.append(spec)
        kernel = kernel_of(guest, spec)
        return kernel if len(seen) == 1 else Kernel.from_json(kernel.to_json().replace("a guest", "another"))

    monkeypatch.setattr(command, "obtain", obtain)
    assert measure() == 3
    assert "changed while it was measured" in capsys.readouterr().err


def test_a_report_can_be_made_again_of_the_logs(
    measure: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure() == 0
    first = (tmp_path / "report" / "coverage.info").read_text()
    (tmp_path / "report" / "coverage.info").unlink()
    assert measure("--no-run", instead="exit 3", unreachable=TRUE) == 0
    assert (tmp_path / "report" / "coverage.info").read_text() == first
    assert "100.0 %" in capsys.readouterr().out


def test_the_reports_of_the_run_name_it(measure: Measure, tmp_path: Path) -> None:
    directory = tmp_path / "report" / command.RUN
    suite = Suite("luo-cts", {"kernel": "toy"}, (Result("t.py::t", Verdict.PASS),))
    delivery.deliver(Run(datetime.now(UTC), (suite,)), directory)
    measure()
    told = reading.read(directory / "results.json").suites[0].properties
    assert told["kernel"] == "toy"
    assert "of those that can be reached" in told["coverage"]
    assert (directory / told["coverage report"]).resolve() == tmp_path / "report/html/index.html"
    for name in ("junit.xml", "report.html", "report.ktap"):
        assert told["coverage report"] in (directory / name).read_text()


def test_what_is_left_is_said(measure: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    measure()
    said = capsys.readouterr().out.splitlines()
    (missed,) = [line for line in said if line.startswith("missed: ")]
    assert missed.startswith(f"missed: {NAME}:")
    assert str(line_of(IN_LARGE)) in missed
    assert said[-1].startswith("Report: ")
    assert said[-1].endswith("report/html/index.html")


def test_ctrl_c_is_waited_out_and_reported(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        "from suite.coverage.__main__ import run\n"
        f"slow = 'trap \"sleep 0.3; exit 2\" INT; touch {tmp_path}/up; while :; do sleep 0.05; done'\n"
        "sys.exit(run(['sh', '-c', slow]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, script],
        env={"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        preexec_fn=interruptible,
    )
    wait_for((tmp_path / "up").exists, "the run", 60)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 2


# What goes to pytest


def parsed(*words: str) -> tuple[str, list[str]]:
    options, rest = command.parser().parse_known_args(words)
    return options.kernel, rest


def test_what_the_tool_does_not_know_goes_to_pytest_as_it_stands() -> None:
    assert parsed("-n", "2", "-k", "a or b", "suite/kho", "--kernel", "deb:7.2", "--lf", "-x") == (
        "deb:7.2",
        ["-n", "2", "-k", "a or b", "suite/kho", "--lf", "-x"],
    )
    assert parsed("--kern", "x") == ("deb:newest", ["--kern", "x"])


def run_of(guest: Guest, directory: Path, rest: Sequence[str]) -> list[str]:
    options = command.parser().parse_args(["--append", "debug", "--report-dir", str(directory)])
    return command.command_line(options, [guest.program], rest)


def test_pytest_takes_the_command_line(guest: Guest, tmp_path: Path) -> None:
    line = run_of(guest, tmp_path, ["--collect-only", "-q", "-p", "no:cacheprovider", "suite/boot"])
    done = subprocess.run(
        line,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "suite/boot/test_scratch.py::" in done.stdout


def test_machines_are_emulated_at_known_addresses_and_log_to_the_report(guest: Guest, tmp_path: Path) -> None:
    line = run_of(guest, tmp_path, [])
    assert "--accel=tcg" in line
    assert "--append=nokaslr debug" in line
    assert f"--qemu-arg={blocks.arguments(guest.program.stretches, tmp_path / 'blocks')}" in line
