# SPDX-License-Identifier: GPL-2.0-only
"""A guest of a few lines that QEMU boots in a moment: its code is known, and so is what it executes."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fixtures.targets.qemu import extra_arguments
from kernel import lines
from kernel.lines import Program
from suite.coverage import blocks

NAME = "kernel/guest.c"

# A multiboot header, by which QEMU loads it; it ends by a word to QEMU's device for that.
SOURCE = """\
__asm__(".long 0x1badb002, 0, -0x1badb002\\n"
	".globl start\\nstart: mov $stack + 4096, %esp\\n call work\\n mov $42, %al\\n out %al, $0xf4\\n");
char stack[4096];
int wanted = WANTED;

static int small(int value)
{
	for (int i = 0; i < 1000; i++)
		value = value * 3 + i;
	return value;
}

static int large(int value)
{
	value = value / 7;
	return value;
}

#ifdef OTHER
int other(int value)
{
	return value / 11 - small(value + 2) * large(value + 1);
}
#endif

int work(void)
{
	int value = wanted;

	if (value > 100)
		value = large(value);
	else
		value = small(value);
	return value;
}
"""

IN_SMALL = "value = value * 3 + i;"
IN_LARGE = "value = value / 7;"
ALWAYS = "int value = wanted;"


def line_of(text: str) -> int:
    return [line.strip() for line in SOURCE.splitlines()].index(text) + 1


@dataclass(frozen=True)
class Guest:
    """A guest that was built in a directory for it alone."""

    directory: Path

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    @property
    def vmlinux(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def program(self) -> Program:
        return lines.read(self.vmlinux, self.tree, [NAME])

    def command(self, machine: str, logs: Path, stretches: Sequence[range]) -> list[str]:
        """QEMU, as a run would start it for a machine of this name, with the arguments that make it log."""
        words = extra_arguments([blocks.arguments(stretches, logs)])
        # fmt: off
        return [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg",
            "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-kernel", str(self.vmlinux),
            *(word.format(machine=machine, generation=0) for word in words),
        ]
        # fmt: on

    def boot(self, machine: str, logs: Path) -> None:
        """Run it to its end."""
        logs.mkdir(exist_ok=True)
        done = subprocess.run(
            self.command(machine, logs, self.program.stretches), check=False, timeout=60, capture_output=True
        )
        assert done.returncode == 2 * 42 + 1, done.stderr.decode()


def build(directory: Path, wanted: int, *flags: str) -> Guest:
    """``wanted`` decides which way it takes: up to 100 is small."""
    guest = Guest(directory)
    source = guest.tree / NAME
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    # fmt: off
    subprocess.run(
        [
            "gcc", "-m32", "-g", "-O1", "-fno-inline", "-ffreestanding", "-fno-pie", "-no-pie", "-nostdlib",
            "-static", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-Wl,-Ttext=0x100000",
            "-Wl,-e,start", "-Wl,--build-id=none", f"-DWANTED={wanted}", *flags,
            str(source), "-o", str(guest.vmlinux),
        ],
        check=True,
    )
    # fmt: on
    return guest
