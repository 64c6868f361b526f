# SPDX-License-Identifier: GPL-2.0-only
"""Brings the plugin (see pyproject.toml) and the clauses together: a test runs where one of its own holds."""

import pytest

from fixtures.plugin import PROMISES, release_under_test
from suite.clauses import catalogue

CLAUSES = catalogue.load()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PROMISES] = lambda release: {
        clause.id: clause.promise for clause in CLAUSES.values() if clause.releases.holds(release)
    }


def pytest_runtest_setup(item: pytest.Item) -> None:
    release = release_under_test(item.config)
    names = [name for mark in item.iter_markers("clause") for name in mark.args]
    if release is None or not names or any(CLAUSES[name].releases.holds(release) for name in names):
        return
    windows = ", ".join(f"{name} from {CLAUSES[name].releases.since or 'the start'}" for name in names)
    pytest.skip(f"no clause of it holds for {release}: {windows}")
