# SPDX-License-Identifier: GPL-2.0-only
"""Where things stand in a drawing: bars of stretches, and lines over a growing number with their spread.

Lengths are in the units of the drawing's own viewBox; templates/figures.html makes SVG of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import NamedTuple


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one."""
        return cls(median(values), min(values), max(values), len(values))


class Series(NamedTuple):
    """One line of a chart: spreads by what they were measured at, in rising order."""

    name: str
    points: tuple[tuple[float, Spread], ...]


class Segment(NamedTuple):
    """A part of a bar."""

    name: str
    value: float
    x: float
    width: float
    colour: int


WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 34
TICKS = 4
COLOURS = 7  # that page.css has
# Of a number line over more than so much only the lower end is a line, the rest a heap at the left.
_DECADES_FROM = 20


def bar(parts: Sequence[tuple[str, float]], colours: Sequence[str], longest: float) -> list[Segment]:
    """Stretches side by side; ``longest`` takes 1,000 units. A name's place in ``colours`` is its colour."""
    segments, x = [], 0.0
    for name, value in parts:
        width = value * 1000 / longest if longest > 0 else 0.0
        segments.append(Segment(name, value, round(x, 2), round(width, 2), colours.index(name)))
        x += width
    return segments


def nice(highest: float) -> float:
    """The least number with even quarters, as 1, 2, 4 and 8 are, that is not below ``highest``."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= highest * 0.999999)


@dataclass(frozen=True)
class Chart:
    """Lines with whiskers from the lowest to the highest measurement, over one axis of numbers."""

    title: str
    across: str  # what the numbers below the chart are
    up: str  # the unit of those beside it
    series: tuple[Series, ...]

    @property
    def points(self) -> list[tuple[float, Spread]]:
        return [point for line in self.series for point in line.points]

    def colour(self, name: str) -> int:
        """By a line's place; the legend tells them apart."""
        return [line.name for line in self.series].index(name) % COLOURS

    @cached_property
    def top(self) -> float:
        return nice(max((spread.high for _, spread in self.points), default=0.0))

    @cached_property
    def _scale(self) -> Callable[[float], float]:
        values = [value for value, _ in self.points]
        low, high = min(values), max(values)
        if low > 0 and high / low > _DECADES_FROM:
            return lambda value: math.log(value / low) / math.log(high / low)
        return lambda value: (value - low) / (high - low) if high > low else 0.5

    def x(self, value: float) -> float:
        return round(LEFT + 8 + self._scale(value) * (WIDTH - LEFT - RIGHT - 16), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM), 1)

    @property
    def across_ticks(self) -> list[tuple[float, str]]:
        """Where there are measurements; of those that are too close to be read, the first."""
        ticks: list[tuple[float, str]] = []
        for value in sorted({value for value, _ in self.points}):
            place = self.x(value)
            if not ticks or place - ticks[-1][0] >= 34:
                ticks.append((place, figure(value)))
        return ticks

    @property
    def up_ticks(self) -> list[tuple[float, str]]:
        return [(self.y(self.top * n / TICKS), figure(self.top * n / TICKS)) for n in range(TICKS + 1)]

    def line(self, series: Series) -> str:
        """As SVG's ``points`` has it."""
        return " ".join(f"{self.x(value)},{self.y(spread.median)}" for value, spread in series.points)


def figure(value: float) -> str:
    """A number for a person: three digits that count, and thousands apart."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
