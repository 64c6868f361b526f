# SPDX-License-Identifier: GPL-2.0-only
"""A submission for KCIDB is what its own schema takes, and says of each test what the schema's words mean."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from kcidb_io import schema

from reports import kcidb
from reports.kcidb import Submission, WrongUsage, document
from reports.model import Attempt, Part, Result, Run, Suite, Verdict, not_run
from suite.clauses.collection import Tests
from suite.harness.nested import ROOT
from suite.harness.report_runs import STARTED, runs

BY = Submission("luo_lab", files_url="https://ci.example/7/")
PROPERTIES = {"release": "7.3.4", "source": "deb 7.3.4", "kernel": "deb:7.3", "architecture": "x86_64"}


def run_of(*results: Result, **more: Any) -> Run:
    return Run(STARTED, (Suite("luo-cts.qemu.7.3.4-to-7.3.4", PROPERTIES, results),), **more)


def check(data: dict[str, Any]) -> None:
    """The schema holds, and every reference leads somewhere."""
    schema.LATEST.validate(json.loads(json.dumps(data)))
    ids = [each["id"] for kind, objects in data.items() if kind != "version" for each in objects]
    assert len(set(ids)) == len(ids)
    for kind, objects in data.items():
        for each in objects if kind != "version" else ():
            for name in ("checkout_id", "build_id", "test_id", "issue_id"):
                assert name not in each or each[name] in ids


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(runs)
def test_any_run_is_valid_and_has_a_test_for_every_result(run: Run) -> None:
    data = document(run, BY)
    check(data)
    told = [test for test in data["tests"] if test["status"] != "DONE"]
    assert len(told) == sum(len(suite.results) for suite in run.complete())


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (Result("a.py::t", Verdict.PASS), "PASS"),
        (Result("a.py::t", Verdict.FAIL), "FAIL"),
        (Result("a.py::t", Verdict.FAIL).deviated("a bug (x.c)"), "FAIL"),
        (Result("a.py::t", Verdict.SKIP), "SKIP"),
        (Result("a.py::t", Verdict.ERROR), "ERROR"),
        (Result("a.py::t", Verdict.ERROR, missed=True), "MISS"),
        (not_run("a.py::t", "QEMU is gone"), "MISS"),
        (not_run("a.py::t", "interrupted", interrupted=True), "MISS"),
    ],
)
def test_each_verdict_in_the_schemas_words(result: Result, status: str) -> None:
    (test,) = document(run_of(result), BY)["tests"]
    assert test["status"] == status


def test_a_deviation_is_an_issue_that_occurred() -> None:
    reason = "the number is checked first (https://lore.kernel.org/x)"
    known = [Result(f"a.py::t{n}", Verdict.FAIL, n, message="EINVAL").deviated(reason) for n in range(2)]
    data = document(run_of(*known), BY)
    check(data)
    (issue,) = data["issues"]
    assert issue["report_url"] == "https://lore.kernel.org/x"
    assert issue["report_subject"] == "the number is checked first"
    assert issue["culprit"] == {"code": True, "tool": False, "harness": False}
    assert {each["test_id"] for each in data["incidents"]} == {test["id"] for test in data["tests"]}
    assert all(each["present"] for each in data["incidents"])


def test_a_lost_machine_is_the_harnesss_issue() -> None:
    data = document(run_of(Result("a.py::t", Verdict.PASS), incidents=("m1 was lost",)), BY)
    check(data)
    assert data["issues"][0]["culprit"] == {"code": False, "tool": False, "harness": True}
    assert data["incidents"][0]["build_id"] == data["builds"][0]["id"]


def test_what_is_known_of_a_test_is_told() -> None:
    result = Result(
        "suite/sessions/test_names.py::test_long[a::b/c.py]",
        Verdict.FAIL,
        seconds=1.5,
        started=STARTED.timestamp(),
        message="assert 1 == 2",
        console="x\x00\n" * 10_000,
        attachments=("console/m0.1.log", "console/m0.0.log"),
        parts=(Part("part 1", 1.0), Part("handover to generation 1", 2.5)),
        attempts=(Attempt(Verdict.ERROR, "its batch died"),),
    )
    test, handover = document(run_of(result), BY)["tests"]
    assert re.fullmatch(r"luo-cts\.sessions\.test_names\.test_long\.a-b-c-py-[0-9a-f]{8}", test["path"])
    assert test["start_time"] == "2026-11-23T05:14:00+00:00"
    assert test["log_url"] == "https://ci.example/7/console/m0.1.log"
    assert test["output_files"] == [{"name": "m0.0.log", "url": "https://ci.example/7/console/m0.0.log"}]
    assert len(test["log_excerpt"]) <= 16384
    assert test["log_excerpt"].startswith("assert 1 == 2")
    assert test["misc"]["attempts"] == ["error: its batch died"]
    assert (handover["path"], handover["status"]) == ("luo-cts.handover", "DONE")
    assert handover["number"] == {"value": 2.5, "unit": "s", "prefix": "metric"}


def test_a_build_that_is_there_already_is_referred_to() -> None:
    data = document(run_of(Result("a.py::t", Verdict.PASS)), Submission("luo_lab", "maestro:123"))
    assert "builds" not in data
    assert data["tests"][0]["build_id"] == "maestro:123"


def test_the_same_run_is_the_same_submission_and_another_is_another() -> None:
    run = run_of(Result("a.py::t", Verdict.PASS))
    later = Run(STARTED.replace(hour=7), run.suites)
    assert document(run, BY) == document(run, BY)
    assert document(run, BY)["tests"][0]["id"] != document(later, BY)["tests"][0]["id"]
    assert document(run, BY)["builds"] == document(later, BY)["builds"]


def test_what_the_schema_refuses_is_told() -> None:
    by = Submission("luo_lab", checkout={"git_commit_hash": "HEAD"})
    with pytest.raises(WrongUsage, match="refuses checkouts/0/git_commit_hash: 'HEAD' does not match"):
        document(run_of(), by)


def test_every_test_of_the_suite_has_a_path_of_its_own(tests: Tests) -> None:
    paths = {kcidb.path(node_id) for node_id in tests}
    assert len(paths) == len(tests)
    assert all(schema.LATEST.path_re.match(path) for path in paths)


def command(*arguments: object, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run it, if need be where a package is not installed."""
    code = f"import sys; sys.modules[{without!r}] = None; from reports.kcidb import main; sys.exit(main())"
    words = ["-c", code] if without else ["-m", "reports.kcidb"]
    return subprocess.run(
        [sys.executable, *words, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_makes_it_of_a_report_directory(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(run_of(Result("a.py::t", Verdict.PASS)).to_json()))
    done = command("--origin", "luo_lab", "--tree-name", "mainline", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/kcidb.json\n", "")
    data = json.loads((tmp_path / "kcidb.json").read_text())
    check(data)
    assert data["checkouts"][0]["tree_name"] == "mainline"


@pytest.mark.parametrize(
    ("arguments", "without", "status", "says"),
    [
        (["--origin", "luo lab"], "", 4, "'luo lab' is no origin"),
        ([], "", 4, "--origin"),
        (["--origin", "lab", "/nowhere"], "", 3, "/nowhere/results.json cannot be read: No such file"),
        (["--origin", "lab", "--git-commit-hash", "HEAD"], "", 4, "git_commit_hash"),
        (["--origin", "lab"], "kcidb_io", 3, "kcidb-io is missing"),
        (
            ["--origin", "lab", "--output", "/nowhere/kcidb.json"],
            "",
            3,
            "kcidb.json cannot be written",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, arguments: list[str], without: str, status: int, says: str
) -> None:
    (tmp_path / "results.json").write_text(json.dumps(run_of(Result("a.py::t", Verdict.PASS)).to_json()))
    done = command(*arguments, *([] if "/nowhere" in arguments else [tmp_path]), without=without)
    assert done.returncode == status
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "kcidb.json").exists()
