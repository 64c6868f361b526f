# SPDX-License-Identifier: GPL-2.0-only
"""What the last full run of a series reached, kept in ``configs/coverage``: the table of error paths is held
against it by the harness's tests, which have no kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kernel.release import KernelRelease
from reports.coverage import PATH_STATES, Coverage, State, stretches
from suite.coverage.paths import stretch_of

DIRECTORY = Path(__file__).parents[2] / "configs" / "coverage"

_HEAD = """\
# SPDX-License-Identifier: GPL-2.0-only
# Written by python -m suite.coverage --record: lines of each file, and error paths by their number.
"""


@dataclass(frozen=True)
class Record:
    """``lines``: of each file, how many there are and which are unreachable or missed."""

    release: str
    lines: Mapping[str, Mapping[str, Any]]
    paths: Mapping[int, str]  # by number, one of PATH_STATES

    @property
    def share(self) -> float:
        """Of all lines, those that were reached."""
        counts = [(file["reached"], file["lines"]) for file in self.lines.values()]
        return float(sum(reached for reached, _ in counts) / sum(lines for _, lines in counts))

    @property
    def missed(self) -> dict[str, str]:
        return {name: file["missed"] for name, file in self.lines.items() if file["missed"]}


def path_of(release: str) -> Path:
    """Where the record of a release's series is."""
    series = ".".join(map(str, KernelRelease.parse(release).series))
    return DIRECTORY / f"{series}.yaml"


def write(found: Coverage) -> Path:
    """Keep what a run found, in place of what is known of that series."""
    states: dict[str, list[int]] = {state: [] for state in PATH_STATES}
    for path in found.paths:
        states[found.state(path)].append(path.number)
    data = {
        "release": found.properties["release"],
        "kernels": found.properties["kernels"],
        "files": {
            file.name: {
                "lines": len(file.counts),
                "reached": len(file.of(State.REACHED)),
                "unreachable": stretches(file.of(State.UNREACHABLE)),
                "missed": stretches(file.of(State.MISSED)),
            }
            for file in found.files
        },
        "paths": {state: stretches(sorted(numbers)) for state, numbers in states.items() if numbers},
    }
    to = path_of(found.properties["release"])
    to.parent.mkdir(exist_ok=True)
    to.write_text(_HEAD + yaml.safe_dump(data, sort_keys=False, width=110), encoding="utf-8")
    return to


def read(path: Path) -> Record:
    """The record at ``path``."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    paths = {number: state for state, numbers in data["paths"].items() for number in _numbers(str(numbers))}
    return Record(data["release"], data["files"], paths)


def _numbers(text: str) -> list[int]:
    """What ``stretches`` made."""
    return [number for part in text.split(", ") for number in stretch_of(part)]
