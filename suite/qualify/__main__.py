# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.qualify PLAN.yaml [-- …]``: may this kernel follow the last one?

Audits its configuration and runs, on each target, a staging selection, and only if that is met the whole
suite, the measuring and the update from the last qualified kernel and back. What they show becomes one page
and one exit status: 0 qualified, with or without accepted deviations, 1 not qualified; 2 interrupted, 3 the
harness failed, 4 wrong usage. What follows ``--`` goes to pytest in every run.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from kernel import audit, kconfig
from kernel.errors import LuoCtsError, UsageError
from kernel.kernel import obtain
from reports import qualification as judging
from reports import reading
from reports.matrix import Column
from reports.model import exit_status
from reports.qualification import Check, Qualification, Rules, Table, Way
from suite.child import ROOT, directory_of, divided, judge
from suite.matrix import pairs
from suite.matrix.pairs import Pair
from suite.qualify import plan as plans
from suite.qualify.plan import Plan
from suite.releases.sighting import Witness

OUT = ROOT / "reports" / "out" / "qualification"
AUDIT = "audit.json"

# The last kernel's own, apart from the candidate's though both may be of one spec.
BEFORE = "figures before"


@dataclass(frozen=True)
class Stage:
    """A run of the suite, and the directory of its report."""

    name: str
    kernel: str
    target: str
    arguments: tuple[str, ...]
    next_kernel: str = ""

    @property
    def subject(self) -> str:
        onward = f" → {self.next_kernel}" if self.next_kernel else ""
        return f"{self.kernel}{onward} on {self.target}"

    def directory(self, out: Path) -> Path:
        return directory_of(f"{self.name} {self.subject}", out)


