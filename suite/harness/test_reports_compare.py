# SPDX-License-Identifier: GPL-2.0-only
"""Runs read back, compared and put side by side."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import html5lib
import pytest
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import Browser

from reports import compare, delivery, history, html, junit, page, reading
from reports.compare import Change, Side
from reports.model import Result, Run, Suite, Verdict
from suite.harness import report_runs
from suite.harness.browser import SIZES, chromium, look
from suite.harness.report_runs import AWKWARD, STARTED

KERNEL = {"release": "7.3.4", "source": "linux-source-7.3 7.3.4-1", "config": "0123"}
OTHER = {"release": "7.3.5", "source": "linux-source-7.3 7.3.5-1", "config": "0123"}
LETTER = {"p": Verdict.PASS, "F": Verdict.FAIL, "d": Verdict.DEVIATION, "s": Verdict.SKIP, "E": Verdict.ERROR}


def run_of(told: dict[str, str], day: int = 0, seconds: float = 0.1, **verdicts: str) -> Run:
    """A test for each of ``verdicts``, by name, with a clause of that name."""
    results = tuple(
        Result(
            f"suite/a/test_b.py::test_{name}",
            LETTER[letter],
            order,
            (f"area.{name}",),
            seconds,
            message=f"{name} says {letter}",
            deviation="as listed" if letter == "d" else "",
        )
        for order, (name, letter) in enumerate(verdicts.items())
    )
    return Run(STARTED + timedelta(days=day), (Suite("luo-cts.qemu", told, results),))


def changes(old: list[Run], new: list[Run]) -> dict[str, Change]:
    found = compare.differences(Side(tuple(old)), Side(tuple(new)))
    return {difference.test.partition("::test_")[2]: difference.change for difference in found}


# Reading


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(report_runs.runs)
def test_junit_and_results_say_the_same_of_every_test(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "junit.xml"
    junit.write(run, path)
    found = [result.verdict for result in reading.read(path).results]
    whole = [result.verdict for suite in run.complete() for result in suite.results]
    assert found == whole


def test_what_a_comparison_needs_is_in_both_files(tmp_path: Path) -> None:
    run = run_of(KERNEL, seconds=0.25, passes="p", fails="F", known="d", skips="s", breaks="E")
    delivery.deliver(run, tmp_path)
    ours, theirs = reading.read(tmp_path / "results.json"), reading.read(tmp_path / "junit.xml")
    for one, other in zip(ours.results, theirs.results, strict=True):
        assert reading.key(one) == reading.key(other)
        assert (one.verdict, one.clauses, one.seconds) == (other.verdict, other.clauses, other.seconds)
        assert one.message == other.message or one.verdict is Verdict.PASS
        assert one.deviation == other.deviation
    assert compare.subject(ours) == compare.subject(theirs) != ()
    assert (ours.started, ours.counts) == (theirs.started, theirs.counts)
    assert compare.differences(Side((ours,)), Side((theirs,))) == []


def test_other_tools_junit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "other.xml"
    path.write_text(
        '<testsuite name="s"><testcase classname="a.b" name="c"/>'
        '<testcase name="d"><failure/></testcase></testsuite>'
    )
    run = reading.read(path)
    assert {result.node_id: result.verdict for result in run.results} == {
        "a.b::c": Verdict.PASS,
        "d": Verdict.FAIL,
    }
    assert run.started.tzinfo is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "<html></html>", "<testsuites>", "\x00"])
@pytest.mark.parametrize("name", ["results.json", "junit.xml"])
def test_what_is_no_report_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert compare.main([str(tmp_path), str(tmp_path)]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_a_place_without_a_report_gets_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(tmp_path), str(tmp_path / "none")]) == 4
    assert history.main([str(tmp_path / "none"), "--output", str(tmp_path / "h.html")]) == 4
    assert compare.main([str(tmp_path)]) == 4
    assert "has no report" in capsys.readouterr().err
    assert not (tmp_path / "h.html").exists()


# Comparison


def test_each_change_has_its_name() -> None:
    old = run_of(KERNEL, same="p", was="p", knew="d", mended="F", unlisted="F", went="p", lost="F", came="s")
    new = run_of(OTHER, same="p", was="F", knew="F", mended="p", unlisted="d", lost="E", came="F", fresh="p")
    assert changes([old], [new]) == {
        "was": Change.REGRESSION,
        "knew": Change.REGRESSION,
        "mended": Change.FIX,
        "unlisted": Change.KNOWN,
        "went": Change.GONE,
        "lost": Change.GONE,
        "came": Change.NEW,
        "fresh": Change.NEW,
    }


def test_a_change_on_the_very_same_kernel_is_a_flake() -> None:
    old, new = run_of(KERNEL, one="p", two="F"), run_of(KERNEL, one="F", two="p")
    assert changes([old], [new]) == {"one": Change.FLAKY, "two": Change.FLAKY}
    dirty = {**KERNEL, "source": "tree /src v7.3-dirty"}
    assert changes([run_of(dirty, one="p")], [run_of(dirty, one="F")]) == {"one": Change.REGRESSION}
    assert changes([run_of({}, one="p")], [run_of({}, one="F")]) == {"one": Change.REGRESSION}


def test_a_host_that_counts_its_ticks_anew_is_the_same_subject() -> None:
    told = [{**KERNEL, "command-line": f"quiet {word}kho=on"} for word in ("tsc_early_khz=2596134 ", "")]
    told += [{**KERNEL, "command-line": f"quiet tsc_early_khz=2596135 kho={word}"} for word in ("on", "off")]
    first, *others = (run_of(each, one="p") for each in told)
    assert [compare.subject(first) == compare.subject(other) for other in others] == [True, True, False]
    assert changes([first], [run_of(told[2], one="F")]) == {"one": Change.FLAKY}


def test_a_test_that_is_not_always_of_one_mind_is_a_flake() -> None:
    old = [run_of(KERNEL, flips="p", steady="p"), run_of(KERNEL, flips="F", steady="p")]
    new = [run_of(OTHER, flips="F", steady="F"), run_of(OTHER, flips="F", steady="F")]
    assert changes(old, new) == {"flips": Change.FLAKY, "steady": Change.REGRESSION}
    told = "\n".join(compare.render(Side(tuple(old)), Side(tuple(new))))
    assert "failed 1 of 2 times before, 2 of 2 now" in told


def test_slow_is_what_is_slower_than_the_rest() -> None:
    old, new = (run_of(KERNEL, seconds=each, a="p", b="p", c="p", d="p", e="p") for each in (1.0, 3.0))
    assert changes([old], [new]) == {}
    [suite] = new.suites
    slow = replace(suite.results[0], seconds=6.5)
    slower = replace(new, suites=(replace(suite, results=(slow, *suite.results[1:])),))
    assert changes([old], [slower]) == {"a": Change.SLOWER}


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [("p", "F", 1), ("d", "F", 1), ("p", "d", 0), ("F", "p", 0), ("s", "F", 5), ("p", "E", 5), ("p", "p", 0)],
)
def test_only_a_regression_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, status: int
) -> None:
    for name, told, letter in (("old", KERNEL, old), ("new", OTHER, new)):
        delivery.deliver(run_of(told, one=letter), tmp_path / name)
    junit_of_old = tmp_path / "old" / "junit.xml"
    assert compare.main([str(junit_of_old), str(tmp_path / "new")]) == status
    said = capsys.readouterr().out
    if status == 1:
        assert "1 regression." in said.splitlines()[0]
        assert "regression: suite.a.test_b::test_one [area.one]\n    one says F" in said


# History


def gathered(tmp_path: Path, *runs: Run) -> history.History:
    for number, run in enumerate(runs):
        delivery.deliver(run, tmp_path / "runs" / f"{number}")
    return history.gather([tmp_path / "runs"], tmp_path)


def test_history_has_a_row_a_clause_and_a_column_a_run(tmp_path: Path) -> None:
    found = gathered(
        tmp_path,
        run_of(OTHER, 2, one="F", two="p"),
        run_of(KERNEL, 0, one="p"),
        run_of(KERNEL, 1, one="s", two="d"),
    )
    assert [column.release for column in found.columns] == ["7.3.4", "7.3.4", "7.3.5"]
    rows = {name: "".join(letter for _, letter, _ in cells) for name, _, cells in found.clauses}
    assert rows == {"area.one": "psF", "area.two": "\u2013dp"}
    assert [column.link for column in found.columns] == [
        "runs/1/report.html",
        "runs/2/report.html",
        "runs/0/report.html",
    ]


def test_flaky_tests_are_told_by_number(tmp_path: Path) -> None:
    days = ["pFpFs", "pppFF", "ppppp"]
    runs = [
        run_of(OTHER if day > 2 else KERNEL, day, flips=a, broke=b, fine=c)
        for day, (a, b, c) in enumerate(zip(*days, strict=True))
    ]
    found = gathered(tmp_path, *runs)
    assert [
        (
            each.test.partition("test_")[2],
            each.letters,
            each.judged,
            each.broken,
            each.changes,
            each.on_one_kernel,
        )
        for each in found.unsteady
    ] == [("b::test_flips", "pFpFs", 4, 2, 3, 2), ("b::test_broke", "pppFF", 5, 2, 1, 0)]
    assert found.flaky == 1


def test_the_page_is_valid_whatever_the_runs_hold(tmp_path: Path) -> None:
    awkward = tuple(Result(text, Verdict.FAIL, clauses=(text,), message=text) for text in AWKWARD)
    runs = [
        Run(STARTED, (Suite(text, {"release": text}, awkward),), promises={text: text}) for text in AWKWARD
    ]
    columns = tuple(history.Column(number, run, "") for number, run in enumerate(runs))
    document = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(
        history.render(history.History(columns))
    )
    assert len(list(document.iter("script"))) == 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.mark.parametrize("size", SIZES)
def test_it_can_be_read_by_everyone(browser: Browser, tmp_path: Path, size: str) -> None:
    runs = [run_of(KERNEL, day, one="pF"[day % 2], two="p", three="dsE"[day % 3]) for day in range(30)]
    for day, run in enumerate(runs):
        delivery.deliver(run, tmp_path / "runs" / f"{day}")
    output = tmp_path / "history.html"
    assert history.main([str(tmp_path / "runs"), "--output", str(output)]) == 0
    with look(browser, output, size) as seen:
        assert (seen.violations, seen.complaints) == ([], [])
        assert seen.page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
        seen.page.locator("a[href^=runs]").first.click()
        assert seen.page.url.endswith(f"runs/0/{page.NAME}")


def test_a_page_is_made_anew_of_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delivery.deliver(run_of(KERNEL, one="F"), tmp_path)
    first = (tmp_path / page.NAME).read_text()
    (tmp_path / page.NAME).unlink()
    assert page.main([str(tmp_path)]) == 0
    assert (tmp_path / page.NAME).read_text() == first
    assert page.main([str(tmp_path / "none")]) == 4
    assert "none is not there" in capsys.readouterr().err


def test_styles_and_script_hold_nothing_that_would_end_them() -> None:
    for name in ("page.css", "page.js"):
        text = (Path(html.__file__).with_name("templates") / name).read_text()
        assert "</" not in text
