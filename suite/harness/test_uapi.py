# SPDX-License-Identifier: GPL-2.0-only
"""kernel/uapi.py says what the kernel's own headers say."""

import ctypes
import inspect
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from kernel import uapi

# fmt: off
HEADERS = (
    "liveupdate.h", "memfd.h", "fcntl.h", "falloc.h", "reboot.h", "kexec.h", "mman.h", "stat.h",
    "kernel-page-flags.h", "fs.h", "sched.h", "prctl.h", "resource.h", "capability.h",
)
# fmt: on

STRUCTS = {
    name: item
    for name, item in vars(uapi).items()
    if inspect.isclass(item) and issubclass(item, uapi.Argument) and item is not uapi.Argument
}
CONSTANTS = {name: item for name, item in vars(uapi).items() if name.isupper() and isinstance(item, int)}


def ours() -> dict[str, int]:
    """Every constant, struct size, field offset and field size, by its C expression."""
    facts = dict(CONSTANTS)
    for name, struct in STRUCTS.items():
        facts[f"sizeof(struct {name})"] = ctypes.sizeof(struct)
        for field, *_ in struct._fields_:
            descriptor = getattr(struct, field)
            facts[f"offsetof(struct {name}, {field})"] = descriptor.offset
            facts[f"sizeof(((struct {name} *)0)->{field})"] = descriptor.size
    return facts


def theirs(tree: Path, expressions: Iterable[str], directory: Path) -> dict[str, int]:
    """What the tree's headers make of ``expressions``, asked of the compiler."""
    expressions = list(expressions)
    # By path: a raw header of the tree works with the system's linux/types.h, but not with the tree's own.
    includes = [f'#include "{tree}/include/uapi/linux/{header}"' for header in HEADERS]
    prints = [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    source = directory / "uapi.c"
    source.write_text(
        "\n".join(["#include <stddef.h>", "#include <stdio.h>", *includes, "int main(void) {", *prints, "}"])
    )
    binary = directory / "uapi"
    # __user says something to the kernel's own checker; installing the headers takes it out.
    subprocess.run(["cc", "-D__user=", "-o", binary, source], check=True)
    output = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    return dict(zip(expressions, map(int, output.split()), strict=True))


def test_every_number_is_the_kernels(kernel_tree: Path, tmp_path: Path) -> None:
    mine = ours()
    assert mine == theirs(kernel_tree, mine, tmp_path)


def test_every_struct_of_the_header_is_here(kernel_tree: Path) -> None:
    header = (kernel_tree / "include/uapi/linux/liveupdate.h").read_text()
    names = [line.split()[1] for line in header.splitlines() if line.startswith("struct ")]
    assert names
    assert sorted(names) == sorted(STRUCTS)
    defined = {line.split()[1] for line in header.splitlines() if line.startswith("#define\tLIVEUPDATE_")}
    defined |= {line.split()[1] for line in header.splitlines() if line.startswith("#define LIVEUPDATE_")}
    assert defined
    assert defined <= CONSTANTS.keys()


def test_an_argument_knows_its_size_and_gives_its_bytes() -> None:
    argument = uapi.liveupdate_session_preserve_fd(fd=-1, token=7)
    assert bytes(argument) == bytes.fromhex("10000000 ffffffff 0700000000000000")
    assert uapi.liveupdate_session_finish(size=4).size == 4


def test_a_session_name_is_filled_up_and_never_cut() -> None:
    argument = uapi.liveupdate_ioctl_create_session(name=uapi.session_name("vm"))
    assert bytes(argument)[8:] == b"vm" + bytes(62)
    full = "n" * uapi.LIVEUPDATE_SESSION_NAME_LENGTH
    assert bytes(uapi.session_name(full)) == full.encode()
    with pytest.raises(ValueError, match="not 65"):
        uapi.session_name(full + "n")
