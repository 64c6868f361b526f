# SPDX-License-Identifier: GPL-2.0-only
"""Target ``labgrid`` on a virtual machine that plays the host of a place: the coordinator has its address,
its console and its power switch."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernel.kernel import obtain
from suite.harness import local_labgrid
from suite.harness.local_labgrid import LocalLabgrid, Outlet
from suite.harness.nested import Outcome
from suite.harness.ssh_hosts import KERNEL, SECONDS, TIMEOUTS, at_home, on_host, run_on, under_way
from suite.harness.test_ssh_hosts import PLAIN, SCENARIO, part
from suite.hosts.vm import HostVm

pytestmark = pytest.mark.hosts

HANGS = """
    def test_hangs(luo):
        luo.actor.write_file("/proc/sys/kernel/panic", b"0")
        luo.actor.write_file("/proc/sysrq-trigger", b"c")
"""


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostVm]:
    made = HostVm("host1", tmp_path_factory.mktemp("hosts") / "host1", obtain(KERNEL).image)
    made.on()
    yield made
    made.close()


@pytest.fixture
def labgrid(vm: HostVm, tmp_path: Path) -> Iterator[LocalLabgrid]:
    """It has the host as place rack1."""
    outlet = Outlet(lambda on: vm.on() if on else vm.off())
    resources = {
        "rack1": {
            "NetworkService": {"address": "127.0.0.1", "port": vm.port, "username": "root"},
            "NetworkSerialPort": {"host": "127.0.0.1", "port": vm.console_port, "protocol": "raw"},
            "NetworkPowerPort": outlet.resource,
        }
    }
    with local_labgrid.running(tmp_path / "labgrid", resources) as made:
        yield made
    outlet.close()


def run(
    directory: Path,
    labgrid: LocalLabgrid,
    vm: HostVm,
    code: str,
    meanwhile: Callable[["subprocess.Popen[str]"], None],
    **more: Any,
) -> Outcome:
    """Run ``code`` as a suite on the place; what a place tells is not in its file, but for ``more``."""
    told = ("name", "address", "port", "user", "power")
    said: dict[str, Any] = {key: value for key, value in vm.settings().items() if key not in told}
    file = directory / "lab.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "kind": "labgrid",
                "coordinator": labgrid.address,
                "reserve": {"tags": {"name": "rack1"}},
                "defaults": {"timeouts": TIMEOUTS},
                "places": [{"place": "rack1", **said, **more}],
            }
        )
    )
    return run_on(file, directory, code, meanwhile=meanwhile)


def given_back(labgrid: LocalLabgrid, vm: HostVm) -> None:
    """Assert that nobody has the place, and that nothing of a run is on its host."""
    assert (labgrid.holders(), labgrid.queue()) == ({}, [])
    at_home(vm)
    assert on_host(vm, "ls /var/tmp | grep luo-cts || true") == ""


def test_suite_runs_on_a_place(vm: HostVm, labgrid: LocalLabgrid, tmp_path: Path) -> None:
    holders: list[dict[str, str]] = []

    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_plain")
        holders.append(labgrid.holders())

    outcome = run(tmp_path, labgrid, vm, PLAIN + SCENARIO + HANGS, meanwhile)
    assert outcome.verdicts == {"test_plain": "pass", "test_crosses": "pass", "test_hangs": "failure"}
    assert [set(each) for each in holders] == [{"rack1"}]
    # The console has said so at once, before the place's switch brought the host back.
    assert "sysrq triggered crash" in outcome.message("test_hangs")
    assert outcome.status == 1
    consoles = sorted((outcome.directory / "console").glob("m*.log"))
    assert any("Linux version" in log.read_text(errors="replace") for log in consoles)
    given_back(labgrid, vm)


def test_interrupted_run_gives_its_place_back(vm: HostVm, labgrid: LocalLabgrid, tmp_path: Path) -> None:
    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_long")
        process.send_signal(signal.SIGINT)

    outcome = run(tmp_path, labgrid, vm, part(SECONDS), meanwhile)
    assert outcome.status == 2
    given_back(labgrid, vm)


def test_coordinator_that_is_gone_is_missed_only_where_it_is_needed(
    vm: HostVm, labgrid: LocalLabgrid, tmp_path: Path
) -> None:
    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_long")
        labgrid.lose_coordinator()

    code = part(5) + PLAIN + SCENARIO
    outcome = run(tmp_path, labgrid, vm, code, meanwhile)
    assert outcome.verdicts == dict.fromkeys(("test_long", "test_plain", "test_crosses"), "pass")
    gone = f"the labgrid coordinator {labgrid.address} does not answer"
    assert f"the place rack1 is not given back: {gone}" in outcome.output
    assert outcome.status == 0


def test_coordinator_that_is_gone_cannot_bring_a_host_back(
    vm: HostVm, labgrid: LocalLabgrid, tmp_path: Path
) -> None:
    def meanwhile(process: "subprocess.Popen[str]") -> None:
        under_way(tmp_path, "test_long")
        labgrid.lose_coordinator()

    console = {"serial": f"socket://127.0.0.1:{vm.console_port}"}
    timeouts = {**TIMEOUTS, "silence": 5, "boot": 60}
    code = part(5) + HANGS + PLAIN
    outcome = run(tmp_path, labgrid, vm, code, meanwhile, console=console, timeouts=timeouts)
    gone = f"'power cycle' of rack1, place rack1: the labgrid coordinator {labgrid.address} does not answer"
    errors = {"test_plain": "error", "setup": "error"}
    assert outcome.verdicts == {"test_long": "pass", "test_hangs": "failure", **errors}
    assert "sysrq triggered crash" in outcome.message("test_hangs"), "from the serial console"
    assert "not run: no host is left: rack1 stays dead" in outcome.message("test_plain")
    assert gone in outcome.message("test_plain")
    assert outcome.status == 1, "the kernel's panic"
    vm.cycle()
