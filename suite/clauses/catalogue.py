# SPDX-License-Identifier: GPL-2.0-only
"""The clause catalogue: what the kernel promises, sentence by sentence.

The YAML files beside this one hold a list of clauses each:

* ``id``: the name that tests give in ``@pytest.mark.clause``;
* ``promise``: one sentence, in our words. Where the kernel's documents and its code disagree, the documents
  count;
* ``source``: a file of the kernel, a colon, and words that stand in it (white space aside): the promise, or
  where no document has it, the line of code that users rely on;
* ``since`` and ``until``: the releases that promise it, both included;
* ``observed``: how a test sees it;
* ``relies``: who in user space relies on it, where no document of the kernel promises it;
* ``proof``: how a test of it was seen to fail, where no mutant of ``configs/mutants`` breaks it;
* ``untested``: why no test can check it. It needs neither a test nor a proof.
"""

from dataclasses import dataclass, field
from pathlib import Path

from kernel import entries
from kernel.entries import RELEASE, TEXT
from kernel.window import Window

DIRECTORY = Path(__file__).parent

_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["id", "promise", "source", "since", "observed"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": r"^[a-z]+(\.[a-z]+(-[a-z]+)*)+$"},
            "promise": {"type": "string", "pattern": r"^[A-Z].*\.$"},
            "source": {"type": "string", "pattern": r"^[\w./-]+: ."},
            "since": RELEASE,
            "until": RELEASE,
            "observed": TEXT,
            "relies": TEXT,
            "proof": TEXT,
            "untested": TEXT,
        },
    },
}


@dataclass(frozen=True)
class Clause:
    """One sentence that the kernel promises."""

    id: str
    promise: str
    source: str
    observed: str
    relies: str = ""
    proof: str = ""
    untested: str = ""
    releases: Window = field(default_factory=Window)


def load(directory: Path = DIRECTORY) -> dict[str, Clause]:
    """All clauses by id; raises ValueError for a file that breaks the schema and for an id used twice."""
    clauses: dict[str, Clause] = {}
    for entry in entries.read(sorted(directory.glob("*.yaml")), _SCHEMA, "clauses"):
        releases = Window(entry.pop("since"), entry.pop("until", None))
        clauses[entry["id"]] = Clause(**entry, releases=releases)
    return clauses
