# SPDX-License-Identifier: GPL-2.0-only
"""What became of one handover, as the next kernel shows it: written down by tests, read by the matrix."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

FILE = "sightings.jsonl"

# How a kernel says that what it was handed is not for it (kho_populate() of
# kernel/liveupdate/kexec_handover.c), and that live update took it (luo_core.c, luo_early_startup()).
REFUSAL = "KHO: setup: handover FDT"
TAKEN = "luo: Retrieved live update data"


class Outcome(Enum):
    """Of a handover from one kernel to another."""

    HANDED_OVER = "handed over"
    REFUSED = "refused cleanly"
    BROKE = "broke"


@dataclass(frozen=True)
class Sighting:
    """A handover between the last two of ``releases``."""

    releases: tuple[str, ...]  # uname -r of every generation up to the one that looks
    written: tuple[str, ...]  # versions that the kernel before says it writes: kho-v4, luo-v5
    understood: tuple[str, ...]  # the same of this kernel; KHO's is not told by one that was handed something
    retrieved: str  # "", or the errno of RETRIEVE_SESSION
    differences: tuple[str, ...]  # what came back otherwise than it was left
    inherited: bool  # debugfs shows something handed over
    log: tuple[str, ...]  # what the kernel says of it

    @property
    def same_abi(self) -> bool | None:
        """Whether both kernels name the same versions; None where this one does not tell all of its own."""
        if len(self.understood) < len(self.written):
            return None if set(self.understood) <= set(self.written) else False
        return self.understood == self.written

    @property
    def outcome(self) -> Outcome:
        """Handed over whole, or refused whole with a line that says so; everything else broke."""
        taken = any(line.startswith(TAKEN) for line in self.log)
        refused = any(line.startswith(REFUSAL) for line in self.log)
        if not self.retrieved and not self.differences and taken and not refused:
            return Outcome.HANDED_OVER
        if self.retrieved == "ENOENT" and refused and not taken and not self.inherited:
            return Outcome.REFUSED
        return Outcome.BROKE

    @property
    def evidence(self) -> str:
        """In one line."""
        session = f"RETRIEVE_SESSION: {self.retrieved or 'ok'}"
        contents = (
            "" if self.retrieved else f"; {', '.join(self.differences) or 'all files as they were left'}"
        )
        lines = "; ".join(f"`{line}`" for line in self.log) or "no line in the log"
        return f"{session}{contents}; {lines}"


class Witness:
    """Keeps sightings in a directory of reports."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def note(self, sighting: Sighting) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sighting)) + "\n")

    def read(self) -> Sequence[Sighting]:
        """All of them in order; none where nothing was seen."""
        if not self._path.exists():
            return ()
        return [_sighting(json.loads(line)) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _sighting(told: dict[str, Any]) -> Sighting:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in told.items()
    }
    return Sighting(**values)
