# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel said of itself while it booted."""

from fixtures.machine import Machine


def said(machine: Machine, *beginnings: str) -> list[str]:
    """Lines of this generation's log that begin like one of these."""
    return [line for line in machine.kernel_log() if line.startswith(beginnings)]
