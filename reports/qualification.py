# SPDX-License-Identifier: GPL-2.0-only
"""May this kernel follow the last one? Judged from runs and put on one page that a release manager signs.

A check is met when nothing speaks against it. What fails is excused by an acceptance alone, whose last day
has not passed, whether configs/deviations knows the failure or not.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from reports import html, text, whole
from reports.chart import Spread
from reports.figures import told
from reports.matrix import Column, gravest, matches
from reports.model import BLACKOUT, Cargo, Handover, Phase, Result, Run, Verdict, exit_status

PAGE, JSON = "qualification.html", "qualification.json"

# A page to sign is short; what else a failure says is in the report of its run.
MESSAGE = 200

# What has to be the same for times to be compared: names of a run's properties.
_MACHINE = ("architecture", "target", "accelerator", "machine-type", "memory", "CPUs")


class Decision(StrEnum):
    """What the page says."""

    QUALIFIED = "Qualified"
    WITH_DEVIATIONS = "Qualified with deviations"
    NOT_QUALIFIED = "Not qualified"


@dataclass(frozen=True)
class Acceptance:
    """A failure that a release may have for a while."""

    test: str  # a clause or a node id, in which * stands for anything
    until: date  # the last day
    reason: str
    by: str  # who answers for it
    match: str = (
        ""  # found in the failure's message; without it only failures of configs/deviations are meant
    )

    def covers(self, result: Result) -> bool:
        """Whether this failure is meant, expired or not."""
        if not self.match and result.verdict is not Verdict.DEVIATION:
            return False
        named = matches(self.test, [result.node_id, *result.clauses])
        return named and bool(re.search(self.match, result.message))


@dataclass(frozen=True)
class Accepted:
    """A failure and what excuses it."""

    test: str
    message: str
    acceptance: Acceptance


@dataclass(frozen=True)
class Table:
    """Numbers or outcomes behind a check."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Check:
    """One thing that has to be shown. ``status`` is an exit status in the project's numbers."""

    name: str
    subject: str  # which kernels, on which target
    found: str  # in a line
    status: int = 0
    faults: tuple[str, ...] = ()  # what speaks against it, a sentence each
    accepted: tuple[Accepted, ...] = ()
    table: Table | None = None
    properties: Mapping[str, str] = field(default_factory=dict)  # of the run it was seen in
    report: str = ""  # that run's directory, from the page's on

    @property
    def word(self) -> str:
        return "not met" if self.status else "met, with deviations" if self.accepted else "met"

    @property
    def kind(self) -> Verdict:
        """Its colour."""
        if self.status:
            return Verdict.FAIL if self.status == 1 else Verdict.ERROR
        return Verdict.DEVIATION if self.accepted else Verdict.PASS

    def against(self, *faults: str) -> "Check":
        """The same, and this speaks against it."""
        if not faults:
            return self
        return replace(self, status=gravest([self.status, 1]), faults=(*self.faults, *faults))


@dataclass(frozen=True)
class Rules:
    """What failures are judged by."""

    accepted: tuple[Acceptance, ...]
    today: date


@dataclass(frozen=True)
class Slower:
    """From where on an update takes too long: both more than ``times`` as long and ``seconds`` longer."""

    times: float
    seconds: float


@dataclass(frozen=True)
class Way:
    """A handover from one kernel to another, what became of it, and what may."""

    name: str
    outcome: str
    wanted: tuple[str, ...]


# ---- checks


def not_run(name: str, subject: str, why: str) -> Check:
    """What nobody has shown."""
    return Check(name, subject, "not run", 1, (f"It did not run: {why}.",))


def of_audit(subject: str, able: bool, verdict: str, table: Table) -> Check:
    """What was found of a configuration."""
    return replace(Check("configuration", subject, verdict), table=table).against(
        *([] if able else [verdict])
    )


def of_run(
    name: str,
    subject: str,
    column: Column,
    rules: Rules,
    must_pass: Sequence[str] = (),
    next_kernel: str = "",
) -> Check:
    """What a run of the suite shows; ``must_pass``: clauses in which * stands for anything.

    ``next_kernel`` is the spec that it has to have gone on with, where that is another one.
    """
    run = column.run
    if run is None:
        why = f" (exit status {column.status})" if column.status else ""
        fault = f"There is no report of a run{why}."
        return Check(name, subject, "no report", column.status or 1, (fault,))
    counts = run.counts
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]) or "nothing"
    properties = next((suite.properties for suite in run.suites if "kernel" in suite.properties), {})
    # A broken clause is for the acceptances to judge; of what is left a run says itself whether it went well.
    own = [3 if each.verdict is Verdict.ERROR else 0 for each in run.results]
    own += [2] * run.interrupted + [3] * (run.problem is not None)
    own += [column.status] if column.status not in (0, 1, 5) else []
    accepted, faults = _excused(run, rules)
    check = Check(name, subject, found, gravest([*own, 0]), (), accepted, properties=properties)
    faults += _unproven(run, must_pass)
    if exit_status(run) == 5:
        faults.append("No test passed or failed: nothing was judged.")
    for told_as, wanted in (("kernel", column.spec), ("next-kernel", next_kernel or column.spec)):
        if properties.get(told_as, wanted) != wanted:
            faults.append(
                f"The report is of another run: its {told_as} is {properties[told_as]}, not {wanted}."
            )
    # Nothing of these is the kernel's fault, but without them there is no verdict.
    errors = [
        f"{each.node_id}: {text.line(each.message, MESSAGE)}"
        for each in run.results
        if each.verdict is Verdict.ERROR
    ]
    errors += [run.problem.partition("\n")[0]] if run.problem is not None else []
    errors += ["The run was interrupted."] if run.interrupted else []
    if check.status and not errors:
        errors.append(f"The run ended with exit status {check.status}.")
    return replace(check, faults=tuple(errors)).against(*faults)


