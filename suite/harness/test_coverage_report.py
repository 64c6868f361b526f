# SPDX-License-Identifier: GPL-2.0-only
"""Numbers, lcov's tracefile as others read it, and the pages."""

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import html5lib
import pytest
from lcov_cobertura import LcovCobertura

from reports import coverage, coverage_html
from reports.coverage import Coverage, ErrorPath, FileCoverage, State

HOSTILE = """<script>alert("x & y")</script> </td></table> '"""


def path(
    number: int, lines: tuple[int, ...], file: str = "kernel/liveupdate/a.c", **more: object
) -> ErrorPath:
    made = ErrorPath(number, file, "one", "-EINVAL", "always", "origin", "userspace", "call it", lines)
    return replace(made, **more)  # type: ignore[arg-type]


A_C = FileCoverage(
    "kernel/liveupdate/a.c",
    "/src/kernel/liveupdate/a.c",
    ("int one(void)", "{", "\tif (bad)", "\t\treturn -1;", "", "\tBUG();", "}", "int two(void)", "\t{ }"),
    {1: 3, 3: 3, 4: 0, 6: 0, 8: 0},
    {1: "one", 8: "two"},
    {6: "It is BUG()."},
)
B_C = FileCoverage("mm/b.c", "/src/mm/b.c", ("int b;", "b() { }"), {2: 1}, {2: "b"}, {})
FOUND = Coverage(
    {"release": "7.3.4", "kernels": "deb:7.3"},
    (A_C, B_C),
    (
        path(1, (3,), tests=("suite/x.py::test_a", "suite/x.py::test_b[1]")),
        path(2, (3, 4)),
        path(3, (4,), why="Nobody tried."),
        path(4, (6,)),
        path(5, ()),
        path(6, (), file="kernel/liveupdate/gone.c"),
    ),
)
AWKWARD = replace(
    FOUND,
    properties={"kernels": HOSTILE},
    files=(
        replace(A_C, text=(HOSTILE, *A_C.text[1:]), functions={1: HOSTILE}, unreachable={6: HOSTILE}),
        replace(B_C, name="mm/b #1?100%.c", counts={2: 0}),
    ),
    paths=(
        path(1, (4, 6), result=HOSTILE, condition=HOSTILE, way=HOSTILE, tests=(HOSTILE,)),
        path(2, (2,), file="mm/b #1?100%.c", why=HOSTILE),
    ),
    remarks=(HOSTILE,),
)


# Numbers


def test_lines_are_counted_with_and_without_those_that_cannot_be_reached() -> None:
    assert coverage.table(FOUND.files) == [
        ["kernel/liveupdate/a.c", "5", "2", "40.0 %", "1", "2", "50.0 %"],
        ["mm/b.c", "1", "1", "100.0 %", "0", "0", "100.0 %"],
        ["all", "6", "3", "50.0 %", "1", "2", "60.0 %"],
    ]
    assert all(len(row) == len(coverage.HEADER) for row in coverage.table(FOUND.files))


@pytest.mark.parametrize(
    ("reached", "lines", "says"),
    [(0, 0, "100.0 %"), (0, 7, "0.0 %"), (999, 1000, "99.9 %"), (1999, 2000, "99.9 %"), (2, 3, "66.6 %")],
)
def test_only_all_is_a_hundred_percent(reached: int, lines: int, says: str) -> None:
    assert coverage.percent(reached, lines) == says


@pytest.mark.parametrize(
    ("lines", "says"), [([], ""), ([3], "3"), ([3, 4], "3-4"), ([1, 3, 4, 5, 9], "1, 3-5, 9")]
)
def test_lines_are_said_in_stretches(lines: Sequence[int], says: str) -> None:
    assert coverage.stretches(lines) == says


def test_each_error_path_has_its_state() -> None:
    states = [FOUND.state(each) for each in FOUND.paths]
    assert states == ["reached", coverage.PARTLY, "missed", "unreachable", coverage.NO_CODE, coverage.NO_CODE]
    assert coverage.tally(FOUND) == (
        "6 error paths: 1 reached, 1 partly reached, 1 missed, 1 unreachable, 2 without code of its own"
    )


def test_an_error_path_with_a_line_that_is_missed_and_one_that_is_unreachable_is_missed() -> None:
    assert FOUND.state(path(9, (4, 6))) == "missed"
    assert FOUND.state(path(9, (3, 6))) == "unreachable"


def test_what_other_tools_read_says_the_same() -> None:
    told = FOUND.to_json()
    assert told["files"]["kernel/liveupdate/a.c"] == {
        "lines": 5,
        "reached": [1, 3],
        "unreachable": [6],
        "missed": [4, 8],
    }
    assert told["paths"][4] == "unreachable"
    assert told["properties"]["release"] == "7.3.4"


# lcov


