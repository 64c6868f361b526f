# SPDX-License-Identifier: GPL-2.0-only
"""From what machines logged to lines of source: one or more builds of the same source, and all machines."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel.lines import Program
from reports.coverage import ErrorPath, FileCoverage
from suite.coverage import blocks, unreachable
from suite.coverage.blocks import Block
from suite.coverage.paths import Known
from suite.coverage.unreachable import Unreachable


@dataclass(frozen=True)
class Executed:
    """What was executed: a set of addresses of each program for each machine, programs in their order."""

    machines: tuple[tuple[frozenset[int], ...], ...]
    blocks: int  # of the programs
    foreign: int  # blocks of kernels that are none of them

    @classmethod
    def read(cls, logs: Iterable[Path], programs: Sequence[Program]) -> "Executed":
        machines = []
        ours = foreign = 0
        for log in logs:
            found: list[set[int]] = [set() for _ in programs]
            for block in blocks.read(log.read_bytes()):
                owner = owner_of(block, programs)
                if owner is None:
                    foreign += 1
                else:
                    ours += 1
                    found[owner].update(block)
            machines.append(tuple(frozenset(addresses) for addresses in found))
        return cls(tuple(machines), ours, foreign)


def owner_of(block: Block, programs: Sequence[Program]) -> int | None:
    """Of which program a block is: a machine may go on with another kernel, that has other code there.

    The kernel patches itself at boot, by single instructions, so no more than half of a block has to be as it
    was linked.
    """
    fits = [sum(program.at(at, len(code)) == code for at, code in block.items()) for program in programs]
    best = max(fits, default=0)
    return fits.index(best) if 2 * best >= len(block) else None


def files(
    programs: Sequence[Program], executed: Executed, tree: Path, known: Sequence[Unreachable], release: str
) -> tuple[list[FileCoverage], list[str]]:
    """Each file with its lines, and what is wrong with the list of unreachable ones."""
    ordered = [tuple(map(sorted, machine)) for machine in executed.machines]
    found = []
    remarks = [
        f"unreachable {entry.id}: there is no {entry.file}"
        for entry in known
        if entry.releases.holds(release) and not (tree / entry.file).is_file()
    ]
    for number, source in enumerate(programs[0].files):
        counts: dict[int, int] = {}
        for which, program in enumerate(programs):
            for line, places in program.files[number].lines.items():
                times = sum(any(_within(machine[which], place) for place in places) for machine in ordered)
                counts[line] = counts.get(line, 0) + times
        path = tree / source.name
        text = tuple(path.read_text(encoding="utf-8", errors="replace").splitlines())
        reasons, stale = unreachable.judge(known, source, text, counts, release)
        found.append(FileCoverage(source.name, str(path), text, counts, source.functions, reasons))
        remarks += stale
    return found, remarks


def _within(addresses: Sequence[int], place: range) -> bool:
    at = bisect_left(addresses, place.start)
    return at < len(addresses) and addresses[at] < place.stop


def error_paths(
    programs: Sequence[Program],
    found: Sequence[FileCoverage],
    known: Sequence[Known],
    absent: Collection[str] = (),
) -> list[ErrorPath]:
    """Those that are in the files, with the lines they have here, and those in files that are ``absent``."""
    placed = []
    here = {file.name: (source, file) for source, file in zip(programs[0].files, found, strict=True)}
    for path in known:
        lines: tuple[int, ...] = ()
        if path.file in here:
            source, file = here[path.file]
            lines = path.here(source, file.text, file.counts)
        elif path.file not in absent:
            continue
        said = (path.function, path.result, path.condition, path.kind, path.method, path.way)
        placed.append(ErrorPath(path.id, path.file, *said, lines, path.tests, path.why))
    return placed
