# SPDX-License-Identifier: GPL-2.0-only
"""What the handovers of a run show: how long a workload is away, and what grows with what it hands over."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from reports.chart import Chart, Segment, Series, Spread, bar, figure
from reports.model import BLACKOUT, Cargo, Handover, Phase, Run

NAME = "figures.json"
MIB = 1 << 20
_PHASES = [str(phase) for phase in Phase]

# A machine that goes through so many updates with the same load shows whether something grows with each.
_CHAIN = 8


class Bar(NamedTuple):
    """The phases of handovers of one kind, by their medians."""

    title: str
    segments: list[Segment]
    blackout: Spread


class Growth(NamedTuple):
    """What one more of something costs, with few of them and with many. Times are in microseconds."""

    phase: str
    what: str  # MiB, file, session
    few: float  # how many, and what each then cost
    few_cost: float
    many: float
    many_cost: float

    @property
    def sentence(self) -> str:
        ratio = self.many_cost / self.few_cost if self.few_cost else float("inf")
        return (
            f"{self.phase}: {figure(self.few_cost)} µs a {self.what} with {figure(self.few)} of them, "
            f"{figure(self.many_cost)} µs with {figure(self.many)}: {ratio:.2f} times as much."
        )


class Sweep(NamedTuple):
    """Handovers that differ in one number, and how it is read off them."""

    what: str  # one of them
    all: str
    across: str
    number: Callable[[Cargo], float]
    fits: Callable[[Cargo], bool]


_SWEEPS = (
    Sweep(
        "MiB", "memory", "MiB in one file", lambda it: it.size / MIB, lambda it: it.files == it.sessions == 1
    ),
    Sweep(
        "file", "files", "files in one session", lambda it: it.files, lambda it: it.sessions == 1 < it.files
    ),
    Sweep(
        "session",
        "sessions",
        "sessions of one file",
        lambda it: it.sessions,
        lambda it: 1 < it.sessions == it.files,
    ),
)
_WORK = (Phase.PRESERVE, Phase.RETRIEVE, Phase.FINISH)


@dataclass(frozen=True)
class Figures:
    """All of them, or none where nothing was handed over."""

    handovers: tuple[Handover, ...]

    def __bool__(self) -> bool:
        return bool(self.handovers)

    @cached_property
    def phases(self) -> dict[str, Spread]:
        """All handovers together, in seconds, and the blackout last."""
        found = {name: values for name in _PHASES if (values := _seconds(self.handovers, name))}
        spreads = {name: Spread.of(values) for name, values in found.items()}
        return spreads | {"blackout": Spread.of([each.blackout for each in self.handovers])}

    @property
    def names(self) -> list[str]:
        """Those of the phases that were seen; a name's place in ``Phase`` is its colour."""
        return [name for name in _PHASES if name in self.phases]

    @staticmethod
    def colour(name: str) -> int:
        return _PHASES.index(name)

    @cached_property
    def bars(self) -> list[Bar]:
        """One for each cargo, the smallest first, and one for handovers of which nobody counted it."""
        groups: dict[Cargo | None, list[Handover]] = {}
        for handover in self.handovers:
            groups.setdefault(handover.cargo, []).append(handover)
        order = sorted(groups, key=lambda cargo: (cargo is not None, cargo or Cargo(0, 0, 0)))
        medians = {cargo: _medians(groups[cargo]) for cargo in order}
        longest = max((sum(value for _, value in parts) for parts in medians.values()), default=0.0)
        return [
            Bar(
                f"{told(cargo)}, {_counted(len(groups[cargo]), 'handover')}",
                bar(medians[cargo], _PHASES, longest),
                Spread.of([each.blackout for each in groups[cargo]]),
            )
            for cargo in order
        ]

    @cached_property
    def trends(self) -> list[Chart]:
        """What grows with the memory, the files, the sessions and the number of updates."""
        charts = []
        for sweep in _SWEEPS:
            each = [self._series(sweep, phase, per_unit=True) for phase in _WORK]
            away = self._series(sweep, None, per_unit=False)
            if any(len(series.points) > 1 for series in each):
                charts.append(
                    Chart(f"Cost of a {sweep.what}", sweep.across, "µs", tuple(filter(_full, each)))
                )
                charts.append(Chart(f"Blackout by {sweep.all}", sweep.across, "s", (away,)))
        return [*charts, *self._chains()]

    @property
    def growth(self) -> list[Growth]:
        """Of each sweep its two ends."""
        found = []
        for sweep in _SWEEPS:
            for phase in _WORK:
                points = self._series(sweep, phase, per_unit=True).points
                if len(points) > 1:
                    (few, few_cost), (many, many_cost) = points[0], points[-1]
                    found.append(Growth(phase, sweep.what, few, few_cost.median, many, many_cost.median))
        return found

    def lines(self) -> list[str]:
        """For a terminal: each cargo's blackout, then what grows."""
        away = [
            f"{each.title}: away for {each.blackout.median:.3f} s "
            f"({each.blackout.low:.3f} to {each.blackout.high:.3f})"
            for each in self.bars
        ]
        return [*away, *(growth.sentence for growth in self.growth)]

    def _series(self, sweep: Sweep, phase: Phase | None, *, per_unit: bool) -> Series:
        """A phase, or the blackout, over a sweep; ``per_unit``: divided by its number, in µs."""
        found: dict[float, list[float]] = {}
        for handover in self.handovers:
            if handover.cargo is not None and sweep.fits(handover.cargo):
                number = sweep.number(handover.cargo)
                values = [handover.blackout] if phase is None else _seconds([handover], phase)
                scale = 1e6 / number if per_unit else 1.0
                found.setdefault(number, []).extend(value * scale for value in values)
        points = tuple((number, Spread.of(values)) for number, values in sorted(found.items()) if values)
        return Series("blackout" if phase is None else str(phase), points)

    def _chains(self) -> list[Chart]:
        """Memory and processor time of machines that went through the same update again and again."""
        chains: dict[tuple[str, Cargo], list[Handover]] = {}
        for handover in self.handovers:
            if handover.cargo is not None and handover.moments:
                chains.setdefault((handover.machine, handover.cargo), []).append(handover)
        chains = {key: chain for key, chain in chains.items() if len(chain) >= _CHAIN}
        if not chains:
            return []
        memory = _by_update(chains.values(), lambda moment: moment.memory / MIB)
        processor = _by_update(chains.values(), lambda moment: moment.processor)
        return [
            Chart("Memory in use, by update", "update", "MiB", memory),
            Chart("Processor time since boot, by update", "update", "s", processor),
        ]

    def to_json(self) -> dict[str, Any]:
        """Times in seconds, costs in microseconds, sizes in bytes."""
        return {
            "phases": {name: asdict(spread) for name, spread in self.phases.items()} if self else {},
            "blackout": list(map(str, BLACKOUT)),
            "growth": [growth._asdict() for growth in self.growth],
            "trends": [
                {
                    "title": chart.title,
                    "across": chart.across,
                    "unit": chart.up,
                    "series": {
                        series.name: [{"at": at} | asdict(spread) for at, spread in series.points]
                        for series in chart.series
                    },
                }
                for chart in self.trends
            ],
            "handovers": [
                {
                    "machine": each.machine,
                    "generation": each.generation,
                    "phases": {phase.name: phase.seconds for phase in each.phases},
                    "blackout": each.blackout,
                    "cargo": each.cargo._asdict() if each.cargo else None,
                    "moments": [moment._asdict() for moment in each.moments],
                }
                for each in self.handovers
            ],
        }


