# SPDX-License-Identifier: GPL-2.0-only
"""Target ``ssh`` on a real OpenSSH server: the contract, what is refused, and what may befall a host.

The host is a virtual machine with a disk and systemd; nothing but SSH reaches it.
"""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.agent.client import Agent
from fixtures.setup import Options, Setup
from fixtures.targets.base import End, Instance, Load, Target
from kernel.kernel import obtain
from suite.harness.nested import Outcome
from suite.harness.ssh_hosts import KERNEL, SECONDS, TIMEOUTS, at_home, on_host, run, under_way
from suite.harness.test_targets import TargetContract
from suite.hosts.vm import HostVm, target_file

pytestmark = pytest.mark.hosts

SCENARIO = """
    def test_crosses(luo):
        session = luo.create_session("vm")
        session.preserve(luo.memfd(pattern(10_000)), token=1)
        luo = yield KEXEC
        assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(10_000)
"""
PLAIN = """
    def test_plain(luo):
        with refused(errno.ENOENT):
            luo.retrieve_session("nobody's")
"""

FAR = 120  # seconds, for a test that is under way while something befalls its host


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HostVm]]:
    image = obtain(KERNEL).image
    directory = tmp_path_factory.mktemp("hosts")
    made = [HostVm(f"host{number}", directory / f"host{number}", image) for number in (1, 2)]
    yield made
    for vm in made:
        vm.close()


@pytest.fixture
def vm(hosts: list[HostVm]) -> HostVm:
    hosts[0].on()
    return hosts[0]


def part(seconds: float) -> str:
    """A plain test that goes on for so long, and notices a gap in what it does."""
    return f"""
    def test_long(luo):
        import time
        end = time.monotonic() + {seconds}
        while time.monotonic() < end:
            luo.create_session("again").close()
    """


class TestSsh(TargetContract):
    seconds = 600.0
    gone = End.SILENT

    @pytest.fixture
    def target(self, hosts: list[HostVm], tmp_path: Path) -> Iterator[Target]:
        for vm in hosts:
            vm.on()
        short = {**TIMEOUTS, "silence": 5, "boot": 120}
        file = target_file(tmp_path / "rack.yaml", [vm.settings() for vm in hosts], timeouts=short)
        setup = Setup.prepare(Options(KERNEL, target=str(file), run=tmp_path.name))
        self.load_of = setup.load
        yield setup.target
        for vm in hosts:
            vm.on()  # one that is off cannot be left clean
        setup.described.close()
        setup.described.finish()

    @pytest.fixture
    def load(self, target: Target) -> Load:
        return self.load_of()

    def vm_of(self, instance: Instance, hosts: list[HostVm]) -> HostVm:
        return next(vm for vm in hosts if vm.name == instance.host.name)  # type: ignore[attr-defined]

    @pytest.fixture(autouse=True)
    def known(self, hosts: list[HostVm]) -> None:
        self.hosts = hosts

    def kill(self, instance: Instance) -> None:
        self.vm_of(instance, self.hosts).off()

    def reset(self, instance: Instance, agent: Agent) -> None:
        self.vm_of(instance, self.hosts).reset()


def clean(vm: HostVm) -> None:
    """Nothing of ours is on a host: no kernel of a run, no process, no file, no loaded kernel."""
    assert at_home(vm).machine_id == vm.machine_id
    left = "ls -A /var/tmp | grep luo-cts; ls -l /proc/[0-9]*/exe 2>/dev/null | grep luo-cts; "
    assert on_host(vm, left + "grep luo-cts /proc/mounts; cat /sys/kernel/kexec_loaded") == "0\n"


def test_scenario_crosses_and_nothing_remains(vm: HostVm, tmp_path: Path) -> None:
    outcome = run(tmp_path, [vm.settings()], PLAIN + SCENARIO)
    assert outcome.verdicts == {"test_plain": "pass", "test_crosses": "pass"}
    assert outcome.status == 0
    consoles = sorted(path.name for path in (tmp_path / "report/console").iterdir())
    assert consoles == ["m0.0.log", "m0.1.log"]
    clean(vm)


