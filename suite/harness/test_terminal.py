# SPDX-License-Identifier: GPL-2.0-only
"""What a run says while it runs: the truth about every machine, and nothing in a log that is not text."""

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
from fcntl import ioctl
from pathlib import Path

import pytest

from fixtures.board import Board
from fixtures.terminal import Screen, readable
from suite.harness.nested import ROOT, SECONDS, command, run

SUITE = """
    def test_good(luo):
        luo.create_session("vm")
        # Long enough for somebody to look.
        luo.actor.syscall("clock_nanosleep", 1, 0, (2).to_bytes(8, "little") + bytes(8), 0)

    def test_bad(luo):
        assert "\\x1b[2J\\x07" == "", "\\x1b[31mred\\x1b[0m \\u202e"

    @pytest.mark.parametrize("number", range(2))
    def test_scenario(luo, number):
        session = luo.create_session("vm")
        luo = yield KEXEC
        luo.retrieve_session("vm")

    def test_not_here(luo):
        pytest.skip("does not apply")
"""


def test_what_a_machine_does_is_read_as_it_was_said(tmp_path: Path) -> None:
    board = Board.new()
    other = Board(board.path, 1)
    board.say("m0", "boots")
    other.say("gw0m0", "boots")
    other.say("gw0m0", "generation 0, test_é")
    assert [(state.machine, state.doing) for state in board.read()] == [
        ("gw0m0", "generation 0, test_é"),
        ("m0", "boots"),
    ]
    board.say("m0", None)
    other.forget(1)
    assert board.read() == []


def test_a_board_is_never_read_half_written() -> None:
    board = Board.new()
    words = ["a" * 3000, "b" * 10]
    stop = threading.Event()

    def write() -> None:
        own = Board(board.path, 1)
        while not stop.is_set():
            for word in words:
                own.say("m0", word)

    writer = threading.Thread(target=write)
    Board(board.path, 1).say("m0", words[0])
    writer.start()
    try:
        seen = {tuple(state.doing for state in board.read()) for _ in range(3000)}
    finally:
        stop.set()
        writer.join()
    assert seen == {(word,) for word in words}


def test_a_process_that_is_stopped_while_it_writes_leaves_what_it_said_before() -> None:
    board = Board.new()
    other = Board(board.path, 1)
    other.say("gw0m0", "boots")
    assert len(board.read()) == 1
    start = Board.PLACE
    count, _ = Board._HEAD.unpack_from(other._memory, start)
    Board._HEAD.pack_into(other._memory, start, count + 1, 0)  # as far as it came
    assert [state.doing for state in board.read()] == ["boots"]


def test_a_crowd_of_machines_costs_the_oldest_lines_only() -> None:
    board = Board.new()
    for number in range(200):
        board.say(f"m{number:03}", "x" * 300)
    shown = [state.machine for state in board.read()]
    assert 20 < len(shown) < 200
    assert shown[-1] == "m199"


@pytest.mark.parametrize("colours", [False, True])
def test_what_a_terminal_would_obey_is_spelled_out(colours: bool) -> None:
    said = readable("\x1b[31mred\x1b[0m\x1b[2J\x07\x9b1m\rx\u202ey\tz\n", colours=colours)
    red, plain = ("\x1b[31m", "\x1b[0m") if colours else (r"\x1b[31m", r"\x1b[0m")
    assert said == rf"{red}red{plain}\x1b[2J\x07\x9b1m" + r"\x0dx\x202ey" + "\tz\n"


def test_a_log_gets_no_live_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        screen = Screen(stream, live=True, colours=False)
        screen.write("one\n")
        screen.draw(["m0: boots"])
        screen.write("two\n")
    assert log.read_text() == "one\ntwo\n"


