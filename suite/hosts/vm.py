# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine that plays a real host: a disk, systemd, sshd, and a power switch as commands.

Nothing but SSH reaches it, as nothing else reaches a host; what a test does to its network, its power or its
emulator stands for what befalls one.
"""

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from fixtures.deadline import Deadline
from fixtures.targets.qemu import die_with_parent, emulation, version
from fixtures.targets.qmp import Monitor
from kernel.arch import Architecture, native
from kernel.errors import LuoCtsError
from suite.hosts import image
from suite.hosts.image import Distribution

MEMORY_MIB = 1024
CPUS = 2
USERS = {"root": "root", "ci": "home/ci", "nobody-special": "home/nobody-special"}

# The last MiB but fifteen is the dying kernel's: not the firmware's, whose tables end the memory.
_OOPS_AT = (MEMORY_MIB - 16) << 20
_OWN_CMDLINE = (
    "root=/dev/vda rw net.ifnames=0 panic=1 "
    f"memmap=1M$0x{_OOPS_AT:x} ramoops.mem_address=0x{_OOPS_AT:x} ramoops.mem_size=0x100000 "
    "ramoops.record_size=0x20000 ramoops.console_size=0x40000"
)


class HostVm:
    """One host; ``kernel`` is the image that its loader starts. It lives in ``directory``."""

    def __init__(
        self,
        name: str,
        directory: Path,
        kernel: Path,
        cmdline: str = "kho=on liveupdate=on",
        distribution: Distribution = image.DEBIAN_12,
    ) -> None:
        """Make its disk, its keys and its switch; it is off."""
        self.name = name
        self.directory = directory
        self.kernel = kernel
        self.cmdline = f"{_OWN_CMDLINE} {cmdline}"
        self.machine_id = secrets.token_hex(16)
        self.port, self.console_port = _free_port(), _free_port()
        self.console = directory / "serial.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: Monitor | None = None
        self._lock = threading.Lock()
        directory.mkdir(parents=True)
        self._make_disk(distribution)
        self._switch = socket.socket(socket.AF_UNIX)
        self._switch.bind(str(directory / "switch"))
        self._switch.listen()
        threading.Thread(target=self._serve, name=f"switch-{name}", daemon=True).start()

    @property
    def key(self) -> Path:
        return self.directory / "user_key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Its entry of a target file; what is None is left out."""
        python = shlex.quote(sys.executable)
        switch = f"{python} -m suite.hosts.switch {shlex.quote(str(self.directory / 'switch'))}"
        said = {
            "name": self.name,
            "address": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
            "machine_id": self.machine_id,
            "allow_kexec": True,
            "power": {verb: f"{switch} {verb}" for verb in ("on", "off", "cycle")},
        }
        return {key: value for key, value in {**said, **more}.items() if value is not None}

    def on(self) -> None:
        """Switch it on, if it is off."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    self._command(native(), theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    preexec_fn=die_with_parent(os.getpid()),
                )
            try:
                self._monitor = Monitor(ours, lambda event: None)
            except Exception as error:
                assert self._process.stderr is not None
                self._process.kill()
                said = self._process.stderr.read().decode().strip()
                raise LuoCtsError(f"the host {self.name} does not start: {said or error}") from error

    def await_up(self, deadline: Deadline) -> None:
        """Wait until its SSH server answers; who finds a host silent takes it for one that hangs."""
        while not self._greets():
            if deadline.expired:
                raise LuoCtsError(f"the host {self.name} is not up after {deadline.elapsed:.0f} s")
            time.sleep(0.5)  # nothing tells when it is

    def _greets(self) -> bool:
        with socket.socket() as probe, suppress(OSError):
            probe.settimeout(10)
            probe.connect(("127.0.0.1", self.port))
            return probe.recv(4) == b"SSH-"
        return False

    def off(self) -> None:
        """Take its power away."""
        with self._lock:
            if self._monitor is not None:
                self._monitor.close()
                self._monitor = None
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def cycle(self) -> None:
        self.off()
        self.on()

    def plug(self, *, connected: bool) -> None:
        """Put its network cable in, or pull it."""
        self._ask("set_link", name="net", up=connected)

    def reset(self) -> None:
        """Press its reset button."""
        self._ask("system_reset")

    def freeze(self, *, frozen: bool) -> None:
        """Stop all its processors, as a kernel that hangs, or let them go on."""
        self._ask("stop" if frozen else "cont")

    def close(self) -> None:
        """Off for good; its directory goes."""
        self.off()
        self._switch.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ask(self, command: str, **arguments: object) -> None:
        assert self._monitor is not None
        answer = self._monitor.execute(command, **arguments)
        if isinstance(answer, str):
            raise LuoCtsError(f"the host {self.name}: {answer}")

    def _command(self, arch: Architecture, monitor: int) -> list[str]:
        version(arch.qemu)
        # fmt: off
        return [
            arch.qemu, "-nodefaults", "-no-user-config", "-display", "none",
            "-name", f"luo-cts-host-{self.name}",
            "-machine", arch.qemu_machine, "-accel", emulation("multi"), "-cpu", "max",
            "-smp", str(CPUS), "-m", f"{MEMORY_MIB}M",
            "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control",
            # A terminal server has it; and a file, for a person who wonders why it does not come up.
            "-chardev", f"socket,id=console,host=127.0.0.1,port={self.console_port},server=on,wait=off,"
            f"logfile={self.console},logappend=on", "-serial", "chardev:console",
            "-drive", f"file={self.directory / 'disk'},if=virtio,format=raw,cache=unsafe",
            "-netdev", f"user,id=user,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:22",
            "-device", "virtio-net-pci,netdev=user,id=net",
            "-device", "virtio-rng-pci",
            "-kernel", str(self.kernel),
            "-append", f"console={arch.console} {arch.virtual} {self.cmdline}",
        ]
        # fmt: on

    def _make_disk(self, distribution: Distribution) -> None:
        identity = self.directory / "identity"
        (identity / "etc/ssh").mkdir(parents=True)
        (identity / "etc/machine-id").write_text(f"{self.machine_id}\n")
        host_key = identity / "etc/ssh/ssh_host_ed25519_key"
        for path in (host_key, self.key):
            _keygen(path)
        public = self.key.with_suffix(".pub").read_text()
        for home in USERS.values():
            (identity / home / ".ssh").mkdir(parents=True, mode=0o700)
            (identity / home / ".ssh" / "authorized_keys").write_text(public)
        kind, key, *_ = Path(f"{host_key}.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        image.disk(self.directory / "disk", identity, distribution)
        shutil.rmtree(identity)

    def _serve(self) -> None:
        """Do what suite.hosts.switch is told to."""
        with suppress(OSError):
            while True:
                connection, _ = self._switch.accept()
                with connection:
                    verb = connection.recv(16).decode()
                    try:
                        {"on": self.on, "off": self.off, "cycle": self.cycle}[verb]()
                        connection.sendall(b"ok")
                    except LuoCtsError as error:
                        connection.sendall(str(error).encode())


def target_file(path: Path, hosts: list[dict[str, Any]], **defaults: Any) -> Path:
    """Write a target file of these hosts."""
    path.write_text(yaml.safe_dump({"kind": "ssh", "defaults": defaults, "hosts": hosts}))
    return path


def _keygen(path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        raise LuoCtsError("ssh-keygen is not installed", "on Debian: apt-get install openssh-client")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
