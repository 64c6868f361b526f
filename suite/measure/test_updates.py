# SPDX-License-Identifier: GPL-2.0-only
"""What an update costs, by what it carries: measured with --measure, and shown on report.html.

Each test fails where something does not arrive as it was sent. How long it took fails none.
"""

import pytest

from fixtures.luo import PAGE
from fixtures.measure import update
from fixtures.runner import Runner
from fixtures.scenario import Boot
from reports.model import Cargo

MIB = 1 << 20

# TCG writes slowly to memory whose code it has translated. A kernel that is unpacked at a place chosen at
# random meets more of that with each update: the 0.1 s before its first line became 2 to 10 s.
BOOT = Boot(cmdline="nokaslr")


def measure(runner: Runner, samples: int, *cargoes: Cargo) -> None:
    """All in a row on one machine, the first again after the last: what drifts meets all of them."""
    runner.fresh(BOOT)
    for _ in range(samples):
        for cargo in cargoes:
            update(runner, cargo)


@pytest.fixture
def samples(request: pytest.FixtureRequest) -> int:
    """How many measurements of each thing are asked for."""
    wanted: int = request.config.getoption("measure")
    return wanted


@pytest.mark.measure
@pytest.mark.clause("memfd.contents")
def test_memory_of_any_size_crosses(own_machines: Runner, samples: int) -> None:
    measure(own_machines, samples, *(Cargo(1, 1, size * MIB) for size in (1, 16, 64, 256)))


@pytest.mark.measure
@pytest.mark.clause("file.many")
def test_files_of_any_number_cross(own_machines: Runner, samples: int) -> None:
    measure(own_machines, samples, *(Cargo(1, files, files * PAGE) for files in (10, 100, 1_000, 10_000)))


@pytest.mark.measure
@pytest.mark.clause("session.many")
def test_sessions_of_any_number_cross(own_machines: Runner, samples: int) -> None:
    measure(own_machines, samples, *(Cargo(count, count, count * PAGE) for count in (10, 100, 1_000)))


@pytest.mark.measure
@pytest.mark.clause("handover.chain")
def test_ten_updates_in_a_row_leave_the_machine_as_it_was(own_machines: Runner) -> None:
    measure(own_machines, 10, Cargo(4, 40, 40 * 256 * PAGE))