def _excused(run: Run, rules: Rules) -> tuple[tuple[Accepted, ...], list[str]]:
    """What is accepted of the failures, and a sentence on each that is not."""
    accepted, faults = [], []
    for result in run.results:
        if result.verdict not in (Verdict.FAIL, Verdict.DEVIATION):
            continue
        message = text.line(result.message, MESSAGE)
        covering = [each for each in rules.accepted if each.covers(result)]
        # Of several the one that holds longest.
        best = max(covering, key=lambda each: each.until, default=None)
        if best is None:
            known = "a known deviation that is not accepted" if result.deviation else "failed"
            faults.append(f"{result.node_id}: {known}: {message}")
        elif best.until < rules.today:
            faults.append(f"{result.node_id}: was accepted until {best.until}: {message}")
        else:
            accepted.append(Accepted(result.node_id, message, best))
    return tuple(accepted), faults


def _unproven(run: Run, patterns: Iterable[str]) -> Iterator[str]:
    """What is said against clauses that have to pass, accepted or not."""
    verdicts: dict[str, set[Verdict]] = {clause: set() for clause in run.promises}
    for result in run.results:
        for clause in result.clauses:
            verdicts.setdefault(clause, set()).add(result.verdict)
    for pattern in patterns:
        meant = [clause for clause in verdicts if matches(pattern, [clause])]
        if not meant:
            yield f"{pattern} has to pass, and no test of this run has such a clause."
        for clause in meant:
            if verdicts[clause] & {Verdict.FAIL, Verdict.DEVIATION}:
                yield f"{clause} has to pass, and a test of it failed."
            elif Verdict.PASS not in verdicts[clause]:
                yield f"{clause} has to pass, and no test of it did."


def of_figures(check: Check, new: Run | None, old: Column, slower: Slower) -> Check:
    """``check``, of the run that measured, with its times beside those of the last qualified kernel."""
    if new is None:
        return check
    before, now = (_times(run.handovers if run else ()) for run in (old.run, new))
    if not before:
        return check.against(f"There are no figures of the last qualified kernel, {old.spec}.")
    faults = [
        f"Times cannot be compared: {name} was {was}, and is {check.properties.get(name, 'unknown')}."
        for name, was in _properties(old.run).items()
        if name in _MACHINE and check.properties.get(name) != was
    ]
    rows = []
    for (cargo, what), spread in before.items():
        later = now.get((cargo, what))
        if later is None:
            faults.append(f"{what}, {told(cargo)}: was measured of {old.spec}, and is not now.")
            continue
        times = later.median / spread.median if spread.median else float("inf")
        if times > slower.times and later.median - spread.median > slower.seconds:
            faults.append(
                f"{what}, {told(cargo)}: {later.median:.3f} s, and {spread.median:.3f} s before: "
                f"{times:.2f} times as long."
            )
        rows.append((told(cargo), what, _seconds(spread), _seconds(later), f"{times:.2f}"))
    header = (
        "carried",
        "what",
        f"{_release(old)}, s",
        f"{check.properties.get('release', 'now')}, s",
        "times",
    )
    return replace(check, table=Table(header, tuple(rows))).against(*faults)


def _properties(run: Run | None) -> Mapping[str, str]:
    return run.suites[0].properties if run and run.suites else {}


def _release(column: Column) -> str:
    return column.release or column.spec


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.low:.3f} to {spread.high:.3f})"


def _times(handovers: Iterable[Handover]) -> dict[tuple[Cargo, str], Spread]:
    """Of what was measured, by what was carried; a blackout that was not seen whole is none."""
    found: dict[tuple[Cargo, str], list[float]] = {}
    for each in handovers:
        if each.cargo is None:
            continue
        phases = {phase.name: phase.seconds for phase in each.phases}
        for name in (Phase.PRESERVE, Phase.FINISH):
            if name in phases:
                found.setdefault((each.cargo, str(name)), []).append(phases[name])
        if phases.keys() >= set(BLACKOUT):
            found.setdefault((each.cargo, "blackout"), []).append(each.blackout)
    return {key: Spread.of(found[key]) for key in sorted(found)}


