# SPDX-License-Identifier: GPL-2.0-only
"""A host's console as a serial device and as a TCP port of a terminal server."""

import os
import pty
import socket
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.targets.kmsg import Kmsg
from kernel.errors import LuoCtsError
from suite.harness.nested import wait_for

WORDS = b"[    1.000000] Kernel panic - not syncing: \xff\r\n"


class Console:
    """What the harness hears."""

    def __init__(self) -> None:
        self.end, printer = socket.socketpair()
        self.end.settimeout(60)
        self.kmsg = Kmsg(printer)

    def hear(self, words: bytes) -> None:
        """Wait for these words and no others."""
        said = b""
        while len(said) < len(words):
            said += self.end.recv(1 << 16)
        assert said == words


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    yield made
    made.kmsg.close()
    made.end.close()


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A serial line: the host's end, and the device at ours."""
    host, ours = pty.openpty()
    tty.setraw(ours)
    yield host, os.ttyname(ours)
    os.close(host)
    os.close(ours)


def open_files(name: str) -> int:
    return sum(str(link.resolve()) == name for link in Path("/proc/self/fd").iterdir())


def test_serial_device_is_heard_at_its_speed(console: Console, line: tuple[int, str]) -> None:
    host, device = line
    console.kmsg.follow_serial(device, 9600)
    assert termios.tcgetattr(host)[4:6] == [termios.B9600, termios.B9600]
    for _ in range(3):
        os.write(host, WORDS * 50)
        console.hear(WORDS * 50)


def test_serial_device_is_let_go_of(console: Console, line: tuple[int, str]) -> None:
    _, device = line
    console.kmsg.follow_serial(device, 115200)
    assert open_files(device) == 2
    console.kmsg.close()
    wait_for(lambda: open_files(device) == 1, "the device to be closed", 60)


def test_device_that_goes_away_ends_the_console_and_nothing_else(console: Console) -> None:
    host, ours = pty.openpty()
    tty.setraw(ours)
    console.kmsg.follow_serial(os.ttyname(ours), 115200)
    os.write(host, WORDS)
    console.hear(WORDS)
    os.close(ours)
    os.close(host)
    assert console.kmsg.recall([(1.0, "from pstore")]) == ["[    1.000000] from pstore"]
    console.hear(b"[    1.000000] from pstore\n")


def test_record_of_a_next_kernel_is_told_from_one_of_the_kernel_that_was_heard(console: Console) -> None:
    console.kmsg.recall([(59.0, "heard"), (60.0, "heard last")])
    same = [(59.0, "heard"), (60.0, "heard last"), (60.5, "Kernel panic")]
    assert console.kmsg.recall_record(same) == ["[   60.500000] Kernel panic"]
    later = [(61.0, "of the same, whose log was long"), (62.0, "Kernel panic")]
    assert len(console.kmsg.recall_record(later)) == 2
    other = [(0.0, "Linux version"), (3.0, "Kernel panic")]
    assert console.kmsg.recall_record(other) == [
        "[    0.000000] Linux version",
        "[    3.000000] Kernel panic",
    ]


def test_device_that_is_not_there_is_named(console: Console) -> None:
    with pytest.raises(LuoCtsError, match="the console /dev/nowhere cannot be opened"):
        console.kmsg.follow_serial("/dev/nowhere", 115200)


def test_terminal_server_is_heard_again_after_it_went_down(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        console.kmsg.follow_tcp("127.0.0.1", server.getsockname()[1])
        for _ in range(2):
            connection, _ = server.accept()
            connection.sendall(WORDS * 1000)
            console.hear(WORDS * 1000)
            connection.close()
        connection, _ = server.accept()
        connection.settimeout(60)
        console.kmsg.close()
        assert connection.recv(1) == b"", "it is let go of"
        connection.close()


def test_terminal_server_that_is_not_there_is_named(console: Console) -> None:
    with pytest.raises(LuoCtsError, match=r"the console 127\.0\.0\.1:1 cannot be opened: .*refused"):
        console.kmsg.follow_tcp("127.0.0.1", 1)
