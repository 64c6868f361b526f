# SPDX-License-Identifier: GPL-2.0-only
"""A container, as Kubernetes has them run: a process of it owns a session, and the next one claims it."""

import json
from collections.abc import Sequence

import pytest

from fixtures.deadline import Deadline
from fixtures.luo import DEVICE, Luo
from fixtures.scenario import KEXEC
from suite.clients.ledger import Told
from suite.clients.userland import DIRECTORY, Running, Userland
from suite.scenario import Scenario

pytestmark = pytest.mark.clients

BUNDLE = f"{DIRECTORY}/bundle"
INSIDE = "/mnt"  # where a container sees DIRECTORY


class Runtime:
    """crun, with one bundle: the machine's own files, read-only, with processes and network of its own."""

    def __init__(self, userland: Userland) -> None:
        userland.needs("crun", "python3")
        self._userland = userland
        self._major, self._minor = map(int, userland.run(f"stat -c '%Hr %Lr' {DEVICE}").split())
        userland.run(f"mkdir -p {BUNDLE}/rootfs; mount --bind / {BUNDLE}/rootfs")

    def start(self, name: str, *words: str, device: bool = True) -> Running:
        """Begin a container whose process is the client; it may use the device, or has no such node."""
        config = self._config(["python3", f"{INSIDE}/client.py", *words], device)
        self._userland.write(f"{BUNDLE}/config.json", json.dumps(config))
        return self._userland.start(f"exec crun --cgroup-manager=cgroupfs run -b {BUNDLE} {name}")

    def run(self, name: str, *words: str, device: bool = True) -> str:
        running = self.start(name, *words, device=device)
        status = running.wait()
        assert status == 0, running.output
        return running.output.strip()

    def close(self) -> None:
        self._userland.run(f"umount {BUNDLE}/rootfs")

    def _config(self, command: Sequence[str], device: bool) -> dict[str, object]:
        """As the OCI runtime specification has it."""
        allowed = {"allow": True, "type": "c", "major": self._major, "minor": self._minor, "access": "rw"}
        node = {"path": DEVICE, "type": "c", "major": self._major, "minor": self._minor, "fileMode": 0o600}
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": list(command),
                "env": ["PATH=/usr/bin"],
                "cwd": "/",
                "noNewPrivileges": True,
            },
            "root": {"path": "rootfs", "readonly": True},
            "hostname": "client",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": INSIDE, "type": "bind", "source": DIRECTORY, "options": ["bind", "ro"]},
            ],
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup")
                ],
                "devices": [node] if device else [],
                "resources": {"devices": [{"allow": False, "access": "rwm"}, *([allowed] if device else [])]},
            },
        }


def spoken(running: Running) -> str:
    """What it says first."""
    deadline = Deadline(running.actor.agent.deadline_seconds)
    while not (said := running.output).endswith("\n"):
        assert running.alive, said
        assert not deadline.expired, "the container says nothing"
    return said.strip()


@pytest.mark.clause("client.container", "session.last-descriptor", "session.retrieve", "memfd.contents")
def test_session_of_a_container_is_claimed_by_the_next_one(luo: Luo, told: Told) -> Scenario:
    told("crun (a container)", "a memfd in a session that a process of the container owns")
    userland = Userland(luo)
    runtime = Runtime(userland)
    told.version(userland.version("crun --version"))
    name = luo.name("pod").decode()
    assert runtime.run("luo-cts-barred", "opens", device=False) == "unconfined\nrefused ENOENT"
    owner = runtime.start("luo-cts-owner", "owns", name, "hello")
    assert spoken(owner) == f"owns anon_inode:[luo_session] {name}"

    luo = yield KEXEC

    runtime = Runtime(Userland(luo))
    said = runtime.run("luo-cts-heir", "claims", name)
    runtime.close()
    assert said == "hello"
