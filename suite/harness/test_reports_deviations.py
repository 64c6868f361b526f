# SPDX-License-Identifier: GPL-2.0-only
"""Known failures are excused, other failures of the same test are not."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kernel.kernel import Kernel
from reports import junit, summary
from reports.deviations import Deviation, load, match, stale
from reports.model import Result, Run, Suite, Verdict
from suite.clauses import catalogue
from suite.clauses.collection import Tests
from suite.harness.nested import ROOT, Outcome, command

NODE = "suite/device/test_ioctl.py::test_unknown[0xba02]"
ENTRY = Deviation("ioctl.unknown", "6.19", "7.3", "checked too early", "luo_core.c", r"\bEINVAL\b")


def excused(
    entry: Deviation, *, clauses: tuple[str, ...] = (), release: str = "7.3.4", message: str = "EINVAL"
) -> bool:
    return match([entry], NODE, clauses, release, message) is entry


def test_a_clause_names_its_tests() -> None:
    assert excused(ENTRY, clauses=("ioctl.unknown", "device.mode"))
    assert not excused(ENTRY, clauses=("device.mode",))


@pytest.mark.parametrize(
    ("test", "covered"),
    [
        (NODE, True),
        ("suite/device/*::test_unknown*", True),
        ("suite/device/test_ioctl.py::test_unknown[*]", True),
        ("suite/device/test_ioctl.py::test_unknown", False),
        ("suite/device/test_ioctl.py::test_unknown[0xba03]", False),
        ("*::test_other*", False),
    ],
)
def test_a_node_id_may_have_wildcards(test: str, covered: bool) -> None:
    assert excused(Deviation(test, "6.19", None, "r", "l", "EINVAL")) is covered


def test_another_failure_is_not_excused() -> None:
    assert not excused(ENTRY, clauses=("ioctl.unknown",), message="EFAULT")


@pytest.mark.parametrize(
    ("release", "holds"),
    [("6.18.15", False), ("6.19-rc1", True), ("7.0", True), ("7.3.99-1-amd64", True), ("7.4-rc1", False)],
)
def test_an_entry_holds_for_its_releases(release: str, holds: bool) -> None:
    assert excused(ENTRY, clauses=("ioctl.unknown",), release=release) is holds


def test_a_failure_that_is_not_fixed_goes_on() -> None:
    assert excused(Deviation(NODE, "7.1", None, "r", "l", "EINVAL"), release="8.2.1")


def test_the_projects_own_entries_load_and_name_clauses_and_tests_that_exist(tests: Tests) -> None:
    entries = load()
    assert entries
    clauses = catalogue.load()
    for entry in entries:
        assert "::" in entry.test or entry.test in clauses
        assert any(entry.covers(*test) for test in tests.items()), entry.test


@pytest.mark.parametrize(
    "text",
    [
        "- {test: a, since: '7.3', reason: r, link: l}",
        "- {test: a, since: '7.3', reason: r, match: m}",
        "- {test: a, since: '7.3', link: l, match: m}",
        "- {test: a, since: 7.3, reason: r, link: l, match: m}",
        "- {test: a, since: '7.3', reason: r, link: l, match: '('}",
        "- {test: a, since: '7.3', reason: r, link: l, match: m, more: x}",
        "a: [",
    ],
)
def test_an_entry_that_explains_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "7.3.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"7\.3\.yaml is no list of deviations"):
        load(tmp_path)


# What no longer fails

PASSED = Result("a.py::test_a", Verdict.PASS, clauses=("ioctl.unknown",))
FAILED = replace(PASSED, node_id="a.py::test_b", verdict=Verdict.FAIL)
EXCUSED = replace(
    PASSED, node_id="a.py::test_c", verdict=Verdict.DEVIATION, deviation="checked too early (luo_core.c)"
)
OTHERWISE = replace(EXCUSED, deviation="something else (luo_core.c)")
SKIPPED = replace(PASSED, node_id="a.py::test_d", verdict=Verdict.SKIP)
BROKEN = replace(PASSED, node_id="a.py::test_e", verdict=Verdict.ERROR)
UNRELATED = Result("a.py::test_f", Verdict.DEVIATION, deviation="checked too early (luo_core.c)")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([PASSED, UNRELATED], True),
        ([PASSED, FAILED, OTHERWISE], True),
        ([PASSED, EXCUSED], False),
        ([PASSED, SKIPPED], False),
        ([PASSED, BROKEN], False),
        ([UNRELATED], False),
    ],
    ids=[
        "all pass",
        "all fail otherwise",
        "one needs it",
        "one was skipped",
        "one has no verdict",
        "none is covered",
    ],
)
def test_an_entry_is_stale_when_all_its_tests_ran_and_none_needed_it(
    results: list[Result], said: bool
) -> None:
    sentence = "deviation ioctl.unknown no longer fails on 7.3.4: remove it (checked too early)"
    assert stale([ENTRY], "7.3.4", results, {}) == [sentence] * said


def test_nothing_is_said_of_an_entry_that_a_test_left_out_may_need() -> None:
    assert stale([ENTRY], "7.3.4", [PASSED], {"b.py::test_soak": ("ioctl.unknown",)}) == []
    assert stale([ENTRY], "7.3.4", [PASSED], {"b.py::test_soak": ("ioctl.known",)}) != []


def test_nothing_is_said_of_an_entry_of_other_releases() -> None:
    assert stale([ENTRY], "7.4.1", [PASSED], {}) == []


def test_what_is_stale_is_in_both_reports(tmp_path: Path) -> None:
    sentences = ("deviation a no longer fails: remove it", "deviation b no longer fails: remove it")
    run = Run(datetime(2026, 11, 23, tzinfo=UTC), (Suite("s", results=(PASSED,)),), stale=sentences)
    assert Run.from_json(run.to_json()) == run
    junit.write(run, tmp_path / "junit.xml")
    properties = ElementTree.parse(tmp_path / "junit.xml").iterfind("testsuite/properties/property")
    assert {item.get("name"): item.get("value") for item in properties} == {
        "stale-deviations": "\n".join(sentences)
    }
    assert summary.lines(run) == [*sentences, "Conformant: 1 passed."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], True), (["-n", "1", "-k", "not other"], False)],
    ids=["whole", "some, on a worker"],
)
def test_a_run_of_the_whole_suite_says_what_is_stale(
    tmp_path: Path, default_kernel: Kernel, arguments: list[str], said: bool
) -> None:
    release = default_kernel.release
    entry = next(e for e in load() if stale([e], release, [replace(PASSED, clauses=(e.test,))], {}))
    code = f"""
    @pytest.mark.clause({entry.test!r})
    def test_one(luo): pass

    @pytest.mark.clause({entry.test!r})
    def test_other(luo): pass
    """
    *line, module = command(tmp_path, code, arguments)
    # A path on the command line is a part of the suite to pytest.
    done = subprocess.run([*line, "-o", f"testpaths={module}"], cwd=ROOT, capture_output=True, text=True)
    outcome = Outcome(done.returncode, done.stdout, tmp_path / "report")
    assert outcome.status == 0
    assert (f"deviation {entry.test} no longer fails on {release}" in outcome.output) is said
    assert ("stale-deviations" in (outcome.directory / "junit.xml").read_text()) is said
