# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of a kernel's source were executed: the numbers, a table of them, and lcov's tracefile."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any


class State(StrEnum):
    """What is said of a line that has code."""

    REACHED = "reached"
    UNREACHABLE = "unreachable"  # not reached, and there is a reason
    MISSED = "missed"


@dataclass(frozen=True)
class FileCoverage:
    """One source file. Lines count from 1."""

    name: str  # below the top of the tree
    path: str  # where it was read
    text: tuple[str, ...]
    counts: Mapping[int, int]  # of the lines that have code: how many machines executed it
    functions: Mapping[int, str]  # by the line of their names
    unreachable: Mapping[int, str]  # missed lines, and the reason

    @cached_property
    def states(self) -> dict[int, State]:
        return {line: self._state(line) for line in sorted(self.counts)}

    def _state(self, line: int) -> State:
        if self.counts[line]:
            return State.REACHED
        return State.UNREACHABLE if line in self.unreachable else State.MISSED

    def of(self, state: State) -> list[int]:
        return [line for line, its in self.states.items() if its is state]

    def function(self, line: int) -> str:
        """The function that a line is in, or the last one before it; empty above the first one."""
        return self.functions.get(max((start for start in self.functions if start <= line), default=0), "")


@dataclass(frozen=True)
class ErrorPath:
    """A place where the kernel fails, gives up or complains, and the lines that it has here."""

    number: int
    file: str
    function: str
    result: str  # the errno, or what else comes of it
    condition: str
    kind: str
    method: str
    way: str  # the cheapest one that is known
    lines: tuple[int, ...]  # those that have code; none where this kernel has no such place
    tests: tuple[str, ...] = ()  # that are known to get there
    why: str = ""  # none does


# Of the last kind are places that a release does not have, and those of which the compiler made code of other
# lines: of a call into a header, code of that header.
PARTLY, NO_CODE = "partly reached", "without code of its own"
PATH_STATES = (str(State.REACHED), PARTLY, str(State.MISSED), str(State.UNREACHABLE), NO_CODE)


@dataclass(frozen=True)
class Coverage:
    """All of a run's. ``properties`` say what ran, ``remarks`` what of configs/unreachable.yaml is wrong."""

    properties: Mapping[str, str]
    files: tuple[FileCoverage, ...]
    paths: tuple[ErrorPath, ...] = ()
    remarks: tuple[str, ...] = ()

    @cached_property
    def _states(self) -> dict[str, dict[int, State]]:
        return {file.name: file.states for file in self.files}

    def state(self, path: ErrorPath) -> str:
        """One of PATH_STATES: what is said of an error path as a whole, reached only where each line is."""
        states = [self._states[path.file][line] for line in path.lines]
        if not states:
            return NO_CODE
        if all(state is State.REACHED for state in states):
            return str(State.REACHED)
        if State.MISSED not in states:
            return str(State.UNREACHABLE)
        return PARTLY if State.REACHED in states else str(State.MISSED)

    def paths_at(self, file: str) -> dict[int, list[ErrorPath]]:
        """The error paths of a file by its lines."""
        found: dict[int, list[ErrorPath]] = {}
        for path in self.paths:
            if path.file == file:
                for line in path.lines:
                    found.setdefault(line, []).append(path)
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "properties": dict(self.properties),
            "files": {
                file.name: {"lines": len(file.counts)} | {str(state): file.of(state) for state in State}
                for file in self.files
            },
            "paths": {path.number: self.state(path) for path in self.paths},
            "remarks": list(self.remarks),
        }


def percent(reached: int, lines: int) -> str:
    """Rounded down, so that 100 means all."""
    return f"{reached * 1000 // lines / 10 if lines else 100.0:.1f} %"


HEADER = ("file", "lines", "reached", "", "unreachable", "missed", "of those that can be reached")


def table(files: Sequence[FileCoverage]) -> list[list[str]]:
    """A row for each file and one for all, under HEADER."""
    numbers = [(file.name, [len(file.of(state)) for state in State]) for file in files]
    numbers.append(("all", [sum(column) for column in zip(*(counts for _, counts in numbers), strict=True)]))
    return [
        [
            name,
            str(reached + excused + missed),
            str(reached),
            percent(reached, reached + excused + missed),
            str(excused),
            str(missed),
            percent(reached, reached + missed),
        ]
        for name, (reached, excused, missed) in numbers
    ]


def total(files: Sequence[FileCoverage]) -> str:
    """The last row of the table, in words."""
    _, lines, reached, share, *_, of_those = table(files)[-1]
    return f"{reached} of {lines} lines ({share}), {of_those} of those that can be reached"


def tally(found: Coverage) -> str:
    """What became of the error paths, in a line."""
    counts = Counter(found.state(path) for path in found.paths)
    told = ", ".join(f"{counts[state]} {state}" for state in PATH_STATES if counts[state])
    return f"{len(found.paths)} error paths: {told}"


def stretches(lines: Sequence[int]) -> str:
    """Line numbers in rising order for people: 3, 7-9."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][-1] + 1:
            runs[-1].append(line)
        else:
            runs.append([line])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def lcov(coverage: Coverage) -> Iterator[str]:
    """The lines of a tracefile as geninfo(1) describes it; a count is the number of machines that came by."""
    for file in coverage.files:
        reached = {file.function(line) for line in file.of(State.REACHED)} - {""}
        yield "TN:luo_cts"
        yield f"SF:{file.path}"
        for line, name in sorted(file.functions.items()):
            yield f"FN:{line},{name}"
        for _, name in sorted(file.functions.items()):
            yield f"FNDA:{int(name in reached)},{name}"
        yield f"FNF:{len(file.functions)}"
        yield f"FNH:{len(reached)}"
        for line, count in sorted(file.counts.items()):
            yield f"DA:{line},{count}"
        yield f"LF:{len(file.counts)}"
        yield f"LH:{len(file.of(State.REACHED))}"
        yield "end_of_record"
