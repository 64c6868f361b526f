# SPDX-License-Identifier: GPL-2.0-only
"""Lines of the kernel that no test can reach, from ``configs/unreachable.yaml``.

* ``id``: a name;
* ``file`` and ``function``: where they are;
* ``lines``: their text, in their order, without indentation; all of the function where this is missing;
* ``after``: text of a line above the first of them, where that stands in the function more than once;
* ``path``: the error path they belong to, if they do (``configs/error-paths.yaml``);
* ``reason``: a sentence that says what keeps them from being reached;
* ``since`` and ``until``: the releases that it holds for, both included.

A line that is continued below has its code where it begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel import entries
from kernel.entries import RELEASE
from kernel.lines import SourceFile
from kernel.window import Window
from suite.coverage import places

FILE = Path(__file__).parents[2] / "configs" / "unreachable.yaml"

_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "file", "function", "reason"],
        "dependentRequired": {"after": ["lines"]},
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": r"^[a-z0-9]+(-[a-z0-9]+)*$"},
            "file": {"type": "string", "pattern": r"^[\w./-]+$"},
            "function": {"type": "string", "pattern": r"^\w+$"},
            "lines": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": r"^\S(.*\S)?$"}},
            "after": {"type": "string", "pattern": r"^\S(.*\S)?$"},
            "path": {"type": "integer", "minimum": 1},
            "reason": {"type": "string", "pattern": r"^[A-Z].*\.$"},
            "since": RELEASE,
            "until": RELEASE,
        },
    },
}


@dataclass(frozen=True)
class Unreachable:
    """Some lines of one function, and why nothing gets there."""

    id: str
    file: str
    function: str
    reason: str
    lines: tuple[str, ...] = ()
    after: str = ""
    path: int | None = None
    releases: Window = field(default_factory=Window)


def load(path: Path = FILE) -> list[Unreachable]:
    """All of them; raises ValueError for a file that breaks the schema and for an id used twice."""
    found = []
    for entry in entries.read([path], _SCHEMA, "unreachable lines"):
        releases = Window(entry.pop("since", None), entry.pop("until", None))
        lines = tuple(entry.pop("lines", ()))
        found.append(Unreachable(**entry, lines=lines, releases=releases))
    return found


def judge(
    known: Sequence[Unreachable],
    file: SourceFile,
    text: Sequence[str],
    counts: Mapping[int, int],
    release: str,
) -> tuple[dict[int, str], list[str]]:
    """The missed lines of a file that are excused, each with its reason, and a sentence for each stale entry.

    ``counts`` are those of lines that have code; an entry whose lines have none in this kernel is as it was.
    """
    reasons: dict[int, str] = {}
    stale = []
    for entry in known:
        if entry.file != file.name or not entry.releases.holds(release):
            continue
        try:
            lines = places.within(file, text, entry.function, entry.lines, entry.after)
        except LookupError as error:
            stale.append(f"unreachable {entry.id}: {error}")
            continue
        reached = [line for line in lines if counts.get(line)]
        if reached:
            numbers = ", ".join(map(str, reached))
            stale.append(f"unreachable {entry.id}: {file.name}:{numbers} was reached")
        reasons |= {line: entry.reason for line in lines if counts.get(line) == 0}
    return reasons, stale
