# SPDX-License-Identifier: GPL-2.0-only
"""Batches on a stage of paper: whoever is guilty is named, and nobody suffers for another."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from fixtures.scenario import KEXEC, Batch, Finished, Kexec, Parked, Step

OTHER = Kexec(cmdline="other")


@dataclass(eq=False)
class Script:
    """What a scenario does: its wishes, and the part or the handover at which it breaks something."""

    name: str
    wishes: tuple[Kexec, ...] = (KEXEC,)
    dies_in_part: int | None = None  # takes the machine with it
    fails_in_part: int | None = None  # a broken assertion
    kills_handover: int | None = None
    part: int = 0
    verdicts: list[str] = field(default_factory=list)

    def guilty(self) -> bool:
        return any(n is not None for n in (self.dies_in_part, self.fails_in_part, self.kills_handover))


@dataclass
class PaperStage:
    """Keeps the rules that a real machine keeps, and complains when the batch breaks one."""

    poison: frozenset[str] = frozenset()  # their handover together goes wrong, each alone goes well
    boots: int = 1000  # that go well
    accidents: int = 0  # so many handovers, or so many boots where there are none, go wrong by accident
    accident: bool = False
    up: bool = False
    on_machine: list[Script] = field(default_factory=list)
    handovers: int = 0
    unexplained: list[tuple[str, ...]] = field(default_factory=list)
    rewound: list[str] = field(default_factory=list)

    def open(self) -> str | None:
        self.accident = self.boots <= 0 < self.accidents
        if self.accident:
            self.accidents, self.boots = self.accidents - 1, 1000
            return "it panicked"
        self.up, self.on_machine, self.handovers = self.boots > 0, [], 0
        self.boots -= 1
        return None if self.up else "it panicked"

    def play(self, scenario: Script) -> Step:
        assert self.up
        assert scenario.part == self.handovers, "a part in the wrong generation"
        assert not scenario.verdicts, "it had its verdict already"
        if scenario.part == 0:
            self.on_machine.append(scenario)
        else:
            assert scenario in self.on_machine, "its first part was on another machine"
        part, scenario.part = scenario.part, scenario.part + 1
        if part == scenario.dies_in_part:
            self.up = False
            scenario.verdicts.append("died")
            return Finished(machine_lost=True)
        if part == scenario.fails_in_part:
            scenario.verdicts.append("failed")
            return Finished()
        if part < len(scenario.wishes):
            return Parked(scenario.wishes[part])
        scenario.verdicts.append("passed")
        return Finished()

    def rewind(self, scenario: Script, why: str) -> None:
        assert why
        scenario.part = 0
        scenario.verdicts.clear()
        self.rewound.append(scenario.name)

    def hand_over(self, scenarios: Sequence[Script], wish: Kexec) -> str | None:
        assert self.up
        assert scenarios
        assert {scenario.wishes[scenario.part - 1] for scenario in scenarios} == {wish}
        self.handovers += 1
        self.accident = self.accidents > 0
        if self.accident:
            self.accidents -= 1
            self.up = False
            return "it panicked"
        killers = [s for s in scenarios if s.kills_handover == self.handovers]
        names = {scenario.name for scenario in scenarios}
        if killers or (self.poison and self.poison <= names and len(names) > 1):
            self.up = False
            return "it panicked"
        return None

    def by_accident(self) -> bool:
        return self.accident

    def blame(self, scenario: Script, why: str) -> None:
        assert why == "it panicked"
        scenario.verdicts.append("blamed")

    def failed(self, scenario: Script) -> bool:
        return scenario.verdicts != ["passed"]

    def report_unexplained(self, scenarios: Sequence[Script], why: str) -> None:
        self.unexplained.append(tuple(scenario.name for scenario in scenarios))


def verdicts(scripts: Sequence[Script], stage: PaperStage | None = None) -> dict[str, str]:
    Batch(stage or PaperStage(), scripts).run()
    assert all(len(script.verdicts) == 1 for script in scripts)
    return {script.name: script.verdicts[0] for script in scripts}


def test_healthy_batch_costs_one_handover_and_rewinds_nobody() -> None:
    stage = PaperStage()
    assert set(verdicts([Script(str(n)) for n in range(100)], stage).values()) == {"passed"}
    assert stage.handovers == 1
    assert stage.rewound == []


def test_death_in_a_part_is_its_test_s_and_the_others_run_again() -> None:
    scripts = [Script("a"), Script("b", dies_in_part=0), Script("c")]
    assert verdicts(scripts) == {"a": "passed", "b": "died", "c": "passed"}


def test_death_in_a_second_part_leaves_finished_verdicts_alone() -> None:
    stage = PaperStage()
    scripts = [Script("a"), Script("b", dies_in_part=1), Script("c")]
    assert verdicts(scripts, stage) == {"a": "passed", "b": "died", "c": "passed"}
    assert stage.rewound == ["c"]


def test_death_in_a_handover_is_hunted_down() -> None:
    scripts = [Script("a"), Script("b", kills_handover=1), Script("c")]
    assert verdicts(scripts) == {"a": "passed", "b": "blamed", "c": "passed"}


def test_death_that_needs_company_is_not_forgotten() -> None:
    stage = PaperStage(poison=frozenset("ac"))
    assert verdicts([Script("a"), Script("b"), Script("c")], stage) == dict.fromkeys("abc", "passed")
    assert stage.unexplained == [("a", "b", "c")]


def test_death_that_needs_company_is_told_once_of_the_fewest_that_died_together() -> None:
    stage = PaperStage(poison=frozenset("cd"))
    assert verdicts([Script(name) for name in "abcd"], stage) == dict.fromkeys("abcd", "passed")
    assert stage.unexplained == [("c", "d")]


def test_one_guilty_of_many_is_found_in_few_machines() -> None:
    stage = PaperStage()
    scripts = [Script(str(n), kills_handover=1 if n == 200 else None) for n in range(256)]
    before = stage.boots
    found = verdicts(scripts, stage)
    assert [name for name, verdict in found.items() if verdict != "passed"] == ["200"]
    assert before - stage.boots == 1 + 2 * 8


def test_after_an_accident_all_go_once_more() -> None:
    stage = PaperStage(accidents=1)
    assert verdicts([Script("a"), Script("b"), Script("c")], stage) == dict.fromkeys("abc", "passed")
    assert stage.unexplained == []
    assert stage.rewound == ["a", "b", "c"]


def test_a_second_accident_is_hunted_down_like_any_death() -> None:
    assert verdicts([Script("a")], PaperStage(accidents=1)) == {"a": "passed"}
    assert verdicts([Script("a")], PaperStage(accidents=2)) == {"a": "blamed"}
    stage = PaperStage(accidents=2)
    assert verdicts([Script("a"), Script("b")], stage) == dict.fromkeys("ab", "passed")
    assert stage.unexplained == [("a", "b")]


def test_a_boot_that_ends_by_accident_is_tried_again() -> None:
    assert verdicts([Script("a"), Script("b")], PaperStage(boots=0, accidents=1)) == dict.fromkeys(
        "ab", "passed"
    )


def test_without_a_machine_everybody_is_told_so() -> None:
    scripts = [Script("a"), Script("b", dies_in_part=0), Script("c")]
    assert verdicts(scripts, PaperStage(boots=1)) == {"a": "blamed", "b": "died", "c": "blamed"}


def test_another_wish_gets_another_handover() -> None:
    scripts = [Script("a"), Script("b", wishes=(OTHER,)), Script("c")]
    assert verdicts(scripts) == dict.fromkeys("abc", "passed")


def test_ways_that_part_later_are_gone_alone() -> None:
    scripts = [Script("a", (KEXEC, KEXEC)), Script("b", (KEXEC, OTHER)), Script("c")]
    assert verdicts(scripts) == dict.fromkeys("abc", "passed")


def test_whoever_loaded_a_kernel_shares_it_with_nobody() -> None:
    loaded = Kexec(loaded=True)
    stage = PaperStage()
    scripts = [Script("a", (loaded,)), Script("b", (loaded, KEXEC)), Script("c", (loaded,))]
    assert verdicts(scripts, stage) == dict.fromkeys("abc", "passed")
    assert stage.rewound == ["b", "c", "c"]


maybe = st.none() | st.integers(0, 3)
wishes = st.lists(st.sampled_from([KEXEC, OTHER, Kexec(loaded=True)]), max_size=3).map(tuple)
behaviours = st.lists(st.tuples(wishes, maybe, maybe, maybe), min_size=1, max_size=6)


@given(behaviours)
def test_everybody_gets_the_verdict_that_he_gets_alone(
    scripts: list[tuple[tuple[Kexec, ...], int | None, int | None, int | None]],
) -> None:
    def cast() -> list[Script]:
        return [Script(str(number), *rest) for number, rest in enumerate(scripts)]

    together = verdicts(cast())
    alone = {script.name: verdicts([script])[script.name] for script in cast()}
    assert together == alone
