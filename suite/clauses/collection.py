# SPDX-License-Identifier: GPL-2.0-only
"""Which tests check which clauses: pytest's own collection, in a process of its own and without a machine."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fixtures.reporting import clauses_of

ROOT = Path(__file__).parents[2]

Tests = Mapping[str, tuple[str, ...]]  # node id, parameters included → clauses


class CollectionError(Exception):
    """A test module cannot be read; the text is pytest's."""


def collected(*arguments: str) -> Tests:
    """The conformance suite as collected with ``arguments`` for pytest; raises CollectionError."""
    with tempfile.TemporaryDirectory(prefix="luo-cts-collect-") as directory:
        told = Path(directory) / "tests.json"
        # fmt: off
        command = [
            sys.executable, "-m", "suite.clauses.collection", str(told), "-c", "pyproject.toml", "-q",
            "--collect-only", "--ignore=suite/harness", "-p", "no:cacheprovider", "--report-dir", directory,
            *arguments,
        ]
        # fmt: on
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise CollectionError(done.stdout + done.stderr)
        return {name: tuple(clauses) for name, clauses in json.loads(told.read_text()).items()}


class Recorder:
    """Writes down what was collected, and what an option such as --soak would add."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tests: dict[str, tuple[str, ...]] = {}

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._note(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._note(session.items)
        self._path.write_text(json.dumps(self._tests))

    def _note(self, items: Sequence[pytest.Item]) -> None:
        self._tests.update((item.nodeid, clauses_of(item)) for item in items)


if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[2:], plugins=[Recorder(Path(sys.argv[1]))]))
