# SPDX-License-Identifier: GPL-2.0-only
"""Other kernels to go on with: builds of the kernel under test that lack something, or have more."""

from dataclasses import dataclass

import pytest

from fixtures.scenario import Kexec
from kernel import spec
from kernel.errors import UsageError


@dataclass(frozen=True)
class Kernels:
    """Handovers by kernel. ``spec``: the kernel under test."""

    spec: str

    @property
    def back(self) -> Kexec:
        """To the kernel under test, also where the run has another next kernel."""
        return Kexec(kernel=self.spec)

    def variant(self, name: str, cmdline: str = "") -> Kexec:
        """To a build of configs/kconfig/variants; the test is skipped where none can be made."""
        try:
            return Kexec(cmdline, kernel=spec.variant(self.spec, name))
        except UsageError as error:
            pytest.skip(error.message)
