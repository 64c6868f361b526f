# SPDX-License-Identifier: GPL-2.0-only
"""Which client each test was of, what it had preserved, and in which version it was met."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reports.model import Result, Verdict

FILE = "clients.jsonl"

HEADINGS = ("client", "version", "what was preserved", "verdict")


@dataclass(frozen=True)
class Entry:
    """What a test says of its client. ``version`` is empty where it was not met."""

    node_id: str
    client: str
    preserved: str
    version: str = ""


class Ledger:
    """Of a run, in its directory of reports."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def note(self, entry: Entry) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")

    def read(self) -> list[Entry]:
        """The last word on each test, in the order of the first."""
        if not self._path.exists():
            return []
        entries: dict[str, Entry] = {}
        for line in self._path.read_text(encoding="utf-8").splitlines():
            entry = Entry(**json.loads(line))
            entries[entry.node_id] = entry
        return list(entries.values())

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


class Told:
    """How one test fills in its line."""

    def __init__(self, ledger: Ledger, node_id: str) -> None:
        self._ledger = ledger
        self._entry = Entry(node_id, "", "")

    def __call__(self, client: str, preserved: str) -> None:
        self._entry = replace(self._entry, client=client, preserved=preserved)
        self._ledger.note(self._entry)

    def version(self, text: str) -> None:
        self._entry = replace(self._entry, version=text)
        self._ledger.note(self._entry)


def rows(entries: Sequence[Entry], results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """A line for each client: its worst verdict, or why there is none."""
    verdicts = {result.node_id: result for result in results}
    for entry in entries:
        result = verdicts.get(entry.node_id)
        said = "not run" if result is None else result.verdict.value
        if result is not None and result.verdict not in (Verdict.PASS, Verdict.FAIL):
            said += f": {result.message}"
        yield entry.client, entry.version or "-", entry.preserved, said
