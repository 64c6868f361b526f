# SPDX-License-Identifier: GPL-2.0-only
"""Every release to every other, and back: what became of each handover, as suite/releases saw it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import tables
from suite.releases.sighting import Outcome, Sighting, Witness

NO_SIGHTING = "?"


@dataclass(frozen=True)
class Pair:
    """A run from one kernel to another, and what it saw."""

    old: str  # kernel specs
    new: str
    status: int = 5  # of the run
    sightings: tuple[Sighting, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.old} → {self.new}"

    def outcome(self, *, back: bool = False) -> str:
        """Of the handover from the old to the new one, or of the one back; "?" if none was seen."""
        length = 3 if back else 2
        found = [
            sighting.outcome
            for sighting in self.sightings
            if len(sighting.releases) == length and (not back or _returns(sighting))
        ]
        return _gravest(found)

    def onward(self) -> str:
        """Of the handover from the new one to itself, after the one from the old."""
        return _gravest(
            sighting.outcome
            for sighting in self.sightings
            if len(sighting.releases) == 3 and sighting.releases[1] == sighting.releases[2]
        )

    def release(self, place: int) -> str:
        """Of the old (0) or the new (1) kernel as it says itself, or its spec."""
        return next((sighting.releases[place] for sighting in self.sightings), (self.old, self.new)[place])


def _returns(sighting: Sighting) -> bool:
    return sighting.releases[0] == sighting.releases[2]


def _gravest(outcomes: Iterable[Outcome]) -> str:
    seen = set(outcomes)
    return next(
        (o.value for o in (Outcome.BROKE, Outcome.REFUSED, Outcome.HANDED_OVER) if o in seen), NO_SIGHTING
    )


def of(specs: Sequence[str]) -> list[Pair]:
    """All ordered pairs, a kernel and itself among them."""
    return [Pair(old, new) for old in specs for new in specs]


def tests_of(pair: Pair, specs: Sequence[str]) -> list[str]:
    """What pytest is told to run. The last one of ``specs`` goes on with its variants, too."""
    path = "suite/releases" if [pair.old, pair.new] == [*specs[-1:]] * 2 else "suite/releases/test_pairs.py"
    return ["--releases", f"--next-kernel={pair.new}", path]


def read(pair: Pair, directory: Path, status: int) -> Pair:
    """The pair with what its run left in ``directory``."""
    return Pair(pair.old, pair.new, status, tuple(Witness(directory).read()))


def render(pairs: Sequence[Pair], *, markdown: bool) -> Iterator[str]:
    """There, on and back; then how each pair was seen."""
    table = tables.markdown if markdown else tables.text
    specs = list(dict.fromkeys(pair.old for pair in pairs))
    releases = {pair.old: pair.release(0) for pair in pairs}
    cells = {(pair.old, pair.new): pair for pair in pairs}

    def grid(title: str, outcome: dict[tuple[str, str], str]) -> Iterator[str]:
        yield from ("", f"## {title}" if markdown else f"{title}:", "")
        header = ["from \\ to", *(releases[spec] for spec in specs)]
        rows = [[releases[old], *(outcome.get((old, new), NO_SIGHTING) for new in specs)] for old in specs]
        yield from table(header, rows)

    yield from grid("From one release to the next", {key: pair.outcome() for key, pair in cells.items()})
    yield from grid(
        "From the next release to itself, after that", {key: pair.onward() for key, pair in cells.items()}
    )
    yield from grid("And back again", {key: pair.outcome(back=True) for key, pair in cells.items()})
    yield from ("", "## How it was seen" if markdown else "How it was seen:", "")
    rows = [
        [" → ".join(sighting.releases), " ".join(sighting.written), sighting.outcome.value, sighting.evidence]
        for pair in pairs
        for sighting in pair.sightings
    ]
    yield from table(["way", "written", "outcome", "seen"], rows)
    broken = [f"{pair.name} (exit status {pair.status})" for pair in pairs if pair.status]
    yield from ("", f"Not as promised: {', '.join(broken) or 'none'}", "")
