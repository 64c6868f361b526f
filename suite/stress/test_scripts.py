# SPDX-License-Identifier: GPL-2.0-only
"""Random calls, legal and illegal, with handovers between them, against a model of what is promised.

What fails is shrunk and printed as a test, to be pasted and run. ``--seed N`` repeats a run exactly.
"""

import time

import pytest

from fixtures.runner import Runner
from suite.clauses import catalogue
from suite.stress.laboratory import Laboratory
from suite.stress.lives import scripts

# What the default run's time allows.
SCRIPTS = 60


def promised(runner: Runner) -> list[str]:
    """The clauses that the kernels of this run promise."""
    releases = [kernel.release for kernel in (runner.setup.kernel, runner.setup.next_kernel)]
    return [clause.id for clause in catalogue.load().values() if all(map(clause.releases.holds, releases))]


def judge(runner: Runner, seed: int, many: int) -> None:
    """Fail with the smallest script that shows where the kernel does something else than the model."""
    __tracebackhide__ = True
    laboratory = Laboratory(runner)
    failure = laboratory.first_failure(scripts(seed, many, promised(runner)))
    if failure is not None:
        least = laboratory.shrink(failure)
        pytest.fail(f"{least.why}\n\nseed {seed}; as a test:\n\n{least.script.source()}", pytrace=False)


@pytest.mark.clause("stress.any-sequence")
def test_random_calls_do_what_the_model_says(own_machines: Runner) -> None:
    judge(own_machines, own_machines.setup.options.seed, SCRIPTS)


@pytest.mark.soak
@pytest.mark.clause("stress.any-sequence")
def test_random_calls_do_what_the_model_says_for_long(
    own_machines: Runner, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    end = time.monotonic() + 60 * pytestconfig.getoption("soak_minutes")
    seed = own_machines.setup.options.seed
    while time.monotonic() < end:
        with capsys.disabled():
            print(f"\nluo-cts: seed {seed}", end="", flush=True)
        judge(own_machines, seed, SCRIPTS)
        seed += 1
