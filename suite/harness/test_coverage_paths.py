# SPDX-License-Identifier: GPL-2.0-only
"""The list of error paths: whole, true to its form, and of tests that exist."""

from pathlib import Path

import pytest
import yaml

from kernel.source import release_of
from suite.clauses.collection import Tests
from suite.coverage import paths

KNOWN = paths.load()
ENTRY = {
    "id": 1,
    "file": "kernel/a.c",
    "function": "work",
    "lines": "3-5,7",
    "text": "return err;",
    "result": "-EINVAL",
    "condition": "always",
    "kind": "origin",
    "method": "userspace",
    "way": "call it",
}


def load(path: Path, *entries: dict[str, object]) -> list[paths.Known]:
    path.write_text(yaml.safe_dump(list(entries)))
    return paths.load(path)


# The project's own list


def test_the_list_has_every_error_path_once_and_in_order() -> None:
    assert [path.id for path in KNOWN] == list(range(1, 313))


def test_what_takes_no_fault_injection_has_tests_or_a_reason_why_not() -> None:
    methods = ("tampering", "other-kernel", "command-line", "userspace", "limit", "provider")
    assert [path.id for path in KNOWN if path.method in methods and not (path.tests or path.why)] == []


def test_what_cannot_be_reached_is_reached_by_no_test() -> None:
    assert [path.id for path in KNOWN if path.method == "unreachable" and path.tests] == []


def test_places_are_where_the_list_says(kernel_tree: Path) -> None:
    release = str(release_of(kernel_tree))
    if not release.startswith("7.3"):
        pytest.skip(f"the list says where they are in 7.3, and this is {release}")
    text = {path.file: (kernel_tree / path.file).read_text(encoding="utf-8").splitlines() for path in KNOWN}
    there = [path.id for path in KNOWN if text[path.file][path.lines[0].start - 1].strip() == path.text]
    assert there == [path.id for path in KNOWN]


def test_every_test_that_is_named_exists(tests: Tests) -> None:
    known = {*tests, *(test.partition("[")[0] for test in tests)}
    wrong = sorted({test for path in KNOWN for test in path.tests} - known)
    assert "\n".join(wrong) == ""


# The form


def test_an_entry_is_read(tmp_path: Path) -> None:
    (path,) = load(tmp_path / "paths.yaml", ENTRY | {"tests": ["a.py::test_a"], "done": "nothing"})
    assert (path.lines, path.tests, path.why) == ((range(3, 6), range(7, 8)), ("a.py::test_a",), "")
    (path,) = load(tmp_path / "paths.yaml", ENTRY | {"why": "It is not."})
    assert (path.tests, path.why) == ((), "It is not.")


@pytest.mark.parametrize(
    "change",
    [
        {"tests": ["a.py::test_a"], "why": "It is not."},
        {"tests": []},
        {"tests": ["a.py::test_a", "a.py::test_a"]},
        {"tests": "a.py::test_a"},
        {"done": "nothing"},
        {"done": "nothing", "why": "It is not."},
        {"why": "not a sentence"},
        {"method": "U"},
        {"kind": "O"},
        {"id": 0},
        {"lines": "3-"},
        {"file": "kernel a.c"},
        {"more": 1},
    ],
    ids=str,
)
def test_an_entry_that_says_too_much_or_too_little_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="is no list of error paths"):
        load(tmp_path / "paths.yaml", ENTRY | change)


@pytest.mark.parametrize("field", ENTRY)
def test_an_entry_that_lacks_something_is_refused(tmp_path: Path, field: str) -> None:
    entry = {name: value for name, value in ENTRY.items() if name != field}
    with pytest.raises(ValueError, match=f"is no list of error paths: .*'{field}'"):
        load(tmp_path / "paths.yaml", entry)


def test_a_number_is_used_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two error paths 1$"):
        load(tmp_path / "paths.yaml", ENTRY, ENTRY)
