# SPDX-License-Identifier: GPL-2.0-only
"""A run by one of the suite's commands, and what becomes of it when that command is to end."""

import signal
import subprocess
import sys

import pytest

from suite.child import ROOT

RUN = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("report", flush=True)
    raise SystemExit(2)
"""
COMMAND = (
    "import sys; from suite.child import outlast; sys.exit(outlast([sys.executable, '-c', sys.argv[1]]))"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_with_its_command_and_writes_its_report(number: signal.Signals) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, RUN],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "begun\n"
    if number == signal.SIGINT:
        subprocess.run(["kill", "-INT", "--", f"-{command.pid}"], check=True)  # as a terminal does
    else:
        command.send_signal(number)
    said, _ = command.communicate(timeout=60)
    assert (said, command.returncode) == ("report\n", 2)
