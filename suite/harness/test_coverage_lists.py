# SPDX-License-Identifier: GPL-2.0-only
"""Lines known by their text: where they stand, and whether the list of unreachable ones is right."""

from pathlib import Path

import pytest
import yaml

from kernel.lines import SourceFile
from kernel.source import release_of
from suite.coverage import paths, places, unreachable
from suite.coverage.paths import Known
from suite.coverage.unreachable import Unreachable

TEXT = """\
int first(int a)
{
	if (a)
		return -1;
	WARN(a);
	if (a > 2)
		return -1;
	return 0;
}

int second(void)
{
	panic();
	return -1;
}
""".splitlines()

A_C = SourceFile("kernel/a.c", {}, {1: "first", 11: "second"})
COUNTS = {1: 1, 3: 1, 4: 0, 5: 0, 6: 1, 7: 0, 8: 1, 11: 1, 13: 1, 14: 0}
FILE = SourceFile("kernel/a.c", {line: (range(line, line + 1),) for line in COUNTS}, A_C.functions)


# Where they stand


@pytest.mark.parametrize(
    ("function", "lines", "after", "found"),
    [
        ("first", ["WARN(a);"], "", [5]),
        ("first", ["return -1;"], "WARN(a);", [7]),
        ("first", ["return -1;"], "if (a)", [4]),
        ("first", ["if (a)", "return -1;", "return -1;"], "", [3, 4, 7]),
        ("second", ["return -1;"], "", [14]),
        ("second", [], "", [11, 12, 13, 14]),
    ],
)
def test_lines_are_found(function: str, lines: list[str], after: str, found: list[int]) -> None:
    assert places.within(FILE, TEXT, function, lines, after) == found


@pytest.mark.parametrize(
    ("function", "lines", "after", "says"),
    [
        ("third", ["return 0;"], "", "kernel/a.c has no function third"),
        ("third", [], "", "kernel/a.c has no function third"),
        ("first", ["return -2;"], "", r"first\(\) has no lines 'return -2;'"),
        ("first", ["return -1;"], "", r"first\(\) has 2 lines 'return -1;'"),
        ("first", ["return -1;"], "return -1;", r"first\(\) has 2 lines 'return -1;'"),
        ("first", ["return 0;", "WARN(a);"], "", r"first\(\) has no line 'WARN\(a\);' there"),
        ("first", ["return -1;"], "return 0;", r"first\(\) has no line 'return -1;' there"),
        ("first", ["panic();"], "", r"first\(\) has no lines 'panic\(\);'"),
    ],
)
def test_lines_that_are_nowhere_or_in_two_places_are_not_found(
    function: str, lines: list[str], after: str, says: str
) -> None:
    with pytest.raises(LookupError, match=says):
        places.within(FILE, TEXT, function, lines, after)


@pytest.mark.parametrize(("line", "found"), [(1, 4), (5, 4), (6, 7), (100, 7)])
def test_of_equal_lines_the_nearest_is_taken(line: int, found: int) -> None:
    assert places.nearest(FILE, TEXT, ["first"], "return -1;", line) == found


def test_the_nearest_line_is_one_of_the_function() -> None:
    assert places.nearest(FILE, TEXT, ["second"], "return -1;", 4) == 14
    assert places.nearest(FILE, TEXT, ["first", "second"], "return -1;", 13) == 14
    assert places.nearest(FILE, TEXT, ["first"], "panic();", 13) is None


@pytest.mark.parametrize(
    ("text", "lines", "here"),
    [
        ("WARN(a);", (range(5, 8),), (5, 6, 7)),
        ("WARN(a);", (range(105, 107), range(108, 109)), (5, 6, 8)),  # as 100 lines further down in 7.3.4
        ("{", (range(2, 3),), ()),
        ("gone();", (range(5, 6),), ()),
    ],
)
def test_an_error_path_moves_with_its_text(
    text: str, lines: tuple[range, ...], here: tuple[int, ...]
) -> None:
    known = Known(
        1, FILE.name, "first", lines, text, "-EINVAL", "always", kind="origin", method="userspace", way="call"
    )
    assert known.here(FILE, TEXT, COUNTS) == here


# Unreachable lines


def judge(*entries: Unreachable, release: str = "7.3.4") -> tuple[dict[int, str], list[str]]:
    return unreachable.judge(entries, FILE, TEXT, COUNTS, release)


