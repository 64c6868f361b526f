# SPDX-License-Identifier: GPL-2.0-only
"""One machine of an unusual shape for tests that need something of it each: boots are dear.

Two NUMA nodes with memory and one without, a part of it above 4 GiB, a hole in what is below, and areas that
reserve_mem= sets aside.
"""

import pytest

from suite.boot.scratch import scratch

MIB = 1 << 20
GIB = 1 << 30

# By node; the first half GiB lies below 4 GiB.
NODES = {0: [range(384 * MIB)], 2: [range(384 * MIB, 512 * MIB), range(4 * GIB, 4 * GIB + 256 * MIB)]}
HOLE = range(0x18000000, 0x19000000)
LOW, GLOBAL, NODE = 96 * MIB, 64 * MIB, 64 * MIB  # of scratch memory

# Name, size and alignment in bytes. Eight are the most (mm/memblock.c: RESERVE_MEM_MAX_ENTRIES).
AREAS = {
    "one": (4 * MIB, 4096),
    "two": (2 * MIB, 2 * MIB),
    "odd": (12345, 64),
    "fifteen-letters": (4096, 4096),
    "five": (65536, 4096),
    "six": (65536, 65536),
    "seven": (65536, 4096),
    "eight": (65536, 4096),
}
WRONG = ("1M:4096:sixteen-letters.", "0:4096:zero", "1M:4096:", "1M:4096", "x:4096:x", "")


def reserve(*values: str) -> str:
    """The words of the command line that ask for areas."""
    return " ".join(f"reserve_mem={value}" for value in values)


_FIRST, *_OTHERS = (f"{size}:{alignment}:{name}" for name, (size, alignment) in AREAS.items())
_TWICE, _ONE_TOO_MANY = "1M:4096:one", "64K:4096:nine"
_WORDS = (
    scratch(f"{LOW},{GLOBAL},{NODE}"),
    f"memmap={len(HOLE)}${HOLE.start:#x}",
    reserve(*WRONG, _FIRST, _TWICE, *_OTHERS, _ONE_TOO_MANY),
)
UNUSUAL = pytest.mark.boot(" ".join(_WORDS), nodes=(384, 0, 384), below_4g=512)
