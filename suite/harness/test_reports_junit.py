# SPDX-License-Identifier: GPL-2.0-only
"""The report is a file that Jenkins takes, whatever the run looked like and however full the disk is."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from hypothesis import HealthCheck, given, settings
from junitparser import Error, Failure, JUnitXml, Skipped
from junitparser import TestCase as Case

from reports import junit
from reports.model import Attempt, Part, Result, Run, Suite, Verdict, not_run, suite_name
from suite.clauses.collection import Tests, collected
from suite.harness.junit_compare import normalise
from suite.harness.nested import run
from suite.harness.report_runs import STARTED, runs

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("jenkins-junit.xsd"))
OUTCOME = {Failure: Verdict.FAIL, Error: Verdict.ERROR, Skipped: Verdict.SKIP}


def outcomes(path: Path) -> Counter[Verdict]:
    """The verdicts as another tool reads them."""
    counts: Counter[Verdict] = Counter()
    for suite in JUnitXml.fromfile(str(path)):
        for case in suite:
            assert isinstance(case, Case)
            counts[OUTCOME[type(case.result[0])] if case.result else Verdict.PASS] += 1
    return counts


def written(run: Run, directory: Path) -> Path:
    path = directory / "junit.xml"
    junit.write(run, path)
    return path


def run_of(*results: Result, **more: object) -> Run:
    return replace(Run(STARTED, (Suite("s", {"release": "7.3.4"}, results),)), **more)  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(runs)
def test_any_run_is_valid_and_reads_back_with_its_verdicts(tmp_path: Path, run: Run) -> None:
    path = written(run, tmp_path)
    SCHEMA.validate(path)
    expected = run.counts
    expected[Verdict.SKIP] += expected.pop(Verdict.DEVIATION, 0)
    if run.problem is not None or not run.results:
        stopped = run.problem is None and run.interrupted
        expected[Verdict.SKIP if stopped else Verdict.ERROR] += 1
    assert outcomes(path) == +expected


def test_the_schema_refuses_what_jenkins_refuses(tmp_path: Path) -> None:
    path = written(run_of(Result("a.py::t", Verdict.PASS)), tmp_path)
    text = path.read_text()
    for wrong in (
        text.replace('tests="1"', ""),
        text.replace("<testcase ", '<testcase assertions="1" '),
        text.replace('time="0.000"', 'time="1e-05"'),
        text.replace("testcase", "test"),
    ):
        assert wrong != text
        assert not SCHEMA.is_valid(wrong)


def test_a_case_says_where_it_ran_and_why_it_failed(tmp_path: Path) -> None:
    result = Result(
        "suite/sessions/test_names.py::TestNames::test_long[a::b/c.py]",
        Verdict.FAIL,
        clauses=("session.name.longest",),
        seconds=0.25,
        message="assert 1 == 2",
        detail="E  assert 1 == 2\nE   + where …",
        machine="m0",
        generations=(0, 1),
        parts=(Part("first half", 0.125),),
        console="[    1.000000] luo: \x1b[1mhello\x00",
        batch="b3",
        attempts=(Attempt(Verdict.ERROR, "the batch died"),),
        notes=("ran again alone",),
    )
    run = Run(STARTED, (Suite(suite_name("qemu", "7.3.4", "7.3.5"), {"seed": "7"}, (result,)),))
    path = written(run, tmp_path)
    assert [properties for properties, _ in normalise(path).values()] == [
        {"seed": "7", "retried": result.node_id}
    ]
    (suite,) = JUnitXml.fromfile(str(path))
    assert suite.name == "luo-cts.qemu.7.3.4-to-7.3.5"
    (case,) = suite
    assert isinstance(case, Case)
    assert (case.classname, case.name) == ("suite.sessions.test_names.TestNames", "test_long[a::b/c.py]")
    (failure,) = case.result
    assert failure.message == "assert 1 == 2"
    assert failure.text == result.detail
    assert case.system_out is not None
    assert case.system_out.splitlines() == [
        "clauses: session.name.longest",
        "machine: m0, generations: 0 1",
        "batch: b3",
        "time: first half: 0.125 s",
        "note: ran again alone",
        "earlier attempt: error: the batch died",
        "console:",
        r"[    1.000000] luo: \x1b[1mhello\x00",
    ]


def test_a_flooded_console_keeps_its_two_ends(tmp_path: Path) -> None:
    flood = "first\n" + "flood\n" * 1_000_000 + "last"
    path = written(run_of(Result("a.py::t", Verdict.PASS, console=flood)), tmp_path)
    assert path.stat().st_size < 300_000
    ((case,),) = JUnitXml.fromfile(str(path))
    assert isinstance(case, Case)
    assert case.system_out is not None
    lines = case.system_out.splitlines()
    assert (lines[1], lines[-1]) == ("first", "last")
    assert any(line.endswith("characters left out]") for line in lines)


def test_a_deviation_is_skipped_and_keeps_its_failure(tmp_path: Path) -> None:
    failed = Result("a.py::t", Verdict.FAIL, message="EINVAL is not ENOTTY", detail="the traceback")
    run = run_of(failed.deviated("number checked first (luo_core.c)"))
    ((case,),) = JUnitXml.fromfile(str(written(run, tmp_path)))
    assert isinstance(case, Case)
    assert case.result[0].message == "deviation: number checked first (luo_core.c)"
    assert case.system_out is not None
    assert "EINVAL is not ENOTTY\nthe traceback" in case.system_out


@pytest.mark.parametrize(
    ("run", "verdict", "message"),
    [
        (Run(STARTED, problem="the build failed\nmore"), Verdict.ERROR, "the build failed"),
        (Run(STARTED), Verdict.ERROR, "not run: nothing was collected"),
        (Run(STARTED, (Suite("empty"),)), Verdict.ERROR, "not run: nothing was collected"),
        (Run(STARTED, interrupted=True), Verdict.SKIP, "not run: interrupted"),
    ],
)
def test_a_run_without_results_has_one_case_that_says_so(
    tmp_path: Path, run: Run, verdict: Verdict, message: str
) -> None:
    path = written(run, tmp_path)
    SCHEMA.validate(path)
    assert outcomes(path) == {verdict: 1}
    ((case,),) = JUnitXml.fromfile(str(path))
    assert isinstance(case, Case)
    assert (case.classname, case.name, case.result[0].message) == ("luo-cts", "setup", message)


def test_a_problem_stands_beside_the_results(tmp_path: Path) -> None:
    run = run_of(Result("a.py::t", Verdict.PASS), not_run("a.py::u", "QEMU is gone"), problem="QEMU is gone")
    assert outcomes(written(run, tmp_path)) == {Verdict.PASS: 1, Verdict.ERROR: 2}


def test_equal_runs_are_equal_when_stripped(tmp_path: Path) -> None:
    def case(order: int, machine: str, took: float, verdict: Verdict) -> Result:
        message = f"no answer within {took} s"
        return Result(f"a.py::t{order}", verdict, order, ("c",), took, message, machine=machine)

    alone = run_of(case(0, "m0", 0.1, Verdict.PASS), case(1, "m0", 0.2, Verdict.FAIL))
    shared = run_of(case(1, "m1", 0.4, Verdict.FAIL), case(0, "m0", 0.3, Verdict.PASS))
    other = run_of(case(0, "m0", 0.1, Verdict.PASS), case(1, "m0", 0.2, Verdict.ERROR))
    one, two, three = (
        normalise(written(run, tmp_path / str(n))) for n, run in enumerate((alone, shared, other))
    )
    assert one == two
    assert one != three


def test_names_are_those_of_pytests_own_report(tmp_path: Path) -> None:
    code = """
    class TestClass:
        class TestInner:
            @pytest.mark.parametrize("value", ["a::b/c.py", "x[y]", "\\x1b[31m</script>", "é", "", "a b"])
            def test_it(self, value):
                pass

    def test_plain():
        pass
    """
    own = tmp_path / "own.xml"
    outcome = run(tmp_path, code, f"--junitxml={own}")
    assert outcome.status == 0

    def names(path: Path) -> list[tuple[str, str]]:
        return [
            (case.classname or "", str(case.name).replace("#x1B", "\\x1b"))
            for suite in JUnitXml.fromfile(str(path))
            for case in suite
        ]

    assert names(outcome.directory / "junit.xml") == names(own)


def test_two_results_of_one_name_stay_two(tmp_path: Path) -> None:
    names = ("a.py::t", "a.py::t", "a.py::t (2)")
    twice = [Result(name, Verdict.FAIL, order) for order, name in enumerate(names)]
    (suite,) = JUnitXml.fromfile(str(written(run_of(*twice), tmp_path)))
    assert [case.name for case in suite] == ["t", "t (2)", "t (2) (2)"]


def gitlab_case(path: Path) -> tuple[str, str | None]:
    """What GitLab shows of a failed test, its output and its attachment: lib/gitlab/ci/parsers/test/junit.rb.

    Rails' Hash.from_xml gives an element that has text as that text, without its attributes.
    """
    case = ElementTree.parse(path).getroot().find(".//testcase")
    assert case is not None
    failure = case.find("failure")
    assert failure is not None
    shown = failure.text or str(failure.attrib)
    attached = re.search(r"\[\[ATTACHMENT\|(?P<path>.+?)\]\]", case.findtext("system-out") or "")
    return shown, attached["path"] if attached else None


def test_gitlab_shows_the_message_and_the_last_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path))
    files = ("console/m0.1.log", "console/m0.0.log")
    result = Result("a.py::t", Verdict.FAIL, message="broken", detail="a traceback", attachments=files)
    for verdict in (result, replace(result, detail="")):
        shown, attached = gitlab_case(written(run_of(verdict), tmp_path / "report"))
        assert "broken" in shown
        assert attached == "report/console/m0.1.log"


def test_jenkins_attaches_by_absolute_paths_on_lines_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    forged = "[[ATTACHMENT|/etc/passwd]]"
    files = ("console/m0.1.log", "console/m0.0.log")
    result = Result(
        "a.py::t", Verdict.FAIL, message=forged, console=forged, notes=(forged,), attachments=files
    )
    text = written(run_of(result), tmp_path).read_text()
    (case,) = ElementTree.fromstring(text).iter("testcase")
    lines = (case.findtext("system-out") or "").splitlines()
    assert [line for line in lines if "[[ATTACHMENT|" in line] == [
        f"[[ATTACHMENT|{tmp_path}/console/m0.1.log]]",
        f"[[ATTACHMENT|{tmp_path}/console/m0.0.log]]",
    ]


def test_ids_of_the_suite_are_the_same_every_time(tests: Tests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert list(collected()) == list(tests)
    assert not [node_id for node_id in tests if re.search(r"0x[0-9a-f]{8,}|object at| at 0x", node_id)]
    ids = {junit.identity(Result(node_id, Verdict.PASS)) for node_id in tests}
    assert len(ids) == len(tests)
