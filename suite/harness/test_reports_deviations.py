# SPDX-License-Identifier: GPL-2.0-only
"""Known failures are excused, other failures of the same test are not."""

from pathlib import Path

import pytest

from reports.deviations import Deviation, load, match
from suite.clauses import catalogue

NODE = "suite/device/test_ioctl.py::test_unknown[0xba02]"
ENTRY = Deviation("ioctl.unknown", "6.19", "7.3", "checked too early", "luo_core.c", r"\bEINVAL\b")


def excused(
    entry: Deviation, *, clauses: tuple[str, ...] = (), release: str = "7.3.4", message: str = "EINVAL"
) -> bool:
    return match([entry], NODE, clauses, release, message) is entry


def test_a_clause_names_its_tests() -> None:
    assert excused(ENTRY, clauses=("ioctl.unknown", "device.mode"))
    assert not excused(ENTRY, clauses=("device.mode",))


@pytest.mark.parametrize(
    ("test", "covered"),
    [
        (NODE, True),
        ("suite/device/*::test_unknown*", True),
        ("suite/device/test_ioctl.py::test_unknown[*]", True),
        ("suite/device/test_ioctl.py::test_unknown", False),
        ("suite/device/test_ioctl.py::test_unknown[0xba03]", False),
        ("*::test_other*", False),
    ],
)
def test_a_node_id_may_have_wildcards(test: str, covered: bool) -> None:
    assert excused(Deviation(test, "6.19", None, "r", "l", "EINVAL")) is covered


def test_another_failure_is_not_excused() -> None:
    assert not excused(ENTRY, clauses=("ioctl.unknown",), message="EFAULT")


@pytest.mark.parametrize(
    ("release", "holds"),
    [("6.18.15", False), ("6.19-rc1", True), ("7.0", True), ("7.3.99-1-amd64", True), ("7.4-rc1", False)],
)
def test_an_entry_holds_for_its_releases(release: str, holds: bool) -> None:
    assert excused(ENTRY, clauses=("ioctl.unknown",), release=release) is holds


def test_a_failure_that_is_not_fixed_goes_on() -> None:
    assert excused(Deviation(NODE, "7.1", None, "r", "l", "EINVAL"), release="8.2.1")


def test_the_projects_own_entries_load_and_name_clauses_that_exist() -> None:
    entries = load()
    assert entries
    clauses = catalogue.load()
    for entry in entries:
        assert "::" in entry.test or entry.test in clauses


@pytest.mark.parametrize(
    "text",
    [
        "- {test: a, since: '7.3', reason: r, link: l}",
        "- {test: a, since: '7.3', reason: r, match: m}",
        "- {test: a, since: '7.3', link: l, match: m}",
        "- {test: a, since: 7.3, reason: r, link: l, match: m}",
        "- {test: a, since: '7.3', reason: r, link: l, match: '('}",
        "- {test: a, since: '7.3', reason: r, link: l, match: m, more: x}",
        "a: [",
    ],
)
def test_an_entry_that_explains_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "7.3.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"7\.3\.yaml is no list of deviations"):
        load(tmp_path)
