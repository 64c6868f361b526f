# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.clients […]``: real programs that use live update, in Debian sid on a virtual machine.

It is made, switched on and updated over SSH while systemd, memcached, containers and confined services have
something preserved. Other arguments go to pytest. At the end a table says of each client what became
of it; reports/out/clients/clients.md has it too, beside the run's own report. ``--wait``: no tests; the
target file's name is printed, and the machine stays until Ctrl-C.
"""

import argparse
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fixtures.deadline import Deadline
from kernel.kernel import obtain
from reports import reading, tables
from suite.child import ROOT, judge, leave, shared
from suite.clients.distribution import CMDLINE, SID
from suite.clients.ledger import HEADINGS, Ledger, rows
from suite.hosts.__main__ import BOOT_SECONDS
from suite.hosts.vm import HostVm, target_file

KERNEL = "deb:newest,config=clients"
# Seconds, for an emulated machine on a host that has other things to do.
TIMEOUTS = {"connect": 30, "command": 180, "silence": 60, "boot": BOOT_SECONDS}
REPORTS = ROOT / "reports" / "out" / "clients"
TABLE = "clients.md"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.clients", description=__doc__)
    parser.add_argument("--kernel", default=KERNEL, metavar="SPEC", help=f"({KERNEL})")
    parser.add_argument("--wait", action="store_true", help="no tests: keep the machine until Ctrl-C")
    asked, others = shared(parser, arguments)
    kernel = obtain(asked.kernel)
    with tempfile.TemporaryDirectory(prefix="luo-cts-clients-") as directory:
        vm = HostVm("sid", Path(directory) / "sid", kernel.image, CMDLINE, SID)
        try:
            vm.on()
            vm.await_up(Deadline(BOOT_SECONDS))
            file = target_file(Path(directory) / "rack.yaml", [vm.settings()], timeouts=TIMEOUTS)
            if asked.wait:
                print(file, flush=True)
                signal.sigwait({signal.SIGINT, signal.SIGTERM})
                return 0
            Ledger(REPORTS).forget()
            wanted = ["--clients", "-m", "clients", f"--target={file}", *others]
            status = judge(asked.kernel, REPORTS, wanted)
            show(REPORTS)
            return status
        finally:
            vm.close()


def show(directory: Path) -> None:
    """Write and print what became of each client."""
    if not (entries := Ledger(directory).read()):
        return
    run = reading.read(directory / reading.RESULTS)
    lines = list(rows(entries, run.results))
    (directory / TABLE).write_text("\n".join([*tables.markdown(HEADINGS, lines), ""]), encoding="utf-8")
    print("\n".join(["", *tables.text(HEADINGS, lines)]))


if __name__ == "__main__":
    leave(main)
