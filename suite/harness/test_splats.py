# SPDX-License-Identifier: GPL-2.0-only
"""The splat recogniser: a corpus of logs, each with the splats it must give, and rubbish of all sorts.

A log starts with a header: ``# EXPECT: kind`` and ``# TITLE: text`` for every splat, or ``# EXPECT: none``.
"""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import UsageError
from kernel.splats import Allowed, Kind, Splat, SplatScanner, load_allowed, scan
from kernel.window import Window

LOGS = sorted(Path(__file__).with_name("logs").glob("*.log"))


def corpus(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """What a log must give, and its lines."""
    header, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    kinds = re.findall(r"^# EXPECT: (.+)$", header, re.MULTILINE)
    titles = re.findall(r"^# TITLE: (.+)$", header, re.MULTILINE)
    return ([] if kinds == ["none"] else list(zip(kinds, titles, strict=True))), body.split("\n")[:-1]


def found(lines: list[str]) -> list[tuple[str, str]]:
    return [(splat.kind, splat.title) for splat in scan(lines)]


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_corpus(path: Path) -> None:
    expected, lines = corpus(path)
    splats = scan(lines)
    assert [(splat.kind, splat.title) for splat in splats] == expected
    for splat in splats:
        assert any(splat.title in line for line in lines)
        assert splat.lines[0] in lines[splat.index]
        assert splat.fatal or splat.kind not in (Kind.PANIC, Kind.OOPS)


def test_the_corpus_has_every_kind() -> None:
    seen = {kind for path in LOGS for kind, _ in corpus(path)[0]}
    assert seen == set(Kind)


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_healthy_log_around_it_changes_nothing(path: Path) -> None:
    healthy = [f"[  900.{n:06d}] luo-cts: mark {n}" for n in range(300)]
    expected, lines = corpus(path)
    assert found([*healthy, *lines]) == expected
    assert found([*lines, *healthy]) == expected


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("warn-new", "---[ end trace 0000000000000000 ]---"),
        ("kasan", "=" * 66),
        ("panic-slow-end", "---[ end Kernel panic - not syncing: stop machine ]---"),
        ("panic-reboots", "Rebooting in 1 seconds.."),
        ("panic-torn-into-next-boot", "CPU: 0 UID: 0 PID: 1 Comm: swap"),
        ("warn-torn-by-kexec", "WARNING: kernel/liveupdate/luo_fi"),
    ],
)
def test_a_block_goes_as_far_as_its_splat(name: str, end: str) -> None:
    _, lines = corpus(Path(__file__).with_name("logs") / f"{name}.log")
    (splat,) = scan(lines)
    assert splat.lines[-1].endswith("] " + end)


def test_what_the_kernel_does_not_survive_is_fatal() -> None:
    fatal = {path.stem for path in LOGS if any(splat.fatal for splat in scan(corpus(path)[1]))}
    assert {"bug-at", "list-del-bug", "hard-lockup", "oops-arm64", "early-exception"} <= fatal
    assert not {"warn-new", "kasan", "bug-other", "soft-lockup", "rcu-stall", "list-add"} & fatal


def test_a_splat_is_told_when_its_last_line_comes() -> None:
    _, lines = corpus(Path(__file__).with_name("logs") / "warn-new.log")
    scanner = SplatScanner()
    told = [number for number, line in enumerate(lines) if scanner.feed(line)]
    assert [lines[number].split("] ")[1] for number in told] == ["---[ end trace 0000000000000000 ]---"]
    assert scanner.finish() is None


def test_a_block_without_an_end_is_told_when_asked() -> None:
    scanner = SplatScanner()
    assert scanner.feed("[    2.500000] BUG: scheduling while atomic: agent/61/0x00000002") is None
    assert scanner.feed("[    2.500100] Modules linked in:") is None
    splat = scanner.finish()
    assert splat is not None
    assert (splat.kind, splat.index, len(splat.lines)) == (Kind.ATOMIC, 0, 2)
    assert scanner.finish() is None
    assert scanner.feed("[    2.500200] luo-cts: going on") is None


def test_a_block_ends_where_the_log_pauses_and_never_runs_on() -> None:
    head = "[    2.500000] BUG: scheduling while atomic: agent/61/0x00000002"
    pause = [head, "[    2.500100] Call Trace:", "[    4.000000] luo-cts: begin test"]
    (splat,) = scan(pause)
    assert len(splat.lines) == 2
    (splat,) = scan([head] + ["[    2.500100] talk"] * 10_000)
    assert len(splat.lines) < 1000


