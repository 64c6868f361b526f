# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.hosts [--hosts N] […]``: the conformance suite over SSH, on virtual machines as hosts.

They are made, switched on and described in a target file, and the suite runs on them; other arguments
go to pytest. ``--wait``: no suite; the target file's name is printed, and the hosts stay until Ctrl-C.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fixtures.deadline import Deadline
from kernel.kernel import obtain
from suite.child import leave, outlast, shared
from suite.hosts.vm import HostVm, target_file

BOOT_SECONDS = 900.0  # an emulated host takes half a minute where it has the processors to itself
KERNEL = "deb:newest,config=host"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.hosts", description=__doc__)
    parser.add_argument("--hosts", type=int, default=2, metavar="N", help="(2)")
    parser.add_argument("--kernel", default=KERNEL, metavar="SPEC", help=f"the hosts' own ({KERNEL})")
    parser.add_argument("--wait", action="store_true", help="no suite: keep the hosts until Ctrl-C")
    asked, others = shared(parser, arguments)
    hosts: list[HostVm] = []
    with tempfile.TemporaryDirectory(prefix="luo-cts-hosts-") as directory:
        try:
            kernel = obtain(asked.kernel)
            hosts += (
                HostVm(f"host{number + 1}", Path(directory) / f"host{number + 1}", kernel.image)
                for number in range(asked.hosts)
            )
            for host in hosts:
                host.on()
            deadline = Deadline(BOOT_SECONDS)
            for host in hosts:
                host.await_up(deadline)
            file = target_file(Path(directory) / "rack.yaml", [host.settings() for host in hosts])
            if asked.wait:
                print(file, flush=True)
                signal.sigwait({signal.SIGINT, signal.SIGTERM})
                return 0
            workers = ["-n", str(asked.hosts)] if asked.hosts > 1 else []
            # fmt: off
            command = [
                sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--ignore=suite/harness",
                "--kernel", asked.kernel, "--target", str(file), *workers, *others,
            ]
            # fmt: on
            return outlast(command)
        finally:
            for host in hosts:
                host.close()


if __name__ == "__main__":
    leave(main)
