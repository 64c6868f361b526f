# SPDX-License-Identifier: GPL-2.0-only
"""The array of scratch areas: memory that is never preserved, which the next kernel starts in.

Source: struct kho_scratch, and kho_populate() of kernel/liveupdate/kexec_handover.c.
"""

from dataclasses import dataclass

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.structure import Struct

# One for low memory, one global, one a NUMA node; 1 << CONFIG_NODES_SHIFT of the largest configuration.
_MOST_AREAS = 2 + 1024


@dataclass(frozen=True, slots=True)
class Area(Struct):
    """In bytes."""

    FORMAT = "<QQ"

    start: int
    length: int


def read(memory: Memory, address: int, size: int) -> tuple[Area, ...]:
    """The areas of an array of ``size`` bytes.

    Raises Broken for areas that are no RAM or overlap. Before the jump the array is not where the setup_data
    record says it will be: the image is still in pieces.
    """
    where = f"scratch array at {address:#x}"
    count, rest = divmod(size, Area.size_of())
    if rest or not 0 < count <= _MOST_AREAS:
        raise Broken(f"{size} bytes are no array of areas", where)
    areas = Area.unpack_array(memory, address, count, where)
    end = 0
    for area in sorted(areas, key=lambda area: area.start):
        if area.start % memory.page_size or not memory.holds(area.start, area.length):
            raise Broken(f"{area.length} bytes at {area.start:#x} are no scratch area", where)
        if area.start < end:
            raise Broken(f"the area at {area.start:#x} overlaps another", where)
        end = area.start + area.length
    return tuple(areas)
