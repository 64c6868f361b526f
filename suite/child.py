# SPDX-License-Identifier: GPL-2.0-only
"""The suite, run by one of its commands."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def outlast(command: Sequence[str]) -> int:
    """Its exit status. After Ctrl-C, which reaches it too, it still writes its report."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
