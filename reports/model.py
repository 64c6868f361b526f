# SPDX-License-Identifier: GPL-2.0-only
"""What a run found: results, grouped into suites, grouped into a run.

The model knows neither pytest nor targets. It crosses process boundaries (pytest-xdist), so every object goes
to JSON and back without a loss.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self


class Verdict(StrEnum):
    """What is said of the kernel by one test."""

    PASS = "pass"
    FAIL = "fail"  # the kernel broke a clause
    DEVIATION = "deviation"  # a known failure, listed with reason and link
    SKIP = "skip"  # the clause does not apply here
    ERROR = "error"  # the harness or the infrastructure: says nothing of the kernel


# A verdict on the kernel hides none that is worse; a skip says less than any other.
_FROM_WORST = [Verdict.FAIL, Verdict.ERROR, Verdict.DEVIATION, Verdict.PASS, Verdict.SKIP]


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """What several tests say together; None where there is none."""
    return min(verdicts, key=_FROM_WORST.index, default=None)


class Part(NamedTuple):
    """One timed stretch of a test, such as a first half or a handover."""

    name: str
    seconds: float


class Attempt(NamedTuple):
    """An earlier attempt at a test that ran again, for instance because its batch died."""

    verdict: Verdict
    message: str


class Cargo(NamedTuple):
    """What a handover carries."""

    sessions: int
    files: int
    size: int  # bytes, of all files together


class Moment(NamedTuple):
    """What a machine had used when it was looked at on its way through an update."""

    name: str  # what was just done
    memory: int  # bytes that are neither free nor a cache
    processor: float  # seconds that its processors have worked since this kernel's boot


class Phase(StrEnum):
    """A stretch of an update, in the order of time."""

    PRESERVE = "preserve"
    STOP = "reboot call to jump"
    START = "jump to first line"
    BOOT = "first line to init"
    REACH = "init to first call"
    RETRIEVE = "retrieve"
    FINISH = "finish"


# From the call that stops a workload to its having everything back.
BLACKOUT = (Phase.STOP, Phase.START, Phase.BOOT, Phase.REACH, Phase.RETRIEVE)


@dataclass(frozen=True)
class Handover:
    """One kexec. ``phases`` are named as in ``Phase`` and in that order; what could not be seen is missing.

    ``cargo`` is None where nobody counted what was carried, as in a batch of scenarios.
    """

    machine: str
    generation: int  # the one that it leads to
    phases: tuple[Part, ...]
    cargo: Cargo | None = None
    moments: tuple[Moment, ...] = ()

    @property
    def blackout(self) -> float:
        """Seconds that a workload is away, as far as they were seen."""
        return sum(phase.seconds for phase in self.phases if phase.name in BLACKOUT)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **data,
                "phases": tuple(Part(*part) for part in data["phases"]),
                "cargo": Cargo(*data["cargo"]) if data["cargo"] is not None else None,
                "moments": tuple(Moment(*moment) for moment in data["moments"]),
            }
        )


@dataclass(frozen=True)
class Result:
    """The verdict on one test and what there is to say about it."""

    node_id: str
    verdict: Verdict
    order: int = 0  # position in pytest's collection: the same with and without xdist
    clauses: tuple[str, ...] = ()
    seconds: float = 0.0
    message: str = ""  # one line
    detail: str = ""  # the failing assertion or traceback
    deviation: str = ""  # reason and link of the known deviation, for that verdict only
    machine: str = ""
    generations: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    console: str = ""
    batch: str | None = None
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    file: str = ""
    line: int | None = None
    started: float | None = None  # seconds since the epoch
    missed: bool = False  # it never ran, or not its own code but what it stands on failed
    # Files that belong to it, from the report's directory on; the most telling one first.
    attachments: tuple[str, ...] = ()

    def deviated(self, reason_and_link: str) -> Self:
        """This failure, known and excused; the failure's own text stays."""
        return replace(self, verdict=Verdict.DEVIATION, deviation=reason_and_link)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **data,
                "verdict": Verdict(data["verdict"]),
                "clauses": tuple(data["clauses"]),
                "generations": tuple(data["generations"]),
                "parts": tuple(Part(*part) for part in data["parts"]),
                "attempts": tuple(Attempt(Verdict(old), message) for old, message in data["attempts"]),
                "notes": tuple(data["notes"]),
                "attachments": tuple(data.get("attachments", ())),
            }
        )


