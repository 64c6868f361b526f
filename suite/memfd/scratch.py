# SPDX-License-Identifier: GPL-2.0-only
"""Memfds in KHO's scratch memory, where they may be as long as they are not preserved."""

from fixtures.luo import PAGE, Luo, Memfd
from fixtures.pages import huge_memfds, meminfo, pfns
from suite.able import given

MIB = 1 << 20
_FOLDER = "/sys/kernel/debug/kho/out"


def scratch_frames(luo: Luo) -> set[int]:
    """The page frames of the scratch areas, as debugfs lists them."""
    starts, lengths = (
        [int(word, 16) for word in luo.actor.read_file(f"{_FOLDER}/{name}").decode().split()]
        for name in ("scratch_phys", "scratch_len")
    )
    areas = zip(starts, lengths, strict=True)
    return {frame for start, length in areas for frame in range(start // PAGE, (start + length) // PAGE)}


def memfd_in_scratch(luo: Luo, scratch: set[int]) -> Memfd:
    """An all-zero memfd with a page in scratch memory, of some MiB."""
    # Pages come from scratch while that is more than half of what is free (mm/page_alloc.c, __rmqueue()).
    free = meminfo(luo.actor)
    hog = luo.memfd()
    too_much = free["MemFree"] - 2 * free["CmaFree"]
    if too_much > 0:
        with huge_memfds(luo.actor):
            luo.actor.syscall("fallocate", hog.fd, 0, 0, too_much * PAGE)
    file = luo.memfd()
    size = 0
    while not scratch.intersection(pfns(file, size)):
        size += 4 * MIB
        given(size <= 64 * MIB, "no page of the file lies in scratch memory")
        file.truncate(size)
    hog.close()
    return file
