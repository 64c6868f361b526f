# SPDX-License-Identifier: GPL-2.0-only
"""The clause catalogue is whole, its sources exist, every clause has tests that were seen to fail."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kernel import mutants
from kernel.mutants import Mutant
from kernel.source import release_of
from reports.model import Result, Run, Suite, Verdict
from suite.clauses import __main__ as command
from suite.clauses import catalogue
from suite.clauses.collection import CollectionError, Tests, collected

CLAUSES = catalogue.load()

ENTRY = "- {id: a.b, promise: It holds., source: 'kernel/a.c: words', since: '7.3', observed: By looking.}\n"


# The project's own clauses


@pytest.mark.parametrize("clause", CLAUSES.values(), ids=lambda clause: clause.id)
def test_the_source_says_so(kernel_tree: Path, clause: catalogue.Clause) -> None:
    release = str(release_of(kernel_tree))
    if not clause.releases.holds(release):
        pytest.skip(f"{release} does not promise it any more, or not yet")
    name, _, words = clause.source.partition(": ")
    # A comment's stars stand between the lines of a sentence.
    text = re.sub(r"\n[ \t]*\*(?=\s)", "\n", (kernel_tree / name).read_text(encoding="utf-8"))
    assert " ".join(words.split()) in " ".join(text.split())


def names(of: Iterable[str]) -> str:
    """In one line, so that a failure names all of them."""
    return ", ".join(sorted(of))


def checked(tests: Tests) -> set[str]:
    return {clause for named in tests.values() for clause in named}


def test_every_clause_has_a_test_or_a_reason_why_not(tests: Tests) -> None:
    assert names(c.id for c in CLAUSES.values() if not c.untested and c.id not in checked(tests)) == ""
    assert names(c.id for c in CLAUSES.values() if c.untested and c.id in checked(tests)) == ""


def test_every_test_names_clauses_that_exist(tests: Tests) -> None:
    assert names(test for test, named in tests.items() if not named) == ""
    assert names(checked(tests) - CLAUSES.keys()) == ""


def test_a_test_of_every_clause_was_seen_to_fail() -> None:
    broken = {clause for mutant in mutants.load() for clause in mutant.breaks}
    assert names(c.id for c in CLAUSES.values() if not (c.untested or c.proof) and c.id not in broken) == ""


def test_mutants_break_clauses_that_have_tests(tests: Tests) -> None:
    wrong = [mutant.id for mutant in mutants.load() if not checked(tests).issuperset(mutant.breaks)]
    assert names(wrong) == ""


# How they are found


def test_a_clause_is_found_wherever_the_test_names_it(tmp_path: Path) -> None:
    module = tmp_path / "test_some.py"
    module.write_text(
        "import pytest\n"
        'pytestmark = pytest.mark.clause("a.module")\n'
        '@pytest.mark.clause("a.b", "c.d")\n'
        '@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.clause("e.f"))])\n'
        "def test_it(n): ...\n"
        "def test_scenario(luo): yield\n"
    )
    found = {test.partition("::")[2]: set(clauses) for test, clauses in collected(str(module)).items()}
    assert found == {
        "test_it[1]": {"a.b", "c.d", "a.module"},
        "test_it[2]": {"a.b", "c.d", "e.f", "a.module"},
        "test_scenario": {"a.module"},
    }


def test_a_suite_that_cannot_be_collected_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("import no_such_module\n")
    with pytest.raises(CollectionError, match="no_such_module"):
        collected(str(tmp_path))


# The catalogue's form


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("two clauses", ENTRY * 2),
        ("is no list", ENTRY.replace("a.b", "A.b")),
        ("is no list", ENTRY.replace("It holds.", "it holds")),
        ("is no list", ENTRY.replace("'7.3'", "7.3")),
        ("is no list", ENTRY.replace("source: 'kernel/a.c: words', ", "")),
        ("is no list", ENTRY.replace("observed", "seen")),
        ("is no list", ENTRY.replace("observed", "proof: '', observed")),
        ("is no list", ENTRY.replace("observed", "untested: '', observed")),
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


# python -m suite.clauses


def clauses(tmp_path: Path) -> Mapping[str, catalogue.Clause]:
    (tmp_path / "a.yaml").write_text(
        ENTRY
        + ENTRY.replace("a.b", "a.proved").replace("observed", "proof: Seen on 7.1., observed")
        + ENTRY.replace("a.b", "a.hidden").replace("observed", "untested: Nobody sees it., observed")
        + ENTRY.replace("a.b", "a.bare").replace("observed", "until: '7.4', relies: systemd., observed")
    )
    return catalogue.load(tmp_path)


TESTS = {
    "suite/x/test_x.py::test_one[1]": ("a.b",),
    "suite/x/test_x.py::test_one[2]": ("a.b", "a.proved"),
    "suite/y/test_y.py::test_two": ("a.b",),
}
FAULTS = [
    Mutant("x-1", ("a.b",), "f.c", "old", "MUTANT"),
    Mutant("x-2", ("a.b", "q"), "f.c", "old", "MUTANT"),
]


def run_of(*results: Result) -> Run:
    return Run(datetime(2026, 11, 23, tzinfo=UTC), (Suite("s", results=results),))


def entries(tmp_path: Path, *results: Result) -> list[command.Entry]:
    return command.entries(clauses(tmp_path), TESTS, FAULTS, run_of(*results) if results else None)


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        ((), "not run"),
        ((Verdict.PASS,), "pass"),
        ((Verdict.SKIP, Verdict.PASS), "pass"),
        ((Verdict.SKIP, Verdict.SKIP), "skip"),
        ((Verdict.PASS, Verdict.DEVIATION, Verdict.SKIP), "deviation"),
        ((Verdict.DEVIATION, Verdict.ERROR), "error"),
        ((Verdict.ERROR, Verdict.FAIL, Verdict.PASS), "fail"),
    ],
    ids=str,
)
def test_a_clause_has_the_worst_verdict_of_its_tests(
    tmp_path: Path, verdicts: Sequence[Verdict], says: str
) -> None:
    results = [Result(test, verdict) for test, verdict in zip(TESTS, verdicts, strict=False)]
    assert entries(tmp_path, *results)[0].verdict == says


def test_a_clause_is_told_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    first, proved, hidden, bare = entries(tmp_path)
    assert first.functions == ["suite/x/test_x.py::test_one (2)", "suite/y/test_y.py::test_two"]
    assert (first.seen, first.releases) == ("on x-1, x-2", "7.3 on")
    assert (proved.seen, proved.functions) == ("Seen on 7.1.", ["suite/x/test_x.py::test_one"])
    assert (hidden.tests, bare.releases) == ((), "7.3 to 7.4")
    text = "\n".join(command.as_text([first, proved, hidden, bare]))
    for line in (
        "a.b (7.3 on): not run",
        "seen to fail: Seen on 7.1.",
        "no test: Nobody sees it.",
        "relied on by: systemd.",
    ):
        assert line in text


def test_the_totals_name_what_is_missing(tmp_path: Path) -> None:
    assert list(command.totals(entries(tmp_path), TESTS)) == [
        "4 clauses",
        "1 without a test: a.bare",
        "1 that no test can check: a.hidden",
        "1 of which no test was seen to fail: a.bare",
        "3 tests: suite/x 2, suite/y 1",
    ]


def test_the_markdown_table_has_a_row_a_clause(tmp_path: Path) -> None:
    rows = list(command.as_markdown(entries(tmp_path)))
    assert len(rows) == 2 + 4 + 1
    assert rows[2] == (
        "| `a.b` | It holds. | 7.3 on | `test_one (2)`<br>`test_two` | on x-1, x-2 | not run |"
    )
    assert "none: missing" in rows[5]


def test_the_command_tells_the_verdicts_of_a_report(
    tmp_path: Path, tests: Tests, capsys: pytest.CaptureFixture[str]
) -> None:
    test, named = next(iter(tests.items()))
    (tmp_path / "results.json").write_text(json.dumps(run_of(Result(test, Verdict.FAIL)).to_json()))
    assert command.main(["--report", str(tmp_path), named[0]]) == 0
    told = capsys.readouterr()
    assert f"{named[0]} (" in told.out
    assert "): fail" in told.out
    assert told.err == ""
