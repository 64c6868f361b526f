# SPDX-License-Identifier: GPL-2.0-only
"""The table of clients, and what becomes of their tests where there is no userland."""

from pathlib import Path

import pytest

from reports.model import Result, Verdict
from suite.clients.ledger import Entry, Ledger, Told, rows
from suite.harness import nested


def test_table_has_each_client_with_its_last_word(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.read() == []
    told = Told(ledger, "a::one")
    told("memcached", "its memory")
    told.version("1.6")
    Told(ledger, "a::two")("crun", "a session")
    Told(ledger, "a::three")("systemd", "its store")
    results = [
        Result("a::one", Verdict.PASS),
        Result("a::two", Verdict.SKIP, message="there is no crun"),
        Result("a::other", Verdict.FAIL),
    ]
    assert list(rows(Ledger(tmp_path).read(), results)) == [
        ("memcached", "1.6", "its memory", "pass"),
        ("crun", "-", "a session", "skip: there is no crun"),
        ("systemd", "-", "its store", "not run"),
    ]
    ledger.forget()
    assert ledger.read() == []


def test_test_that_ran_again_has_one_line(tmp_path: Path) -> None:
    for version in ("1", "2"):
        told = Told(Ledger(tmp_path), "a::one")
        told("memcached", "its memory")
        told.version(version)
    assert Ledger(tmp_path).read() == [Entry("a::one", "memcached", "its memory", "2")]


@pytest.mark.usefixtures("default_kernel")
def test_machine_without_a_userland_is_a_reason(tmp_path: Path) -> None:
    code = """
    from suite.clients.userland import Userland

    def test_client(luo):
        Userland(luo).run("true")
    """
    outcome = nested.run(tmp_path, code)
    assert outcome.verdicts == {"test_client": "skipped"}
    assert outcome.message("test_client").startswith("this machine has no userland but the agent")
