# SPDX-License-Identifier: GPL-2.0-only
"""Runs on virtual machines that play hosts: what the tests of target ``ssh`` share."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fixtures.targets.facts import Facts
from fixtures.targets.hosts import MARK, Host, parse
from fixtures.targets.transport import Connection, Unreachable
from suite.harness import nested
from suite.harness.nested import Outcome, wait_for
from suite.hosts.vm import HostVm, target_file

KERNEL = "deb:newest,config=host"

# An emulated host takes half a minute to boot when it has the machine to itself.
TIMEOUTS = {"connect": 15, "command": 60, "silence": 10, "boot": 240}
SECONDS = 1800.0


def described(vm: HostVm, **more: Any) -> Host:
    """As the target reads its entry."""
    return parse({"hosts": [vm.settings(timeouts=TIMEOUTS, **more)]})[0]


def connected(vm: HostVm) -> Connection:
    """A connection of the test's own, once the host is up."""
    found: list[Connection] = []

    def try_it() -> bool:
        try:
            found.append(Connection(described(vm)))
        except Unreachable:
            return False
        return True

    wait_for(try_it, f"the host {vm.name}", SECONDS)
    return found[0]


def on_host(vm: HostVm, command: str) -> str:
    """What a command says there."""
    connection = connected(vm)
    try:
        return connection.run(command)
    finally:
        connection.close()


def at_home(vm: HostVm) -> Facts:
    """What the host says once it runs its own kernel again."""
    found: list[Facts] = []

    def look() -> bool:
        try:
            connection = Connection(described(vm))
        except Unreachable:
            return False
        try:
            found[:] = [Facts.ask(connection)]
        except Unreachable:
            return False
        finally:
            connection.close()
        return MARK not in found[0].cmdline

    wait_for(look, f"{vm.name}'s own kernel", SECONDS)
    return found[0]


def run(
    directory: Path,
    hosts: list[dict[str, Any]],
    code: str,
    *arguments: str,
    meanwhile: Callable[[subprocess.Popen[str]], None] = lambda process: None,
) -> Outcome:
    """Run ``code`` as a suite on hosts; ``meanwhile`` something may befall them."""
    directory.mkdir(parents=True, exist_ok=True)
    file = target_file(directory / "rack.yaml", hosts, timeouts=TIMEOUTS)
    return run_on(file, directory, code, *arguments, meanwhile=meanwhile)


def run_on(
    file: Path,
    directory: Path,
    code: str,
    *arguments: str,
    meanwhile: Callable[[subprocess.Popen[str]], None],
) -> Outcome:
    """Run ``code`` as a suite on the hosts of a target file."""
    return nested.supervise(
        directory,
        code,
        "--kernel",
        KERNEL,
        "--target",
        str(file),
        *arguments,
        meanwhile=meanwhile,
        seconds=SECONDS,
    )


def under_way(directory: Path, words: str) -> None:
    """Wait until a run in ``directory`` has begun what its journal says in these words."""

    def begun() -> bool:
        journals = (directory / "report").glob("journal*.jsonl")
        return any(words in journal.read_text() for journal in journals)

    wait_for(begun, f"'{words}' in the journal", SECONDS)
