# SPDX-License-Identifier: GPL-2.0-only
"""report.html: valid and inert whatever a run holds, and looked at in a real browser."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from reports import html, page
from reports.model import (
    Attempt,
    Cargo,
    Handover,
    Moment,
    Part,
    Phase,
    Result,
    Run,
    Suite,
    Verdict,
)
from suite.harness import report_runs
from suite.harness.browser import SIZES, Scheme, chromium, look
from suite.harness.report_runs import AWKWARD, STARTED

TEMPLATES = Path(html.__file__).with_name("templates")


def updates(machine: str, cargo: Cargo | None, count: int = 1) -> list[Handover]:
    """Handovers in a row, each a little slower."""
    found = []
    for update in range(1, count + 1):
        phases = [Part(phase, (position + 1) * update / 100) for position, phase in enumerate(Phase)]
        moments = (Moment("before", update << 20, 1.0), Moment("preserved", update << 21, 2.0))
        if cargo is None:
            found.append(Handover(machine, update, tuple(phases[1:5])))
        else:
            found.append(Handover(machine, update, tuple(phases), cargo, moments))
    return found


FAILED = Result(
    "suite/memfd/test_position.py::test_position[it's a $PATH]",
    Verdict.FAIL,
    1,
    ("memfd.position", "memfd.contents"),
    seconds=0.25,
    message="assert 0 == 4099",
    detail="E  assert 0 == 4099",
    console="1: [    0.000000] </pre></script><script>document.title = 'obeyed'</script>",
    machine="m0",
    generations=(0, 1),
    attempts=(Attempt(Verdict.ERROR, "its batch died"),),
    file="suite/memfd/test_position.py",
)
RUN = Run(
    STARTED,
    (
        Suite(
            "luo-cts.qemu.7.3.4-to-7.3.5",
            {"release": "7.3.4", "next-release": "7.3.5", "command-line": "console=ttyS0 " * 8},
            (
                Result("suite/memfd/test_a.py::test_fine", Verdict.PASS, 0, ("memfd.contents",)),
                FAILED,
                Result("suite/kho/test_b.py::test_broken", Verdict.ERROR, 2, message="QEMU is gone"),
                Result(
                    "suite/kho/test_b.py::test_known",
                    Verdict.DEVIATION,
                    3,
                    ("kho.known",),
                    message="assert 1 == 2",
                    deviation="It was never so (mm/memfd_luo.c)",
                ),
                *(
                    Result(
                        f"suite/kho/test_c.py::test_{n}", Verdict.SKIP, 4 + n, message="no KHO before 6.16"
                    )
                    for n in range(3)
                ),
            ),
            ("./run", "--kernel=deb:7.3", "--append=a b"),
        ),
    ),
    incidents=("m1 was lost",),
    stale=("deviation kho.old no longer fails on 7.3.4: remove it",),
    promises={
        "memfd.position": "The position is kept.",
        "memfd.contents": "All data is kept.",
        "kho.never": "Nobody has tested this.",
    },
    handovers=(
        *updates("m0", None, 3),
        *(each for n in (1, 16, 256) for each in updates("s1", Cargo(1, 1, n << 20), 2)),
        *(each for n in (10, 1000) for each in updates("s2", Cargo(1, n, n << 12), 2)),
        *(each for n in (10, 1000) for each in updates("s3", Cargo(n, n, n << 12), 2)),
        *updates("s4", Cargo(4, 40, 32 << 20), 10),
    ),
)
HOSTILE = replace(
    RUN,
    suites=(
        Suite(
            AWKWARD[0],
            dict(zip(AWKWARD, reversed(AWKWARD), strict=True)),
            tuple(
                Result(
                    f"suite/{text}.py::test_{text}[{text}]",
                    verdict,
                    clauses=(text,),
                    message=text,
                    detail=text,
                    deviation=text,
                    console=text,
                    attempts=(Attempt(Verdict.FAIL, text),),
                    notes=(text,),
                    file=text,
                )
                for text in (*AWKWARD, "'\"><img src=x onerror=\"document.title='obeyed'\">", "{{ 7 * 7 }}")
                for verdict in Verdict
            ),
            ("./run", *AWKWARD),
        ),
    ),
    problem="".join(AWKWARD),
    promises={text: text for text in AWKWARD},
)


def parsed(text: str) -> Element:
    """The page, read by a parser that takes no errors."""
    document: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    return document


def text_of(element: Element) -> str:
    return "".join(element.itertext())


def section(document: Element, name: str) -> Element:
    """The section that the heading ``name`` begins."""
    return next(each for each in document.iter("section") if each.get("aria-labelledby") == name)


def check_inert(document: Element) -> None:
    """It obeys our own style and script alone, and has nothing to load."""
    assert [text_of(each) for each in document.iter("script")] == [(TEMPLATES / "page.js").read_text()]
    assert [text_of(each) for each in document.iter("style")] == [(TEMPLATES / "page.css").read_text()]
    for element in document.iter():
        assert element.tag not in {"link", "iframe", "object", "embed", "img", "base"}
        for name, value in element.attrib.items():
            assert not str(name).startswith("on")
            assert name != "style"
            if name in {"src", "href", "action"}:
                assert str(value).startswith("#")


# What is on it


any_handover = st.builds(
    Handover,
    report_runs.anything,
    st.integers(0, 9),
    st.lists(st.builds(Part, st.sampled_from(Phase) | report_runs.anything, report_runs.seconds)).map(tuple),
    st.none() | st.builds(Cargo, *[st.integers(0, 1 << 40)] * 3),
    st.lists(st.builds(Moment, report_runs.anything, st.integers(0), report_runs.seconds)).map(tuple),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    report_runs.runs,
    st.dictionaries(report_runs.anything, report_runs.anything, max_size=3),
    st.lists(any_handover, max_size=12),
)
def test_any_run_is_a_valid_page_that_obeys_nothing(
    run: Run, promises: dict[str, str], handovers: list[Handover]
) -> None:
    text = page.render(replace(run, promises=promises, handovers=tuple(handovers)))
    document = parsed(text)
    check_inert(document)
    tests = [element for element in document.iter("li") if element.get("data-test") is not None]
    assert [element.get("data-verdict") for element in tests] == [each.verdict for each in run.results]
    assert text.endswith("</html>")


@pytest.mark.parametrize("run", [RUN, HOSTILE, Run(STARTED)], ids=["plain", "hostile", "empty"])
def test_every_link_leads_somewhere(run: Run) -> None:
    document = parsed(page.render(run))
    check_inert(document)
    places = [element.get("id") for element in document.iter() if element.get("id")]
    assert len(places) == len(set(places))
    links = [str(link.get("href"))[1:] for link in document.iter("a")]
    assert set(links) <= set(places)
    named = [element.get(name) for element in document.iter() for name in ("aria-labelledby", "for")]
    assert {each for each in named if each} <= set(places)


def test_the_verdict_comes_first_and_then_what_failed() -> None:
    document = parsed(page.render(RUN))
    assert [text_of(each) for each in document.iter("h1")] == [
        "Not conformant: 1 passed, 1 failed, 1 deviation, 3 skipped, 1 error."
    ]
    headings = [each.get("id") for each in document.iter("h2")]
    assert headings == ["subject", "failures", "deviations", "clauses", "update", "skips", "tests"]
    assert text_of(section(document, "subject")).count("7.3.5") == 2
    guilty = list(section(document, "failures").iter("article"))
    assert [each.get("data-verdict") for each in guilty] == ["fail", "error"]


def test_a_failure_is_shown_with_its_promise_its_evidence_and_what_repeats_it() -> None:
    article = next(section(parsed(page.render(RUN)), "failures").iter("article"))
    text = text_of(article)
    for told in (
        "memfd.position: The position is kept.",
        FAILED.message,
        "its batch died",
        "generation 0 to 1",
    ):
        assert told in text
    assert [text_of(each) for each in article.iter("pre")][1:] == [FAILED.detail, FAILED.console]
    [command] = [text_of(each) for each in article.iter("code")]
    assert shlex.split(command) == ["./run", "--kernel=deb:7.3", "--append=a b", FAILED.node_id]


def test_what_is_no_tests_own_cannot_be_repeated() -> None:
    incident = Result("luo-cts::incident.main.0", Verdict.FAIL, message="a splat")
    run = replace(RUN, suites=(replace(RUN.suites[0], results=(incident,)),))
    assert list(parsed(page.render(run)).iter("code")) == []


def test_deviations_and_skips_stand_under_their_reasons() -> None:
    document = parsed(page.render(RUN))
    [known] = section(document, "deviations").iter("ul").__next__().findall("li")
    assert "It was never so (mm/memfd_luo.c)" in text_of(known)
    [skipped] = section(document, "skips").iter("ul").__next__().findall("li")
    assert "3 tests" in text_of(skipped)
    assert "no KHO before 6.16" in text_of(skipped)


def test_clauses_have_the_worst_verdict_of_their_tests_and_those_without_one_are_there() -> None:
    clauses = section(parsed(page.render(RUN)), "clauses")
    rows = {
        next(text_of(each) for each in row.iter("span") if "dim" in str(each.get("class"))): row
        for row in clauses.iter("li")
        if row.get("data-verdict")
    }
    assert {name: row.get("data-verdict") for name, row in rows.items()} == {
        "memfd.contents": "fail",
        "memfd.position": "fail",
        "kho.never": "none",
        "kho.known": "deviation",
    }
    areas = {
        text_of(next(each.iter("h3"))): each.get("open")
        for each in clauses.iter("details")
        if each.get("class")
    }
    assert areas == {"kho": None, "memfd": ""}
    assert "2 tests" in text_of(rows["memfd.contents"])


def test_the_title_says_what_was_judged() -> None:
    assert "Linux 7.3.4 to 7.3.5" in text_of(next(parsed(page.render(RUN)).iter("title")))
    one = replace(RUN, suites=(Suite("s", {"release": "7.3.4", "next-release": "7.3.4"}),))
    assert "Linux 7.3.4" in page.render(one)
    assert "7.3.4 to" not in page.render(one)


# Size


def test_a_flood_is_cut_to_its_two_ends() -> None:
    flood = "\n".join(f"{n}: </script>" for n in range(100_000))
    text = page.render(
        replace(RUN, suites=(replace(RUN.suites[0], results=(replace(FAILED, console=flood),)),))
    )
    check_inert(parsed(text))
    assert len(text) < 200_000
    console = text_of([*parsed(text).iter("pre")][-1])
    assert console.startswith("0: </script>\n1: ")
    assert console.endswith("\n99999: </script>")
    assert "characters left out]" in console


def test_ten_thousand_failures_make_a_page_that_can_be_opened() -> None:
    results = tuple(
        replace(FAILED, node_id=f"{FAILED.node_id}{n}", order=n, console="flood\n" * 2000)
        for n in range(10_000)
    )
    text = page.render(replace(RUN, suites=(replace(RUN.suites[0], results=results),)))
    assert len(text) < 40_000_000
    assert text.count("<article ") == 10_000
    assert text.count("this page is long enough") > 9_000
    assert text.rstrip().endswith("</html>")


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / page.NAME
    path.write_bytes(page.encode(RUN, tmp_path))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_can_be_read_by_everyone(browser: Browser, written: Path, size: str, scheme: Scheme) -> None:
    with look(browser, written, size, scheme) as seen:
        seen.open_details(True)
        assert seen.violations == []
        assert seen.complaints == []
        assert seen.requests == [written.as_uri()]
        width = SIZES[size][0]
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        assert len(seen.page.screenshot(full_page=True)) > 20_000


def test_axe_would_tell(browser: Browser, tmp_path: Path) -> None:
    text = page.render(RUN).replace("<main ", "<div ").replace("</main>", "</div>")
    style = (TEMPLATES / "page.css").read_text()
    text = text.replace(style, style.replace("--dim: #57606a", "--dim: #c0c0c0"))
    path = tmp_path / "bad.html"
    path.write_text(re.sub("<meta http-equiv[^>]*>", "", text))
    with look(browser, path) as seen:
        rules = {violation.partition(":")[0] for violation in seen.violations}
    assert {"color-contrast", "landmark-one-main"} <= rules


def test_nothing_that_a_run_says_is_executed(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / page.NAME
    path.write_bytes(page.encode(HOSTILE, tmp_path))
    with look(browser, path, "phone") as seen:
        assert "obeyed" not in seen.page.title()
        assert (seen.complaints, seen.requests) == ([], [path.as_uri()])
        assert seen.shown("[data-test]") == len(HOSTILE.results)
        assert seen.page.evaluate("document.documentElement.scrollWidth") == SIZES["phone"][0]


def test_a_script_that_got_in_would_not_run(browser: Browser, tmp_path: Path) -> None:
    """The second wall: our own script's hash is the only one that the page's policy names."""
    path = tmp_path / page.NAME
    bad = "<script>document.title = 'obeyed'</script><img src='http://127.0.0.1:9/x.png'></body>"
    path.write_text(page.render(RUN).replace("</body>", bad))
    with look(browser, path) as seen:
        assert seen.page.title() != "obeyed"
        refused = [complaint for complaint in seen.complaints if "Content Security Policy" in complaint]
        assert [rule for rule in ("script-src", "img-src") if any(rule in each for each in refused)] == [
            "script-src",
            "img-src",
        ]


def test_filters_work_by_keyboard(browser: Browser, written: Path) -> None:
    with look(browser, written) as seen:
        keys = seen.page.keyboard
        status = seen.page.get_by_role("status")
        seen.page.get_by_label("failed").focus()
        keys.press("Space")
        assert seen.shown("[data-test]") == 6
        assert seen.shown("article") == 1
        assert status.text_content() == "6 of 7 tests shown."
        keys.press("Space")
        for _ in range(5):
            keys.press("Tab")
        assert seen.page.evaluate("document.activeElement.value") == "none"
        keys.press("Tab")
        keys.type("memfd")
        assert status.text_content() == "2 of 7 tests shown."
        assert seen.shown("details.area > summary") == 2
        keys.press("Tab")
        keys.type("position KEPT")
        assert status.text_content() == "0 of 7 tests shown."
        assert seen.shown("article") == 1
        keys.press("Tab")
        keys.press("Enter")
        seen.page.get_by_text("7 of 7 tests shown.").wait_for()
        assert seen.complaints == []


def test_the_keyboard_gets_to_the_content_at_once(browser: Browser, written: Path) -> None:
    with look(browser, written) as seen:
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("document.activeElement.id") == "content"


def test_a_command_is_copied_as_it_stands(browser: Browser, written: Path) -> None:
    with look(browser, written) as seen:
        seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button = seen.page.get_by_role("button", name="Copy").first
        button.focus()
        seen.page.keyboard.press("Enter")
        seen.page.get_by_text("Copied.").wait_for()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert shlex.split(copied)[-1] == FAILED.node_id


def test_it_reads_without_its_script(browser: Browser, written: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(written.as_uri())
    assert bare.locator("[data-test]:visible").count() == 7
    assert bare.locator("form:visible, button:visible").count() == 0
    context.close()


def test_on_paper_everything_that_failed_is_open_and_nothing_can_be_clicked(
    browser: Browser, written: Path
) -> None:
    with look(browser, written) as seen:
        seen.open_details(False)
        assert seen.page.pdf().startswith(b"%PDF")
        seen.page.emulate_media(media="print")
        assert seen.shown(":is(form, button, nav)") == 0
        assert seen.shown("article pre") == seen.page.locator("article pre").count()
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_ten_thousand_tests_can_be_filtered(browser: Browser, tmp_path: Path) -> None:
    results = tuple(Result(f"suite/a/test_b.py::test_{n}", Verdict.PASS, n) for n in range(10_000))
    path = tmp_path / page.NAME
    path.write_text(page.render(replace(RUN, suites=(Suite("s", {}, results),))))
    with look(browser, path) as seen:
        seen.page.get_by_label("Words").fill("test_999")
        assert seen.page.get_by_role("status").text_content() == "11 of 10000 tests shown."
