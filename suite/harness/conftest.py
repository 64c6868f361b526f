# SPDX-License-Identifier: GPL-2.0-only
"""What harness tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

from kernel import source, spec
from kernel.kernel import Kernel, obtain
from suite.clauses.collection import Tests, collected

DEFAULT_KERNEL = "deb:newest"

# How long an example takes says nothing on a machine that has other things to do.
settings.register_profile("patient", settings(deadline=None))
settings.load_profile("patient")


@pytest.fixture(scope="session")
def default_kernel() -> Kernel:
    """The kernel that ``./run`` uses, built if need be: for tests that need a real machine."""
    return obtain(DEFAULT_KERNEL)


@pytest.fixture(scope="session")
def kernel_tree() -> Path:
    """The source tree of the default kernel; nothing is built for it."""
    asked = spec.parse(DEFAULT_KERNEL)
    assert isinstance(asked, spec.DebSpec)
    return source.from_debian(asked).tree


@pytest.fixture(scope="session")
def tests() -> Tests:
    """The tests of the conformance suite and the clauses that each checks; none is run."""
    return collected()
