# SPDX-License-Identifier: GPL-2.0-only
"""What tests of clients share."""

from pathlib import Path

import pytest

from fixtures.plugin import SESSION
from suite.clients.ledger import Ledger, Told


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    """Takes down which client the test is of, for the table of ``python -m suite.clients``."""
    return Told(Ledger(request.config.stash[SESSION].directory), request.node.nodeid)


@pytest.fixture
def modules(request: pytest.FixtureRequest) -> Path:
    """The directory of the kernel's modules."""
    setup = request.config.stash[SESSION].setup
    if setup is None or setup.kernel.modules is None:
        pytest.skip("the kernel has no modules: see configs/kconfig/variants/clients.config")
    return setup.kernel.modules
