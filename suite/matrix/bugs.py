# SPDX-License-Identifier: GPL-2.0-only
"""Known bugs of released kernels, from ``configs/known-bugs.yaml``: on a release that has one, a test fails.

* ``id``: a name, ``number``: its place in the list that the project keeps of them;
* ``bug``: one sentence on what goes wrong;
* ``source``: the commit that mended it, or a report;
* ``since`` and ``until``: the first and the last release that has it, patch releases included;
* ``candidates``: true where only release candidates of ``since`` have it;
* ``caught-by``: clauses, or node ids in which * stands for anything: one such test fails there;
* ``unseen``: instead, why no test can catch it.
"""

from dataclasses import dataclass
from pathlib import Path

from kernel import entries
from kernel.entries import RELEASE, TEXT
from kernel.window import Window

FILE = Path(__file__).parents[2] / "configs" / "known-bugs.yaml"

_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["id", "number", "bug", "source", "since"],
        "oneOf": [{"required": ["caught-by"]}, {"required": ["unseen"]}],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": r"^[a-z0-9]+(-[a-z0-9]+)*$"},
            "number": {"type": "integer", "minimum": 1},
            "bug": {"type": "string", "pattern": r"^[A-Z].*\.$"},
            "source": TEXT,
            "since": RELEASE,
            "until": RELEASE,
            "candidates": {"const": True},
            "caught-by": {"type": "array", "minItems": 1, "items": TEXT},
            "unseen": TEXT,
        },
    },
}


@dataclass(frozen=True)
class KnownBug:
    """A bug, the releases that have it, and the tests that have to fail there."""

    id: str
    number: int
    bug: str
    source: str
    releases: Window
    caught_by: tuple[str, ...] = ()
    unseen: str = ""
    candidates: bool = False

    def present(self, release: str) -> bool:
        """Whether ``release`` has it."""
        return self.releases.holds(release) and ("-rc" in release or not self.candidates)


def load(path: Path = FILE) -> list[KnownBug]:
    """All of them; raises ValueError for a file that breaks the schema and for an id used twice."""
    bugs = []
    for entry in entries.read([path], _SCHEMA, "known bugs"):
        releases = Window(entry.pop("since"), entry.pop("until", None))
        caught_by = tuple(entry.pop("caught-by", ()))
        bugs.append(KnownBug(**entry, releases=releases, caught_by=caught_by))
    return bugs