SPLAT = Splat(
    Kind.WARNING, "WARNING: mm/slub.c:7012 at f+0x1/0x2, CPU#0: a/1", fatal=False, index=0, lines=()
)


def test_an_allowed_splat_is_not_found() -> None:
    lines = ["------------[ cut here ]------------", SPLAT.title, "---[ end trace 0000000000000000 ]---"]
    assert len(scan(lines)) == 1
    assert scan(lines, [Allowed(r"mm/slub\.c:\d+ at f\+", "known", "https://example.org/1")]) == []
    assert len(scan(lines, [Allowed(r"mm/slab\.c", "other", "https://example.org/1")])) == 1


def test_a_fatal_splat_is_never_allowed() -> None:
    lines = ["Kernel panic - not syncing: oh", "---[ end Kernel panic - not syncing: oh ]---"]
    assert len(scan(lines, [Allowed("panic", "known", "https://example.org/1")])) == 1


def test_the_projects_own_allow_list_loads() -> None:
    load_allowed("7.3.4")


@pytest.mark.parametrize(
    "entry",
    [
        "- {pattern: x, link: 'https://example.org/1'}",
        "- {pattern: x, reason: known}",
        "- {pattern: x, reason: '', link: 'https://example.org/1'}",
        "- {pattern: x, reason: known, link: somewhere}",
        "- {pattern: '(', reason: known, link: 'https://example.org/1'}",
        "- {pattern: x, reason: known, link: 'https://example.org/1', util: '7.3'}",
        "pattern: x",
        "- [",
    ],
)
def test_an_entry_that_explains_nothing_is_refused(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "splats.yaml"
    path.write_text(entry)
    with pytest.raises(UsageError, match="is no allow-list"):
        load_allowed("7.3.4", path)


def test_entries_hold_for_their_releases(tmp_path: Path) -> None:
    path = tmp_path / "splats.yaml"
    path.write_text(
        "- {pattern: a, reason: r, link: 'https://example.org/1', since: '7.2', until: '7.2'}\n"
        "- {pattern: b, reason: r, link: 'https://example.org/2'}\n"
    )
    assert [entry.pattern for entry in load_allowed("7.2.13", path)] == ["a", "b"]
    assert [entry.pattern for entry in load_allowed("7.3.4", path)] == ["b"]


@pytest.mark.parametrize(
    ("since", "until", "release", "holds"),
    [
        (None, None, "7.3.4", True),
        ("7.3", None, "7.3.0-rc1-next-20260101", True),
        ("7.3", None, "7.3", True),
        ("7.3", None, "7.2.13", False),
        ("6.19", "7.1", "7.1.13-1~bpo13+1-amd64", True),
        ("6.19", "7.1", "7.2-rc1", False),
        ("7.3.2", "7.3.4", "7.3.4", True),
        ("7.3.2", "7.3.4", "7.3.5", False),
        ("7.10", None, "7.9", False),
    ],
)
def test_window(since: str | None, until: str | None, release: str, holds: bool) -> None:
    assert Window(since, until).holds(release) is holds


def test_what_is_no_release_is_refused() -> None:
    with pytest.raises(ValueError, match="no kernel release"):
        Window().holds("next")


@pytest.mark.parametrize(
    ("functions", "excused"),
    [
        ("virtqueue_get_buf_ctx / vring_interrupt", True),
        ("__vm_enough_memory / mm_compute_batch", True),
        ("luo_session_create / vring_interrupt", False),
        ("shmem_fault / memfd_luo_preserve", False),
        ("__kho_radix_walk_tree / kho_radix_add_key", False),
    ],
)
def test_data_races_count_where_live_update_has_a_part_in_them(functions: str, excused: bool) -> None:
    lines = ["=" * 66, f"[    1.000000] BUG: KCSAN: data-race in {functions}", "[    1.000000] " + "=" * 66]
    assert [splat.kind for splat in scan(lines)] == [Kind.KCSAN]
    assert bool(scan(lines, load_allowed("7.3.4"))) is not excused


pieces = st.sampled_from([line for path in LOGS for line in corpus(path)[1]])


@given(st.lists(st.text() | pieces | st.tuples(pieces, st.integers(0, 80)).map(lambda cut: cut[0][: cut[1]])))
def test_any_rubbish_is_taken(lines: list[str]) -> None:
    for splat in scan(lines):
        assert splat.lines
        assert splat.title
        assert 0 <= splat.index < len(lines)


def test_a_line_without_an_end_costs_no_time() -> None:
    began = time.process_time()
    for text in ("a", "INFO: task blocked", "BUG ((): ", "[", "0x", "\x1b[0;"):
        scan([text[:11] + text * 100_000])
    assert time.process_time() - began < 1
