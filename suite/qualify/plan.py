# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel has to show before it follows the last one: a file like configs/qualification/7.3.yaml.

* ``name``: for the title of the page;
* ``kernels``: specs; all of them run the suite, and the first, which is shipped, is measured and rolled back;
* ``last``: the spec of the last qualified kernel;
* ``targets``: names or files, as with --target;
* ``audit``: ``configuration`` as python -m kernel.audit takes it, in the place of what the first kernel is
  built with, and the ``command-line`` that it will be booted with; both may be missing;
* ``staging``: clauses that have to pass before anything else runs;
* ``must-pass``: clauses whose failure nobody may accept, and each of which a test has to have passed;
* ``figures``: how many ``samples``, and from which ``times`` as long and how many ``seconds`` longer (both)
  an update is too slow; ``kept``: the directory, from the file's on, of the report of the last qualified
  kernel's measuring; without it that kernel is measured as well. Medians are compared: of three samples or
  more, taken where nothing else runs;
* ``rollback``: what may become of a handover from the last kernel to the first (``there``), from that to
  itself (``onward``), and ``back``;
* ``accepted``: failures with ``until`` (the last day), ``reason``, ``by`` and, needed where
  configs/deviations does not know the failure, ``match`` (see reports/qualification.py).

In ``staging``, ``must-pass`` and ``accepted`` * stands for anything.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from fixtures.targets import configuration
from kernel import spec
from kernel.entries import TEXT
from kernel.errors import UsageError
from reports.qualification import Acceptance, Slower
from suite.releases.sighting import Outcome


def _list(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": item}


def _object(properties: Mapping[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


# What broke is for nobody to want.
_OUTCOMES = _list({"enum": [Outcome.HANDED_OVER.value, Outcome.REFUSED.value]})
_ACCEPTANCE = {
    "test": TEXT,
    "until": {"type": "string", "format": "date"},
    "reason": TEXT,
    "by": TEXT,
    "match": {"type": "string", "format": "regex", "minLength": 1},
}
_FIGURES = {
    "samples": {"type": "integer", "minimum": 1},
    "times": {"type": "number", "minimum": 1},
    "seconds": {"type": "number", "minimum": 0},
    "kept": TEXT,
}
_SCHEMA = _object(
    {
        "name": TEXT,
        "kernels": _list(TEXT),
        "last": TEXT,
        "targets": _list(TEXT),
        "audit": _object({"configuration": TEXT, "command-line": TEXT}, "configuration", "command-line"),
        "staging": _list(TEXT),
        "must-pass": _list(TEXT),
        "figures": _object(_FIGURES, "kept"),
        "rollback": _object({"there": _OUTCOMES, "onward": _OUTCOMES, "back": _OUTCOMES}),
        "accepted": {"type": "array", "items": _object(_ACCEPTANCE, "match")},
    },
    "audit",
    "accepted",
)


@dataclass(frozen=True)
class Plan:
    """As the file says it."""

    name: str
    kernels: tuple[str, ...]
    last: str
    targets: tuple[str, ...]
    staging: tuple[str, ...]
    must_pass: tuple[str, ...]
    samples: int
    slower: Slower
    rollback: Mapping[str, tuple[str, ...]]  # there, onward, back → outcomes
    configuration: str | None = None
    command_line: str | None = None
    kept: Path | None = None
    accepted: tuple[Acceptance, ...] = ()

    @property
    def candidate(self) -> str:
        """The kernel that is shipped."""
        return self.kernels[0]


def load(path: Path) -> Plan:
    """The plan in a file. Raises UsageError for one that cannot be read or is wrong."""
    try:
        # A date is one to YAML already, and text to the schema.
        data = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))
        jsonschema.validate(data, _SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "a file like configs/qualification/7.3.yaml"
        ) from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is no qualification: {' '.join(str(error).split())}") from error
    except jsonschema.ValidationError as error:
        raise UsageError(
            f"{path} is no qualification: {error.json_path}: {error.message}",
            "suite/qualify/plan.py says what goes into one",
        ) from error
    for kernel in (*data["kernels"], data["last"]):
        spec.parse(kernel)
    for target in data["targets"]:
        configuration.load(target)
    figures, audit = data["figures"], data.get("audit", {})
    return Plan(
        data["name"],
        tuple(data["kernels"]),
        data["last"],
        tuple(data["targets"]),
        tuple(data["staging"]),
        tuple(data["must-pass"]),
        figures["samples"],
        Slower(figures["times"], figures["seconds"]),
        {way: tuple(outcomes) for way, outcomes in data["rollback"].items()},
        audit.get("configuration"),
        audit.get("command-line"),
        path.parent / figures["kept"] if "kept" in figures else None,
        tuple(_acceptance(entry) for entry in data.get("accepted", ())),
    )


def _acceptance(entry: Mapping[str, str]) -> Acceptance:
    return Acceptance(**{**entry, "until": date.fromisoformat(entry["until"])})  # type: ignore[arg-type]
