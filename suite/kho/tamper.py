# SPDX-License-Identifier: GPL-2.0-only
"""Changing what is handed over while the machine is held, and machines that may die of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fixtures.agent.errors import AgentError
from fixtures.console import Line
from fixtures.death import MachineDied, Obituary
from fixtures.held import Held
from fixtures.luo import Luo
from fixtures.runner import Record, Runner
from fixtures.scenario import KEXEC, PLAIN_BOOT, Kexec
from kernel.abi import fdt
from kernel.abi.memory import Memory

# Where no machine of ours has memory, and a page's address.
NOWHERE = 1 << 45

# Where the kernel sees all memory, by levels of page tables (Documentation/arch/x86/x86_64/mm.rst).
_DIRECT_MAPPING = {4: 0xFFFF888000000000, 5: 0xFF11000000000000}

_NOP = (4).to_bytes(4, "big")  # of a device tree: FDT_NOP


def null(luo: Luo) -> int:
    """The physical address that is NULL for a kernel like the running one that boots with nokaslr."""
    if luo.actor.agent.hello.machine != "x86_64":
        pytest.skip("where memory is mapped is known of x86_64 alone")
    levels = 5 if b" la57" in luo.actor.read_file("/proc/cpuinfo") else 4
    return (1 << 64) - _DIRECT_MAPPING[levels]


# Device trees


def node(held: Held, name: str) -> fdt.Node:
    """A node of KHO's device tree."""
    found = held.handover.root.tree.root.child(name)
    assert found is not None, f"KHO's device tree has no node {name}"
    return found


def shorten(memory: Memory, one: fdt.Property) -> None:
    """Have a property of eight bytes be one of four, in a tree that is still well formed."""
    memory.write(one.address - 8, (4).to_bytes(4, "big"))
    memory.write(one.address + 4, _NOP)


def rename_property(memory: Memory, tree: fdt.Tree, one: fdt.Property) -> None:
    """Let the first letter of its name go: nobody finds it any more."""
    offset = one.name_address + 1 - tree.address - tree.header.off_dt_strings
    memory.write(one.address - 4, offset.to_bytes(4, "big"))


def rename_node(memory: Memory, one: fdt.Node, name: str) -> None:
    """Give it another name, which is not longer."""
    old, new = (len(text) // 4 * 4 + 4 for text in (one.name, name))
    assert new <= old
    memory.write(one.address, name.encode().ljust(new, b"\0") + _NOP * ((old - new) // 4))


def put_word(memory: Memory, one: fdt.Property, value: int) -> None:
    memory.write(one.address, value.to_bytes(8, "little"))


def copies(memory: Memory, data: bytes) -> Iterator[int]:
    """Addresses of pages that begin with ``data``."""
    for stretch in memory.populated():
        for address in range(stretch.start, stretch.stop, memory.page_size):
            if memory.read(address, min(len(data), stretch.stop - address)) == data:
                yield address


# Machines that may die


@dataclass(frozen=True)
class Ending:
    """What became of a kernel that was handed something broken; ``death`` is None where it lives.

    ``lines`` are those of its generation, as the console has them.
    """

    death: Obituary | None
    lines: tuple[Line, ...]

    @property
    def outcome(self) -> str:
        """For people."""
        return "goes on" if self.death is None else f"{self.death.death}: {self.death.title}"

    def said(self, text: str) -> bool:
        return any(text in line.text for line in self.lines)


def ending(
    runner: Runner,
    prepare: Callable[[Luo], None],
    tamper: Callable[[Held], None],
    after: Callable[[Luo], None] = lambda luo: None,
    wish: Kexec = KEXEC,
) -> Ending:
    """Hand a machine of the runner's own over, and see how the next kernel takes it.

    ``prepare`` makes the sessions, ``tamper`` is called while the machine is held, ``after`` in the next
    kernel. Raises KernelFault for a splat of a kernel that survives it.
    """
    machine = runner.fresh(PLAIN_BOOT, untouched=True)
    prepare(runner.luo(Record("tampering", "~")))
    death: Obituary | None = None
    try:
        runner.hand_over(wish, (), tamper)
        luo = runner.luo(Record("tampering", "~"))
        try:
            after(luo)
        except AgentError as error:
            raise machine.post_mortem(error, "what came after the handover") from error
    except MachineDied as died:
        if not died.obituary.death.kernel_fault:
            raise
        death = died.obituary
    else:
        machine.sync("the end", 0)
    return Ending(death, tuple(line for line in machine.console.since(0) if line.generation == 1))
