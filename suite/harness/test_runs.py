# SPDX-License-Identifier: GPL-2.0-only
"""Whole runs as a user starts them: interrupted, crowded, with a full disk, and with bad input."""

import argparse
import os
import signal
import subprocess
import uuid
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from kernel.kernel import Kernel
from suite.child import shared
from suite.harness.junit_compare import normalise
from suite.harness.nested import Outcome, command, emulators, run, supervise, wait_for
from suite.harness.test_faults import batch

SUITE = """
    @pytest.mark.parametrize("number", range(3))
    def test_plain(luo, number):
        luo.create_session("vm")

    @pytest.mark.parametrize("number", range(4))
    def test_scenario(luo, number):
        session = luo.create_session("vm")
        session.preserve(luo.memfd(pattern(5000, seed=number)), token=1)
        luo = yield KEXEC
        assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(5000, seed=number)

    def test_broken(luo):
        luo.create_session("vm")
        luo = yield KEXEC
        assert luo.retrieve_session("vm").get_name() == b"no"

    @pytest.mark.alone
    def test_alone(luo):
        luo = yield KEXEC

    @pytest.mark.skip(reason="does not apply")
    def test_skipped(luo):
        luo = yield KEXEC
"""


@pytest.mark.parametrize(
    ("words", "hosts", "rest"),
    [
        ([], 2, []),
        (["--hosts", "1", "-k", "a and b", "suite/files"], 1, ["-k", "a and b", "suite/files"]),
        (["-x", "--hosts=1", "--", "--hosts", "3"], 1, ["-x", "--hosts", "3"]),
        (["--host", "1"], 2, ["--host", "1"]),
    ],
)
def test_what_a_command_does_not_know_is_pytests(words: list[str], hosts: int, rest: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=2)
    options, others = shared(parser, words)
    assert (options.hosts, list(others)) == (hosts, rest)


@pytest.mark.usefixtures("default_kernel")
class TestOnMachines:
    def test_two_workers_find_what_one_finds(self, tmp_path: Path) -> None:
        one = run(tmp_path / "suite", SUITE)
        two = run(tmp_path / "suite", SUITE, "-n", "2", "--report-dir", str(tmp_path / "two"))
        assert (one.status, two.status) == (1, 1)
        assert len(one.cases) == 10
        assert normalise(one.directory / "junit.xml") == normalise(tmp_path / "two" / "junit.xml")

    def test_worker_that_dies_costs_one_test(self, tmp_path: Path) -> None:
        code = """
    @pytest.mark.parametrize("number", range(6))
    def test_one(luo, number):
        session = luo.create_session("vm")
        if number == 2:
            os._exit(1)
        luo = yield KEXEC
        luo.retrieve_session("vm")
    """
        outcome = run(tmp_path, code, "-n", "2")
        expected = {f"test_one[{number}]": "error" if number == 2 else "pass" for number in range(6)}
        assert outcome.verdicts == expected
        assert outcome.status == 3

    def test_isolated_scenarios_find_the_same(self, tmp_path: Path) -> None:
        together = run(tmp_path / "suite", SUITE)
        apart = run(tmp_path / "suite", SUITE, "--isolate", "--report-dir", str(tmp_path / "apart"))
        isolated = Outcome(apart.status, apart.output, tmp_path / "apart")
        assert together.verdicts == isolated.verdicts

    def test_ctrl_c_during_a_handover_keeps_what_is_known(self, tmp_path: Path) -> None:
        mark = str(uuid.uuid4())
        console = tmp_path / "report" / "console" / "m0.0.log"

        def interrupt(process: subprocess.Popen[str]) -> None:
            wait_for(lambda: console.exists() and b"handover to gen" in console.read_bytes(), "the handover")
            assert len(emulators(mark)) == 1
            os.killpg(process.pid, signal.SIGINT)

        outcome = supervise(tmp_path, batch(), "--qemu-arg", f"-uuid {mark}", meanwhile=interrupt)
        assert outcome.status == 2
        assert outcome.verdicts == {"test_a": "skipped", "test_b": "skipped", "test_c": "skipped"}
        assert "interrupted" in outcome.message("test_a")
        assert emulators(mark) == []

    @pytest.mark.parametrize(("times", "verdict", "status"), [(1, "pass", 0), (2, "error", 3)])
    def test_emulator_that_ends_in_a_handover_gets_another_try(
        self, tmp_path: Path, times: int, verdict: str, status: int
    ) -> None:
        mark = str(uuid.uuid4())
        consoles = [tmp_path / "report" / "console" / f"m{number}.0.log" for number in range(times)]

        def jumps(console: Path) -> bool:
            return console.exists() and b"handover to gen" in console.read_bytes()

        def end(process: subprocess.Popen[str]) -> None:
            for console in consoles:
                wait_for(partial(jumps, console), "the handover")
                (emulator,) = emulators(mark)
                os.kill(emulator, signal.SIGABRT)

        code = """
    def test_one(luo):
        luo.create_session("vm")
        luo = yield KEXEC
        luo.retrieve_session("vm")
    """
        outcome = supervise(tmp_path, code, "--qemu-arg", f"-uuid {mark}", meanwhile=end)
        assert outcome.verdicts == {"test_one": verdict}
        assert outcome.status == status
        said = (outcome.directory / "junit.xml").read_text()
        assert "earlier attempt: error: its batch died: emulator gone" in said

    def test_kill_leaves_no_emulator(self, tmp_path: Path) -> None:
        mark = str(uuid.uuid4())

        def kill(process: subprocess.Popen[str]) -> None:
            wait_for(lambda: bool(emulators(mark)), "an emulator")
            process.kill()
            wait_for(lambda: not emulators(mark), "its end")

        console = tmp_path / "report" / "junit.xml"
        supervise(tmp_path, batch(), "--qemu-arg", f"-uuid {mark}", meanwhile=kill)
        assert not console.exists()

    def test_two_runs_at_once_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        other = subprocess.Popen(
            command(tmp_path / "b", batch(), []),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        first = run(tmp_path / "a", batch())
        assert other.wait(300) == 0
        second = Outcome(0, "", tmp_path / "b" / "report")
        assert first.status == 0
        assert first.verdicts == second.verdicts == {"test_a": "pass", "test_b": "pass", "test_c": "pass"}

    @pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can be mounted by root only")
    def test_full_disk_under_the_reports_costs_no_verdict(self, tmp_path: Path) -> None:
        disk = tmp_path / "report"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "luo-cts", disk], check=True)
        try:
            code = (
                batch(first="fill_up()")
                + f"""
    def fill_up():
        with pytest.raises(OSError, match="No space left"), open({str(disk / "ballast")!r}, "wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    """
            )
            outcome = run(tmp_path, code)
            assert outcome.verdicts == {"test_a": "pass", "test_b": "pass", "test_c": "pass"}
            assert outcome.status == 0
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_machines_of_tests_own_have_logs_of_their_own(self, tmp_path: Path) -> None:
        code = """
    @pytest.mark.parametrize("number", range(2))
    def test_own(own_machines, number):
        own_machines.fresh()
    """
        logs = tmp_path / "logs"
        logs.mkdir()
        outcome = run(tmp_path, code, f"--qemu-arg=-d guest_errors -D {logs}/{{machine}}.log")
        assert outcome.status == 0
        consoles = {path.name.partition(".")[0] for path in (outcome.directory / "console").glob("test_own*")}
        assert len(consoles) == 2
        assert {path.stem for path in logs.glob("test_own*")} == consoles

    def test_kernel_that_was_booted_without_live_update_is_told(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, batch(), "--append", "liveupdate=off")
        assert set(outcome.verdicts.values()) == {"error"}
        assert "/dev/liveupdate" in outcome.message("test_a")
        assert outcome.status == 3


