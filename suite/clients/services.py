# SPDX-License-Identifier: GPL-2.0-only
"""Services of the machine's systemd, whose descriptors it keeps over a kexec that it makes itself."""

from dataclasses import dataclass, field

import pytest

from suite.clients.userland import DIRECTORY, Userland

# NEWS of systemd 261: "file descriptor stores are preserved across kexec"
FIRST_VERSION = 261

_UNITS = "/run/systemd/system"
_KEPT = 4  # descriptors at most


@dataclass(frozen=True)
class SystemctlKexec:
    """Has systemd end all services, and jump into the kernel that is loaded.

    All are alike, so that scenarios that want it share a handover.
    """

    userland: Userland = field(compare=False)

    def __call__(self) -> None:
        self.userland.run("systemctl kexec")


class Service:
    """A unit ``name`` that has its file descriptor store preserved. It is gone with the kernel."""

    def __init__(self, userland: Userland, name: str, command: str, *settings: str) -> None:
        self.name = f"luo-cts-{name}.service"
        self._userland = userland
        self._output = f"{DIRECTORY}/{self.name}.output"
        lines = [
            "[Service]",
            f"ExecStart={command}",
            f"FileDescriptorStoreMax={_KEPT}",
            "FileDescriptorStorePreserve=yes",
            "NotifyAccess=main",
            f"StandardOutput=file:{self._output}",
            "StandardError=journal",
            *settings,
        ]
        userland.run(f"mkdir -p {_UNITS}")
        userland.write(f"{_UNITS}/{self.name}", "\n".join([*lines, ""]))

    @property
    def output(self) -> str:
        return self._userland.read(self._output)

    @property
    def kept(self) -> int:
        """How many descriptors its manager keeps for it."""
        return int(self._userland.run(f"systemctl show -P NFileDescriptorStore {self.name}"))

    def start(self) -> None:
        self._userland.run(f"systemctl start {self.name} || {{ systemctl status {self.name}; exit 1; }}")

    def end(self) -> None:
        """Stop it, and forget what is kept for it."""
        self._userland.run(
            f"systemctl stop {self.name}; systemctl clean --what=fdstore {self.name}; "
            f"rm {_UNITS}/{self.name}; systemctl daemon-reload"
        )


def has_systemd(userland: Userland) -> None:
    """Skip the test where init is another."""
    if not userland.exists("/run/systemd/system"):
        pytest.skip("the machine's init is not systemd")


def systemd(userland: Userland) -> str:
    """Its version; skips the test where it does not know of live update."""
    has_systemd(userland)
    userland.needs("python3")
    version = userland.version("systemctl --version")
    if int(version.split(".")[0]) < FIRST_VERSION:
        pytest.skip(f"systemd {version} knows nothing of live update: {FIRST_VERSION} does")
    return version
