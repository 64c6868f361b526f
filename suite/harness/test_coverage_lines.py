# SPDX-License-Identifier: GPL-2.0-only
"""Lines of source and their addresses, in programs that are compiled here."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kernel import lines
from kernel.errors import LuoCtsError
from kernel.lines import Program, SourceFile

A_C = """\
#include "shared.h"

int total;

static inline int checked(int value)
{
	if (value < 0)
		total -= 7 * shared(value);
	return value;
}

int work(int value)
{
	total += checked(value);
	for (int i = 0; i < value; i++)
		total *= 3;
	return total;
}

__attribute__((section(".init.text"), cold)) int start(int value)
{
	total = value;
	return work(value);
}

/* No code. */
"""

SHARED_H = """\
static inline int shared(int value)
{
	return value / 11;
}
"""

OTHER_C = """\
#include "shared.h"

int other(int value)
{
	return shared(value) + 1;
}
"""


def build(directory: Path, *flags: str, paths: Sequence[str] | None = None, debug: bool = True) -> Path:
    """A program as kbuild makes one: out of the tree, for an address of the kernel's."""
    tree, out = directory / "tree", directory / "out"
    for name, text in (
        ("kernel/a.c", A_C),
        ("include/shared.h", SHARED_H),
        # Its name ends as another's does.
        ("arch/x/kernel/a.c", OTHER_C),
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    out.mkdir(exist_ok=True)
    names = paths or [str(tree / "kernel/a.c"), str(tree / "arch/x/kernel/a.c")]
    kind = ["-g", *flags] if debug else []
    # fmt: off
    subprocess.run(
        [
            "gcc", "-O2", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-Wl,-Ttext=0x10000000",
            "-Wl,-e,start", "-Wl,--section-start=.init.text=0x20000000",
            *kind, f"-I{tree}/include", *names, "-o", "vmlinux",
        ],
        cwd=out, check=True,
    )
    # fmt: on
    return out / "vmlinux"


def line_of(text: str, source: str = A_C) -> int:
    return source.splitlines().index(text) + 1


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    directory = tmp_path_factory.mktemp("program")
    return lines.read(build(directory), directory / "tree", ["kernel/a.c"])


def test_every_line_with_instructions_is_there_and_no_other(program: Program) -> None:
    (file,) = program.files
    texts = {A_C.splitlines()[line - 1].strip() for line in file.lines}
    wanted = {
        "total -= 7 * shared(value);",
        "total *= 3;",
        "total = value;",
    }
    assert wanted <= texts
    assert texts.isdisjoint({"", "{", "int total;", "/* No code. */", '#include "shared.h"'})


def test_addresses_are_those_that_another_reader_of_dwarf_finds(program: Program, tmp_path: Path) -> None:
    (file,) = program.files
    places = {
        (line, address)
        for line, stretches in file.lines.items()
        for stretch in stretches
        for address in stretch[:1]
    }
    command = ["addr2line", "-e", str(build(tmp_path)), *(hex(address) for _, address in places)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for (line, address), place in zip(places, said, strict=True):
        assert re.search(rf"/tree/kernel/a\.c:{line}( |$)", place), hex(address)


def test_an_inlined_line_belongs_to_its_own_file(tmp_path: Path) -> None:
    found = lines.read(build(tmp_path), tmp_path / "tree", ["include/shared.h", "kernel/a.c"])
    header, source = found.files
    assert set(header.lines) == {line_of("\treturn value / 11;", SHARED_H)}
    assert line_of("\t\ttotal -= 7 * shared(value);") in source.lines
    # In both units: each has a copy of it.
    assert len({address >> 8 for places in header.lines.values() for address in places[0]}) >= 1
    assert len(found.stretches) == 3


def test_functions_and_their_extents_are_known(program: Program) -> None:
    (file,) = program.files
    assert set(file.functions.values()) == {"checked", "work", "start"}
    assert file.function(line_of("\t\ttotal *= 3;")) == "work"
    assert file.function(1) == ""
    work, start = line_of("int work(int value)"), 20
    assert file.extent("work") == range(work, start)
    assert file.extent("start").start == start
    assert max(file.lines) in file.extent("start")
    assert not file.extent("other")


def test_all_sections_are_covered(program: Program) -> None:
    assert {stretch.start >> 28 for stretch in program.stretches} == {1, 2}
    for stretch in program.stretches:
        assert program.at(stretch.start, 4) is not None
    assert program.at(0x3000_0000, 1) is None
    end = max(start + len(data) for start, data in program.sections)
    assert program.at(end - 1, 1) is not None
    assert program.at(end - 1, 2) is None


def test_what_the_linker_dropped_is_no_code(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, "-ffunction-sections", "-Wl,--gc-sections")
    assert lines.read(vmlinux, tmp_path / "tree", ["kernel/a.c"]).files[0].lines
    with pytest.raises(LuoCtsError, match=r"no code of arch/x/kernel/a\.c"):
        lines.read(vmlinux, tmp_path / "tree", ["arch/x/kernel/a.c"])


@pytest.mark.parametrize(
    ("flags", "paths"),
    [
        (["-gdwarf-4"], None),
        (["-gdwarf-5"], None),
        (["-gdwarf-4"], ["../tree/kernel/a.c", "../tree/arch/x/kernel/a.c"]),
        (["-gdwarf-5"], ["../tree/kernel/a.c", "../tree/arch/x/kernel/a.c"]),
        (["-ffile-prefix-map=../tree/="], ["../tree/kernel/a.c", "../tree/arch/x/kernel/a.c"]),
    ],
    ids=["4", "5", "4-relative", "5-relative", "mapped"],
)
def test_files_are_found_however_they_are_named(
    tmp_path: Path, program: Program, flags: list[str], paths: list[str] | None
) -> None:
    found = lines.read(build(tmp_path, *flags, paths=paths), tmp_path / "tree", ["kernel/a.c"])
    assert set(found.files[0].lines) == set(program.files[0].lines)
    assert found.files[0].functions == program.files[0].functions


def test_a_link_to_the_tree_is_the_tree(tmp_path: Path) -> None:
    vmlinux = build(tmp_path)
    (tmp_path / "link").symlink_to("tree")
    assert lines.read(vmlinux, tmp_path / "link", ["kernel/a.c"]).files[0].lines


def test_a_program_without_debug_information_is_refused(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, debug=False)
    with pytest.raises(LuoCtsError, match="has no debug information") as raised:
        lines.read(vmlinux, tmp_path / "tree", ["kernel/a.c"])
    assert "--debug-info" in raised.value.hint


def test_a_file_that_was_not_compiled_is_named(tmp_path: Path) -> None:
    with pytest.raises(LuoCtsError, match=r"no code of kernel/b\.c$|no code of kernel/b\.c "):
        lines.read(build(tmp_path), tmp_path / "tree", ["kernel/a.c", "kernel/b.c"])


@pytest.mark.parametrize(
    "content", [b"", b"no ELF at all", b"\x7fELF" + bytes(100)], ids=["empty", "text", "torn"]
)
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vmlinux").write_bytes(content)
    with pytest.raises(LuoCtsError, match="cannot be read"):
        lines.read(tmp_path / "vmlinux", tmp_path, ["kernel/a.c"])


def test_the_last_function_ends_with_its_last_line() -> None:
    file = SourceFile("a.c", {3: (range(0, 1),), 9: (range(1, 2),)}, {2: "one", 7: "two"})
    assert (file.extent("one"), file.extent("two")) == (range(2, 7), range(7, 10))
