# SPDX-License-Identifier: GPL-2.0-only
"""Brings the plugin and the clause catalogue together: a test runs where one of its clauses holds."""

import pytest

from suite.clauses import catalogue

pytest_plugins = ["fixtures.plugin"]

CLAUSES = catalogue.load()


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Not above: pytest wants to be the one who loads its plugins.
    from fixtures.plugin import release_under_test

    release = release_under_test(item.config)
    names = [name for mark in item.iter_markers("clause") for name in mark.args]
    if release is None or not names or any(CLAUSES[name].releases.holds(release) for name in names):
        return
    windows = ", ".join(f"{name} from {CLAUSES[name].releases.since or 'the start'}" for name in names)
    pytest.skip(f"no clause of it holds for {release}: {windows}")
