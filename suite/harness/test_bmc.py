# SPDX-License-Identifier: GPL-2.0-only
"""A host's power by its management controller: OpenIPMI's simulator, and an emulator of a Redfish service."""

import datetime
import ipaddress
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.targets.power import Power, switch
from kernel.errors import LuoCtsError
from suite.harness.nested import wait_for

HOST = "27946b59-9e44-4fa7-8e91-f3527a1ef094"  # the system that the emulator has by default
OTHER = "11111111-9e44-4fa7-8e91-f3527a1ef094"

# Its own hardware takes up to eleven seconds, by chance.
_EMULATOR = """
import random
random.randint = lambda least, most: 0
from sushy_tools.emulator.main import main
main()
"""

_LAN = """\
name "bmc"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 {port}
  priv_limit admin
  allowed_auths_admin md5
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "{directory}/chassis"
user 2 true "ci" "secret" admin 10 md5
"""
_CONTROLLER = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""
# What the simulator has its chassis do: "get power", or "set" and pairs of a thing and a value.
_CHASSIS = """\
#!/bin/sh
cd {directory}
if [ "$1" = get ]; then
    echo "power:$(cat power)"
else
    echo "$2 $3" >>said
    if [ "$2" = power ]; then echo "$3" >power; fi
fi
"""


@pytest.fixture
def password(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("secret\n")
    return str(file)


def made(settings: dict[str, object], seconds: float = 30) -> Power:
    found = switch("rack1", settings, seconds)
    assert found is not None
    return found


# IPMI


@pytest.fixture
def ipmi(tmp_path: Path) -> Iterator[int]:
    """The UDP port of a management controller of a host that is on."""
    if shutil.which("ipmi_sim") is None:
        pytest.skip("there is no ipmi_sim (apt-get install openipmi)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (tmp_path / "lan.conf").write_text(_LAN.format(port=port, directory=tmp_path))
    (tmp_path / "controller").write_text(_CONTROLLER)
    (tmp_path / "chassis").write_text(_CHASSIS.format(directory=tmp_path))
    (tmp_path / "chassis").chmod(0o755)
    (tmp_path / "power").write_text("1\n")
    state = tmp_path / "state"
    state.mkdir()
    process = subprocess.Popen(
        ["ipmi_sim", "-c", tmp_path / "lan.conf", "-f", tmp_path / "controller", "-s", state, "-n"],
        stdin=subprocess.DEVNULL,
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: _bound(port) or process.poll() is not None, "ipmi_sim")
    assert process.poll() is None, (tmp_path / "log").read_text()
    yield port
    process.kill()
    process.wait()


def _bound(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_ipmi_switches_the_power(ipmi: int, password: str, tmp_path: Path) -> None:
    bmc = {"address": "127.0.0.1", "port": ipmi, "user": "ci", "password_file": password}
    power = made({"ipmi": bmc})
    power.off()
    power.cycle()  # on, as it was off
    power.cycle()
    power.on()  # which it is
    assert (tmp_path / "said").read_text().split("\n") == ["power 0", "power 1", "reset 1", ""]


def test_ipmi_says_why_not(ipmi: int, password: str, tmp_path: Path) -> None:
    bmc = {"address": "127.0.0.1", "port": ipmi, "user": "ci", "password_file": password}
    Path(password).write_text("wrong")
    with pytest.raises(LuoCtsError, match="IPMI does not set the power of rack1 to on: Incorrect password"):
        made({"ipmi": bmc}).on()
    with pytest.raises(LuoCtsError, match="the password file /nonexistent cannot be read"):
        made({"ipmi": {**bmc, "password_file": "/nonexistent"}}).off()
    with pytest.raises(LuoCtsError, match="IPMI does not set the power of rack1 to off: no answer"):
        made({"ipmi": {**bmc, "port": 9}}).off()
    assert not (tmp_path / "said").exists()


# Redfish


@pytest.fixture(scope="module")
def redfish(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The TCP port of a Redfish service with two hosts that are off, and its certificate."""
    directory = tmp_path_factory.mktemp("redfish")
    _certify(directory)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    systems = [
        {"uuid": uuid, "name": name, "power_state": "Off", "external_notifier": False, "nics": []}
        for uuid, name in ((HOST, "host"), (OTHER, "other"))
    ]
    (directory / "settings").write_text(
        f"SUSHY_EMULATOR_STATE_DIR = {str(directory)!r}\n"
        f"SUSHY_EMULATOR_AUTH_FILE = {str(directory / 'users')!r}\n"
        f"SUSHY_EMULATOR_FAKE_SYSTEMS = {systems!r}\n"
    )
    (directory / "users").write_text(f"ci:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    process = subprocess.Popen(
        [
            sys.executable, "-c", _EMULATOR, "--fake", "-i", "127.0.0.1", "-p", str(port),
            "--config", directory / "settings",
            "--ssl-certificate", directory / "certificate", "--ssl-key", directory / "key",
        ],
        stdin=subprocess.DEVNULL,
        stdout=(directory / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(lambda: _listens(port) or process.poll() is not None, "the Redfish service")
    assert process.poll() is None, (directory / "log").read_text()
    yield port, directory / "certificate"
    process.kill()
    process.wait()


def _certify(directory: Path) -> None:
    """Make a key and a certificate of this machine's that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bmc")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_redfish_switches_the_power(redfish: tuple[int, Path], password: str) -> None:
    port, certificate = redfish
    service = {"address": f"127.0.0.1:{port}", "user": "ci", "password_file": password}
    power = made({"redfish": {**service, "authorities": str(certificate), "system": HOST}})
    # It may write in colours.
    done = re.compile(r'/ComputerSystem\.Reset HTTP/1\.1\S*" 204')
    log = certificate.with_name("log")
    before = len(done.findall(log.read_text()))
    for verb in (power.cycle, power.off, power.on, power.cycle):
        verb()
    assert len(done.findall(log.read_text())) == before + 4


def test_redfish_says_why_not(redfish: tuple[int, Path], password: str) -> None:
    port, certificate = redfish
    service = {"address": f"127.0.0.1:{port}", "user": "ci", "password_file": password, "system": HOST}
    known = {**service, "authorities": str(certificate)}
    with pytest.raises(LuoCtsError, match=r"https://127.0.0.1:\d+ has .*, and none called rack1"):
        made({"redfish": {**known, "system": "rack1"}}).on()
    with pytest.raises(
        LuoCtsError, match=rf"has {HOST}, {OTHER} \(redfish: {{system: …}}\)|has {OTHER}, {HOST}"
    ):
        made({"redfish": {key: value for key, value in known.items() if key != "system"}}).on()
    Path(password).write_text("wrong")
    with pytest.raises(LuoCtsError, match=r"does not do 'power on' of rack1: .*Invalid credentials"):
        made({"redfish": known}).on()


def test_redfish_refuses_unknown_certificates_unless_told(redfish: tuple[int, Path], password: str) -> None:
    port, _ = redfish
    service = {"address": f"127.0.0.1:{port}", "user": "ci", "password_file": password, "system": HOST}
    with pytest.raises(LuoCtsError, match=r"does not do 'power off' of rack1: .*CERTIFICATE_VERIFY_FAILED"):
        made({"redfish": service}).off()
    made({"redfish": {**service, "unknown_certificates": "accept"}}).off()
