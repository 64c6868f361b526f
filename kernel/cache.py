# SPDX-License-Identifier: GPL-2.0-only
"""Where downloads and builds are kept, and how runs that are under way at once share it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kernel.errors import LuoCtsError
from kernel.progress import step


def root() -> Path:
    """``$XDG_CACHE_HOME/luo-cts`` (``~/.cache/luo-cts``), made if need be.

    Raises LuoCtsError when it cannot be written.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(base).expanduser() / "luo-cts"
    hint = "set XDG_CACHE_HOME to a directory you may write to, with 6 GB free"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise LuoCtsError(f"the cache {path} cannot be written: {error.strerror}", hint) from error
    return path


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the lock ``name`` against every other run, and yield the lock's file.

    Who has to wait says for whom. The lock goes with the process that holds it, however that ends.
    """
    directory = root() / "locks"
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.lock"
    # beside the lock, as filelock empties the lock's own file whenever somebody tries it
    owner = directory / f"{name}.owner"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with step(f"{name}: waiting for {_read(owner) or 'another run'}"):
            lock.acquire()
    try:
        owner.write_text(f"process {os.getpid()} ({' '.join(sys.argv)[:80]})")
        yield path
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def write(path: Path, text: str) -> None:
    """Write a file that other runs see either whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.replace(path)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
