# SPDX-License-Identifier: GPL-2.0-only
"""memcached on the machine, which knows nothing of live update: its memory is a memfd of somebody who does.

With ``-e FILE`` it keeps its items in a file that it maps. When it is stopped by SIGUSR1 it writes beside
that file where in there they are, and the next one goes on with them. The file is a link to the memfd; what
stands beside it is on the machine's disk.
"""

import shlex
from dataclasses import dataclass

from suite.clients.userland import CLIENT, DIRECTORY, Userland

MIB = 64


@dataclass(frozen=True)
class Cache:
    """One by the name ``name``; the same before and after a live update."""

    name: str

    @property
    def store(self) -> str:
        """Its directory on the disk."""
        return f"/var/tmp/luo-cts-{self.name}"

    @property
    def memory(self) -> str:
        return f"{self.store}/memory"

    @property
    def places(self) -> str:
        """Where the items are in the memory, when it was told to leave."""
        return f"{self.memory}.meta"

    @property
    def socket(self) -> str:
        return f"{DIRECTORY}/{self.name}.sock"

    @property
    def command(self) -> str:
        return f"/usr/bin/memcached -u root -m {MIB} -t 2 -s {self.socket} -e {self.memory}"

    def prepare(self, userland: Userland) -> None:
        """An empty directory, whatever a run that broke off has left."""
        userland.run(f"rm -rf {self.store}; mkdir {self.store}")

    def remove(self, userland: Userland) -> None:
        userland.run(f"rm -r {self.store}")

    def asked(self, userland: Userland, *lines: str) -> list[str]:
        """Its answer to each line, in one line."""
        words = " ".join(map(shlex.quote, lines))
        return userland.run(f"python3 {CLIENT} asks {self.socket} {words}").splitlines()


def stored(key: str, value: str) -> str:
    """The line that stores an item."""
    return rf"set {key} 0 0 {len(value)}\r\n{value}"


def found(key: str, value: str) -> str:
    """The answer to ``get KEY`` where it is there."""
    return f"VALUE {key} 0 {len(value)} {value} END"
