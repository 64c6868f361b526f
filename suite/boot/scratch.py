# SPDX-License-Identifier: GPL-2.0-only
"""The parameter that sizes the scratch areas, and the areas that a kernel has."""

from fixtures.agent.client import Actor

# Renamed after 7.3; a kernel passes a word that it does not know on to init, which does not mind.
NAMES = ("kho_scratch", "kho_bootmem")


def scratch(value: str) -> str:
    """The words of the command line that ask for scratch areas of this size, in every release."""
    return " ".join(f"{name}={value}" for name in NAMES)


def areas(actor: Actor) -> list[tuple[int, int]]:
    """Address and size of each scratch area of this kernel: low, global, then one a node."""
    columns = [
        [int(line, 16) for line in actor.read_file(f"/sys/kernel/debug/kho/out/{name}").split()]
        for name in ("scratch_phys", "scratch_len")
    ]
    return list(zip(*columns, strict=True))
