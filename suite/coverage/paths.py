# SPDX-License-Identifier: GPL-2.0-only
"""The error paths of LUO and KHO, from ``configs/error-paths.yaml``: where they fail, give up or complain.

* ``id``: a number; others refer to it;
* ``file`` and ``function`` (or several): where it is;
* ``lines``: there in Linux 7.3.4, ``text``: what the first of them says, by which it is found elsewhere;
* ``result``: the errno, or what else comes of it, and ``condition``: of what;
* ``kind``: ``origin`` of an errno, ``passed-on`` from a callee, ``warning`` (WARN, panic, oops), ``log`` line
  and go on, or ``silent``;
* ``method``: what it takes to get there, and ``way``: the cheapest one that is known;
* ``tests`` that get there, variants included or, without brackets, all of them, and what is ``done`` there;
* or ``why`` none does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel import entries
from kernel.entries import TEXT
from kernel.lines import SourceFile
from suite.coverage import places

FILE = Path(__file__).parents[2] / "configs" / "error-paths.yaml"

KINDS = ("origin", "passed-on", "warning", "log", "silent")
METHODS = (
    "userspace",
    "limit",  # a resource limit
    "fault",  # fault injection at run time
    "boot-fault",  # fault injection while the kernel boots
    "provider",  # code in the kernel
    "tampering",  # with the memory that is handed over
    "other-kernel",  # another release or configuration is next
    "command-line",  # or the shape of the machine
    "unreachable",
)

_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": [
            "id",
            "file",
            "function",
            "lines",
            "text",
            "result",
            "condition",
            "kind",
            "method",
            "way",
        ],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "file": {"type": "string", "pattern": r"^[\w./-]+$"},
            "function": {"type": "string", "pattern": r"^\w+(, \w+)*$"},
            "lines": {"type": "string", "pattern": r"^\d+(-\d+)?(,\d+(-\d+)?)*$"},
            "text": TEXT,
            "result": TEXT,
            "condition": TEXT,
            "kind": {"enum": list(KINDS)},
            "method": {"enum": list(METHODS)},
            "way": TEXT,
            "done": TEXT,
            "tests": {"type": "array", "minItems": 1, "uniqueItems": True, "items": TEXT},
            "why": {"type": "string", "pattern": r"^[A-Z].*\.$"},
        },
        "dependentRequired": {"done": ["tests"]},
        "dependentSchemas": {"why": {"properties": {"tests": False}}},
    },
}


@dataclass(frozen=True)
class Known:
    """One of them."""

    id: int
    file: str
    function: str
    lines: tuple[range, ...]
    text: str
    result: str
    condition: str
    kind: str
    method: str
    way: str
    done: str = ""
    tests: tuple[str, ...] = ()
    why: str = ""

    def here(self, file: SourceFile, text: Sequence[str], counts: Mapping[int, int]) -> tuple[int, ...]:
        """Its lines that have code in the source at hand; none where it has no such place."""
        first = self.lines[0].start
        found = places.nearest(file, text, self.function.split(", "), self.text, first)
        if found is None:
            return ()
        shift = found - first
        return tuple(line + shift for stretch in self.lines for line in stretch if line + shift in counts)


def load(path: Path = FILE) -> list[Known]:
    """All of them; raises ValueError for a file that breaks the schema and for a number used twice."""
    found = []
    for entry in entries.read([path], _SCHEMA, "error paths"):
        stretches = tuple(stretch_of(part) for part in entry.pop("lines").split(","))
        tests = tuple(entry.pop("tests", ()))
        found.append(Known(**entry, lines=stretches, tests=tests))
    return found


def stretch_of(text: str) -> range:
    """The lines that "7" or "7-9" names; reports.coverage.stretches() writes several of them."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
