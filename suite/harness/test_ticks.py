# SPDX-License-Identifier: GPL-2.0-only
"""What an emulated machine is told of its clock, held against what its kernel finds out."""

import re
from pathlib import Path

import pytest

from fixtures.targets import ticks
from kernel.kernel import Kernel
from suite.harness import nested


def test_two_measurements_agree() -> None:
    found = [ticks.khz.__wrapped__() for _ in range(2)]
    if None in found:
        pytest.skip("this host has no time stamp counter that can be read")
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_clock_of_an_emulated_machine_is_not_left_to_chance(default_kernel: Kernel, tmp_path: Path) -> None:
    if ticks.khz() is None:
        pytest.skip("this host has no time stamp counter that can be read")
    code = """
    def test_told(luo):
        luo = yield KEXEC
    """
    outcome = nested.run(tmp_path, code, "--kernel", default_kernel.spec, "--accel", "tcg")
    assert outcome.verdicts == {"test_told": "pass"}
    consoles = sorted((tmp_path / "report/console").iterdir())
    assert len(consoles) == 2
    for console in consoles:
        log = console.read_text()
        assert re.search(r"Command line: .* tsc_early_khz=\d+", log)
        found = re.findall(r"tsc: Detected (\d+\.\d+) MHz processor", log)
        assert [float(each) * 1000 for each in found] == [pytest.approx(ticks.khz(), rel=0.01)]
        assert "tsc: Unable to calibrate" not in log
        assert "tsc: Using PIT calibration" not in log
