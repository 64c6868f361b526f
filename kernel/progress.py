# SPDX-License-Identifier: GPL-2.0-only
"""What the harness is doing now, for a person who waits: a line a step, with its time.

On a terminal the line is redrawn as the step goes on; in a log each step is two plain lines.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Step:
    """A step under way; ``advance`` says how far it is."""

    # A redraw for every compiled file would cost more than it tells.
    REDRAW_SECONDS = 0.2

    def __init__(self, title: str, stream: TextIO) -> None:
        self.title = title
        self._stream = stream
        self._started = time.monotonic()
        self._drawn = 0.0
        self._live = stream.isatty()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        """Say that ``done`` of ``total`` units are behind us (``total`` None: nobody knows the end)."""
        now = time.monotonic()
        if not self._live or now - self._drawn < self.REDRAW_SECONDS:
            return
        self._drawn = now
        far = f"{done}/{total}" if total is not None else f"{done}"
        self._write(f"\r\x1b[K{self.title}: {far} {what} ({self.seconds:.0f} s)".rstrip())

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Announce a step, and say at its end how long it took and whether it failed."""
    stream = sys.stderr
    this = Step(title, stream)
    this._write(f"{title} ..." + ("" if this._live else "\n"))
    clear = "\r\x1b[K" if this._live else ""
    try:
        yield this
    except BaseException:
        this._write(f"{clear}{title}: failed after {this.seconds:.1f} s\n")
        raise
    this._write(f"{clear}{title}: {this.seconds:.1f} s\n")
