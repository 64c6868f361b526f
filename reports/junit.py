# SPDX-License-Identifier: GPL-2.0-only
"""Write a run as JUnit XML, in the shape that Jenkins' xunit plugin accepts (its schema junit-10.xsd)."""

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from junit_xml import TestCase, TestSuite

from reports.model import Result, Run, Suite, Verdict, not_run

# libxml2, which reads these files in most CIs, refuses a text node above 10 MB; a flooded console has more.
TEXT_LIMIT = 256 * 1024
LINE_LIMIT = 1000

# Everything that is no Char in XML 1.0 (section 2.2), and the C1 controls, which it discourages.
_ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    """``text`` with what XML cannot hold spelled out, so that a raw console byte stays readable."""
    return _ILLEGAL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


def _text(text: str) -> str:
    """Clean multi-line text of bounded length; a long one keeps its two ends, where the cause mostly is."""
    if len(text) > TEXT_LIMIT:
        half = TEXT_LIMIT // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return _clean(text)


def _line(text: str) -> str:
    """Clean text of one line, for an attribute."""
    return _clean(" ".join(text.split()))[:LINE_LIMIT]


def _system_out(result: Result) -> Iterator[str]:
    if result.clauses:
        yield f"clauses: {' '.join(result.clauses)}"
    if result.machine:
        generations = " ".join(map(str, result.generations))
        yield f"machine: {result.machine}, generations: {generations or 'none'}"
    if result.batch is not None:
        yield f"batch: {result.batch}"
    for part in result.parts:
        yield f"time: {part.name}: {part.seconds:.3f} s"
    for note in result.notes:
        yield f"note: {note}"
    for attempt in result.attempts:
        yield f"earlier attempt: {attempt.verdict}: {attempt.message}"
    if result.verdict is Verdict.DEVIATION:
        yield f"failure: {result.message}"
        yield result.detail
    if result.console:
        yield "console:"
        yield result.console


def _case(result: Result) -> TestCase:
    # A parameter may hold any character, "::" and "/" too, so it is set aside before the rest is split.
    path, bracket, parameters = result.node_id.partition("[")
    *scopes, name = path.split("::")
    case = TestCase(
        name=_line(name + bracket + parameters) or "unnamed",
        classname=_line(".".join(scopes).removesuffix(".py").replace(".py.", ".").replace("/", ".")),
        elapsed_sec=result.seconds,
        stdout=_text("\n".join(_system_out(result))),
    )
    # The library leaves out an element that says nothing, and the verdict with it.
    message, detail = _line(result.message) or str(result.verdict), _text(result.detail)
    match result.verdict:
        case Verdict.FAIL:
            case.add_failure_info(message, detail)
        case Verdict.ERROR:
            case.add_error_info(message, detail)
        case Verdict.SKIP:
            case.add_skipped_info(message, detail)
        case Verdict.DEVIATION:
            case.add_skipped_info(f"deviation: {_line(result.deviation)}")
        case Verdict.PASS:
            pass
    return case


def _suites(run: Run) -> Iterable[Suite]:
    """The run's suites, with one synthetic result for a problem that is no test's, or for an empty run."""
    suites = [suite for suite in run.suites if suite.results]
    if run.problem is None and suites:
        return suites
    setup = not_run("luo-cts::setup", "nothing was collected")
    if run.problem is not None:
        setup = replace(setup, message=run.problem.partition("\n")[0], detail=run.problem)
    elif run.interrupted:
        setup = not_run("luo-cts::setup", "interrupted", interrupted=True)
    properties = run.suites[0].properties if run.suites else {}
    return [*suites, Suite("luo-cts", properties, (setup,))]


def _document(run: Run) -> ElementTree.Element:
    root = ElementTree.Element("testsuites", name="luo-cts")
    stale = {"stale-deviations": "\n".join(run.stale)} if run.stale else {}
    for number, suite in enumerate(_suites(run)):
        element: ElementTree.Element = TestSuite(
            name=_line(suite.name),
            test_cases=[_case(result) for result in suite.results],
            properties={_line(name): _text(value) for name, value in {**suite.properties, **stale}.items()},
            timestamp=run.started.isoformat(timespec="seconds"),
            stdout=_text("\n".join(run.incidents)) if number == 0 else None,
        ).build_xml_doc()
        # The library's own addition to the format, which the schema does not know.
        del element.attrib["disabled"]
        # Its plain str() of a float may come out in scientific notation.
        element.set("time", f"{sum(result.seconds for result in suite.results):.3f}")
        root.append(element)
    ElementTree.indent(root)
    return root


def _write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` at once: a reader, or a crash, sees the old file or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def write(run: Run, path: Path) -> None:
    """Write ``run`` to ``path``, whole or not at all; raises OSError where the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = ElementTree.tostring(_document(run), encoding="utf-8", xml_declaration=True)
    _write_whole(path, document)


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
    """Where the report ended up, and a sentence if that is not where it should be or not all of it."""

    path: Path
    remark: str


def _compact(run: Run) -> Run:
    """``run`` without the consoles, which are nearly all of a report's size."""
    suites = tuple(
        replace(suite, results=tuple(replace(result, console="") for result in suite.results))
        for suite in run.suites
    )
    return replace(run, suites=suites)


def deliver(run: Run, path: Path, reserve: Reserve | None = None) -> Delivery:
    """Write ``run`` to ``path``; if there is no room, without consoles; if that fails too, elsewhere.

    Raises OSError only where the temporary directory cannot be written either.
    """
    if reserve is not None:
        reserve.give_back()
    try:
        write(run, path)
        return Delivery(path, "")
    except OSError as error:
        problem = error
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            write(_compact(run), path)
            return Delivery(path, f"The report has no console excerpts: {problem.strerror}.")
    elsewhere = Path(tempfile.mkdtemp(prefix="luo-cts-")) / path.name
    write(run, elsewhere)
    return Delivery(elsewhere, f"{path} cannot be written ({problem.strerror}); the report is {elsewhere}.")