def test_a_missed_line_on_the_list_has_its_reason() -> None:
    reasons, stale = judge(
        Unreachable("a-warning", FILE.name, "first", "It does not warn.", ("WARN(a);",)),
        Unreachable("end", FILE.name, "second", "panic() does not return.", ("return -1;",)),
    )
    assert reasons == {5: "It does not warn.", 14: "panic() does not return."}
    assert stale == []


def test_an_entry_of_a_line_that_was_reached_is_stale() -> None:
    reasons, stale = judge(
        Unreachable("not-so", FILE.name, "first", "Never.", ("if (a > 2)", "return -1;"), after="WARN(a);")
    )
    assert stale == ["unreachable not-so: kernel/a.c:6 was reached"]
    assert reasons == {7: "Never."}


def test_an_entry_of_a_whole_function_is_stale_as_soon_as_one_line_was_reached() -> None:
    _, stale = judge(Unreachable("whole", FILE.name, "second", "Never."))
    assert stale == ["unreachable whole: kernel/a.c:11, 13 was reached"]


@pytest.mark.parametrize(
    ("function", "lines", "says"),
    [
        ("gone", ("return -1;",), "kernel/a.c has no function gone"),
        ("first", ("return -9;",), "first() has no lines 'return -9;'"),
        ("first", ("return -1;",), "first() has 2 lines 'return -1;'"),
    ],
)
def test_an_entry_without_its_place_is_stale(function: str, lines: tuple[str, ...], says: str) -> None:
    assert judge(Unreachable("lost", FILE.name, function, "Never.", lines)) == (
        {},
        [f"unreachable lost: {says}"],
    )


def test_an_entry_of_another_file_or_release_is_left_alone(tmp_path: Path) -> None:
    (other,) = load(tmp_path / "a.yaml", ENTRY | {"file": "kernel/b.c"})
    (older,) = load(tmp_path / "b.yaml", ENTRY | {"until": "7.2"})
    (newer,) = load(tmp_path / "c.yaml", ENTRY | {"since": "7.4"})
    (mine,) = load(tmp_path / "d.yaml", ENTRY | {"since": "7.3", "until": "7.3"})
    assert judge(other, older, newer) == ({}, [])
    assert judge(mine)[0] == {5: "It never warns."}


# The form of the list

ENTRY: dict[str, object] = {
    "id": "a-warning",
    "file": "kernel/a.c",
    "function": "first",
    "lines": ["WARN(a);"],
    "reason": "It never warns.",
}


def load(path: Path, *entries: dict[str, object]) -> list[Unreachable]:
    path.write_text(yaml.safe_dump(list(entries)))
    return unreachable.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "A warning"},
        {"file": "kernel a.c"},
        {"function": "first()"},
        {"lines": []},
        {"lines": "WARN(a);"},
        {"lines": ["  WARN(a);"]},
        {"lines": [""]},
        {"reason": ""},
        {"reason": "no sentence"},
        {"path": "8"},
        {"since": 7.3},
        {"more": 1},
    ],
    ids=str,
)
def test_an_entry_that_says_too_much_or_nonsense_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="is no list of unreachable lines"):
        load(tmp_path / "a.yaml", ENTRY | change)


@pytest.mark.parametrize("field", ["id", "file", "function", "reason"])
def test_an_entry_that_lacks_something_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=f"is no list of unreachable lines: .*'{field}'"):
        load(tmp_path / "a.yaml", {name: value for name, value in ENTRY.items() if name != field})


def test_what_stands_before_a_line_needs_the_line(tmp_path: Path) -> None:
    entry = {name: value for name, value in ENTRY.items() if name != "lines"} | {"after": "if (a)"}
    with pytest.raises(ValueError, match="'lines' is a dependency of 'after'"):
        load(tmp_path / "a.yaml", entry)


# The project's own list

KNOWN = unreachable.load()


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry.id)
def test_the_newest_kernel_has_these_lines(kernel_tree: Path, entry: Unreachable) -> None:
    if not entry.releases.holds(str(release_of(kernel_tree))):
        pytest.skip("another release has them")
    text = [line.strip() for line in (kernel_tree / entry.file).read_text(encoding="utf-8").splitlines()]
    assert {*entry.lines, *([entry.after] if entry.after else [])} <= set(text)
    assert any(f"{entry.function}(" in line for line in text)


def test_error_paths_that_the_list_names_are_there_and_in_the_same_function() -> None:
    known = {path.id: path for path in paths.load()}
    for entry in KNOWN:
        if entry.path is not None:
            path = known[entry.path]
            assert path.file == entry.file, entry.id
            assert entry.function in path.function.split(", "), entry.id
