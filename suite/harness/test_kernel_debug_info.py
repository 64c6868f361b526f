# SPDX-License-Identifier: GPL-2.0-only
"""Debug information for a few objects alone: what make is told, and where that cannot be."""

from pathlib import Path

import pytest

from kernel.debug_info import variables


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "mm/Makefile": "obj-y := one.o\nobj-$(CONFIG_B) += b/\n",
        "mm/one.c": "",
        "mm/joined.c": "",
        "mm/one.h": "",
        "fs/Makefile": "two-y := a.o \\\n\tpart.o\nobj-y += two.o not-half.o\n",
        "fs/part.c": "",
        "fs/half.c": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_objects_are_told_by_their_names(tree: Path) -> None:
    assert variables(tree, ["mm/one.c", "fs/part.c"]) == ["CFLAGS_one.o=-g", "CFLAGS_part.o=-g"]


def test_a_file_that_this_release_lacks_counts_for_nothing(tree: Path) -> None:
    assert variables(tree, ["mm/one.c", "mm/later.c"]) == ["CFLAGS_one.o=-g"]
    assert variables(tree, ["mm/later.c"]) == []


@pytest.mark.parametrize("name", ["mm/joined.c", "mm/one.h", "fs/half.c"])
def test_what_has_no_object_of_its_own_takes_all(tree: Path, name: str) -> None:
    assert variables(tree, ["fs/part.c", name]) is None


@pytest.mark.parametrize("makefile", ["mm/Makefile", "drivers/deep/Makefile", "drivers/deep/Kbuild"])
def test_flags_of_any_object_of_that_name_are_not_taken_away(tree: Path, makefile: str) -> None:
    path = tree / makefile
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("CFLAGS_one.o += -I$(src)\n")
    assert variables(tree, ["mm/one.c"]) is None
    assert variables(tree, ["fs/part.c"]) == ["CFLAGS_part.o=-g"]
