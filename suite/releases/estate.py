# SPDX-License-Identifier: GPL-2.0-only
"""What a test leaves to the next kernel, and what it finds of it there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from errno import errorcode

from fixtures.agent.client import Actor
from fixtures.agent.errors import SyscallError
from fixtures.agent.pattern import pattern
from fixtures.luo import PAGE, Luo, Memfd
from fixtures.machine import Machine
from kernel import uapi
from kernel.release import KernelRelease
from suite.boot.log import said
from suite.kho.debugfs import FOLDER, present
from suite.releases.sighting import Sighting

FIRST_WITH_SEALS = KernelRelease(7, 1)

_VERSION = re.compile(rb"(?:kho|luo)-v\d+")
# A line of these tells what became of the data; the others are on sizes and counts.
_TELLING = (
    "KHO: setup:", "KHO: disabling", "KHO: found", "KHO: exec from", "KHO: failed", "KHO: broken",
    "luo: ", "memfd_luo: ", "Passed KHO data",
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """A memfd: a page and more of a pattern at its beginning, its last page, and a hole between."""

    token: int
    size: int
    position: int
    seals: int = 0

    @property
    def head(self) -> bytes:
        return pattern(min(PAGE + 17, self.size), seed=self.token & 0xFF)

    def make(self, luo: Luo) -> Memfd:
        memfd = luo.memfd(self.head, size=self.size)
        memfd.write(self.head[-1:], self.size - 1)
        memfd.seek(self.position)
        if self.seals:
            memfd.add_seals(self.seals)
        return memfd

    def differences(self, memfd: Memfd, *, seals: bool) -> Iterator[str]:
        """What of ``memfd`` is otherwise; ``seals``: whether these go along."""
        content = self.head.ljust(self.size, b"\0")[: self.size - 1] + self.head[-1:]
        for what, now, then in (
            ("size", memfd.size, self.size),
            ("position", memfd.tell(), self.position),
            ("seals", memfd.seals if seals else self.seals, self.seals),
        ):
            if now != then:
                yield f"{what} of file {self.token:#x} is {now}, it was {then}"
        if memfd.read_all() != content:
            yield f"file {self.token:#x} has other contents"


SEALS = uapi.F_SEAL_SHRINK | uapi.F_SEAL_GROW | uapi.F_SEAL_SEAL

# By session: tokens at both ends of their range, sizes around a page and a file of many, and nothing at all.
ESTATE = {
    "vm": (File(0, PAGE, 0), File((1 << 64) - 1, 3 * PAGE + 17, 4099)),
    "a session with a name of the greatest length": (File(7, 300 * PAGE, 1 << 20, SEALS),),
    "empty": (),
}


def leave(luo: Luo) -> None:
    """Make it and preserve it."""
    for name, files in ESTATE.items():
        session = luo.create_session(name)
        for file in files:
            session.preserve(file.make(luo), file.token)


def find(luo: Luo, *, seals: bool) -> tuple[str, tuple[str, ...]]:
    """Take it back: the errno of RETRIEVE_SESSION, or "", and what is otherwise than it was left.

    One session that is there is not enough: all of them are retrieved, or none.
    """
    errnos, differences = [], []
    for name, files in ESTATE.items():
        try:
            session = luo.retrieve_session(name)
        except SyscallError as error:
            errnos.append(errorcode[error.errno or 0])
            continue
        errnos.append("")
        for file in files:
            try:
                memfd = session.retrieve(file.token)
            except SyscallError as error:
                differences.append(f"RETRIEVE_FD of {file.token:#x}: {errorcode[error.errno or 0]}")
            else:
                differences += file.differences(memfd, seals=seals)
        session.finish()
    told = dict.fromkeys(errnos)
    if len(told) > 1:
        differences.append(f"of {len(errnos)} sessions {errnos.count('')} are there")
    return next((errno for errno in told if errno), ""), tuple(differences)


def release(actor: Actor) -> str:
    """``uname -r``."""
    return actor.read_file("/proc/sys/kernel/osrelease").decode().strip()


def versions(actor: Actor, side: str) -> tuple[str, ...]:
    """The versions of KHO and LUO in what a kernel was handed (``in``) or is to hand over (``out``).

    A kernel that was handed something does not show its own device tree (kho_init() leaves it out).
    """
    found = []
    for name in ("fdt", "sub_fdts/LUO"):
        path = f"{side}/{name}"
        if present(actor, path):
            match = _VERSION.search(actor.read_file(f"{FOLDER}/{path}"))
            found += [match[0].decode()] if match else []
    return tuple(found)


class Journey:
    """The kernels that a scenario came through, and what each of them wrote for the next."""

    def __init__(self) -> None:
        self._releases: list[str] = []
        self._written: tuple[str, ...] = ()

    def depart(self, luo: Luo) -> None:
        """Leave the estate to the kernel that comes."""
        if not self._releases:
            self._releases.append(release(luo.actor))
        leave(luo)
        # What was handed to this one is what it writes itself, or it would not have taken it.
        inherited = [each for each in versions(luo.actor, "in") if each.startswith("kho")]
        own = versions(luo.actor, "out")
        self._written = own if any(each.startswith("kho") for each in own) else (*inherited, *own)

    def arrive(self, luo: Luo, machine: Machine) -> Sighting:
        """See what became of it."""
        origin = KernelRelease.parse(self._releases[-1])
        self._releases.append(release(luo.actor))
        retrieved, differences = find(luo, seals=origin >= FIRST_WITH_SEALS)
        return Sighting(
            tuple(self._releases),
            self._written,
            versions(luo.actor, "out"),
            retrieved,
            differences,
            inherited=present(luo.actor, "in/fdt"),
            log=tuple(said(machine, *_TELLING)),
        )
