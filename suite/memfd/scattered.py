# SPDX-License-Identifier: GPL-2.0-only
"""Memfds whose pages do not lie beside each other."""

from fixtures.luo import PAGE, Luo, Memfd

# Written in one request, which takes an emulator a tenth of a second
_STEP = 4096 * PAGE


def scattered(luo: Luo, size: int, seed: int) -> Memfd:
    """A file with ``pattern(size, seed)`` in it whose pages have free ones between them."""
    kept, given_back = luo.memfd(size=size), luo.memfd(size=size)
    with kept.mapped(size) as mine, given_back.mapped(size) as other:
        for start in range(0, size, _STEP):
            program = luo.actor.program()
            for page in range(start, min(start + _STEP, size), PAGE):
                program.fill(mine + page, PAGE, seed, page)
                program.fill(other + page, 1, seed)
            luo.actor.run(program)
    given_back.close()
    return kept


def pairs(frames: list[int]) -> int:
    """How many of the frames have the next one beside them."""
    return len({frame + 1 for frame in frames} & set(frames))