def test_another_reader_of_tracefiles_finds_every_line_and_function(tmp_path: Path) -> None:
    text = "".join(f"{line}\n" for line in coverage.lcov(FOUND))
    parsed = LcovCobertura(text, base_dir="/src").parse()
    classes = {
        name: entry for package in parsed["packages"].values() for name, entry in package["classes"].items()
    }
    assert set(classes) == {"kernel/liveupdate/a.c", "mm/b.c"}
    read = classes["kernel/liveupdate/a.c"]
    assert {line: int(entry["hits"]) for line, entry in read["lines"].items()} == A_C.counts
    assert {name: int(hits) > 0 for name, (_, hits) in read["methods"].items()} == {"one": True, "two": False}
    assert (parsed["summary"]["lines-total"], parsed["summary"]["lines-covered"]) == (6, 3)


# Pages


def parsed(found: Coverage) -> dict[str, Element]:
    """Every page, read by a parser that takes no errors."""
    reader = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return {name: reader.parse(text) for name, text in coverage_html.pages(found).items()}


def text_of(element: Element) -> str:
    return "".join(element.itertext())


@pytest.mark.parametrize("found", [FOUND, AWKWARD], ids=["plain", "awkward"])
def test_every_link_leads_somewhere(found: Coverage) -> None:
    pages = parsed(found)
    places = {name: {element.get("id") for element in page.iter()} for name, page in pages.items()}
    links = 0
    for name, page in pages.items():
        for link in page.iter("a"):
            target = urlsplit(str(link.get("href")))
            assert (target.scheme, target.netloc, target.query) == ("", "", "")
            there = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(target.path)))
            assert there in pages
            assert not target.fragment or target.fragment in places[there]
            links += 1
    assert links > 12


def test_what_the_source_says_is_shown_and_not_obeyed() -> None:
    pages = parsed(AWKWARD)
    assert all(not list(page.iter("script")) for page in pages.values())
    rows = [row for row in pages["kernel/liveupdate/a.c.html"].iter("tr") if row.get("id") == "L1"]
    assert text_of(rows[0][-1]) == HOSTILE
    # Once in each cell of the error path that may say anything, and as the unreachable line's reason.
    assert text_of(pages[coverage_html.PATHS]).count(HOSTILE) == 5
    assert text_of(pages["kernel/liveupdate/a.c.html"]).count(HOSTILE) == 2
    assert text_of(pages[coverage_html.INDEX]).count(HOSTILE) == 3


def test_each_line_is_shown_as_what_it_is() -> None:
    page = parsed(FOUND)["kernel/liveupdate/a.c.html"]
    rows = {row.get("id"): row for row in page.iter("tr")}
    assert [row.get("class") for row in rows.values()] == [
        "reached", None, "reached", "missed", None, "unreachable", None, "missed", None,
    ]  # fmt: skip
    assert [text_of(rows[f"L{line}"][1]) for line in (1, 2, 4)] == ["3", "", "0"]
    assert text_of(rows["L6"][-1]) == "\tBUG(); It is BUG()."


def test_a_missed_line_leads_to_its_error_paths_and_a_reached_one_to_none() -> None:
    page = parsed(FOUND)["kernel/liveupdate/a.c.html"]
    links = {row.get("id"): [str(link.get("href")) for link in row.iter("a")] for row in page.iter("tr")}
    assert links["L4"] == ["../../error-paths.html#path2", "../../error-paths.html#path3"]
    assert links["L6"] == ["../../error-paths.html#path4"]
    assert links["L3"] == links["L8"] == []


def test_error_paths_say_what_became_of_them() -> None:
    page = parsed(FOUND)[coverage_html.PATHS]
    rows = {row.get("id"): row for row in page.iter("tr") if row.get("id")}
    assert {number: text_of(row[-1]) for number, row in rows.items()} == {
        f"path{each.number}": FOUND.state(each) for each in FOUND.paths
    }
    assert [link.get("href") for link in rows["path2"].iter("a")] == ["kernel/liveupdate/a.c.html#L3"]
    assert list(rows["path6"].iter("a")) == []
    assert list(rows["path1"][-2].itertext()) == ["suite/x.py::test_a", "suite/x.py::test_b[1]"]
    assert text_of(rows["path3"][-2]) == "Nobody tried."


def test_the_index_lists_what_is_missed_and_what_is_wrong() -> None:
    text = text_of(parsed(replace(FOUND, remarks=("unreachable x: a.c has no function x",)))["index.html"])
    assert "unreachable x: a.c has no function x" in text
    assert coverage.tally(FOUND) in text
    assert "What is wrong" not in text_of(parsed(FOUND)["index.html"])
    missed = parsed(FOUND)["index.html"].findall(".//table")[-1]
    cells = [[text_of(cell) for cell in row] for row in missed.iter("tr")]
    assert cells[1:] == [
        ["kernel/liveupdate/a.c", "one", "4", "#2, #3"],
        ["kernel/liveupdate/a.c", "two", "8", ""],
    ]


def test_pages_of_similar_names_are_two() -> None:
    files = [replace(B_C, name=name) for name in ("a/b.c", "a-b.c", "a/b/c.c")]
    assert len(coverage_html.pages(replace(FOUND, files=tuple(files), paths=()))) == 2 + 3


def test_a_file_without_a_line_that_was_missed_or_is_code_has_a_page() -> None:
    empty = replace(B_C, counts={}, text=(), functions={})
    pages = parsed(Coverage({}, (empty,)))
    assert "0 lines have code" in text_of(pages["mm/b.c.html"])
    assert empty.of(State.MISSED) == []
