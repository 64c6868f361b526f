# SPDX-License-Identifier: GPL-2.0-only
"""The clause catalogue is whole, its sources exist, and tests name only clauses that it has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.clauses import catalogue

SUITE = Path(__file__).parents[1]
CLAUSES = catalogue.load()

ENTRY = "- {id: a.b, promise: It holds., source: 'kernel/a.c: words', since: '7.3', observed: By looking.}\n"


def test_every_file_has_its_clauses() -> None:
    areas = {path.stem for path in catalogue.DIRECTORY.glob("*.yaml")}
    assert areas == {"device", "session", "file", "memfd", "lifecycle", "handover"}
    assert len(CLAUSES) >= 40


@pytest.mark.parametrize("clause", CLAUSES.values(), ids=lambda clause: clause.id)
def test_the_source_says_so(kernel_tree: Path, clause: catalogue.Clause) -> None:
    name, _, words = clause.source.partition(": ")
    # A comment's stars stand between the lines of a sentence.
    text = (kernel_tree / name).read_text(encoding="utf-8").replace("\n *", "\n")
    assert " ".join(words.split()) in " ".join(text.split())


def marks(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "clause":
            yield from (ast.literal_eval(argument) for argument in node.args)


def test_tests_name_clauses_that_exist() -> None:
    named = {
        (path.name, clause)
        for path in SUITE.rglob("test_*.py")
        if not path.is_relative_to(SUITE / "harness")
        for clause in marks(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert [entry for entry in named if entry[1] not in CLAUSES] == []


def test_a_mark_is_found_where_it_is() -> None:
    assert list(marks(ast.parse('@pytest.mark.clause("a.b", "c.d")\ndef test(): ...'))) == ["a.b", "c.d"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("two clauses", ENTRY * 2),
        ("is no list", ENTRY.replace("a.b", "A.b")),
        ("is no list", ENTRY.replace("It holds.", "it holds")),
        ("is no list", ENTRY.replace("'7.3'", "7.3")),
        ("is no list", ENTRY.replace("source: 'kernel/a.c: words', ", "")),
        ("is no list", ENTRY.replace("observed", "seen")),
        ("is no list", ""),
        ("is no list", "["),
    ],
)
def test_a_broken_catalogue_is_refused(tmp_path: Path, wrong: str, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=wrong):
        catalogue.load(tmp_path)


def test_a_clause_holds_for_its_releases(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ENTRY.replace("observed", "until: '7.4', observed"))
    releases = catalogue.load(tmp_path)["a.b"].releases
    assert [release for release in ("7.2.13", "7.3", "7.4.9", "7.5") if releases.holds(release)] == [
        "7.3",
        "7.4.9",
    ]
