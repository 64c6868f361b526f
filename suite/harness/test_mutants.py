# SPDX-License-Identifier: GPL-2.0-only
"""Mutants: where they fit, what they make of a tree, and what it takes for one to be noticed."""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kernel import mutants
from kernel.errors import LuoCtsError
from kernel.mutants import Mutant, infest, load, mutate, patch
from kernel.source import release_of
from reports.model import Result, Run, Suite, Verdict
from suite.mutants.__main__ import Outcome, main, outcome_of

HOME = "kernel/reboot.c"
CODE = """\
// SPDX
#include <linux/kernel.h>
#include <linux/luo.h>

static int one(int x)
{
	if (x)
		return -EINVAL;
	return 0;
}

static int two(int x)
{
	if (x)
		return -EINVAL;
	return 1;
}
"""
ENTRY = {"id": "a-1", "breaks": ["a.b"], "file": "a.c", "old": "x", "new": "MUTANT"}


def mutant(
    old: str, new: str = "{old} || MUTANT", after: str = "", *, name: str = "m", file: str = HOME
) -> Mutant:
    return Mutant(name, ("a.b",), file, old, new, after)


# One fault


def test_text_that_stands_there_once_is_replaced() -> None:
    text = mutate(CODE, mutant("return 1;", "return MUTANT ? 2 : 1;"), 7)
    assert text == CODE.replace("return 1;", "return unlikely(luo_mutant == 7) ? 2 : 1;")


def test_new_text_may_hold_the_old_and_ask_more_than_once() -> None:
    text = mutate(CODE, mutant("return 1;", "if (!MUTANT) {old} if (MUTANT) MUTANTS; {old}"), 3)
    asked = "unlikely(luo_mutant == 3)"
    assert f"if (!{asked}) return 1; if ({asked}) MUTANTS; return 1;" in text


def test_behind_another_text_the_nearest_is_replaced() -> None:
    text = mutate(CODE, mutant("if (x)", "if (x || MUTANT)", after="static int two"), 1)
    first, _, second = text.partition("static int two")
    assert "luo_mutant" not in first
    assert second == CODE.partition("static int two")[2].replace("(x)", "(x || unlikely(luo_mutant == 1))")


@pytest.mark.parametrize(
    ("old", "after", "says"),
    [
        ("if (y)", "", "'old' stands 0 times"),
        ("if (x)", "", "'old' stands 2 times"),
        ("if (x)", "return 1;", "'old' stands 0 times"),
        ("if (x)", "static int", "'after' stands 2 times"),
        ("if (x)", "static int three", "'after' stands 0 times"),
    ],
)
def test_a_place_that_is_not_found_or_not_the_only_one_is_told(old: str, after: str, says: str) -> None:
    with pytest.raises(LuoCtsError, match=f"mutant m: {says} in {HOME}"):
        mutate(CODE, mutant(old, after=after), 1)


