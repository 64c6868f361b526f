# SPDX-License-Identifier: GPL-2.0-only
"""What harness tests share."""

from pathlib import Path

import pytest

from kernel.kernel import Kernel, obtain

DEFAULT_KERNEL = "deb:newest"


@pytest.fixture(scope="session")
def default_kernel() -> Kernel:
    """The kernel that ``./run`` uses, built if need be: for tests that need a real machine."""
    return obtain(DEFAULT_KERNEL)


@pytest.fixture(scope="session")
def kernel_tree(default_kernel: Kernel) -> Path:
    """The source tree of the default kernel."""
    assert default_kernel.source_dir is not None
    return default_kernel.source_dir
