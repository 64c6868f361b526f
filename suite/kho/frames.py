# SPDX-License-Identifier: GPL-2.0-only
"""Stretches of physical memory: which are RAM, which are preserved or in use, and files in chosen ones."""

import struct
from collections.abc import Iterable, Sequence

from fixtures.agent.client import Actor
from fixtures.kexec_load import memory_map
from fixtures.luo import PAGE, Luo, Memfd
from fixtures.pages import frame_flags
from kernel.abi.preserved import MemoryMap
from suite.boot.scratch import areas

_MPOL_BIND = 2  # include/uapi/linux/mempolicy.h
_RAM = 1  # include/uapi/asm/e820.h
# include/uapi/linux/kernel-page-flags.h and include/linux/kernel-page-flags.h
_NOPAGE, _RESERVED = 20, 32


def system_ram(actor: Actor) -> list[range]:
    """What /proc/iomem calls so, in bytes."""
    text = actor.read_file("/proc/iomem").decode()
    return [range(part.start, part.end) for part in memory_map(text) if part.kind == _RAM]


def preserved(memory: MemoryMap) -> list[range]:
    """What the blocks of a memory map cover, in bytes."""
    return [range(block.address, block.address + memory.length(block)) for block in memory.blocks]


def preserved_frames(memory: MemoryMap) -> set[int]:
    """The page frames of the blocks of a memory map."""
    return {frame for part in preserved(memory) for frame in range(part.start // PAGE, part.stop // PAGE)}


def scratch_areas(actor: Actor) -> list[range]:
    """The scratch areas of this kernel, in bytes: low, global, then one a node."""
    return [range(start, start + length) for start, length in areas(actor)]


def within(part: range, of: Iterable[range]) -> bool:
    """Whether all of a stretch lies in one of the others."""
    return any(other.start <= part.start and part.stop <= other.stop for other in of)


def touching(part: range, of: Iterable[range]) -> list[range]:
    """Which of the others have a byte in common with it."""
    return [other for other in of if other.start < part.stop and part.start < other.stop]


def unusable(actor: Actor, frames: Sequence[int]) -> list[int]:
    """Those of the page frames that the kernel took out of use at its boot.

    Of a frame that is offline, as holes are with CONFIG_MEMORY_HOTPLUG, kpage_read() (fs/proc/page.c) says
    nothing at all. It says as little of a page of the kernel's own: these are taken for unusable too.
    """
    return [
        frame
        for frame, flags in zip(frames, frame_flags(actor, frames), strict=True)
        if not flags or flags & (1 << _NOPAGE | 1 << _RESERVED)
    ]


def memfd_of(luo: Luo, node: int, size: int, seed: int) -> Memfd:
    """A memfd with ``pattern(size, seed)`` in it, all of whose pages come from one NUMA node."""
    ram = luo.memfd(size=size)
    mask = struct.pack("<Q", 1 << node)
    with ram.mapped(size) as address:
        luo.actor.syscall("mbind", address, size, _MPOL_BIND, mask, 64, 0)
        program = luo.actor.program()
        program.fill(address, size, seed)
        luo.actor.run(program)
    return ram
