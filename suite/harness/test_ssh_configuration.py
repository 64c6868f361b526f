# SPDX-License-Identifier: GPL-2.0-only
"""What a target file of real hosts may say, and what it may not be without."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.targets import configuration, power
from fixtures.targets.hosts import MARK, SCHEMA, Cmdline, Host, parse
from fixtures.targets.kmsg import stamped
from fixtures.targets.ssh_configuration import SshConfiguration
from kernel.errors import LuoCtsError, UsageError

ID = "0123456789abcdef0123456789abcdef"
RACK1: dict[str, Any] = {"address": "rack1.example", "machine_id": ID, "allow_kexec": True}


def loaded(tmp_path: Path, *hosts: dict[str, Any], **rest: Any) -> tuple[Host, ...]:
    path = tmp_path / "rack.yaml"
    path.write_text(yaml.safe_dump({"kind": "ssh", "hosts": list(hosts), **rest}))
    found = configuration.load(str(path), "run")
    assert isinstance(found, SshConfiguration)
    return tuple(found.hosts)


def test_defaults_hold_for_hosts_that_do_not_say_otherwise(tmp_path: Path) -> None:
    second = {**RACK1, "address": "rack2.example", "machine_id": ID[::-1], "user": "ci"}
    hosts = loaded(tmp_path, RACK1, second, defaults={"user": "root", "port": 2222, "key": "~/key"})
    assert [str(host.way) for host in hosts] == ["root@rack1.example:2222", "ci@rack2.example:2222"]
    assert hosts[0].way.key == Path("~/key").expanduser()
    assert hosts[0].name == "rack1.example"
    assert hosts[0].way.unknown_keys == "refuse"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"allow_kexec": None}, "does not allow to kexec rack1.example: nothing was done"),
        ({"allow_kexec": False}, "does not allow to kexec rack1.example: nothing was done"),
        ({"machine_id": None}, "does not say the machine-id of rack1.example: nothing was done"),
        ({"machine_id": "rack1"}, r"hosts\.0\.machine_id: 'rack1' does not match"),
        ({"address": None}, "a host has no address"),
        ({"port": 70000}, r"hosts\.0\.port: 70000 is greater than"),
        ({"allow_kexek": True}, "allow_kexek"),
        ({"power": {"off": "x"}}, r"hosts\.0\.power"),
        ({"console": {"command": "x", "serial": "y"}}, r"hosts\.0\.console"),
        ({"console": {"tcp": "conserver"}}, r"hosts\.0\.console"),
        ({"power": {"redfish": {"user": "x"}}}, r"hosts\.0\.power"),
        ({"timeouts": {"boot": 0}}, r"hosts\.0\.timeouts\.boot"),
        ({"name": "a/b"}, r"hosts\.0\.name"),
    ],
)
def test_wrong_file_is_refused_with_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    host = {key: value for key, value in {**RACK1, **change}.items() if value is not None}
    with pytest.raises(UsageError, match=complaint):
        loaded(tmp_path, host)


def test_one_host_cannot_be_listed_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two hosts have the machine-id"):
        loaded(tmp_path, RACK1, {**RACK1, "name": "alias"})
    with pytest.raises(UsageError, match="two hosts are called rack1"):
        loaded(tmp_path, RACK1, {**RACK1, "machine_id": ID[::-1]})


def test_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("kind: telnet\n")
    with pytest.raises(UsageError, match="kind: telnet"):
        configuration.load(str(path))
    path.write_text("- a list\n")
    with pytest.raises(UsageError, match="kind: None"):
        configuration.load(str(path))


def test_example_is_right_but_for_the_permission() -> None:
    path = configuration.DIRECTORY / "ssh.yaml"
    with pytest.raises(UsageError, match="does not allow to kexec rack1: nothing was done"):
        configuration.load("ssh")
    data = yaml.safe_load(path.read_text())
    data["hosts"][0]["allow_kexec"] = True
    (host,) = parse(data)
    assert host.machine_id == ID
    assert set(SCHEMA["properties"]["defaults"]["properties"]) == (
        set(data["defaults"]) | set(data["hosts"][0]) | {"sudo", "jump"}
    ), "the example shows every setting"


def test_command_line_comes_from_the_host_and_not_from_an_earlier_run() -> None:
    cmdline = Cmdline(("BOOT_IMAGE=*", "initrd=*", "quiet", "crashkernel=*"), "console=ttyS1")
    own = "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro quiet crashkernel=256M"
    made = cmdline.of(own)
    assert made == "root=/dev/sda1 ro console=ttyS1"
    assert cmdline.of(f"{own} {MARK}run panic=-1 quiet kho=on") == made


def test_lines_of_pstore_and_journal_are_found_with_their_times() -> None:
    text = """\
Panic#1 Part1
<6>[   12.345678] luo: something
<0>[   13.000001][  T123] Kernel panic - not syncing: sysrq triggered crash
[   11.000000] kernel: from the journal
no stamp
"""
    assert list(stamped(text)) == [
        (12.345678, "luo: something"),
        (13.000001, "Kernel panic - not syncing: sysrq triggered crash"),
        (11.0, "from the journal"),
    ]


def test_power_commands_are_run_and_their_failure_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = power.switch("rack1", {"on": f"echo on >>{log}", "off": f"echo off >>{log}"}, 10)
    assert both is not None
    both.on()
    both.off()
    assert log.read_text() == "on\noff\n"
    one = power.switch("rack1", {"cycle": "echo no such outlet >&2; exit 3"}, 10)
    assert one is not None
    for verb in (one.cycle, one.on):
        with pytest.raises(LuoCtsError, match="of rack1 ended with status 3: no such outlet"):
            verb()
    with pytest.raises(LuoCtsError, match="no command for 'power off' of rack1"):
        one.off()
    slow = power.switch("rack1", {"cycle": "sleep 60"}, 0.1)
    assert slow is not None
    with pytest.raises(LuoCtsError, match="has not ended"):
        slow.cycle()
    assert power.switch("rack1", {}, 10) is None