def refusal(outcome: Outcome) -> str:
    """The one line in which a run says why there is none."""
    assert (outcome.directory / "junit.xml").exists() or outcome.status == 4
    lines = [line for line in outcome.output.splitlines() if line.startswith(("ERROR: ", "!", "No verdict"))]
    assert lines, outcome.output
    assert "Traceback" not in outcome.output
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kernel", "rpm:7.3"], "rpm:7.3"),
        (["--kernel", "image:/nowhere/bzImage"], "/nowhere/bzImage"),
        (["--kernel", "tree:/nowhere"], "/nowhere"),
        (["--kernel", "deb:5.10"], "LUO"),
        (["--target", "moon"], "qemu"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence_and_status_4(tmp_path: Path, arguments: list[str], says: str) -> None:
    outcome = run(tmp_path, batch(), *arguments)
    assert outcome.status == 4
    assert says in refusal(outcome)


def test_image_without_kho_is_told_before_it_is_booted(tmp_path: Path, default_kernel: Kernel) -> None:
    assert default_kernel.config is not None
    config = tmp_path / "config"
    config.write_text(default_kernel.config.read_text().replace("CONFIG_KEXEC_HANDOVER=y\n", ""))
    outcome = run(tmp_path, batch(), "--kernel", f"image:{default_kernel.image},config={config}")
    assert outcome.status == 4
    assert "CONFIG_KEXEC_HANDOVER is not set" in refusal(outcome)
    assert set(outcome.verdicts.values()) == {"error"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_report_directory_may_exist(tmp_path: Path, workers: str) -> None:
    (tmp_path / "report").mkdir()
    outcome = run(tmp_path, "def test_a(): pass", "-n", workers)
    assert outcome.verdicts == {"test_a": "pass"}


def test_report_directory_in_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    with FileLock(tmp_path / "report" / ".lock"):
        outcome = run(tmp_path, batch())
    assert outcome.status == 4
    assert "another run" in refusal(outcome)


def test_nothing_to_judge_is_status_5(tmp_path: Path) -> None:
    assert run(tmp_path, batch(), "-k", "no_such_test").status == 5