# A tree of them


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (HOME, "mm/memfd_luo.c", "mm/other.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(CODE)
    return tmp_path


def test_each_has_its_number_in_all_files(tree: Path) -> None:
    changed = infest(
        tree,
        [
            mutant("return 0;", "return MUTANT;", name="first", file="mm/memfd_luo.c"),
            mutant("return 1;", "return MUTANT;", name="second"),
            mutant("return 1;", "return MUTANT;", name="third", file="mm/memfd_luo.c"),
        ],
    )
    assert changed.keys() == {HOME, "mm/memfd_luo.c"}
    assert changed["mm/memfd_luo.c"] == CODE.replace(
        "#include <linux/kernel.h>", "extern int luo_mutant;\n\n#include <linux/kernel.h>"
    ).replace("return 0;", "return unlikely(luo_mutant == 1);").replace(
        "return 1;", "return unlikely(luo_mutant == 3);"
    )
    assert "return unlikely(luo_mutant == 2);" in changed[HOME]
    assert '{\n\t"first",\n\t"second",\n\t"third",\n}' in changed[HOME]
    assert changed[HOME].count('early_param("luo_mutant"') == 1


def test_a_later_one_finds_its_place_beside_an_earlier_one(tree: Path) -> None:
    both = [mutant("(x)", "(x && !MUTANT)", "two(int x)", name=name) for name in ("first", "second")]
    with pytest.raises(LuoCtsError, match="mutant second: 'old' stands 0 times"):
        infest(tree, both)
    both = [mutant("return 1;", "if (MUTANT) return 2; {old}", name=name) for name in ("first", "second")]
    text = infest(tree, both)[HOME]
    assert (
        "if (unlikely(luo_mutant == 1)) return 2; if (unlikely(luo_mutant == 2)) return 2; return 1;" in text
    )


def test_a_file_that_is_not_there_is_told(tree: Path) -> None:
    with pytest.raises(LuoCtsError, match=r"mutant m: there is no mm/none\.c"):
        infest(tree, [mutant("x", file="mm/none.c")])


def test_the_choice_is_built_in_where_its_file_has_no_mutant(tree: Path) -> None:
    changed = infest(tree, [mutant("return 1;", file="mm/other.c")])
    assert changed[HOME].startswith(CODE)
    assert "int luo_mutant;" in changed[HOME]


def test_the_patch_makes_the_same_of_the_tree(tree: Path) -> None:
    faults = [mutant("return 1;", name="a"), mutant("return 0;", name="b", file="mm/other.c")]
    expected = infest(tree, faults)
    diff = patch(tree, faults)
    subprocess.run(["git", "apply", "-"], input=diff, cwd=tree, text=True, check=True)
    assert {name: (tree / name).read_text() for name in expected} == expected
    assert (tree / "mm/memfd_luo.c").read_text() == CODE


# The data


@pytest.mark.parametrize(
    "change",
    [
        {"id": "A-1"},
        {"breaks": []},
        {"breaks": "a.b"},
        {"new": "nothing"},
        {"new": "MUTANTS"},
        {"old": ""},
        {"file": "a b.c"},
        {"since": 7.3},
        {"config": "none-such"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "a.yaml").write_text(json.dumps([ENTRY | change]))  # which is YAML too
    with pytest.raises(ValueError, match=r"a\.yaml is no list of mutants"):
        load(tmp_path)


@pytest.mark.parametrize("missing", ENTRY)
def test_an_incomplete_entry_is_refused(tmp_path: Path, missing: str) -> None:
    (tmp_path / "a.yaml").write_text(json.dumps([{k: v for k, v in ENTRY.items() if k != missing}]))
    with pytest.raises(ValueError, match=missing):
        load(tmp_path)


def test_an_id_belongs_to_one_in_all_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(json.dumps([ENTRY]))
    with pytest.raises(ValueError, match=r"b\.yaml: there are two mutants a-1"):
        load(tmp_path)


def test_fields_are_read(tmp_path: Path) -> None:
    fields = {"after": "y", "config": "distribution", "since": "7.1", "until": "7.2"}
    (tmp_path / "a.yaml").write_text(json.dumps([ENTRY | fields]))
    (read,) = load(tmp_path)
    assert (read.breaks, read.after, read.config) == (("a.b",), "y", "distribution")
    assert [read.releases.holds(release) for release in ("6.19.1", "7.2.13", "7.3.4")] == [False, True, False]


def test_the_projects_own_mutants_fit_the_default_kernel(kernel_tree: Path) -> None:
    release = str(release_of(kernel_tree))
    fitting = [each for each in load() if each.releases.holds(release)]
    assert fitting
    changed = infest(kernel_tree, fitting)
    for number, each in enumerate(fitting, 1):
        assert f"unlikely(luo_mutant == {number})" in changed[each.file], each.id


def test_no_mutant_takes_a_statement_from_under_anothers_condition() -> None:
    """What a later one puts before the statement would be all that is left under an ``if`` without braces."""
    bare = re.compile(r"\bif \([^\n]*\)\s+\{old\}\s*$")
    before = re.compile(r"[;}]\s*\{old\}")
    faults = load()
    wrong = [
        (one.id, other.id)
        for number, one in enumerate(faults)
        for other in faults[number + 1 :]
        if one.file == other.file and (one.old in other.old or other.old in one.old)
        if bare.search(one.new) and before.search(other.new)
    ]
    assert wrong == []


def test_the_projects_own_mutants_are_in_yaml_files_only() -> None:
    assert {path.suffix for path in mutants.DIRECTORY.iterdir()} == {".yaml"}


def test_a_name_that_no_mutant_has_is_told(kernel_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "none-such"]) == 4
    told = f"no mutant of {release_of(kernel_tree)} is none-such: configs/mutants has their ids"
    assert capsys.readouterr().err.splitlines()[-1] == told


# What a run says of one

FAULT = Mutant("m", ("a.b", "c.d"), "a.c", "x", "MUTANT")


def run_of(*verdicts: tuple[Verdict, str], problem: str | None = None) -> Run:
    results = tuple(
        Result(f"suite/a/test_a.py::test_{number}", verdict, number, (clause,))
        for number, (verdict, clause) in enumerate(verdicts)
    )
    return Run(datetime(2026, 11, 23, tzinfo=UTC), (Suite("s", results=results),), problem=problem)


def test_it_is_noticed_when_a_test_of_each_clause_fails() -> None:
    run = run_of((Verdict.FAIL, "a.b"), (Verdict.PASS, "a.b"), (Verdict.FAIL, "c.d"))
    assert outcome_of(FAULT, run).line == "noticed  m: test_0, test_2"


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.FAIL], ids=str)
def test_it_is_missed_when_one_clause_has_no_failing_test(verdict: Verdict) -> None:
    run = run_of((Verdict.FAIL, "a.b"), (verdict, "c.d"))
    assert outcome_of(FAULT, run).line == "missed   m: c.d"


def test_a_run_without_verdict_says_nothing() -> None:
    run = run_of((Verdict.FAIL, "a.b"), (Verdict.FAIL, "c.d"), problem="the build failed\nfor a reason")
    assert outcome_of(FAULT, run) == Outcome(FAULT, problem="the build failed")
