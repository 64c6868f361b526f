# SPDX-License-Identifier: GPL-2.0-only
"""``python3 -m reports.lava REPORT_DIR``: each result as a LAVA test case, in a job that LAVA runs.

Names are those of KCIDB (reports/kcidb.py). Needs nothing but Python and LAVA's own ``lava-test-case``.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.kcidb import Unusable, path, read, status

_RESULTS = {
    "PASS": "pass",
    "FAIL": "fail",
    "SKIP": "skip",
}  # LAVA's; what says nothing of the kernel is unknown


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: python3 -m reports.lava REPORT_DIR", file=sys.stderr)
        return 4
    try:
        run = read(Path(arguments[0]))
        for suite in run.complete():
            for result in suite.results:
                said = _RESULTS.get(status(result), "unknown")
                subprocess.run(["lava-test-case", path(result.node_id), "--result", said], check=True)
    except Unusable as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"lava-test-case cannot be run: {error} (this is for jobs that LAVA runs)", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
