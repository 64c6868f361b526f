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
_INSTRUCTION = re.compile(rb"^0x([0-9a-f]+):  ((?:(?:[0-9a-f]{2}){1,4} ?)+)", re.MULTILINE)

# Stretches that are no further apart, in bytes, are logged as one: the filter is a word of a command line,
# and of such a word Linux takes 128 KiB (MAX_ARG_STRLEN).
_GAP = 64
_FILTER = 100 << 10


def arguments(stretches: Iterable[range], directory: Path) -> str:
    """A ``--qemu-arg`` that has each machine log such code to a file of its own in ``directory``."""
    # What is in braces is filled in for each machine (fixtures/targets/qemu.py), and %d is QEMU's process: it
    # begins the file anew, and a machine may be called as one of another run.
    file = str(directory.resolve()).replace("{", "{{").replace("}", "}}") + "/{machine}-%d.log"
    if file.count("%") > 1:
        raise UsageError(f"QEMU logs to no file with % in its name: {directory}", "choose another directory")
    return shlex.join(["-d", "in_asm", "-dfilter", _filter(list(stretches)), "-D", file])


def _filter(stretches: Sequence[range]) -> str:
    """What QEMU's -dfilter takes: these addresses, and some between them if there are very many."""
    gap = _GAP
    while len(words := ",".join(f"0x{s.start:x}+0x{len(s):x}" for s in joined(stretches, gap))) > _FILTER:
        gap *= 2
    return words


def joined(stretches: Iterable[range], gap: int) -> Sequence[range]:
    """The same in order, with those made one that are no further apart than ``gap``."""
    ordered = sorted(stretches, key=lambda stretch: stretch.start)
    starts = [ordered[0].start] if ordered else []
    ends: list[int] = []
    furthest = 0
    for before, after in pairwise(ordered):
        furthest = max(furthest, before.stop)
        if after.start - furthest > gap:
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
