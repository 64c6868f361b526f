# SPDX-License-Identifier: GPL-2.0-only
"""Floods and hostile bytes, in every report: each stays valid and bounded, and nothing in it is obeyed."""

import json
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fixtures.console import Console
from fixtures.runner import Record
from kernel.errors import LuoCtsError
from reports import delivery, junit, kcidb, text
from reports.kcidb import Submission
from reports.model import Result, Run, Suite, Verdict
from suite.harness.nested import run as nested_run
from suite.harness.report_runs import AWKWARD, STARTED
from suite.harness.test_reports_kcidb import check as check_kcidb
from suite.harness.test_reports_ktap import Reader, kunit, reader  # noqa: F401  (fixtures)
from suite.harness.test_reports_markdown import PAGE, SAFE, Tags

GITLAB_LIMIT = 30_000_000
HOSTILE = (
    b"</script><script>alert(1)</script> ]]> <!-- \xff\xfe\x80 \x1b[2J\x00\x07 \xed\xa0\x80"
    b" [[ATTACHMENT|/etc/passwd]]"
)


def delivered(run: Run, directory: Path) -> dict[str, int]:
    """Write all reports, check each as a reader would, and give the size of each."""
    assert delivery.deliver(run, directory).remarks == ()
    check(directory, run)
    return {path.name: path.stat().st_size for path in directory.iterdir() if path.is_file()}


def check(directory: Path, run: Run) -> None:
    results = [result for suite in run.complete() for result in suite.results]
    cases = list(ElementTree.parse(directory / "junit.xml").iter("testcase"))
    assert len(cases) == len(results)
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    # What is offered for download is what we attached, whatever a console says.
    offered = [line for case in cases for line in (case.findtext("system-out") or "").splitlines()]
    assert not [line for line in offered if "[[ATTACHMENT|" in line and "/console/" not in line]
    tags = Tags(PAGE.render((directory / "summary.md").read_text()))
    assert {name for name, _ in tags.found} <= SAFE
    ktap = (directory / "report.ktap").read_text()
    assert text.clean(ktap) == ktap
    assert Run.from_json(json.loads((directory / "results.json").read_text())) == run
    check_kcidb(kcidb.document(run, Submission("luo_lab")))


def run_of(*results: Result) -> Run:
    return Run(STARTED, (Suite("luo-cts.qemu.a-to-b", {"release": "7.3.4"}, results),))


def test_ten_thousand_results_with_every_character(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    verdicts = [*Verdict]
    results = [
        Result(
            f"suite/a.py::t[{AWKWARD[n % len(AWKWARD)]}-{n}]",
            verdicts[n % len(verdicts)],
            n,
            message=AWKWARD[n % len(AWKWARD)],
            detail=AWKWARD[n // 7 % len(AWKWARD)],
            console=AWKWARD[n // 11 % len(AWKWARD)],
            deviation="a bug (x.c)" if verdicts[n % len(verdicts)] is Verdict.DEVIATION else "",
        )
        for n in range(10_000)
    ]
    sizes = delivered(run_of(*results), tmp_path)
    assert sizes["junit.xml"] < GITLAB_LIMIT
    assert sizes["summary.md"] < 1024 * 1024
    try:
        parser: Reader = request.getfixturevalue("reader")
    except LuoCtsError:
        return
    test: Any = parser.read((tmp_path / "report.ktap").read_text())
    assert (test.counts.total(), test.counts.errors) == (10_000, 0)


def test_a_hundred_thousand_hostile_lines_from_a_console(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    console = Console(ours, tmp_path, "m0", (), lambda generation: None, lambda: None)
    line = b"[    1.000000] " + HOSTILE + b"\r\n"
    theirs.sendall(b"[    0.000000] Linux version 7.3.4\r\n")
    for _ in range(100):
        theirs.sendall(line * 1000)
    theirs.close()
    console.finish(60)
    assert len(console) == 100_001
    record = Record("suite/a.py::t")
    record.console = [f"{each.generation}: {each.text}" for each in console.since(0)]
    everything = "\n".join(record.console)
    for told in (record.excerpt(), everything):
        report = tmp_path / str(len(told))
        sizes = delivered(run_of(Result("suite/a.py::t", Verdict.FAIL, console=told)), report)
        assert sizes["junit.xml"] < 2_000_000
        assert sizes["report.ktap"] < 500_000
        assert sizes["summary.md"] < 100_000
    assert (tmp_path / "m0.0.log").read_bytes().count(b"\n") >= 100_000


def test_a_report_too_large_for_a_ci_goes_without_consoles(tmp_path: Path) -> None:
    told = ("x" * 99 + "\n") * 30
    results = [Result(f"a.py::t{n}", Verdict.FAIL, n, message="broken", console=told) for n in range(9_999)]
    document = junit.render(run_of(*results), tmp_path)
    assert len(document) < GITLAB_LIMIT
    root = ElementTree.fromstring(document)
    assert len(root.findall(".//failure")) == 9_999
    assert root.find(".//property[@name='left-out']") is not None


@pytest.mark.usefixtures("default_kernel")
def test_a_hostile_kernel_log_and_name_on_a_machine(tmp_path: Path) -> None:
    code = f"""
    @pytest.mark.parametrize("name", {AWKWARD!r})
    def test_name(luo, name):
        log = luo.actor.syscall("openat", uapi.AT_FDCWD, b"/dev/kmsg\\0", os.O_WRONLY, 0)
        line = {HOSTILE!r}.replace(b"\\0", b"") + b"\\n"
        luo.actor.syscall("write", log, line, len(line))
        luo.actor.syscall("close", log)
        assert name == {HOSTILE!r}, name
    """
    outcome = nested_run(tmp_path, code)
    run = Run.from_json(json.loads((outcome.directory / "results.json").read_text()))
    assert run.counts == {Verdict.FAIL: len(AWKWARD)}
    assert all("alert(1)" in result.console for result in run.results)
    check(outcome.directory, run)
