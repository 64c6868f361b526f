# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.mutants``: see every conformance test fail.

Boots a kernel with each fault of ``configs/mutants`` in turn and runs the tests of the clauses it breaks.
A mutant is noticed when a test of each of these clauses fails. Exit status: 0 all were noticed, 1 some were
not, 3 the kernel could not be built, or a run said nothing, 4 there is no such mutant.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kernel import mutants
from kernel.errors import LuoCtsError
from kernel.kernel import obtain
from kernel.mutants import Mutant
from kernel.source import from_debian
from kernel.spec import DebSpec, variant
from reports.model import Run, Verdict

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What the suite said of one mutant."""

    mutant: Mutant
    failed: tuple[str, ...] = ()  # tests, parameters included
    missed: tuple[str, ...] = ()  # clauses without a failing test
    problem: str = ""  # why there is no result

    @property
    def line(self) -> str:
        if self.problem:
            return f"error    {self.mutant.id}: {self.problem}"
        if self.missed:
            return f"missed   {self.mutant.id}: {', '.join(self.missed)}"
        return f"noticed  {self.mutant.id}: {', '.join(name.rpartition('::')[2] for name in self.failed)}"


def judge(spec: str, mutant: Mutant) -> Outcome:
    """Run the tests of the mutant's clauses on it."""
    with tempfile.TemporaryDirectory(prefix="luo-cts-mutant-") as directory:
        # fmt: off
        command = [
            sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider", "-q",
            "--ignore=suite/harness", "--releases", "--forced", f"--report-dir={directory}",
            f"--kernel={spec}", f"--append=luo_mutant={mutant.id}",
            *(f"--clause={clause}" for clause in mutant.breaks),
        ]
        # fmt: on
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        try:
            run = Run.from_json(json.loads((Path(directory) / "results.json").read_text()))
        except (OSError, ValueError):
            return Outcome(mutant, problem=(done.stdout + done.stderr).strip().rpartition("\n")[2])
    return outcome_of(mutant, run)


def needs_variants(mutant: Mutant) -> bool:
    """Whether tests of its clauses go on with variants of the kernel, which an image has not."""
    return any(clause.startswith("releases.") for clause in mutant.breaks)


def outcome_of(mutant: Mutant, run: Run) -> Outcome:
    """What ``run`` says of the mutant it ran on."""
    if run.problem:
        return Outcome(mutant, problem=run.problem.partition("\n")[0])
    failed = [result for result in run.results if result.verdict is Verdict.FAIL]
    broken = {clause for result in failed for clause in result.clauses}
    return Outcome(
        mutant,
        tuple(result.node_id for result in failed),
        tuple(clause for clause in mutant.breaks if clause not in broken),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m suite.mutants", description="See every conformance test fail."
    )
    parser.add_argument("--series", default="newest", help="Debian series to break (newest)")
    parser.add_argument(
        "--only", action="append", metavar="PATTERN", help="mutants with such an id; may be said again"
    )
    parser.add_argument("-n", "--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write mutant → failing tests there")
    options = parser.parse_args(arguments)
    options.only = options.only or ["*"]
    try:
        everything = mutants.load()
        release = str(from_debian(DebSpec(options.series)).release)
        chosen = [
            mutant
            for mutant in everything
            if any(fnmatchcase(mutant.id, pattern) for pattern in options.only)
            and mutant.releases.holds(release)
        ]
        if not chosen:
            asked = " or ".join(options.only)
            print(f"no mutant of {release} is {asked}: configs/mutants has their ids", file=sys.stderr)
            return 4
        plain = mutants.spec(options.series, everything, overlay="provider")
        kernels = {
            config: obtain(variant(plain, config) if config else plain)
            for config in sorted({mutant.config for mutant in chosen})
        }
    except (LuoCtsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 3

    def judged(mutant: Mutant) -> Outcome:
        kernel = kernels[mutant.config]
        # As an image: no run looks through the tree again, and who changes it meanwhile changes no kernel.
        image = f"image:{kernel.image},config={kernel.config}"
        return judge(kernel.spec if needs_variants(mutant) else image, mutant)

    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(judged, chosen):
            print(outcome.line, flush=True)
            outcomes.append(outcome)
    missed = sum(bool(outcome.missed) for outcome in outcomes)
    problems = sum(bool(outcome.problem) for outcome in outcomes)
    print(f"{len(outcomes)} mutants on {release}: {missed} missed, {problems} without a result")
    if options.json:
        told = {outcome.mutant.id: outcome.failed for outcome in outcomes}
        options.json.write_text(json.dumps(told, indent=1))
    return 3 if problems else 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
