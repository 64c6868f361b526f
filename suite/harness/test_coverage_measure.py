# SPDX-License-Identifier: GPL-2.0-only
"""From the logs of machines to the lines of their source: guests that QEMU runs here."""

import platform
from pathlib import Path

import pytest

from kernel.lines import Program
from reports.coverage import State
from suite.coverage import measure
from suite.coverage.measure import Executed
from suite.coverage.paths import Known
from suite.harness import coverage_guest
from suite.harness.coverage_guest import ALWAYS, IN_LARGE, IN_SMALL, NAME, Guest, line_of

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the guests are x86 ones")


class Lab:
    """Guests of one source: two that take different ways through the same code, and two of other code."""

    def __init__(self, directory: Path) -> None:
        self.small = coverage_guest.build(directory / "small", 3)
        self.large = coverage_guest.build(directory / "large", 300)
        self.again = coverage_guest.build(directory / "again", 300, "-O0")
        self.other = coverage_guest.build(directory / "other", 3, "-DOTHER", "-Os", "-fno-omit-frame-pointer")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("guests"))


def ran(logs: Path, programs: list[Program], *guests: Guest) -> Executed:
    for number, guest in enumerate(guests):
        guest.boot(f"m{number}", logs)
    return Executed.read(sorted(logs.iterdir()), programs)


def counts(executed: Executed, programs: list[Program], tree: Path) -> dict[int, int]:
    (file,), remarks = measure.files(programs, executed, tree, [], "7.3.4")
    assert remarks == []
    assert file.text == tuple(coverage_guest.SOURCE.splitlines())
    return dict(file.counts)


def test_two_machines_count_for_two(lab: Lab, tmp_path: Path) -> None:
    programs = [lab.small.program]
    executed = ran(tmp_path / "logs", programs, lab.small, lab.large, lab.small)
    found = counts(executed, programs, lab.small.tree)
    assert [found[line_of(text)] for text in (ALWAYS, IN_SMALL, IN_LARGE)] == [3, 2, 1]
    assert executed.foreign == 0


def test_an_instruction_counts_for_the_lines_that_it_is_of_and_no_other(lab: Lab) -> None:
    program = lab.small.program
    (file,) = program.files
    for at in range(program.stretches[0].start, program.stretches[0].stop):
        executed = Executed(((frozenset({at}),),), 1, 0)
        mine = {line for line, places in file.lines.items() if any(at in place for place in places)}
        found = counts(executed, [program], lab.small.tree)
        assert {line for line, count in found.items() if count} == mine


def test_a_line_that_nobody_executed_counts_nothing(lab: Lab, tmp_path: Path) -> None:
    programs = [lab.small.program]
    found = counts(ran(tmp_path / "logs", programs, lab.small), programs, lab.small.tree)
    assert [found[line_of(text)] for text in (ALWAYS, IN_SMALL, IN_LARGE)] == [1, 1, 0]


def test_code_of_a_kernel_that_was_not_named_counts_nothing(lab: Lab, tmp_path: Path) -> None:
    programs = [lab.small.program]
    executed = ran(tmp_path / "logs", programs, lab.again)
    assert (executed.blocks, executed.foreign > 0) == (0, True)
    assert set(counts(executed, programs, lab.small.tree).values()) == {0}


def test_two_builds_of_one_source_count_together(lab: Lab, tmp_path: Path) -> None:
    programs = [lab.small.program, lab.again.program]
    executed = ran(tmp_path / "logs", programs, lab.small, lab.again)
    found = counts(executed, programs, lab.small.tree)
    assert [found[line_of(text)] for text in (ALWAYS, IN_SMALL, IN_LARGE)] == [2, 1, 1]


def test_a_log_that_was_cut_off_counts_as_far_as_it_goes(lab: Lab, tmp_path: Path) -> None:
    programs = [lab.small.program]
    lab.small.boot("m0", tmp_path / "logs")
    (log,) = (tmp_path / "logs").iterdir()
    whole = log.read_bytes()
    before = 0
    for end in range(0, len(whole), 7):
        log.write_bytes(whole[:end])
        executed = Executed.read([log], programs)
        reached = sum(map(bool, counts(executed, programs, lab.small.tree).values()))
        assert reached >= before
        assert executed.foreign == 0
        before = reached
    assert before > 3


def block(program: Program, start: int, length: int) -> dict[int, bytes]:
    """Instructions of one byte each, as they were linked."""
    found = {at: program.at(at, 1) for at in range(start, start + length)}
    return {at: code for at, code in found.items() if code is not None}


def test_a_block_that_the_kernel_patched_is_still_its_own(lab: Lab) -> None:
    program = lab.small.program
    mine = block(program, program.stretches[0].start, 8)
    patched = dict(mine)
    for at in list(patched)[:4]:
        patched[at] = bytes([patched[at][0] ^ 1])
    assert measure.owner_of(patched, [program]) == 0
    patched[max(patched)] = b"\xcc"
    assert measure.owner_of(patched, [program]) is None


def test_a_block_is_of_the_program_that_it_fits_best(lab: Lab) -> None:
    programs = [lab.small.program, lab.other.program]
    for number, program in enumerate(programs):
        assert measure.owner_of(block(program, program.stretches[0].start, 24), programs) == number


def test_error_paths_get_the_lines_that_have_code(lab: Lab, tmp_path: Path) -> None:
    programs = [lab.small.program]
    executed = ran(tmp_path / "logs", programs, lab.small)
    files, _ = measure.files(programs, executed, lab.small.tree, [], "7.3.4")
    at = line_of(IN_LARGE)

    def known(number: int, text: str, lines: range, file: str = NAME, tests: tuple[str, ...] = ()) -> Known:
        return Known(
            number, file, "large", (lines,), text, "1", "always", "origin", "userspace", "call", tests=tests
        )

    paths = [
        known(1, IN_LARGE, range(at + 40, at + 43), tests=("a.py::test_a",)),  # it has moved since
        known(2, "value = value / 8;", range(at, at + 1)),
        known(3, "#ifdef OTHER", range(at, at + 1)),
        known(4, IN_LARGE, range(at, at + 1), "kernel/absent.c"),
        known(5, IN_LARGE, range(at, at + 1), "kernel/not_asked.c"),
    ]
    found = measure.error_paths(programs, files, paths, ["kernel/absent.c"])
    assert [path.number for path in found] == [1, 2, 3, 4]
    assert [path.lines for path in found] == [
        tuple(n for n in (at, at + 1, at + 2) if n in files[0].counts),
        (),
        (),
        (),
    ]
    assert found[0].tests == ("a.py::test_a",)
    assert files[0].states[at] is State.MISSED