def of(handovers: Iterable[Handover]) -> Figures:
    return Figures(tuple(handovers))


def encode(run: Run, directory: Path) -> bytes:
    """All of it as JSON, for a file of the report ``directory``."""
    return json.dumps(of(run.handovers).to_json(), indent=1).encode()


def _seconds(handovers: Iterable[Handover], name: str) -> list[float]:
    return [phase.seconds for each in handovers for phase in each.phases if phase.name == name]


def _medians(handovers: Sequence[Handover]) -> list[tuple[str, float]]:
    return [(name, Spread.of(values).median) for name in _PHASES if (values := _seconds(handovers, name))]


def _full(series: Series) -> bool:
    return bool(series.points)


def _by_update(chains: Iterable[Sequence[Handover]], number: Callable[[Any], float]) -> tuple[Series, ...]:
    """A line for each kind of moment, over the number of the update."""
    found: dict[str, dict[int, list[float]]] = {}
    for chain in chains:
        for update, handover in enumerate(chain, 1):
            for moment in handover.moments:
                found.setdefault(moment.name, {}).setdefault(update, []).append(number(moment))
    return tuple(
        Series(name, tuple((float(update), Spread.of(values)) for update, values in sorted(by.items())))
        for name, by in found.items()
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def told(cargo: Cargo | None) -> str:
    """What is carried, for a reader."""
    if cargo is None:
        return "what the tests hand over"
    size = figure(round(cargo.size / MIB, 3)) + " MiB"
    return f"{_counted(cargo.sessions, 'session')}, {_counted(cargo.files, 'file')}, {size}"
