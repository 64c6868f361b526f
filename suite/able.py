# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what not every kernel or architecture can do, or not every machine brings about."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fixtures.level import Unsuitable


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip the test, with the reason, for what raises NotImplementedError inside."""
    try:
        yield
    except NotImplementedError as error:
        pytest.skip(str(error))


def given(there: bool, why: str) -> None:
    """Raise Unsuitable, with the reason, where the test's memory is not as it has to be."""
    if not there:
        raise Unsuitable(why)
