# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU says of the guest's code that it translates (``-d in_asm``): what a machine has executed.

QEMU's emulator (TCG) translates a block of code, instructions up to the next jump, when the guest comes to
it, and logs it then. A block that is executed only in part, as one of its instructions faults, is logged
whole.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from kernel.errors import UsageError

Block = dict[int, bytes]  # instructions, by their addresses

_START = b"----------------\n"
# Address and bytes; what follows two spaces is their meaning. Of an instruction of more than 8 bytes the rest
# stands in lines of its own (QEMU's disas/capstone.c). A group of digits is a little-endian number.
_INSTRUCTION = re.compile(rb"^0x([0-9a-f]+):  ((?:[0-9a-f]{2,8} )*[0-9a-f]{2,8})", re.MULTILINE)

# Stretches that are no further apart are logged as one: the filter is on a command line.
_GAP = 64


def arguments(stretches: Iterable[range], directory: Path) -> str:
    """A ``--qemu-arg`` that has each machine log such code to a file of its own in ``directory``."""
    wanted = ",".join(f"0x{stretch.start:x}+0x{len(stretch):x}" for stretch in joined(stretches))
    # What is in braces is filled in for each machine (fixtures/targets/qemu.py), and %d is QEMU's process: it
    # begins the file anew, and not all names of machines are used once.
    file = str(directory.resolve()).replace("{", "{{").replace("}", "}}") + "/{machine}-%d.log"
    if file.count("%") > 1:
        raise UsageError(f"QEMU logs to no file with % in its name: {directory}", "choose another directory")
    return shlex.join(["-d", "in_asm", "-dfilter", wanted, "-D", file])


def joined(stretches: Iterable[range]) -> Sequence[range]:
    """The same in order, with what touches or nearly does made one."""
    ordered = sorted(stretches, key=lambda stretch: stretch.start)
    starts = [ordered[0].start] if ordered else []
    ends: list[int] = []
    furthest = 0
    for before, after in pairwise(ordered):
        furthest = max(furthest, before.stop)
        if after.start - furthest > _GAP:
            ends.append(furthest)
            starts.append(after.start)
    if ordered:
        ends.append(max(furthest, ordered[-1].stop))
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]


def read(log: bytes) -> Iterator[Block]:
    """The blocks of a log. The end may be missing: its machine may have been killed while it wrote."""
    for text in log.split(_START):
        block = {
            int(found[1], 16): b"".join(bytes.fromhex(group.decode())[::-1] for group in found[2].split())
            for found in _INSTRUCTION.finditer(text)
        }
        if block:
            yield block
