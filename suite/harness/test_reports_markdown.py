# SPDX-License-Identifier: GPL-2.0-only
"""summary.md shows what was found; nothing in it is obeyed by a page, and it is never too long for one."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from markdown_it import MarkdownIt

from reports import markdown, text
from reports.model import Attempt, Result, Run, Suite, Verdict, not_run
from suite.harness.report_runs import AWKWARD, STARTED, runs

GITHUB_LIMIT = 1024 * 1024  # of a step's summary
# As GitHub renders it: CommonMark with tables, and HTML in between.
PAGE = MarkdownIt("commonmark", {"html": True}).enable("table")
SAFE = {
    "h1", "h2", "p", "ul", "li", "code", "pre", "details", "summary",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


class Tags(HTMLParser):
    """The elements of a page, with what they hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._open: list[int] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert [name for name, value in attrs if value != "language-text"] == []
        self._open.append(len(self.found))
        self.found.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.found[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self._open:
            tag, text = self.found[place]
            self.found[place] = (tag, text + data)

    def all(self, tag: str) -> list[str]:
        return [text.strip() for name, text in self.found if name == tag]


def page(run: Run) -> Tags:
    document = markdown.render(run, Path("/nowhere"))
    assert len(document) < GITHUB_LIMIT
    tags = Tags(PAGE.render(document.decode()))
    assert {name for name, _ in tags.found} <= SAFE
    return tags


def run_of(*results: Result) -> Run:
    return Run(STARTED, (Suite("luo-cts.qemu.a-to-b", {"release": "7.3.4"}, results),))


@pytest.mark.parametrize(
    "said", ["#", "# x", "- x", "+ x", "1. x", "1) x", "> x", "---", "===", "    x", "~~~"]
)
def test_what_is_to_look_at_is_text_however_it_begins(said: str) -> None:
    tags = page(Run(STARTED, stale=(said,)))
    assert len(tags.all("h1")) == 1
    assert len(tags.all("pre")) == 1  # of the run that has no test
    for name in ("blockquote", "ol", "hr"):
        assert tags.all(name) == []


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(runs)
def test_nothing_in_a_run_is_markup(run: Run) -> None:
    tags = page(run)
    results = [result for suite in run.complete() for result in suite.results]
    folded = [result for result in results if result.verdict in (Verdict.FAIL, Verdict.ERROR)]
    assert len(tags.all("details")) == len(tags.all("pre")) == len(folded)
    assert len(tags.all("h1")) == 1


def test_a_reader_sees_what_was_found() -> None:
    failed = Result(
        "suite/a.py::t[x|y]",
        Verdict.FAIL,
        clauses=("session.finish",),
        message="assert <1> == 2",
        detail="```\n</details>\nassert <1> == 2",
        machine="m0",
        generations=(0, 1),
        console="1: [ 0.1] luo: ~~~",
        attempts=(Attempt(Verdict.ERROR, "its batch died"),),
    )
    known = Result("suite/a.py::u", Verdict.FAIL, 1, message="EINVAL").deviated("a bug (luo_core.c)")
    skipped = Result("suite/a.py::v", Verdict.SKIP, 2, message="since 7.4")
    tags = page(run_of(failed, known, skipped, not_run("suite/a.py::w", "QEMU is gone", order=3)))
    assert tags.all("h1") == ["Not conformant: 1 failed, 1 deviation, 1 skipped, 1 error."]
    assert tags.all("h2") == [
        "luo-cts.qemu.a-to-b", "1 failed", "1 without a verdict", "1 known deviations", "1 ran again",
        "1 skipped", "Files",
    ]  # fmt: skip
    assert tags.all("summary")[0] == "fail: suite/a.py::t[x|y]: assert <1> == 2"
    assert tags.all("pre")[0] == "```\n</details>\nassert <1> == 2\n\nconsole:\n1: [ 0.1] luo: ~~~"
    assert tags.all("td")[2:5] == ["suite/a.py::u", "a bug (luo_core.c)", "EINVAL"]


def test_an_awkward_cell_is_one_cell() -> None:
    for number, awkward in enumerate(AWKWARD):
        known = Result(awkward, Verdict.FAIL, number, message=awkward).deviated(awkward)
        *facts, test, why, message = page(run_of(known)).all("td")
        assert facts == ["release", "7.3.4"]
        assert test == why == message == text.line(awkward)


def test_ten_thousand_failures_fit_a_page_and_are_counted() -> None:
    results = (
        Result(
            f"suite/a.py::t[{n}]",
            Verdict.FAIL,
            n,
            message="m" * 900,
            detail="d\n" * 9000,
            console="`\n" * 999,
        )
        for n in range(10_000)
    )
    tags = page(run_of(*results))
    assert tags.all("h1") == ["Not conformant: 10000 failed."]
    shown = len(tags.all("details"))
    assert shown > 20
    assert f"and {10_000 - shown} more: see junit.xml." in tags.all("p")


def test_the_files_that_are_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").touch()
    assert markdown.render(run_of(), tmp_path).decode().endswith("## Files\n\n- `junit.xml`: for CIs\n")
