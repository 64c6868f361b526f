# SPDX-License-Identifier: GPL-2.0-only
"""The results model: JSON both ways, exit statuses, and the closing lines."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports import summary
from reports.model import (
    Attempt,
    Cargo,
    Handover,
    Moment,
    Part,
    Result,
    Run,
    Suite,
    Verdict,
    exit_status,
    not_run,
)

STARTED = datetime(2026, 11, 23, 5, 14, tzinfo=UTC)

results = st.builds(
    Result,
    parts=st.lists(st.builds(Part, st.text(), st.floats(0, 1e9))).map(tuple),
    attempts=st.lists(st.builds(Attempt)).map(tuple),
    seconds=st.floats(0, 1e9),
)
handovers = st.builds(
    Handover,
    phases=st.lists(st.builds(Part, st.text(), st.floats(0, 1e9))).map(tuple),
    cargo=st.none() | st.builds(Cargo),
    moments=st.lists(st.builds(Moment, st.text(), st.integers(0), st.floats(0, 1e9))).map(tuple),
)
runs = st.builds(
    Run,
    started=st.datetimes(timezones=st.just(UTC)),
    suites=st.lists(
        st.builds(
            Suite,
            properties=st.dictionaries(st.text(), st.text()),
            results=st.lists(results, max_size=3).map(tuple),
            repeat=st.lists(st.text(), max_size=3).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    promises=st.dictionaries(st.text(), st.text(), max_size=3),
    handovers=st.lists(handovers, max_size=2).map(tuple),
)


def run_of(*verdicts: Verdict, interrupted: bool = False, problem: str | None = None) -> Run:
    results = tuple(Result(f"a.py::t{n}", verdict, n) for n, verdict in enumerate(verdicts))
    return Run(STARTED, (Suite("s", results=results),), interrupted, problem)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(runs)
def test_a_run_survives_json(run: Run) -> None:
    assert Run.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_an_older_run_without_what_was_added_since_is_read() -> None:
    data = run_of(Verdict.PASS).to_json()
    for added in ("stale", "promises", "handovers"):
        del data[added]
    for suite in data["suites"]:
        del suite["repeat"]
    assert Run.from_json(data) == run_of(Verdict.PASS)


def test_results_stand_in_the_order_of_collection() -> None:
    suite = Suite(
        "s", results=(Result("b", Verdict.PASS, 1), Result("c", Verdict.PASS, 1), Result("a", Verdict.FAIL))
    )
    assert [result.node_id for result in suite.results] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (run_of(Verdict.PASS, Verdict.DEVIATION, Verdict.SKIP), 0),
        (run_of(Verdict.DEVIATION), 0),
        (run_of(Verdict.PASS, Verdict.FAIL), 1),
        (run_of(Verdict.FAIL, Verdict.ERROR, problem="QEMU is gone"), 1),
        (run_of(Verdict.FAIL, Verdict.PASS, interrupted=True), 2),
        (run_of(interrupted=True, problem="QEMU is gone"), 2),
        (run_of(Verdict.PASS, Verdict.ERROR), 3),
        (run_of(Verdict.PASS, problem="QEMU is gone"), 3),
        (run_of(problem=""), 3),
        (run_of(Verdict.SKIP), 5),
        (run_of(), 5),
        (Run(STARTED), 5),
    ],
)
def test_exit_status(run: Run, status: int) -> None:
    assert exit_status(run) == status


def test_a_test_that_never_ran_is_an_error_unless_the_user_stopped_it() -> None:
    assert not_run("a.py::t", "QEMU is gone").verdict is Verdict.ERROR
    stopped = not_run("a.py::t", "interrupted", interrupted=True, order=4)
    assert (stopped.verdict, stopped.message, stopped.order) == (Verdict.SKIP, "not run: interrupted", 4)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (
            run_of(Verdict.PASS, Verdict.PASS, Verdict.DEVIATION, Verdict.DEVIATION, Verdict.SKIP),
            "Conformant: 2 passed, 2 deviations, 1 skipped.",
        ),
        (run_of(Verdict.PASS, Verdict.FAIL), "Not conformant: 1 passed, 1 failed."),
        (run_of(Verdict.PASS, interrupted=True), "No verdict, interrupted: 1 passed."),
        (run_of(Verdict.PASS, Verdict.ERROR), "No verdict, the harness failed: 1 passed, 1 error."),
        (run_of(problem="the build failed\nline 2"), "No verdict: the build failed."),
        (run_of(), "No verdict, nothing to judge: no test ran."),
    ],
)
def test_the_verdict_is_one_sentence(run: Run, sentence: str) -> None:
    assert summary.lines(run)[-1] == sentence


def test_the_summary_names_the_guilty_in_three_lines_each(tmp_path: Path) -> None:
    error = not_run("a.py::e", "QEMU is gone")
    fail = Result(
        "a.py::t",
        Verdict.FAIL,
        1,
        ("session.finish",),
        message="assert 1 == 2",
        detail="def t():\n  one\n\nE  why\nassert 1 == 2\n\n",
    )
    run = Run(STARTED, (Suite("s", results=(error, fail)),), incidents=("m1 was lost",))
    assert summary.lines(run, tmp_path / "junit.xml", ["The disk is full."]) == [
        "fail: a.py::t [session.finish]",
        "    assert 1 == 2",
        "    E  why",
        "error: a.py::e",
        "    not run: QEMU is gone",
        "incident: m1 was lost",
        "Not conformant: 1 failed, 1 error.",
        f"Report: {tmp_path}/junit.xml",
        "The disk is full.",
    ]
