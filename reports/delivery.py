# SPDX-License-Identifier: GPL-2.0-only
"""Bring a run's reports to the disk: each of them whole, or not there and said so."""

import errno
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reports import figures, junit, ktap, markdown, page, whole
from reports.model import Run


class Format(NamedTuple):
    """A file of the report directory and what it is made of; ``render`` is given the directory too."""

    name: str
    render: Callable[[Run, Path], bytes]


def _results(run: Run, directory: Path) -> bytes:
    return json.dumps(run.to_json()).encode()


JUNIT = Format("junit.xml", junit.render)

# In the order in which they get what room there is. results.json is for our own tools.
FORMATS = (
    JUNIT,
    Format("results.json", _results),
    Format("report.ktap", ktap.render),
    Format(page.NAME, page.encode),
    Format(figures.NAME, figures.encode),
    Format("summary.md", markdown.render),  # last: it names the others that are there
)

# A disk, a quota and a limit on the size of files (RLIMIT_FSIZE).
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Reserve:
    """Space set aside in the report directory, so that a disk that fills up still holds the report."""

    SIZE = 4 * 1024 * 1024

    def __init__(self, directory: Path, size: int = SIZE) -> None:
        """Set ``size`` bytes aside. A disk that is full already is no error here: ``deliver`` tells."""
        self._path = directory / f".reserve.{os.getpid()}"
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)

    def give_back(self) -> None:
        """Free the space, for the report or because the run ends without one."""
        with suppress(OSError):
            self._path.unlink()


class Delivery(NamedTuple):
    """Where junit.xml ended up (None: nowhere), and sentences on what is not where or as it should be."""

    path: Path | None
    remarks: tuple[str, ...] = ()


def forget(directory: Path) -> None:
    """Remove the reports of an earlier run, which would be taken for this one's if it were killed."""
    for each in FORMATS:
        with suppress(OSError):
            (directory / each.name).unlink(missing_ok=True)


def deliver(run: Run, directory: Path, reserve: Reserve | None = None) -> Delivery:
    """Write all reports of ``run`` to ``directory``; one without room goes without consoles, or is left out.

    junit.xml goes to the temporary directory before it is left out.
    """
    if reserve is not None:
        reserve.give_back()
    remarks = []
    path: Path | None = directory / JUNIT.name
    for each in FORMATS:
        try:
            remark = _write(each, run, directory)
        except OSError as error:
            remark = f"{directory / each.name} cannot be written: {error.strerror}."
            if each is JUNIT:
                path, remark = _elsewhere(run, directory, error)
        if remark:
            remarks.append(remark)
    return Delivery(path, tuple(remarks))


def _write(wanted: Format, run: Run, directory: Path) -> str:
    """Write one report, if need be without consoles; a sentence on what is missing from it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        whole.write(directory / wanted.name, wanted.render(run, directory))
        return ""
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        reason = error.strerror
    try:
        whole.write(directory / wanted.name, wanted.render(run.without_consoles(), directory))
    except OSError:
        # What an earlier run left there is not this one's.
        with suppress(OSError):
            (directory / wanted.name).unlink()
        raise
    return f"{wanted.name} has no console excerpts: {reason}."


def _elsewhere(run: Run, directory: Path, error: OSError) -> tuple[Path | None, str]:
    """junit.xml in the temporary directory, and a sentence that says so."""
    problem = f"{directory / JUNIT.name} cannot be written ({error.strerror})"
    try:
        path = Path(tempfile.mkdtemp(prefix="luo-cts-")) / JUNIT.name
        whole.write(path, JUNIT.render(run, directory))
    except OSError as last:
        return None, f"{problem}, and neither can another ({last.strerror}): there is no report."
    return path, f"{problem}; the report is {path}."
