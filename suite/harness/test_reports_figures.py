# SPDX-License-Identifier: GPL-2.0-only
"""The figures of an update: phases read off a console, medians and spreads, and where they are drawn."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.console import Line
from fixtures.phases import split
from fixtures.setup import Options
from kernel.kernel import Kernel
from reports import chart, figures
from reports.chart import Chart, Series, Spread
from reports.model import Cargo, Handover, Moment, Part, Phase, Run
from suite.harness.nested import run
from suite.harness.report_runs import STARTED

MIB = 1 << 20
CONSOLE = [
    Line(1.0, 0, "[   55.6] luo-cts: handover to generation 1"),
    Line(1.5, 0, "[   55.7] kexec_core: Starting new kernel"),
    Line(3.5, 1, "[    0.000000] Linux version 7.3.4"),
    Line(4.0, 1, "[    0.1] Run /sbin/init as init process, says a driver"),
    Line(6.0, 1, "[    0.7] Run /init as init process"),
    Line(6.1, 1, "[    0.7] Run /init as init process"),
]
ALL = {
    "reboot call to jump": 0.7,
    "jump to first line": 2.0,
    "first line to init": 2.5,
    "init to first call": 1.0,
}


def told(lines: list[Line]) -> dict[str, float]:
    return {name: round(seconds, 6) for name, seconds in split(lines, 1, 0.8, 7.0)}


def updates(cargo: Cargo | None, *seconds: float, machine: str = "m0") -> list[Handover]:
    """Handovers whose every phase takes so long; the memory in use is their number in MiB."""
    return [
        Handover(
            machine,
            number,
            tuple(Part(phase, each) for phase in Phase),
            cargo,
            (Moment("before", number * MIB, each),),
        )
        for number, each in enumerate(seconds, 1)
    ]


# Phases


def test_phases_are_read_off_the_console() -> None:
    assert told(CONSOLE) == ALL


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        ("Starting new kernel", {"reboot call to jump": 0.2, "jump to first line": 2.5}),
        ("Run /init as init process", {"first line to init": None, "init to first call": None}),
        ("", dict.fromkeys(ALL)),
    ],
)
def test_what_was_not_seen_is_not_told(lost: str, left: dict[str, float | None]) -> None:
    wanted = {name: seconds for name, seconds in (ALL | left).items() if seconds is not None}
    assert told([line for line in CONSOLE if lost not in line.text]) == wanted


@pytest.mark.usefixtures("default_kernel")
def test_every_run_tells_the_phases_of_its_handovers_and_how_to_repeat_it(
    tmp_path: Path, default_kernel: Kernel
) -> None:
    code = """
    def test_three(luo):
        luo = yield KEXEC
        luo = yield KEXEC
    """
    outcome = run(tmp_path, code, "--append=luo_cts_test", "--seed=7")
    assert outcome.status == 0
    found = Run.from_json(json.loads((outcome.directory / "results.json").read_text()))
    assert [handover.generation for handover in found.handovers] == [1, 2]
    for handover in found.handovers:
        assert {phase.name for phase in handover.phases} == set(ALL)
        assert all(phase.seconds >= 0 for phase in handover.phases)
    # The part that the test was charged with is the same stretch of time.
    [result] = found.results
    jumps = [part.seconds for part in result.parts if part.name.startswith("handover")]
    assert [each.blackout for each in found.handovers] == pytest.approx(jumps)
    assert json.loads((outcome.directory / figures.NAME).read_text())["phases"]["blackout"]["count"] == 2
    assert found.suites[0].repeat == ("./run", "--kernel=deb:newest", "--append=luo_cts_test", "--seed=7")


def test_a_command_has_what_differs_from_the_default() -> None:
    assert Options("deb:7.3").command == ("./run", "--kernel=deb:7.3")
    options = Options(
        "deb:7.3", "deb:7.4", "a.yaml", "tcg", True, "-- x", ("-s", "a b"), True, ("mm/a.c",), 3
    )
    assert options.command == (
        "./run", "--kernel=deb:7.3", "--next-kernel=deb:7.4", "--target=a.yaml", "--accel=tcg",
        "--append=-- x", "--seed=3", "--isolate", "--debug-info", "--debug-info-of=mm/a.c",
        "--qemu-arg=-s", "--qemu-arg=a b",
    )  # fmt: skip


# Numbers


def test_blackout_is_from_the_call_to_the_last_file() -> None:
    [handover] = updates(Cargo(1, 1, MIB), 1.0)
    assert handover.blackout == 5.0


def test_phases_have_medians_and_spreads() -> None:
    found = figures.of([*updates(None, 1.0, 2.0, 9.0), Handover("m", 1, (Part(Phase.STOP, 4.0),))])
    assert found.phases[Phase.STOP] == Spread(3.0, 1.0, 9.0, 4)
    assert found.phases[Phase.BOOT] == Spread(2.0, 1.0, 9.0, 3)
    assert found.names == list(Phase)
    assert not figures.of([])


def test_growth_is_told_of_each_sweep() -> None:
    handovers = [
        *updates(Cargo(1, 1, MIB), 1e-3, 3e-3, 2e-3),
        *updates(Cargo(1, 1, 64 * MIB), 0.128),
        *updates(Cargo(1, 10, 40960), 1e-3),
        *updates(Cargo(1, 10_000, 40_960_000), 2.0),
        *updates(Cargo(10, 10, 40960), 1e-3),
        *updates(Cargo(1000, 1000, 4_096_000), 0.05),
        *updates(None, 7.0),
        *updates(Cargo(2, 8, 8 * MIB), 7.0),
    ]
    random.Random(1).shuffle(handovers)
    growth = {(each.what, each.phase): each for each in figures.of(handovers).growth}
    assert {what for what, _ in growth} == {"MiB", "file", "session"}
    for (what, _), ratio in zip(growth.items(), [1.0] * 3 + [2.0] * 3 + [0.5] * 3, strict=True):
        assert what[1] in ("preserve", "retrieve", "finish")
        each = growth[what]
        assert each.many_cost / each.few_cost == pytest.approx(ratio)
    assert growth["file", "preserve"].sentence == (
        "preserve: 100 µs a file with 10 of them, 200 µs with 10,000: 2.00 times as much."
    )


def test_a_level_is_drawn_where_a_machine_went_through_the_same_again_and_again() -> None:
    few, ten = updates(Cargo(4, 40, MIB), *[1.0] * 3), updates(Cargo(4, 40, MIB), *[1.0] * 10, machine="m1")
    assert figures.of(few).trends == []
    memory, processor = figures.of(few + ten).trends
    [(name, points)] = memory.series
    assert (name, [spread.median for _, spread in points]) == ("before", [float(n) for n in range(1, 11)])
    assert (memory.up, processor.up) == ("MiB", "s")


def test_json_holds_every_number(tmp_path: Path) -> None:
    handovers = (
        *updates(Cargo(1, 1, MIB), 1.0, 2.0),
        *updates(Cargo(1, 1, 2 * MIB), 3.0),
        *updates(None, 4.0),
    )
    data = json.loads(figures.encode(Run(STARTED, handovers=handovers), tmp_path))
    assert len(data["handovers"]) == 4
    assert data["handovers"][0]["cargo"] == {"sessions": 1, "files": 1, "size": MIB}
    assert data["trends"][0]["series"]["preserve"][0] == {
        "at": 1.0,
        "median": 1.5e6,
        "low": 1e6,
        "high": 2e6,
        "count": 2,
    }
    assert json.loads(figures.encode(Run(STARTED), tmp_path))["handovers"] == []


# Drawing


@given(st.lists(st.tuples(st.floats(1e-3, 1e7), st.lists(st.floats(0, 1e9), min_size=1)), min_size=1))
def test_everything_is_drawn_inside(points: list[tuple[float, list[float]]]) -> None:
    series = Series("a", tuple((at, Spread.of(values)) for at, values in sorted(points)))
    drawn = Chart("t", "x", "y", (series,))
    for at, spread in series.points:
        assert chart.LEFT <= drawn.x(at) <= chart.WIDTH - chart.RIGHT
        for value in (spread.low, spread.median, spread.high):
            assert chart.TOP - 0.1 <= drawn.y(value) <= chart.HEIGHT - chart.BOTTOM
    places = [place for place, _ in drawn.across_ticks]
    assert all(after - before >= 34 for before, after in pairwise(places))


def test_segments_stand_side_by_side() -> None:
    segments = chart.bar([("b", 1.0), ("a", 3.0)], ["a", "b"], 8.0)
    assert [(each.x, each.width, each.colour) for each in segments] == [(0.0, 125.0, 1), (125.0, 375.0, 0)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (10_000.0, "10,000"), (0.1234, "0.123"), (12.34, "12.3"), (1234.5, "1,234"), (256.0, "256")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert chart.figure(value) == text


@pytest.mark.parametrize(
    ("highest", "top"), [(0.0, 1.0), (0.7, 0.8), (1.0, 1.0), (1.1, 2.0), (3.0, 4.0), (8.1, 10.0)]
)
def test_an_axis_ends_at_a_number_with_even_quarters(highest: float, top: float) -> None:
    assert chart.nice(highest) == pytest.approx(top)
