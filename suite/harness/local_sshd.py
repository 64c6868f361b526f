# SPDX-License-Identifier: GPL-2.0-only
"""A real OpenSSH server on this machine, for what needs no host that reboots."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.targets.hosts import Host, parse
from suite.harness.nested import wait_for

SSHD = Path("/usr/sbin/sshd")
MACHINE_ID = Path("/etc/machine-id")

_CONFIG = """\
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
"""


def missing() -> str | None:
    """Why there can be none here, or None."""
    if not SSHD.exists():
        return f"there is no {SSHD} (apt-get install openssh-server)"
    if not MACHINE_ID.exists():
        return f"this machine has no {MACHINE_ID}"
    if os.geteuid() != 0:
        return "only root's sshd lets root in"
    return None


@dataclass(frozen=True)
class LocalSshd:
    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def host(self, **more: Any) -> Host:
        """This machine, as a target file would describe it."""
        said = {
            "name": "here",
            "address": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "key": str(self.directory / "user_key"),
            "known_hosts": str(self.known_hosts),
            "machine_id": MACHINE_ID.read_text().strip(),
            "allow_kexec": True,
            "directory": str(self.directory),
        }
        return parse({"hosts": [{**said, **more}]})[0]

    def servers(self) -> list[int]:
        """The processes that serve a connection each."""
        listing = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(word) for word in listing.stdout.split()]


@contextmanager
def running(directory: Path) -> Iterator[LocalSshd]:
    """One that has begun to listen; it ends with the block, and its connections with it."""
    for name in ("host_key", "user_key", "other_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (directory / "sshd_config").write_text(_CONFIG.format(directory=directory))
    # sshd's own directory for those who have not logged in yet; Debian's service makes it
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(directory / "sshd_config"), "-p", str(port)],
        stderr=(directory / "sshd.log").open("wb"),
    )
    server = LocalSshd(directory, port, process)
    know(server, "host_key")
    try:
        wait_for(lambda: _listens(port) or process.poll() is not None, "sshd")
        assert process.poll() is None, (directory / "sshd.log").read_text()
        yield server
    finally:
        for pid in server.servers():
            with suppress(ProcessLookupError):  # it may end by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def know(server: LocalSshd, key: str) -> None:
    """Have known_hosts say that the server has this key."""
    kind, public, *_ = (server.directory / f"{key}.pub").read_text().split()
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {kind} {public}\n")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_of(directory: Path) -> bool:
    """Whether no process has a root that a session has made."""
    for mounts in Path("/proc").glob("[0-9]*/mounts"):
        try:
            if any(line.startswith("luo-cts / ") for line in mounts.read_text().splitlines()):
                return False
        except OSError:
            continue
    return not directory.exists()
