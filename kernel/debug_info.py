# SPDX-License-Identifier: GPL-2.0-only
"""Debug information (DWARF) for a few objects: all the others are the same as without, and stay built."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path


def variables(tree: Path, sources: Sequence[str]) -> list[str] | None:
    """What make is told so that the objects of ``sources``, paths below ``tree``, have debug information.

    kbuild knows the flags of one object by its name alone, and a variable of make's command line takes the
    place of those in any Makefile. None where that would take flags from an object, or where a source has no
    object of its own: then it takes a kernel with debug information everywhere. A source that the tree lacks
    counts for nothing: releases differ.
    """
    there = [name for name in sources if (tree / name).is_file()]
    stems = dict.fromkeys(Path(name).stem for name in there)
    if not stems:
        return []
    own_flags = re.compile(rf"^\s*CFLAGS_({'|'.join(map(re.escape, stems))})\.o\b", re.MULTILINE)
    if any(own_flags.search(text) for text in _makefiles(tree)):
        return None
    if not all(_has_object(tree / name) for name in there):
        return None
    return [f"CFLAGS_{stem}.o=-g" for stem in stems]


def _makefiles(tree: Path) -> Iterator[str]:
    for pattern in ("Makefile", "Kbuild"):
        for path in tree.rglob(pattern):
            if path.is_file():
                yield path.read_text(errors="replace")


def _has_object(source: Path) -> bool:
    named = re.compile(rf"(?<![\w/-]){re.escape(source.stem)}\.o\b")
    makefile = source.with_name("Makefile")
    return source.suffix == ".c" and makefile.is_file() and named.search(makefile.read_text()) is not None
