# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what not every kernel or architecture can do."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip the test, with the reason, for what raises NotImplementedError inside."""
    try:
        yield
    except NotImplementedError as error:
        pytest.skip(str(error))
