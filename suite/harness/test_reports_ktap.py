# SPDX-License-Identifier: GPL-2.0-only
"""The kernel tree's own parser finds every verdict in the KTAP report, and takes no torn one for a pass."""

import importlib
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from kernel.errors import LuoCtsError
from reports import ktap
from reports.model import Attempt, Result, Run, Suite, Verdict, not_run
from suite.harness.report_runs import STARTED, runs


@pytest.fixture(scope="module")
def kunit(request: pytest.FixtureRequest) -> Path:
    """tools/testing/kunit of the default kernel's tree."""
    try:
        tree: Path = request.getfixturevalue("kernel_tree")
    except LuoCtsError as error:
        pytest.skip(f"there is no kernel tree to take the parser from: {error}")
    directory = tree / "tools" / "testing" / "kunit"
    if not (directory / "kunit_parser.py").exists():
        pytest.skip(f"{tree} has no tools/testing/kunit")
    return directory


class Reader:
    """The kernel's parser, and what it found."""

    def __init__(self) -> None:
        self._parser: Any = importlib.import_module("kunit_parser")
        self._printer: Any = importlib.import_module("kunit_printer")

    def read(self, document: str) -> Any:
        said = io.StringIO()
        with redirect_stdout(said):
            return self._parser.parse_run_tests(document.splitlines(), self._printer.Printer(said))

    def leaves(self, test: Any, scopes: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
        """Each test that holds no other: its scopes and name, and its status."""
        here = (*scopes, test.name)
        if not test.subtests:
            yield here, test.status.name
        for each in test.subtests:
            yield from self.leaves(each, here)


@pytest.fixture(scope="module")
def reader(kunit: Path) -> Iterator[Reader]:
    sys.path.insert(0, str(kunit))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the tree is only read
    yield Reader()
    sys.dont_write_bytecode = before
    sys.path.remove(str(kunit))


STATUS = {
    Verdict.PASS: "SUCCESS",
    Verdict.FAIL: "FAILURE",
    Verdict.DEVIATION: "SUCCESS",
    Verdict.SKIP: "SKIPPED",
    Verdict.ERROR: "FAILURE",
}


def document(run: Run) -> str:
    return ktap.render(run, Path()).decode()


def run_of(*results: Result) -> Run:
    return Run(STARTED, (Suite("luo-cts.qemu.7.3.4-to-7.3.4", {"release": "7.3.4"}, results),))


@settings(suppress_health_check=list(HealthCheck))
@given(runs)
@example(run=Run(STARTED, (Suite("", {"Subtest: ": ""}, ()),)))
@example(run=Run(STARTED, (Suite("", {"Subtest": "x"}, ()),)))
def test_the_kernels_parser_finds_every_verdict(reader: Reader, run: Run) -> None:
    test = reader.read(document(run))
    expected = Counter(STATUS[result.verdict] for suite in run.complete() for result in suite.results)
    assert Counter(status for _, status in reader.leaves(test)) == expected
    assert test.counts.errors == 0
    names = [name for name, _ in reader.leaves(test)]
    assert len(set(names)) == len(names)


def test_subtests_stand_in_their_tests(reader: Reader) -> None:
    run = run_of(
        Result("suite/sessions/test_names.py::TestLong::test_it[a-1]", Verdict.PASS, 0),
        Result(
            "suite/sessions/test_names.py::TestLong::test_it[a::b/#c.py]",
            Verdict.FAIL,
            1,
            message="SKIP # SKIP",
        ),
        Result("suite/sessions/test_names.py::test_other", Verdict.SKIP, 2, message="since 7.4"),
        not_run("suite/device/test_device.py::test_gone", "QEMU is gone", order=3),
    )
    test = reader.read(document(run))
    found = {"/".join(name[1:]): status for name, status in reader.leaves(test)}
    suite = "luo-cts.qemu.7.3.4-to-7.3.4"
    assert found == {
        f"{suite}/suite.sessions.test_names/TestLong/test_it/a-1": "SUCCESS",
        rf"{suite}/suite.sessions.test_names/TestLong/test_it/a::b/\x23c.py": "FAILURE",
        f"{suite}/suite.sessions.test_names/test_other": "SKIPPED",
        f"{suite}/suite.device.test_device/test_gone": "FAILURE",
    }
    assert test.counts.errors == 0
    assert test.status.name == "FAILURE"


def test_the_form_is_the_kernels() -> None:
    run = run_of(
        Result("suite/a.py::t[1]", Verdict.PASS, 0, attempts=(Attempt(Verdict.ERROR, "its batch died"),)),
        Result(
            "suite/a.py::t[2]",
            Verdict.FAIL,
            1,
            ("session.finish",),
            message="assert 1 == 2",
            detail="Subtest: x\nok 1 x",
            console="1: reboot: System halted",
            machine="m0",
            generations=(0, 1),
        ).deviated("a bug (luo_core.c)"),
    )
    assert document(run).splitlines() == [
        "KTAP version 1",
        "1..1",
        "  KTAP version 1",
        "  # Subtest: luo-cts.qemu.7.3.4-to-7.3.4",
        "  # release: 7.3.4",
        "  1..1",
        "    KTAP version 1",
        "    # Subtest: suite.a",
        "    1..1",
        "      KTAP version 1",
        "      # Subtest: t",
        "      1..2",
        "      # earlier attempt: error: its batch died",
        "      ok 1 1",
        "      # verdict: deviation",
        "      # clauses: session.finish",
        "      # machine: m0, generations: 0 1",
        "      # message: assert 1 == 2",
        "      # detail: Subtest: x",
        "      # detail: ok 1 x",
        r"      # console: 1: reboot\x3a System halted",
        "      ok 2 2 # XFAIL a bug (luo_core.c)",
        "    ok 1 t",
        "  ok 1 suite.a",
        "ok 1 luo-cts.qemu.7.3.4-to-7.3.4",
        "# Totals: pass:1 fail:0 xfail:1 xpass:0 skip:0 error:0",
    ]


def test_a_report_that_was_torn_anywhere_does_not_pass(reader: Reader) -> None:
    whole = document(run_of(*(Result(f"suite/a.py::t[{n}]", Verdict.PASS, n) for n in range(3))))
    assert reader.read(whole).status.name == "SUCCESS"
    lines = whole.splitlines()
    result = next(n for n, line in enumerate(lines) if line.startswith("ok 1 "))
    for end in range(result):
        torn = reader.read("\n".join(lines[:end]))
        assert torn.status.name not in ("SUCCESS", "SKIPPED") or torn.counts.errors, f"torn after line {end}"


def test_the_kernels_command_line_reads_it(kunit: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.ktap"
    path.write_text(
        document(run_of(Result("suite/a.py::t", Verdict.PASS), Result("suite/a.py::u", Verdict.FAIL, 1)))
    )
    done = subprocess.run(
        [sys.executable, "-B", kunit / "kunit.py", "parse", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Ran 2 tests: passed: 1, failed: 1" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
