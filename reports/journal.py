# SPDX-License-Identifier: GPL-2.0-only
"""The attempt journal: what was about to run, on the disk before it runs.

A test that takes the whole run down with it is found here by the next one, as a begin without an end, and is
not started a second time.
"""

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple


class Unfinished(NamedTuple):
    """An attempt that began and never ended."""

    node_id: str
    part: str
    machine: str
    generation: int


class Journal:
    """Appends one JSON object a line. Processes may share the file: a line is one O_APPEND write."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the journal can be neither made nor opened."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor: int | None = os.open(path, flags, 0o644)

    def begin(self, node_id: str, part: str, machine: str, generation: int) -> None:
        """Note an attempt; it is on the disk when this returns."""
        entry = {"begin": node_id, "part": part, "machine": machine, "generation": generation}
        self._append(entry, sync=True)

    def end(self, node_id: str, part: str, outcome: str) -> None:
        """Note its end. Not synced: losing it costs one needless suspicion and no verdict."""
        self._append({"end": node_id, "part": part, "outcome": outcome}, sync=False)

    def _append(self, entry: dict[str, object], *, sync: bool) -> None:
        if self._descriptor is None:
            return
        # A line feed in front: whatever a full disk or a crash tore off before, this line stands alone.
        line = b"\n" + json.dumps(entry).encode() + b"\n"
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError("the disk is full")
            if sync:
                os.fdatasync(self._descriptor)
        except OSError as error:
            print(f"luo-cts: {self._path}: {error}; going on without the journal", file=sys.stderr)
            self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def unfinished(path: Path) -> list[Unfinished]:
        """The attempts without an end, oldest first; a torn line counts as never written."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        running: dict[tuple[str, str], Unfinished] = {}
        for line in text.splitlines():
            match _parse(line):
                case {
                    "begin": str(node),
                    "part": str(part),
                    "machine": str(machine),
                    "generation": int(number),
                }:
                    running[node, part] = Unfinished(node, part, machine, number)
                case {"end": str(node), "part": str(part)}:
                    running.pop((node, part), None)
        return list(running.values())


def _parse(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
