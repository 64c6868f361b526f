# SPDX-License-Identifier: GPL-2.0-only
"""The type of a scenario: it yields the handover it wants and gets its ``Luo`` in the next generation."""

from collections.abc import Generator

from fixtures.luo import Luo
from fixtures.scenario import Kexec

Scenario = Generator[Kexec, Luo, None]
