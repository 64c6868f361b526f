# SPDX-License-Identifier: GPL-2.0-only
"""The agent's binary and the initramfs around it."""

from pathlib import Path

import pytest

from fixtures.agent import build, initramfs
from kernel.errors import LuoCtsError


def test_the_agent_is_built_once_and_again_when_its_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = build.agent()
    stamp = first.stat().st_mtime_ns
    assert build.agent() == first
    assert first.stat().st_mtime_ns == stamp
    changed = tmp_path / "agent.c"
    changed.write_text(build.SOURCE.read_text() + "int;\n")
    monkeypatch.setattr(build, "SOURCE", changed)
    with pytest.raises(LuoCtsError, match=r"does not compile: .*agent\.c:\d+:\d+: error: useless type name"):
        build.agent()
    assert [path.name for path in (tmp_path / "luo-cts" / "agent").rglob("agent*")] == ["agent"]


def test_a_missing_compiler_is_one_sentence_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LuoCtsError, match=r"the agent needs gcc, which is not there \(install gcc"):
        build.agent()


def test_the_initramfs_holds_the_agent_and_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = tmp_path / "script"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o750)
    agent = tmp_path / "agent"
    agent.write_bytes(b"the agent")
    path = initramfs.build(agent, {"/opt/a/script": script, "/boot/image": b"12345"})
    assert initramfs.build(agent, {"/opt/a/script": script, "/boot/image": b"12345"}) == path
    entries = read_cpio(path.read_bytes())
    assert entries["init"] == (0o100755, b"the agent", (0, 0))
    assert entries["opt/a/script"] == (0o100750, b"#!/bin/sh\n", (0, 0))
    assert entries["boot/image"] == (0o100644, b"12345", (0, 0))
    assert entries["dev/console"] == (0o020600, b"", (5, 1))
    assert entries["dev/null"] == (0o020666, b"", (1, 3))
    assert {"opt", "opt/a", "boot", "dev", "proc", "sys", "tmp"} <= entries.keys()
    names = list(entries)
    assert all(names.index(name.rpartition("/")[0]) < names.index(name) for name in names if "/" in name)
    assert initramfs.build(agent) != path


def read_cpio(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[i : i + 8], 16) for i in range(at + 6, at + 110, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return entries
        entries[name] = (mode, archive[at : at + size], (fields[9], fields[10]))
        at = (at + size + 3) & ~3
