# SPDX-License-Identifier: GPL-2.0-only
"""Kernel releases and their order."""

import re
from dataclasses import dataclass, field
from functools import total_ordering

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[-~]rc(\d+))?")


@total_ordering
@dataclass(frozen=True)
class KernelRelease:
    """A release as ``uname -r``, a Makefile or a Debian version says it: ``7.3.0-rc7-next-20260101-dirty``.

    Ordered by version and release candidate alone: what a distribution or a builder appends does not make a
    kernel newer.
    """

    major: int
    minor: int
    patch: int = 0
    rc: int | None = None
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> "KernelRelease":
        """Raises ValueError for text that does not start with a version."""
        match = _RELEASE.match(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no kernel release")
        major, minor, patch, rc = match.groups()
        return cls(int(major), int(minor), int(patch or 0), int(rc) if rc else None, text.strip())

    @property
    def series(self) -> tuple[int, int]:
        return self.major, self.minor

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, KernelRelease):
            return NotImplemented
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, int, float]:
        # a release candidate comes before its release
        return self.major, self.minor, self.patch, float("inf") if self.rc is None else self.rc

    def __str__(self) -> str:
        return self.text or f"{self.major}.{self.minor}.{self.patch}" + (f"-rc{self.rc}" if self.rc else "")


# kernel/kexec_handover.c came with 6.16, kernel/liveupdate/luo_core.c with 6.19
FIRST_WITH_KHO = KernelRelease(6, 16)
FIRST_WITH_LUO = KernelRelease(6, 19)