class Qualifier:
    """Goes through a plan; ``further``: arguments for pytest, None: only judges reports that are there."""

    def __init__(self, plan: Plan, out: Path, further: Sequence[str] | None, rules: Rules) -> None:
        self._plan = plan
        self._out = out
        self._further = further
        self._rules = rules
        self._interrupted = False

    def checks(self) -> tuple[Check, ...]:
        """All of them, in the order in which they are made."""
        plan = self._plan
        staging, rest = self._stages()
        found = [self._audit()]
        if self._further is not None:
            self._forget([*staging, *rest])
        found += [self._run(stage, plan.staging) for stage in staging]
        if any(check.status for check in found[1:]):
            why = "staging was interrupted" if self._interrupted else "staging is not met"
            return (*found, *(judging.not_run(stage.name, stage.subject, why) for stage in rest))
        for stage in rest:
            match stage.name:
                case "suite":
                    found.append(self._run(stage, plan.must_pass))
                case "figures":
                    found.append(self._figures(stage))
                case "rollback":
                    found.append(self._rollback(stage))
        return judging.same_kernel(found)

    def _stages(self) -> tuple[list[Stage], list[Stage]]:
        """Staging, and what comes after it."""
        plan = self._plan
        chosen = tuple(f"--clause={clause}" for clause in plan.staging)
        staging = [
            Stage("staging", kernel, target, chosen) for kernel in plan.kernels for target in plan.targets
        ]
        rest = [Stage("suite", kernel, target, ()) for kernel in plan.kernels for target in plan.targets]
        rest += [self._measuring("figures", plan.candidate, target) for target in plan.targets]
        way = Pair(plan.last, plan.candidate)
        tests = tuple(pairs.tests_of(way, ()))
        rest += [Stage("rollback", way.old, target, tests, way.new) for target in plan.targets]
        return staging, rest

    def _measuring(self, name: str, kernel: str, target: str) -> Stage:
        return Stage(name, kernel, target, (f"--measure={self._plan.samples}", "suite/measure"))

    def _forget(self, stages: Iterable[Stage]) -> None:
        """No report of an earlier qualification is taken for one of this."""
        before = [self._measuring(BEFORE, self._plan.last, target) for target in self._plan.targets]
        for stage in (*stages, *before):
            (stage.directory(self._out) / reading.RESULTS).unlink(missing_ok=True)

    def _column(self, stage: Stage) -> Column:
        """Run it, or read what is there."""
        directory = stage.directory(self._out)
        status = 0
        if self._interrupted:
            return Column(stage.kernel, 2, None)
        if self._further is not None:
            Witness(directory).forget()
            arguments = [f"--target={stage.target}", *stage.arguments, *self._further]
            status = judge(stage.kernel, directory, arguments)
            self._interrupted = status == 2
        try:
            return Column(stage.kernel, status, reading.read(directory / reading.RESULTS))
        except reading.Unreadable:
            return Column(stage.kernel, status, None)

    def _run(self, stage: Stage, must_pass: Sequence[str] = ()) -> Check:
        return self._judged(stage, self._column(stage), must_pass)

    def _judged(self, stage: Stage, column: Column, must_pass: Sequence[str] = ()) -> Check:
        check = judging.of_run(stage.name, stage.subject, column, self._rules, must_pass, stage.next_kernel)
        return replace(check, report=stage.directory(self._out).name if column.run else "")

    def _audit(self) -> Check:
        """Of the configuration that the first kernel is built with, or of the one that the plan names."""
        plan, kept = self._plan, self._out / AUDIT
        subject = plan.configuration or plan.candidate
        if self._further is not None:
            try:
                found = self._audited()
            except UsageError:
                raise
            except LuoCtsError as error:
                kept.unlink(missing_ok=True)
                return Check("configuration", subject, "not known", error.exit_status, (f"{error}.",))
            self._out.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({"subject": subject, **asdict(found)}, indent=1))
        try:
            told = json.loads(kept.read_text())
        except (OSError, ValueError):
            return judging.not_run("configuration", subject, f"there is no {AUDIT}")
        if told["subject"] != subject:
            return judging.not_run("configuration", subject, f"{AUDIT} is of {told['subject']}")
        rows = tuple(
            tuple(row[name] for name in ("item", "now", "judgement", "needed_for")) for row in told["rows"]
        )
        table = Table(("what", "now", "judgement", "needed for"), rows)
        return judging.of_audit(subject, told["able"], told["verdict"], table)

    def _audited(self) -> audit.Audit:
        plan = self._plan
        if plan.configuration is not None:
            text = audit.configuration(plan.configuration)
        else:
            config = obtain(plan.candidate).config
            if config is None:
                raise UsageError(
                    f"{plan.candidate} does not tell its configuration",
                    "audit: configuration: FILE in the plan",
                )
            text = config.read_text()
        return audit.audit(kconfig.parse(text), audit.release_of(text), plan.command_line)

    def _figures(self, stage: Stage) -> Check:
        """Beside the kept ones of the last kernel, or what is measured of it now."""
        plan = self._plan
        column = self._column(stage)
        check = self._judged(stage, column)
        if plan.kept is not None:
            try:
                (file,) = reading.find(plan.kept)
                run = reading.read(file)
                old = Column(plan.last, exit_status(run), run)
            except (reading.Unreadable, ValueError):
                old = Column(plan.last, 5, None)
        else:
            old = self._column(self._measuring(BEFORE, plan.last, stage.target))
        return judging.of_figures(check, column.run, old, plan.slower)

    def _rollback(self, stage: Stage) -> Check:
        plan = self._plan
        check = self._run(stage)
        pair = pairs.read(Pair(plan.last, plan.candidate), stage.directory(self._out), check.status)
        old, new = pair.release(0), pair.release(1)
        ways = [
            Way(f"{old} → {new}", pair.outcome(), plan.rollback["there"]),
            Way(f"{old} → {new} → {new}", pair.onward(), plan.rollback["onward"]),
            Way(f"{old} → {new} → {old}", pair.outcome(back=True), plan.rollback["back"]),
        ]
        return judging.of_rollback(check, ways)


def main(arguments: Sequence[str] | None = None) -> int:
    own, after = divided(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m suite.qualify",
        usage="%(prog)s [--report-dir DIR] [--no-run] PLAN.yaml [-- arguments for pytest]",
        description="May this kernel follow the last one?",
    )
    parser.add_argument("plan", type=Path, metavar="PLAN.yaml", help="like configs/qualification/7.3.yaml")
    parser.add_argument("--report-dir", type=Path, metavar="DIR", help="(reports/out/qualification/PLAN)")
    parser.add_argument("--no-run", action="store_true", help="only judge the reports that are there")
    try:
        options = parser.parse_args(own)
    except SystemExit as leaving:
        # argparse ends with 2, which means interrupted elsewhere in this suite
        return UsageError.exit_status if leaving.code else 0
    try:
        plan = plans.load(options.plan)
        out = (options.report_dir or OUT / options.plan.stem).resolve()
        rules = Rules(plan.accepted, datetime.now(UTC).date())
        further = None if options.no_run else after
        checks = Qualifier(plan, out, further, rules).checks()
        made = Qualification(plan.name, plan.last, rules, checks)
        page = judging.write(made, out)
    except LuoCtsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(
            f"the page cannot be written: {error.filename}: {os.strerror(error.errno or 0)}", file=sys.stderr
        )
        return LuoCtsError.exit_status
    except KeyboardInterrupt:
        return 2
    print(*made.lines(), sep="\n")
    print(f"Page: {page}")
    return made.exit_status


if __name__ == "__main__":
    sys.exit(main())