def test_user_with_sudo_will_do(vm: HostVm, tmp_path: Path) -> None:
    outcome = run(tmp_path, [vm.settings(user="ci", sudo=True)], SCENARIO)
    assert outcome.verdicts == {"test_crosses": "pass"}
    clean(vm)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"allow_kexec": None}, "does not allow to kexec host1: nothing was done"),
        ({"machine_id": "0" * 32}, "and the target file says 00000000000000000000000000000000"),
        ({"user": "ci"}, "is not root there, and only root may kexec"),
        ({"user": "nobody-special", "sudo": True}, "may not use sudo there without a password"),
        ({"known_hosts": "/nonexistent"}, "does not know"),
        ({"key": "/nonexistent"}, "there is no key /nonexistent"),
        ({"user": "stranger"}, "does not let us in"),
    ],
    ids=["not allowed", "another machine", "not root", "no sudo", "unknown key", "no key", "stranger"],
)
def test_host_is_left_alone_unless_all_is_right(
    vm: HostVm, tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    boot = at_home(vm).boot_id
    outcome = run(tmp_path, [vm.settings(**change)], PLAIN)
    assert complaint in outcome.output
    assert outcome.status == 4
    assert at_home(vm).boot_id == boot


def test_changed_key_is_refused_even_where_unknown_ones_are_not(vm: HostVm, tmp_path: Path) -> None:
    boot = at_home(vm).boot_id
    wrong = tmp_path / "known_hosts"
    place, kind, _ = vm.known_hosts.read_text().split()
    wrong.write_text(f"{place} {kind} {vm.key.with_suffix('.pub').read_text().split()[1]}\n")
    for settings in ({"known_hosts": str(wrong)}, {"known_hosts": str(wrong), "unknown_keys": "accept"}):
        outcome = run(tmp_path / str(len(settings)), [vm.settings(**settings)], PLAIN)
        assert "shows the key ssh-ed25519 SHA256:" in outcome.output
        assert outcome.status == 4
    assert at_home(vm).boot_id == boot


def test_second_run_on_the_same_host_is_told(vm: HostVm, tmp_path: Path) -> None:
    second: list[Outcome] = []

    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path / "first", "test_long")
        second.append(run(tmp_path / "second", [vm.settings()], PLAIN))

    first = run(tmp_path / "first", [vm.settings()], part(FAR), meanwhile=meanwhile)
    assert first.verdicts == {"test_long": "pass"}
    assert "host1 is in use by process" in second[0].output
    assert second[0].status == 3


def test_network_clock_and_sshd_may_come_and_go(vm: HostVm, tmp_path: Path) -> None:
    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_long")
        on_host(vm, "systemctl restart ssh")
        on_host(vm, "date -s '+1 day'")
        vm.plug(connected=False)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(60)
        vm.plug(connected=True)

    outcome = run(tmp_path, [vm.settings()], part(FAR) + SCENARIO, meanwhile=meanwhile)
    assert outcome.verdicts == {"test_long": "pass", "test_crosses": "pass"}


def test_death_in_a_half_is_the_tests_own_and_the_rest_goes_on(vm: HostVm, tmp_path: Path) -> None:
    code = """
    def test_panics(luo):
        luo.actor.write_file("/proc/sysrq-trigger", b"c")

    def test_resets(luo):
        luo.actor.write_file("/proc/sysrq-trigger", b"b")
    """
    outcome = run(tmp_path, [vm.settings()], code + PLAIN + SCENARIO)
    assert outcome.verdicts == {
        "test_panics": "failure",
        "test_resets": "failure",
        "test_plain": "pass",
        "test_crosses": "pass",
    }
    assert "kernel panic" in outcome.message("test_panics")
    assert "sysrq triggered crash" in outcome.message("test_panics"), "from pstore"
    assert "unexpected reboot" in outcome.message("test_resets")
    assert outcome.status == 1
    clean(vm)