class Window:
    """A terminal of some size, and what a run writes to it."""

    def __init__(self, directory: Path, code: str, *arguments: str, columns: int = 100) -> None:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
        process = subprocess.Popen(
            command(directory, code, arguments), cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**environment, "TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.text = ""
        try:
            while select.select([ours], [], [], SECONDS)[0]:
                try:
                    self.text += os.read(ours, 65536).decode(errors="replace")
                except OSError:  # EIO: the other end has closed
                    break
            self.status = process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        print(self.text)

    @property
    def left(self) -> list[str]:
        """The lines that remain, as a terminal shows them at the end."""
        lines, row = [""], 0
        pieces = r"\x1b\[[0-9;]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r|\n|[^\x1b\r\n]+"
        for piece in re.findall(pieces, self.text):
            if piece == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
                self.column = 0
            elif piece == "\r":
                self.column = 0
            elif piece == "\x1b[J":
                lines[row:] = [lines[row][: self.column]]
            elif up := re.fullmatch(r"\x1b\[(\d+)A", piece):
                row -= int(up[1])
            elif not piece.startswith("\x1b"):
                lines[row] = lines[row][: self.column] + piece + lines[row][self.column + len(piece) :]
                self.column += len(piece)
        return lines

    column = 0


@pytest.mark.usefixtures("default_kernel")
class TestOnMachines:
    @pytest.mark.parametrize("workers", ["0", "2"])
    def test_a_terminal_shows_every_machine_and_is_left_clean(self, tmp_path: Path, workers: str) -> None:
        window = Window(tmp_path, SUITE, "-n", workers)
        assert window.status == 1
        first = "m0" if workers == "0" else "gw0m0"
        assert f"{first}: boots (0 s)" in window.text
        assert re.search(r"m0: generation 0, \S*::test_good", window.text)
        assert re.search(r"m\d: handover to generation 1 \(\d s\)", window.text)
        assert re.search(r"[1-5] of 5 tests: ", window.text)
        left = "\n".join(window.left)
        assert "fail: " in left
        assert not re.search(r"\(\d+ s\)$", left, re.MULTILINE), "a live line stayed"

    def test_a_log_is_text_and_says_failures_as_they_come(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, SUITE, "-p", "no:randomly")
        assert_is_text(outcome.output)
        lines = outcome.output.splitlines()
        fail = next(n for n, line in enumerate(lines) if line.startswith("fail: "))
        assert "test_bad" in lines[fail]
        assert r"\x1b[31mred\x1b[0m" in lines[fail + 1]
        assert fail < next(n for n, line in enumerate(lines) if line.startswith("5 of 5 tests: "))
        assert outcome.output.count("fail: ") == 1
        verdict = lines.index("Not conformant: 3 passed, 1 failed, 1 skipped.")
        assert lines[verdict + 1] == f"Report: {outcome.directory / 'junit.xml'}"
        assert "Traceback" not in outcome.output
        assert "def test_bad" not in outcome.output

    @pytest.mark.parametrize(
        ("words", "progress", "failure", "each", "traceback"),
        [
            (["-qq"], False, True, False, False),  # at the end
            (["-q"], False, True, False, False),
            ([], True, True, False, False),
            (["-v"], False, True, True, True),
            (["--tb=short"], True, True, False, True),
        ],
    )
    def test_verbosity_means_something(
        self, tmp_path: Path, words: list[str], progress: bool, failure: bool, each: bool, traceback: bool
    ) -> None:
        outcome = run(tmp_path, SUITE, *words)
        assert_is_text(outcome.output)
        assert (" of 5 tests: " in outcome.output) == progress
        assert ("fail: " in outcome.output) == failure
        assert ("test_good PASS" in outcome.output) == each
        assert ("= FAILURES =" in outcome.output) == traceback
        assert "Not conformant: 3 passed, 1 failed, 1 skipped." in outcome.output

    def test_workers_tell_a_log_the_same(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, SUITE, "-n", "2")
        assert_is_text(outcome.output)
        assert "5 of 5 tests: 3 passed, 1 failed, 1 skipped" in outcome.output
        assert outcome.output.count("fail: ") == 1


def assert_is_text(output: str) -> None:
    """No colour, no control character, nothing that rewrites a line."""
    assert re.findall(r"[^\n\t\x20-\x7e\xa0-\uffff]|[\u202a-\u202e]", output) == []


def test_the_harnesss_own_tests_are_reported_as_pytest_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider",
            "--report-dir", tmp_path, "suite/harness/test_kernel_release.py",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "[100%]" in done.stdout
