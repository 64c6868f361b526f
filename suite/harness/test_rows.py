# SPDX-License-Identifier: GPL-2.0-only
"""The table of error paths is whole, and the tests that it names exist."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kernel import entries
from suite.clauses.collection import Tests

TABLE = Path(__file__).parents[1] / "kho" / "rows.yaml"

# T: tampering, X: another kernel, C: command line or machine.
METHODS = {"T": 54, "X": 10, "C": 31}

_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "method", "place"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "integer", "minimum": 1, "maximum": 312},
            "method": {"enum": list(METHODS)},
            "place": entries.TEXT,
            "done": entries.TEXT,
            "tests": {"type": "array", "minItems": 1, "uniqueItems": True, "items": entries.TEXT},
            "why": entries.TEXT,
        },
        # Either what was done and the tests that do it, or why there is none.
        "oneOf": [
            {"required": ["done", "tests"], "properties": {"why": False}},
            {"required": ["why"], "properties": {"done": False, "tests": False}},
        ],
    },
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return entries.read([TABLE], _SCHEMA, "rows")


def test_every_row_is_there_once_and_in_order(rows: list[dict[str, Any]]) -> None:
    assert Counter(row["method"] for row in rows) == METHODS
    numbers = [row["id"] for row in rows]
    assert numbers == sorted(numbers)


def test_every_test_that_is_named_exists(rows: list[dict[str, Any]], tests: Tests) -> None:
    known = {*tests, *(test.partition("[")[0] for test in tests)}
    wrong = sorted({test for row in rows for test in row.get("tests", ())} - known)
    assert "\n".join(wrong) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"why": "It is not."},
        {"tests": []},
        {"done": ""},
        {"method": "U"},
        {"id": 313},
        {"more": 1},
    ],
    ids=str,
)
def test_row_that_says_too_much_or_too_little_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    row = {"id": 1, "method": "T", "place": "main()", "done": "nothing", "tests": ["a.py::test_a"]}
    path = tmp_path / "rows.yaml"
    path.write_text(f"[{row}]")  # which is YAML too
    assert len(entries.read([path], _SCHEMA, "rows")) == 1
    path.write_text(f"[{row | change}]")
    with pytest.raises(ValueError, match="is no list of rows"):
        entries.read([path], _SCHEMA, "rows")
