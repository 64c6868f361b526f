# SPDX-License-Identifier: GPL-2.0-only
"""Known failures of released kernels: listed with reason and link, they leave a kernel conformant."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import jsonschema
import yaml

from reports.model import Result, Verdict

DIRECTORY = Path(__file__).parents[1] / "configs/deviations"

_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["test", "since", "reason", "link", "match"],
        "additionalProperties": False,
        "properties": {
            "test": {"type": "string", "minLength": 1},
            "since": {"type": "string", "pattern": r"^\d+\.\d+(\.\d+)?$"},
            "until": {"type": "string", "pattern": r"^\d+\.\d+(\.\d+)?$"},
            "reason": {"type": "string", "minLength": 1},
            "link": {"type": "string", "minLength": 1},
            "match": {"type": "string", "format": "regex", "minLength": 1},
        },
    },
}


@dataclass(frozen=True)
class Deviation:
    """One known failure. ``match`` must be found in the failure's message: any other failure still counts."""

    test: str  # a clause, or a node id in which * stands for anything
    since: str
    until: str | None  # the last release that has it, all its patch releases included; None: not fixed yet
    reason: str
    link: str  # a kernel file or document, or a URL
    match: str

    @property
    def explanation(self) -> str:
        """What a report says of a test that failed with it."""
        return f"{self.reason} ({self.link})"

    def covers(self, node_id: str, clauses: Iterable[str]) -> bool:
        """Whether it is about this test."""
        # Brackets are a set to fnmatch and a parameter to pytest.
        return self.test in clauses or fnmatchcase(node_id, self.test.replace("[", "[[]"))


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", release)[0])]


def _holds(deviation: Deviation, release: str) -> bool:
    """As far as a bound is given: 7.3.4 is neither before 7.3 nor after it."""
    number, since = _numbers(release), _numbers(deviation.since)
    until = _numbers(deviation.until) if deviation.until is not None else number
    return number[: len(since)] >= since and number[: len(until)] <= until


def match(
    deviations: Iterable[Deviation], node_id: str, clauses: Iterable[str], release: str, message: str
) -> Deviation | None:
    """The first entry that explains why ``node_id`` failed with ``message`` on ``release``."""
    clauses = set(clauses)
    for deviation in deviations:
        if (
            deviation.covers(node_id, clauses)
            and _holds(deviation, release)
            and re.search(deviation.match, message)
        ):
            return deviation
    return None


_RAN = (Verdict.PASS, Verdict.FAIL, Verdict.DEVIATION)


def stale(
    deviations: Iterable[Deviation],
    release: str,
    results: Sequence[Result],
    left_out: Mapping[str, tuple[str, ...]],
) -> list[str]:
    """What to say of entries that excuse nothing on ``release`` any more.

    ``results`` are those of a run of the whole suite without the tests ``left_out`` (node id → clauses).
    Nothing is said of an entry that one of these may need, or one that was skipped or got no verdict.
    """
    found = []
    for deviation in deviations:
        covered = [result for result in results if deviation.covers(result.node_id, result.clauses)]
        if (
            covered
            and _holds(deviation, release)
            and all(result.verdict in _RAN for result in covered)
            and not any(result.deviation == deviation.explanation for result in covered)
            and not any(deviation.covers(*test) for test in left_out.items())
        ):
            found.append(
                f"deviation {deviation.test} no longer fails on {release}: remove it ({deviation.reason})"
            )
    return found


def load(directory: Path = DIRECTORY) -> list[Deviation]:
    """All entries of all files; raises ValueError that names the file that does not follow the schema."""
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    found = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
            jsonschema.validate(entries, _SCHEMA, format_checker=checker)
        except (yaml.YAMLError, jsonschema.ValidationError) as error:
            reason = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
            raise ValueError(f"{path} is no list of deviations: {reason}") from error
        found += [Deviation(**{"until": None, **entry}) for entry in entries]
    return found