def of_rollback(check: Check, ways: Sequence[Way]) -> Check:
    """``check``, of the run from the last qualified kernel to this one and back, with what it saw."""
    faults = [
        f"{way.name}: {way.outcome if way.outcome != '?' else 'nothing was seen'}, "
        f"and it has to be {' or '.join(way.wanted)}."
        for way in ways
        if way.outcome not in way.wanted
    ]
    rows = tuple((way.name, way.outcome, " or ".join(way.wanted)) for way in ways)
    return replace(check, table=Table(("way", "outcome", "has to be"), rows)).against(*faults)


# ---- all of them


@dataclass(frozen=True)
class Qualification:
    """All checks of a kernel, and what they say together."""

    name: str
    last: str  # the last qualified kernel
    rules: Rules
    checks: tuple[Check, ...]

    @property
    def exit_status(self) -> int:
        """0: qualified, with or without deviations. Without a check nothing is."""
        return gravest(check.status for check in self.checks)

    @property
    def decision(self) -> Decision:
        if self.exit_status:
            return Decision.NOT_QUALIFIED
        return Decision.WITH_DEVIATIONS if self.accepted else Decision.QUALIFIED

    @property
    def kind(self) -> Verdict:
        """What colour the decision has."""
        kinds = {Decision.QUALIFIED: Verdict.PASS, Decision.WITH_DEVIATIONS: Verdict.PASS}
        return kinds.get(self.decision, Verdict.FAIL)

    @property
    def sentence(self) -> str:
        unmet = sum(bool(check.status) for check in self.checks)
        if unmet:
            return f"{self.decision}: {unmet} of {len(self.checks)} checks are not met."
        if self.accepted:
            soonest = min(each.acceptance.until for each in self.accepted)
            return f"{self.decision}: {len(self.accepted)} accepted, the first until {soonest}."
        return f"{self.decision}." if self.checks else f"{self.decision}: nothing was checked."

    @cached_property
    def accepted(self) -> list[Accepted]:
        """Each failure once, however many runs met it."""
        return list({each.test: each for check in self.checks for each in check.accepted}.values())

    @property
    def by_acceptance(self) -> list[tuple[Acceptance, list[Accepted]]]:
        """What each acceptance excuses, in the order of the plan."""
        found = [
            (rule, [each for each in self.accepted if each.acceptance == rule])
            for rule in dict.fromkeys(self.rules.accepted)
        ]
        return [(rule, failures) for rule, failures in found if failures]

    @cached_property
    def unused(self) -> list[Acceptance]:
        """Acceptances of what did not fail; none is told where not everything ran."""
        if self.exit_status in (2, 3) or not all(check.properties for check in self.checks[1:]):
            return []
        used = [each.acceptance for each in self.accepted]
        return [each for each in self.rules.accepted if each not in used and each.until >= self.rules.today]

    @cached_property
    def subjects(self) -> dict[str, Mapping[str, str]]:
        """What each kernel was, exactly."""
        found: dict[str, Mapping[str, str]] = {}
        for check in self.checks:
            if "kernel" in check.properties:
                found.setdefault(check.properties["kernel"], check.properties)
        return found

    def to_json(self) -> dict[str, Any]:
        """Dates as in ISO 8601."""
        return {
            "name": self.name,
            "last": self.last,
            "date": str(self.rules.today),
            "decision": str(self.decision),
            "exit-status": self.exit_status,
            "sentence": self.sentence,
            "checks": [asdict(check) | {"word": check.word} for check in self.checks],
            "unused": [asdict(each) for each in self.unused],
        }

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        for check in self.checks:
            yield f"{check.word}: {check.name}, {check.subject}: {check.found}"
            yield from (f"    {fault}" for fault in check.faults)
        for each in self.unused:
            yield f"accepted, and did not fail: {each.test}"
        yield self.sentence


def same_kernel(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks; one whose run was of another build than the first of its kernel says so."""
    builds: dict[str, tuple[str, ...]] = {}

    def checked(check: Check) -> Check:
        for which in ("", "next-"):
            spec, *build = (
                check.properties.get(f"{which}{name}", "") for name in ("kernel", "source", "config")
            )
            first = builds.setdefault(spec, tuple(build))
            if spec and tuple(build) != first:
                now, then = (f"source {each[0]}, configuration {each[1]}" for each in (build, first))
                return check.against(f"{spec} is another one here: {now}; before: {then}.")
        return check

    return tuple(map(checked, checks))


def render(qualification: Qualification) -> str:
    """The page."""
    return html.render("qualification.html", it=qualification)


def write(qualification: Qualification, directory: Path) -> Path:
    """The page, and the same as JSON beside it; gives the page."""
    directory.mkdir(parents=True, exist_ok=True)
    data = json.dumps(qualification.to_json(), indent=1, default=str)
    whole.write(directory / JSON, data.encode())
    whole.write(directory / PAGE, render(qualification).encode())
    return directory / PAGE
