# SPDX-License-Identifier: GPL-2.0-only
"""From the addresses of a kernel's code to the lines of its source, by its debug information (DWARF).

A line has code where instructions are said to be of it, in whatever function it was inlined into. What an
optimizing compiler makes of a line may be less than one thinks: equal ends of a function are joined and
belong to one of their lines, a result may be computed ahead of the branch that needs it, and a line without
instructions of its own is none here. Such a line has a place in the line table all the same, as one that a
debugger may stop at (``is_stmt``), but nothing tells whether it was executed.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.lineprogram import LineProgram, LineState
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from kernel.errors import LuoCtsError


@dataclass(frozen=True)
class SourceFile:
    """A source file as a kernel was compiled from it; ``name`` is its path below the top of the tree."""

    name: str
    lines: Mapping[int, tuple[range, ...]]  # where the code of a line is
    functions: Mapping[int, str]  # by the line of their names

    @cached_property
    def _starts(self) -> list[int]:
        return sorted(self.functions)

    def function(self, line: int) -> str:
        """The function that ``line`` is in, or that ends before it; empty above the first one."""
        before = bisect_right(self._starts, line)
        return self.functions[self._starts[before - 1]] if before else ""

    def extent(self, function: str) -> range:
        """The lines of a function, up to the next one's name; empty for one that was not compiled."""
        starts = self._starts
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            if self.functions[start] == function:
                return range(start, end if end is not None else max(self.lines, default=start) + 1)
        return range(0)


@dataclass(frozen=True)
class Program:
    """Some source files of a kernel, and the code that was made of them."""

    files: tuple[SourceFile, ...]
    stretches: tuple[range, ...]  # addresses of all compilation units that the files have a part in
    sections: tuple[tuple[int, bytes], ...]  # what stands there, as it was linked

    def at(self, address: int, length: int) -> bytes | None:
        """The code at ``address``, as it was linked: the kernel patches some of it when it boots."""
        for start, data in self.sections:
            if start <= address and address + length <= start + len(data):
                return data[address - start : address - start + length]
        return None


def read(vmlinux: Path, tree: Path, names: Sequence[str]) -> Program:
    """What ``vmlinux``, built from ``tree``, tells of the source files ``names``.

    Raises LuoCtsError where it has no debug information, or none of one of the files.
    """
    try:
        with vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            dwarf = elf.get_dwarf_info() if elf.has_dwarf_info() else None
            if dwarf is None or not dwarf.has_debug_info:
                raise LuoCtsError(f"{vmlinux} has no debug information", "build it with --debug-info")
            found = _read(dwarf, Path(os.path.realpath(tree)), names)
            sections = tuple(_sections(elf, found.stretches))
    except (DWARFError, ELFError, OSError) as error:
        raise LuoCtsError(f"{vmlinux} cannot be read: {error}", "is it a vmlinux, and whole?") from error
    missing = [name for name in names if not found.lines[name]]
    if missing:
        raise LuoCtsError(
            f"{vmlinux} has no code of {', '.join(missing)}",
            "paths are relative to the top of the tree; is it configured, and not an overlay's?",
        )
    files = (
        SourceFile(
            name, {line: tuple(places) for line, places in found.lines[name].items()}, found.functions[name]
        )
        for name in names
    )
    return Program(tuple(files), tuple(found.stretches), sections)


class _Found:
    def __init__(self, names: Sequence[str]) -> None:
        self.lines: dict[str, dict[int, list[range]]] = {name: {} for name in names}
        self.functions: dict[str, dict[int, str]] = {name: {} for name in names}
        self.stretches: list[range] = []


def _read(dwarf: DWARFInfo, tree: Path, names: Sequence[str]) -> _Found:
    found = _Found(names)
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        numbers = _numbers(unit, program, tree, found.lines)
        if not numbers:
            continue
        for sequence in _sequences(program):
            mine = False
            for row, after in pairwise(sequence):
                name = numbers.get(row.file)
                # Of several rows at one address the last has the instructions. Line 0 is no line: what the
                # compiler made by itself.
                if name is not None and row.line and row.address < after.address:
                    found.lines[name].setdefault(row.line, []).append(range(row.address, after.address))
                    mine = True
            if mine:
                found.stretches.append(range(sequence[0].address, sequence[-1].address))
        for number, name in numbers.items():
            found.functions[name] |= _functions(unit, number)
    return found


def _numbers(
    unit: CompileUnit, program: LineProgram, tree: Path, names: Mapping[str, object]
) -> dict[int, str]:
    """The numbers that a compilation unit gives to files of ``names``; one may have several."""
    header = program.header
    modern = header["version"] >= 5  # before, files and directories count from 1, and 0 is the unit's own
    where = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
    home = where.value.decode(errors="replace") if where else "/"
    directories = [name.decode(errors="replace") for name in header["include_directory"]]
    if not modern:
        directories.insert(0, home)
    numbers = {}
    for number, entry in enumerate(header["file_entry"], 0 if modern else 1):
        path = entry.name.decode(errors="replace")
        if path.rpartition("/")[2] not in {name.rpartition("/")[2] for name in names}:
            continue
        directory = directories[entry.dir_index] if entry.dir_index < len(directories) else ""
        # Relative to the build directory, or to the tree where -ffile-prefix-map made them so.
        for base in (home, str(tree)):
            full = os.path.realpath(os.path.join(base, directory, path))  # noqa: PTH118
            if full.startswith(f"{tree}/") and (name := full[len(f"{tree}/") :]) in names:
                numbers[number] = name
                break
    return numbers


def _sequences(program: LineProgram) -> Iterator[list[LineState]]:
    """Runs of rows with rising addresses, each ended by a row that says where its code ends.

    One for each section that the unit has code in.
    """
    rows: list[LineState] = []
    for entry in program.get_entries():
        if entry.state is None:
            continue
        rows.append(entry.state)
        if entry.state.end_sequence:
            # The linker drops sections, and leaves their rows behind at 0.
            if rows[0].address:
                yield rows
            rows = []


def _functions(unit: CompileUnit, number: int) -> dict[int, str]:
    functions = {}
    for entry in unit.get_top_DIE().iter_children():
        attributes = entry.attributes
        if entry.tag != "DW_TAG_subprogram" or "DW_AT_declaration" in attributes:
            continue
        if "DW_AT_name" in attributes and attributes["DW_AT_decl_file"].value == number:
            line = attributes["DW_AT_decl_line"].value
            functions[line] = attributes["DW_AT_name"].value.decode(errors="replace")
    return functions


def _sections(elf: ELFFile, stretches: Sequence[range]) -> Iterator[tuple[int, bytes]]:
    for section in elf.iter_sections():
        place = range(section["sh_addr"], section["sh_addr"] + section["sh_size"])
        if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and any(each.start in place for each in stretches):
            yield place.start, section.data()
