# SPDX-License-Identifier: GPL-2.0-only
"""Brings the plugin (see pyproject.toml) and the clauses together.

A test runs where, of each mark that names clauses, one clause holds: the marks of a parameter narrow its own.
"""

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
    if release is None:
        return
    for mark in item.iter_markers("clause"):
        if not any(CLAUSES[name].releases.holds(release) for name in mark.args):
            since = ", ".join(
                f"{name} from {CLAUSES[name].releases.since or 'the start'}" for name in mark.args
            )
            pytest.skip(f"no clause of it holds for {release}: {since}")
