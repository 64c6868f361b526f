# SPDX-License-Identifier: GPL-2.0-only
"""Overlays: code of ours that is added to a copy of a kernel tree, asked for as ``deb:7.3,overlay=NAME``.

An overlay is a directory that mirrors a tree. A file that the tree has already gets the overlay's text at its
end; what it has not is new. LUO exports nothing to modules, so what registers with it has to be built in.
"""

from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

from kernel.errors import UsageError

# Without this file of LUO there is nothing that an overlay could be for.
_LUO = "kernel/liveupdate/luo_file.c"


def patch(tree: Path, directory: Path) -> str:
    """What puts the overlay into ``tree``, as a diff; raises UsageError for a tree without LUO."""
    if not (tree / _LUO).is_file():
        raise UsageError(f"{tree} has no LUO, so the overlay {directory.name} has no place in it")
    return "".join(
        row
        for file in sorted(directory.rglob("*"))
        if file.is_file()
        for row in _added(tree, directory, file)
    )


def _added(tree: Path, directory: Path, file: Path) -> Iterator[str]:
    name = str(file.relative_to(directory))
    added = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if (tree / name).is_file():
        old = (tree / name).read_text(encoding="utf-8").splitlines(keepends=True)
        return unified_diff(old, [*old, "\n", *added], f"a/{name}", f"b/{name}")
    return unified_diff([], added, "/dev/null", f"b/{name}")
