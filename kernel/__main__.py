# SPDX-License-Identifier: GPL-2.0-only
"""``python -m kernel SPEC``: obtain a kernel and print what is known of it."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from kernel.errors import LuoCtsError
from kernel.kernel import obtain
from kernel.spec import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernel", description="Build a kernel, or find it in the cache."
    )
    parser.add_argument("spec", help=KINDS)
    parser.add_argument("--debug-info", action="store_true", help="with DWARF")
    parser.add_argument(
        "--debug-info-of",
        action="append",
        default=[],
        metavar="FILE",
        help="with DWARF for this source file, below the top of the tree (repeatable)",
    )
    parser.add_argument(
        "--config", type=Path, action="append", default=[], metavar="FILE", help="a further fragment"
    )
    options = parser.parse_args()
    try:
        kernel = obtain(
            options.spec,
            with_debug_info=options.debug_info,
            described=options.debug_info_of,
            extra_config=options.config,
        )
    except LuoCtsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 2
    for name, value in asdict(kernel).items():
        print(f"{name:12} {value if value is not None else '-'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
