# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU logs of a guest's code: asked for, written and read."""

import platform
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import UsageError
from suite.coverage import blocks
from suite.harness import coverage_guest
from suite.harness.coverage_guest import Guest

LOG = b"""\
----------------
IN: luo_session_release
0xffffffff81a3c0f0:  f3 0f 1e fa              endbr64 \x20
0xffffffff81a3c0f4:  48 c7 84 24 88 00 00 00  movq     $0x12345678, 0x88(%rsp)
0xffffffff81a3c0fc:  78 56 34 12             \x20
0xffffffff81a3c100:  0f 0b                    ud2     \x20

----------------
IN:\x20
0xffff800080123450:  d503233f  paciasp \x20
0xffff800080123454:  a9bf7bfd  stp      x29, x30, [sp, #-0x10]!

"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    if platform.machine() != "x86_64":
        pytest.skip("the guest is an x86 one")
    return coverage_guest.build(tmp_path_factory.mktemp("guest") / "small", 3)


def test_instructions_are_read_with_all_their_bytes() -> None:
    first, second = blocks.read(LOG)
    assert first[0xFFFFFFFF81A3C0F0] == b"\xf3\x0f\x1e\xfa"
    assert first[0xFFFFFFFF81A3C0F4] + first[0xFFFFFFFF81A3C0FC] == bytes.fromhex("48c78424880000007856 3412")
    assert sorted(first)[-1] == 0xFFFFFFFF81A3C100
    # A number, of which the last byte stands first in memory.
    assert list(second.values()) == [b"\x3f\x23\x03\xd5", b"\xfd\x7b\xbf\xa9"]


def test_a_log_may_end_anywhere() -> None:
    whole = list(blocks.read(LOG))
    for end in range(len(LOG)):
        found = list(blocks.read(LOG[:end]))
        assert all(set(part) <= set(block) for part, block in zip(found, whole, strict=False))


def test_what_is_no_log_has_no_blocks() -> None:
    assert list(blocks.read(b"")) == []
    assert list(blocks.read(b"warning: TCG doesn't support requested feature\n0x12 and so on\n")) == []


def test_qemu_logs_what_the_guest_executes_and_nothing_else(guest: Guest, tmp_path: Path) -> None:
    guest.boot("m0", tmp_path / "logs")
    (log,) = (tmp_path / "logs").iterdir()
    found = list(blocks.read(log.read_bytes()))
    program = guest.program
    assert found
    assert all(program.at(at, len(code)) == code for block in found for at, code in block.items())

    executed = {at for block in found for at in block}
    (file,) = program.files

    def reached(text: str) -> bool:
        return any(at in place for place in file.lines[coverage_guest.line_of(text)] for at in executed)

    assert reached(coverage_guest.ALWAYS)
    assert reached(coverage_guest.IN_SMALL)
    assert not reached(coverage_guest.IN_LARGE)


def test_a_block_that_runs_a_thousand_times_is_logged_where_it_is_translated(
    guest: Guest, tmp_path: Path
) -> None:
    guest.boot("m0", tmp_path / "logs")
    (log,) = (tmp_path / "logs").iterdir()
    (file,) = guest.program.files
    places = file.lines[coverage_guest.line_of(coverage_guest.IN_SMALL)]
    times = sum(
        any(at in place for place in places for at in block) for block in blocks.read(log.read_bytes())
    )
    # From its top and, once round, from where it is jumped to.
    assert 1 <= times <= 2


def test_machines_of_one_name_have_logs_of_their_own(guest: Guest, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for _ in range(2):
        guest.boot("m0", logs)
    guest.boot("gw1m0", logs)
    assert sorted(path.name.partition("-")[0] for path in logs.iterdir()) == ["gw1m0", "m0", "m0"]
    assert len({path.read_bytes() for path in logs.iterdir()}) == 1


@pytest.mark.parametrize("name", ["a {b} c", "it's", 'a "b"'])
def test_logs_may_lie_in_a_directory_of_any_name(guest: Guest, tmp_path: Path, name: str) -> None:
    guest.boot("m0", tmp_path / name)
    assert len(list((tmp_path / name).iterdir())) == 1


def test_a_directory_that_qemu_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file with % in its name"):
        blocks.arguments([range(0, 16)], tmp_path / "100%")


def test_a_guest_of_very_many_stretches_can_be_started(guest: Guest, tmp_path: Path) -> None:
    far = 0xFFFF_FFFF_8000_0000
    stretches = [
        *guest.program.stretches,
        *(range(far + n * 4096, far + n * 4096 + 100) for n in range(9999)),
    ]
    command = guest.command("m0", tmp_path, stretches)
    assert subprocess.run(command, check=False, timeout=60).returncode == 85
    (log,) = tmp_path.iterdir()
    assert list(blocks.read(log.read_bytes()))


STRETCHES = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=8)


@given(STRETCHES, st.sampled_from([1, 8, 64]))
def test_joined_stretches_hold_all_and_lie_apart(pieces: list[tuple[int, int]], gap: int) -> None:
    stretches = [range(start, start + length) for start, length in pieces]
    found = blocks.joined(stretches, gap)
    held = {address for stretch in found for address in stretch}
    wanted = {address for stretch in stretches for address in stretch}
    assert wanted <= held
    assert all(after.start - before.stop > gap for before, after in pairwise(found))
    # What is between two of them is no longer than a gap.
    assert all({address - step for step in range(gap + 1)} & wanted for address in held)


@pytest.mark.parametrize(("start", "count"), [(1, 1), (9, 1), (10, 2)])
def test_stretches_a_gap_apart_are_one(start: int, count: int) -> None:
    assert len(blocks.joined([range(start, start + 1), range(0, 1)], 8)) == count


def test_a_word_of_the_command_line_is_split_as_qemu_needs_it(tmp_path: Path) -> None:
    words = shlex.split(blocks.arguments([range(16, 48), range(4096, 4097)], tmp_path))
    assert words[:4] == ["-d", "in_asm", "-dfilter", "0x10+0x20,0x1000+0x1"]
