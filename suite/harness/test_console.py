# SPDX-License-Identifier: GPL-2.0-only
"""Where one kernel's lines end and the next one's begin."""

import socket
from pathlib import Path

import pytest

from fixtures.console import Console

BANNER = b"[    0.000000] Linux version 7.3.4 (luo-cts@luo-cts)"
# EDK II clears its screen on the serial line and ends no line of its own.
FIRMWARE = b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01H"


def heard(directory: Path, *lines: bytes) -> tuple[list[tuple[int, str]], list[int]]:
    """What a console makes of ``lines``: each with its generation, and the boots it saw."""
    ours, theirs = socket.socketpair()
    boots: list[int] = []
    console = Console(ours, directory, "m0", (), boots.append, lambda: None)
    theirs.sendall(b"".join(line + b"\r\n" for line in lines))
    theirs.close()
    console.finish(60)
    return [(line.generation, line.text) for line in console.since(0)], boots


@pytest.mark.parametrize(
    "before", [b"", FIRMWARE, b"\r" + FIRMWARE + b"\r"], ids=["bare", "EDK II", "returns"]
)
def test_boot_is_seen_whatever_firmware_did_to_the_line(tmp_path: Path, before: bytes) -> None:
    lines, boots = heard(tmp_path, before + BANNER, b"[    1.0] one", BANNER, b"[    1.0] two")
    assert boots == [0, 1]
    assert lines == [
        (0, BANNER.decode()),
        (0, "[    1.0] one"),
        (1, BANNER.decode()),
        (1, "[    1.0] two"),
    ]
    for generation, word in enumerate(("one", "two")):
        assert word in (tmp_path / f"m0.{generation}.log").read_text()


@pytest.mark.parametrize(
    "line",
    [
        b"[    5.123456] Linux version 7.3.4",
        b"[    5.123456] [    0.000000] Linux version 7.3.4",
        b"[    5.123456] \x1b[2J[    0.000000] Linux version 7.3.4",
        b"[    0.000000] Command line: Linux version",
    ],
)
def test_words_of_a_banner_in_another_line_are_no_boot(tmp_path: Path, line: bytes) -> None:
    lines, boots = heard(tmp_path, BANNER, line)
    assert boots == [0]
    assert lines[1] == (0, line.decode())
