# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what not every kernel or architecture can do, or not every machine brings about."""

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


def given(there: bool, why: str) -> None:
    """Skip the test where its memory is not as it has to be, which says nothing of the clause."""
    if not there:
        pytest.skip(why)
