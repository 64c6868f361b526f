# SPDX-License-Identifier: GPL-2.0-only
"""A stretch of kernel releases, both ends included: from ``since`` to the last patch of ``until``."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """``None`` leaves an end open. A release candidate belongs to its release: 7.3-rc1 is since 7.3."""

    since: str | None = None
    until: str | None = None

    def holds(self, release: str) -> bool:
        """Whether ``release``, as ``uname -r`` says it, lies inside; raises ValueError where it is none."""
        number = _numbers(release)
        since, until = _numbers(self.since or "0"), _numbers(self.until or release)
        return number[: len(since)] >= since and number[: len(until)] <= until


def _numbers(release: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", release)
    if match is None:
        raise ValueError(f"{release!r} is no kernel release")
    return tuple(map(int, match[0].split(".")))