def test_kernels_that_do_not_come_back(vm: HostVm, tmp_path: Path) -> None:
    code = """
    @pytest.mark.alone
    def test_panics_on_its_way(luo):
        yield Kexec(cmdline="root=/dev/nowhere")

    @pytest.mark.alone
    def test_hangs(luo):
        yield Kexec(cmdline="root=/dev/nowhere rootwait")

    @pytest.mark.alone
    def test_comes_back_with_the_hosts_own(luo):
        restart = lambda: luo.actor.syscall(
            "reboot", uapi.LINUX_REBOOT_MAGIC1, uapi.LINUX_REBOOT_MAGIC2, 0x1234567, 0)
        yield Kexec(before_jump=restart)

    @pytest.mark.alone
    def test_comes_back_twice(luo):
        yield Kexec(cmdline="systemd.unit=reboot.target")
    """
    outcome = run(tmp_path, [vm.settings()], code + SCENARIO)
    assert set(outcome.verdicts.values()) == {"failure", "pass"}
    assert outcome.verdicts["test_crosses"] == "pass"
    assert "kernel panic" in outcome.message("test_panics_on_its_way")
    assert "no output" in outcome.message("test_hangs")
    assert "brought back" in outcome.cases["test_hangs"].result[0].text
    assert "unexpected reboot" in outcome.message("test_comes_back_with_the_hosts_own")
    assert "unexpected reboot" in outcome.message("test_comes_back_twice")
    assert outcome.status == 1


def test_full_disk_is_said_and_loses_nothing(vm: HostVm, tmp_path: Path) -> None:
    at_home(vm)
    on_host(vm, "mkdir -p /small && mount -t tmpfs -o size=4M none /small")
    outcome = run(tmp_path, [vm.settings(directory="/small")], PLAIN)
    assert "the disk of host1 is full: /small has no room for a kernel" in outcome.output
    assert outcome.status == 3
    assert on_host(vm, "ls -A /small") == ""


def test_host_that_stays_dead_is_one_error_and_its_tests_are_not_run(vm: HostVm, tmp_path: Path) -> None:
    settings = vm.settings()
    settings["power"] = {"cycle": settings["power"]["off"]}
    code = """
    def test_dies(luo):
        import time
        time.sleep(120)
        luo.create_session("x")
    """

    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_dies")
        vm.off()

    settings["timeouts"] = {**TIMEOUTS, "silence": 5, "boot": 60}
    outcome = run(tmp_path, [settings], code + PLAIN + SCENARIO, meanwhile=meanwhile)
    assert outcome.verdicts == dict.fromkeys(("test_dies", "test_plain", "test_crosses", "setup"), "error")
    assert "host dead" in outcome.message("test_dies")
    for name in ("test_plain", "test_crosses"):
        assert "not run: no host is left: host1 stays dead" in outcome.message(name)
        assert "it was power-cycled" in outcome.message(name)
    assert outcome.status == 3
    vm.on()
    assert "luo-cts" in on_host(vm, "ls /var/tmp"), "nothing can be removed from a host without power"
    assert run(tmp_path / "next", [vm.settings()], PLAIN).verdicts == {"test_plain": "pass"}
    clean(vm)


def test_interrupted_run_leaves_nothing(vm: HostVm, tmp_path: Path) -> None:
    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_long")
        process.send_signal(signal.SIGINT)

    outcome = run(tmp_path, [vm.settings()], part(SECONDS), meanwhile=meanwhile)
    assert outcome.status == 2
    clean(vm)


def test_work_of_a_dead_host_moves_to_another(hosts: list[HostVm], tmp_path: Path) -> None:
    for vm in hosts:
        vm.on()
    settings = [vm.settings() for vm in hosts]
    for each in settings:
        each["power"] = {"cycle": each["power"]["off"]}
        each["timeouts"] = {**TIMEOUTS, "silence": 5, "boot": 60}
    code = """
    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.alone
    def test_alone(luo, number):
        luo.create_session("x")
    """

    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_alone")
        hosts[1].off()

    outcome = run(tmp_path, settings, code + SCENARIO, "-n", "2", meanwhile=meanwhile)
    errors = [name for name, verdict in outcome.verdicts.items() if verdict != "pass"]
    assert len(errors) <= 1, "at most the one that was on it"
    assert len(outcome.verdicts) == 5
