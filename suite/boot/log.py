# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel said of itself while it booted."""

import re

from fixtures.machine import Machine

_STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")


def boot_log(machine: Machine) -> list[str]:
    """Everything that the kernel of this generation printed so far, without the time."""
    lines = machine.console.since(0)
    return [_STAMP.sub("", line.text) for line in lines if line.generation == machine.generation]


def said(machine: Machine, *beginnings: str) -> list[str]:
    """Lines of this generation's log that begin like one of these."""
    return [line for line in boot_log(machine) if line.startswith(beginnings)]