def not_run(node_id: str, why: str, *, interrupted: bool = False, order: int = 0) -> Result:
    """A test that was collected and never ran: an error, or a skip if the user stopped the run."""
    verdict = Verdict.SKIP if interrupted else Verdict.ERROR
    return Result(node_id, verdict, order=order, message=f"not run: {why}", missed=True)


@dataclass(frozen=True)
class Suite:
    """The results of one target and kernel pair, in the order of collection.

    ``properties`` say what ran: release, next release, exact source, configuration hash, command line,
    target, accelerator, QEMU version, seed, suite version. ``repeat`` are the words of the command that does
    it again; a node id after them makes it that test alone.
    """

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    repeat: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", tuple(sorted(self.results, key=lambda result: result.order)))

    def to_json(self) -> dict[str, Any]:
        results = [result.to_json() for result in self.results]
        return {
            "name": self.name,
            "properties": dict(self.properties),
            "results": results,
            "repeat": list(self.repeat),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        results = tuple(map(Result.from_json, data["results"]))
        return cls(data["name"], dict(data["properties"]), results, tuple(data.get("repeat", ())))


HARNESS_SUITE = "luo-cts.harness"  # the harness's own tests: no kernel is judged


def suite_name(target: str, release: str, next_release: str) -> str:
    """The name of the suite for a kernel pair on a target, in ASCII for tools that sort by it."""
    return f"luo-cts.{target}.{release}-to-{next_release}"


@dataclass(frozen=True)
class Run:
    """Everything that one invocation found, also when it found nothing."""

    started: datetime  # with a time zone
    suites: tuple[Suite, ...] = ()
    interrupted: bool = False
    problem: str | None = None  # of the harness, and no test's: the build failed, the host is gone
    incidents: tuple[str, ...] = ()  # what went wrong and was survived, such as a lost machine
    stale: tuple[str, ...] = ()  # deviations that no longer fail, a sentence each
    promises: Mapping[str, str] = field(default_factory=dict)  # clauses that hold here: id → sentence
    handovers: tuple[Handover, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(result for suite in self.suites for result in suite.results)

    @property
    def counts(self) -> Counter[Verdict]:
        return Counter(result.verdict for result in self.results)

    def complete(self) -> tuple[Suite, ...]:
        """The suites that have results, and one more result for a problem that is no test's or an empty run.

        By it a reader that knows tests alone sees that nothing was found.
        """
        suites = tuple(suite for suite in self.suites if suite.results)
        if self.problem is None and suites:
            return suites
        setup = not_run("luo-cts::setup", "nothing was collected")
        if self.problem is not None:
            setup = replace(setup, message=self.problem.partition("\n")[0], detail=self.problem)
        elif self.interrupted:
            setup = not_run("luo-cts::setup", "interrupted", interrupted=True)
        properties = self.suites[0].properties if self.suites else {}
        return (*suites, Suite("luo-cts", properties, (setup,)))

    def without_consoles(self) -> Self:
        """The same without the consoles, which are nearly all of a report's size."""
        suites = tuple(
            replace(suite, results=tuple(replace(result, console="") for result in suite.results))
            for suite in self.suites
        )
        return replace(self, suites=suites)

    def to_json(self) -> dict[str, Any]:
        return {
            "started": self.started.isoformat(),
            "suites": [suite.to_json() for suite in self.suites],
            "interrupted": self.interrupted,
            "problem": self.problem,
            "incidents": list(self.incidents),
            "stale": list(self.stale),
            "promises": dict(self.promises),
            "handovers": [asdict(handover) for handover in self.handovers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            started=datetime.fromisoformat(data["started"]),
            suites=tuple(map(Suite.from_json, data["suites"])),
            interrupted=data["interrupted"],
            problem=data["problem"],
            incidents=tuple(data["incidents"]),
            stale=tuple(data.get("stale", ())),
            promises=dict(data.get("promises", {})),
            handovers=tuple(map(Handover.from_json, data.get("handovers", ()))),
        )


def exit_status(run: Run) -> int:
    """The exit status of the contract, in pytest's own numbers.

    Interrupted (2) wins over all, for a cut run judges nothing; a broken clause (1) wins over a harness
    problem (3), for the kernel stays guilty whatever else went wrong; 5 says that nothing was judged.
    A usage error (4) ends the run before there is one to report.
    """
    counts = run.counts
    if run.interrupted:
        return 2
    if counts[Verdict.FAIL]:
        return 1
    if counts[Verdict.ERROR] or run.problem is not None:
        return 3
    if not counts[Verdict.PASS] and not counts[Verdict.DEVIATION]:
        return 5
    return 0
