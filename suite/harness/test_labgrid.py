# SPDX-License-Identifier: GPL-2.0-only
"""Target ``labgrid`` up to its first jump: places of a real coordinator, whose host is this machine."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.deadline import Deadline
from fixtures.targets import configuration, power
from fixtures.targets.hosts import Host
from fixtures.targets.kmsg import Kmsg
from fixtures.targets.places import PlacesConfiguration
from fixtures.targets.ssh import Ssh
from kernel import cache
from kernel.arch import native
from kernel.errors import LuoCtsError, UsageError
from suite.harness import local_labgrid, local_sshd, nested
from suite.harness.local_labgrid import JOE, LocalLabgrid, Outlet
from suite.harness.local_sshd import LocalSshd
from suite.harness.nested import ROOT, wait_for

HOLDER = """
import sys, time
from fixtures.targets import configuration
configuration.load(sys.argv[1], "interrupted").prepare()
print("taken", flush=True)
time.sleep(600)
"""

CLOSED = 9  # discard(RFC 863), where nobody listens


@dataclass(frozen=True)
class Lab:
    labgrid: LocalLabgrid
    server: LocalSshd
    outlet: Outlet
    line: int  # the host's end of rack3's serial line

    def rack1(self, **more: Any) -> dict[str, Any]:
        """What a target file says of the place whose host is this machine."""
        host = self.server.host()
        said = {
            "place": "rack1",
            "machine_id": host.machine_id,
            "allow_kexec": True,
            "key": str(host.way.key),
            "known_hosts": str(host.way.known_hosts),
        }
        return {**said, **more}

    def off(self, number: int) -> dict[str, Any]:
        """The same of one whose host is switched off."""
        return {"place": f"rack{number}", "machine_id": str(number) * 32, "allow_kexec": True}

    def file(self, directory: Path, *places: dict[str, Any], **more: Any) -> Path:
        path = directory / "lab.yaml"
        said = {"kind": "labgrid", "coordinator": self.labgrid.address, "places": list(places), **more}
        path.write_text(yaml.safe_dump(said))
        return path

    def load(self, directory: Path, *places: dict[str, Any], **more: Any) -> PlacesConfiguration:
        found = configuration.load(str(self.file(directory, *places, **more)), f"lab-{directory.name}")
        assert isinstance(found, PlacesConfiguration)
        return found


@pytest.fixture(scope="module")
def whole_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if why := local_sshd.missing():
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("lab")
    outlet = Outlet()
    line, terminal = pty.openpty()
    tty.setraw(terminal)
    with local_sshd.running(directory) as server:
        resources = {
            "rack1": {
                "NetworkService": {"address": "127.0.0.1", "port": server.port, "username": "root"},
                "NetworkPowerPort": outlet.resource,
            },
            "rack2": {
                "NetworkService": {"address": "127.0.0.1", "port": CLOSED, "username": "ci"},
                "NetworkSerialPort": {"host": "conserver", "port": 4001, "protocol": "raw"},
            },
            "rack3": {"RawSerialPort": {"port": os.ttyname(terminal), "speed": 9600}},
        }
        tags = {place: {"board": "server"} for place in ("rack1", "rack2")}
        with local_labgrid.running(directory / "labgrid", resources, tags) as labgrid:
            yield Lab(labgrid, server, outlet, line)
    outlet.close()
    for end in (line, terminal):
        os.close(end)


@pytest.fixture
def lab(whole_lab: Lab) -> Iterator[Lab]:
    """Nobody has any of its places, before a test and after it."""
    yield whole_lab
    holders, queue = whole_lab.labgrid.holders(), whole_lab.labgrid.queue()
    for place in holders:
        whole_lab.labgrid.client("-p", place, "release", "--kick")
    assert (holders, queue) == ({}, [])


def hosts_of(directory: Path) -> Sequence[Host]:
    """The hosts as another process of the run in ``directory`` finds them."""
    data = yaml.safe_load((directory / "lab.yaml").read_text())
    target = PlacesConfiguration(data, f"lab-{directory.name}").target(native(), "", ())
    assert isinstance(target, Ssh)
    return target.rack.hosts


def test_place_is_a_host_of_target_ssh_until_the_run_ends(lab: Lab, tmp_path: Path) -> None:
    # What the file says goes before what the place says.
    own = {"name": "second", "user": "admin", "power": {"cycle": "true"}}
    places = (lab.rack1(), {**lab.off(2), **own})
    described = lab.load(tmp_path, *places, defaults={"timeouts": {"boot": 77}})
    assert described.machines == 2
    described.prepare()
    assert set(lab.labgrid.holders()) == {"rack1", "rack2"}
    first, second = hosts_of(tmp_path)
    assert (first.name, str(first.way)) == ("rack1", f"root@127.0.0.1:{lab.server.port}")
    assert first.timeouts.boot == 77
    assert not first.console
    assert (second.name, str(second.way)) == ("second", f"admin@127.0.0.1:{CLOSED}")
    assert (second.power, second.console) == (own["power"], {"tcp": "conserver:4001"})
    described.close()
    described.finish()
    assert not lab.labgrid.holders()
    assert not list((cache.root() / "places").glob(f"lab-{tmp_path.name}*"))


def test_power_is_switched_by_the_place_while_it_is_ours(lab: Lab, tmp_path: Path) -> None:
    described = lab.load(tmp_path, lab.rack1())
    described.prepare()
    (host,) = hosts_of(tmp_path)
    switch = power.switch(host.name, host.power, 60)
    assert switch is not None
    lab.outlet.states.clear()
    switch.off()
    switch.cycle()
    assert lab.outlet.states == ["0", "0", "1"]
    described.finish()
    # Whoever has it next is left alone, be it the same person.
    lab.labgrid.client("-p", "rack1", "acquire")
    with pytest.raises(LuoCtsError, match=r"'power cycle' of rack1, place rack1: .*matches nothing"):
        switch.cycle()
    lab.labgrid.client("-p", "rack1", "release")
    assert len(lab.outlet.states) == 3


@pytest.mark.skipif(
    not Path("/usr/sbin/ser2net").exists(), reason="there is no ser2net (apt-get install ser2net)"
)
def test_console_is_heard_through_the_exporter(lab: Lab, tmp_path: Path) -> None:
    described = lab.load(tmp_path, {**lab.off(3), "address": "127.0.0.1", "port": CLOSED})
    described.prepare()
    (host,) = hosts_of(tmp_path)
    assert host.console["serial"].startswith("rfc2217://127.0.0.1:")
    assert host.console["speed"] == 9600
    here, printer = socket.socketpair()
    kmsg = Kmsg(printer)
    kmsg.follow_serial(host.console["serial"], host.console["speed"])
    here.settimeout(60)
    words = b"[    1.000000] Kernel panic - not syncing: \xff\r\n" * 50
    os.write(lab.line, words)
    said = b""
    while len(said) < len(words):
        said += here.recv(1 << 16)
    assert said == words
    kmsg.close()
    here.close()
    # It has nothing else.
    switch = power.switch(host.name, host.power, 60)
    assert switch is not None
    with pytest.raises(LuoCtsError, match=r"'power on' of rack3, place rack3: .* says: target has no"):
        switch.on()
    described.finish()


def test_place_that_somebody_else_has_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    lab.labgrid.client("-p", "rack1", "acquire", who=JOE)
    lab.outlet.states.clear()
    target = lab.file(tmp_path, lab.rack1())
    outcome = nested.run(tmp_path, "def test_it(luo):\n    pass\n", "--target", str(target))
    assert outcome.status == 3
    sentence = f"cannot give us the place rack1: the place rack1 is acquired by {JOE}"
    assert sentence in outcome.output
    assert lab.labgrid.holders() == {"rack1": JOE}
    assert not lab.labgrid.queue()
    assert lab.outlet.states == []
    lab.labgrid.client("-p", "rack1", "release", who=JOE)


def test_place_that_somebody_else_reserved_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    token = lab.labgrid.client("reserve", "--shell", "name=rack1", who=JOE).partition("=")[2].strip()
    with pytest.raises(LuoCtsError, match=f"the place rack1 is reserved by {JOE}"):
        lab.load(tmp_path, lab.rack1()).prepare()
    lab.labgrid.client("cancel-reservation", token)


def test_place_is_waited_for(lab: Lab, tmp_path: Path) -> None:
    lab.labgrid.client("-p", "rack1", "acquire", who=JOE)
    with pytest.raises(
        LuoCtsError, match=f"cannot give us the place rack1 after 1 s: the place rack1 is acquired by {JOE}"
    ):
        lab.load(tmp_path, lab.rack1(), wait=1).prepare()
    described = lab.load(tmp_path, lab.rack1(), wait=300)
    taking = threading.Thread(target=described.prepare)
    taking.start()
    wait_for(lambda: lab.labgrid.queue() != [], "a reservation", 60)
    lab.labgrid.client("-p", "rack1", "release", who=JOE)
    taking.join(60)
    assert set(lab.labgrid.holders()) == {"rack1"}
    assert lab.labgrid.holders() != {"rack1": JOE}
    described.finish()


def test_of_places_with_a_tag_a_free_one_is_taken(lab: Lab, tmp_path: Path) -> None:
    lab.labgrid.client("-p", "rack1", "acquire", who=JOE)
    reserve = {"tags": {"board": "server"}}
    described = lab.load(tmp_path, lab.rack1(), lab.off(2), reserve=reserve)
    assert described.machines == 1
    described.prepare()
    assert lab.labgrid.holders().keys() - {"rack1"} == {"rack2"}
    described.finish()
    # One that the file does not list is given back as it was.
    with pytest.raises(UsageError, match="gave us the place rack2, which the target file does not list"):
        lab.load(tmp_path, lab.rack1(), reserve=reserve).prepare()
    with pytest.raises(
        LuoCtsError, match=f"cannot give us a place with board=desk: .*rack1 is acquired by {JOE}"
    ):
        lab.load(tmp_path, lab.rack1(), reserve={"tags": {"board": "desk"}}).prepare()
    lab.labgrid.client("-p", "rack1", "release", who=JOE)


def test_of_two_places_none_is_kept_when_one_is_not_to_be_had(lab: Lab, tmp_path: Path) -> None:
    lab.labgrid.client("-p", "rack2", "acquire", who=JOE)
    with pytest.raises(LuoCtsError, match=f"the place rack2 is acquired by {JOE}"):
        lab.load(tmp_path, lab.rack1(), lab.off(2)).prepare()
    assert lab.labgrid.holders() == {"rack2": JOE}
    lab.labgrid.client("-p", "rack2", "release", who=JOE)


def test_another_machine_behind_a_place_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"says 1{32}: nothing was done"):
        lab.load(tmp_path, lab.rack1(machine_id="1" * 32)).prepare()


def test_unknown_place_and_wrong_files_are_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no place rack4 \(it has rack1, rack2, rack3\)"):
        lab.load(tmp_path, lab.rack1(place="rack4")).prepare()
    with pytest.raises(UsageError, match=r"the place rack3 of .* has no NetworkService"):
        lab.load(tmp_path, lab.off(3)).prepare()
    with pytest.raises(UsageError, match="does not allow to kexec rack1: nothing was done"):
        lab.load(tmp_path, lab.rack1(allow_kexec=False))
    with pytest.raises(UsageError, match="the place rack1 is listed twice"):
        lab.load(tmp_path, lab.rack1(), lab.rack1())
    with pytest.raises(UsageError, match=r"places\.0: 'place' is a required property"):
        lab.load(tmp_path, {"machine_id": "1" * 32})


def test_interrupted_run_gives_its_place_back(lab: Lab, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lab.file(tmp_path, lab.rack1()))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=nested.interruptible,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"taken\n"
    assert set(lab.labgrid.holders()) == {"rack1"}
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert not lab.labgrid.holders()


def test_interrupted_wait_leaves_the_queue(lab: Lab, tmp_path: Path) -> None:
    lab.labgrid.client("-p", "rack1", "acquire", who=JOE)
    target = lab.file(tmp_path, lab.rack1(), wait=600)

    def meanwhile(process: "subprocess.Popen[str]") -> None:
        wait_for(lambda: lab.labgrid.queue() != [], "a reservation", 60)
        process.send_signal(signal.SIGINT)

    outcome = nested.supervise(
        tmp_path, "def test_it(luo):\n    pass\n", "--target", str(target), meanwhile=meanwhile
    )
    assert outcome.status == 2
    assert not lab.labgrid.queue()
    lab.labgrid.client("-p", "rack1", "release", who=JOE)


def test_lost_coordinator_is_said_where_it_is_needed(
    whole_lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources = {
        "rack1": {
            "NetworkService": {"address": "127.0.0.1", "port": whole_lab.server.port, "username": "root"},
            "NetworkPowerPort": whole_lab.outlet.resource,
        }
    }
    with local_labgrid.running(tmp_path / "labgrid", resources) as labgrid:
        lab = Lab(labgrid, whole_lab.server, whole_lab.outlet, -1)
        described = lab.load(tmp_path, lab.rack1())
        described.prepare()
        labgrid.lose_coordinator()
        gone = f"the labgrid coordinator {labgrid.address} does not answer"
        (host,) = hosts_of(tmp_path)
        switch = power.switch(host.name, host.power, 60)
        assert switch is not None
        took = Deadline(60)
        with pytest.raises(LuoCtsError, match=f"'power cycle' of rack1, place rack1: {gone}"):
            switch.cycle()
        described.finish()
        assert f"the place rack1 is not given back: {gone}" in capsys.readouterr().err
        with pytest.raises(LuoCtsError, match=gone):
            lab.load(tmp_path / "labgrid", lab.rack1()).prepare()
        assert not took.expired


def test_silent_coordinator_is_not_waited_for_forever(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        settings = {"coordinator": f"127.0.0.1:{mute.getsockname()[1]}", "place": "rack1"}
        switch = power.switch("rack1", {"labgrid": settings}, 1)
        assert switch is not None
        with pytest.raises(LuoCtsError, match="has not ended for 1 s"):
            switch.on()


def test_example_is_right_but_for_the_permission() -> None:
    with pytest.raises(UsageError, match="does not allow to kexec rack1: nothing was done"):
        configuration.load("labgrid")
