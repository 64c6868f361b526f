# SPDX-License-Identifier: GPL-2.0-only
"""``python -m reports.qualify PLAN.yaml``: suite/qualify, where those look for it who want its page.

By another process: reports knows of no run but what it left behind.
"""

import os
import sys

if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "suite.qualify", *sys.argv[1:]])
