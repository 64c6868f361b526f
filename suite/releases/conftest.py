# SPDX-License-Identifier: GPL-2.0-only
"""What tests between kernels share."""

from pathlib import Path

import pytest

from fixtures.plugin import SESSION
from suite.releases.kernels import Kernels
from suite.releases.sighting import Witness


@pytest.fixture
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels that the test may go on with."""
    return Kernels(request.config.stash[SESSION].options.kernel)


@pytest.fixture
def witness(request: pytest.FixtureRequest) -> Witness:
    """Writes down what became of each handover, for the table of ``python -m suite.matrix --pairs``."""
    directory: Path = request.config.stash[SESSION].directory
    return Witness(directory)
