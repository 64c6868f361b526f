# SPDX-License-Identifier: GPL-2.0-only
"""Write a run as JUnit XML, in the shape that Jenkins' xunit plugin accepts (its schema junit-10.xsd)."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from junit_xml import TestCase, TestSuite

from reports import text, whole
from reports.model import Result, Run, Suite, Verdict

# GitLab refuses a file of 30 MB and more (docs.gitlab.com, unit test reports).
SIZE_LIMIT = 25_000_000

# How a case names a file that belongs to it, on a line of its own: read by Jenkins' junit-attachments plugin
# and by GitLab (lib/gitlab/ci/parsers/test/junit.rb), which takes the first one of a failure.
_ATTACHMENT = "[[ATTACHMENT|"


def _text(given: str) -> str:
    """As text.block(). A console that names a file must not have it published."""
    return text.block(given.replace(_ATTACHMENT, r"[[ATTACHMENT\x7c"))


def _attachment(path: Path) -> str:
    """Jenkins wants an absolute path; GitLab, which tells where its project is, one from there."""
    project = os.environ.get("CI_PROJECT_DIR")
    path = path.absolute()
    if project and path.is_relative_to(project):
        path = path.relative_to(project)
    return f"{_ATTACHMENT}{text.clean(str(path))}]]"


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
    for file in result.attachments:
        yield f"file: {file}"
    if result.verdict is Verdict.DEVIATION:
        yield f"failure: {result.message}"
        yield result.detail
    if result.console:
        yield "console:"
        yield result.console


def _outcome(result: Result) -> str:
    """The text of a failure or an error. GitLab shows it instead of the message, so that is in it."""
    if result.message and result.message not in result.detail:
        return _text(f"{result.message}\n{result.detail}".rstrip("\n"))
    return _text(result.detail)


def identity(result: Result) -> tuple[str, str]:
    """Class name and name as pytest's own report gives them: the same from release to release."""
    # A parameter may hold any character, "::" and "/" too, so it is set aside before the rest is split.
    path, bracket, parameters = result.node_id.partition("[")
    *scopes, name = path.split("::")
    classname = ".".join(scopes).removesuffix(".py").replace(".py.", ".").replace("/", ".")
    return text.line(classname), text.line(name + bracket + parameters) or "unnamed"


def _case(result: Result, directory: Path, classname: str, name: str) -> TestCase:
    # Both copy what is attached, and a passing test shares its console with hundreds.
    guilty = result.verdict in (Verdict.FAIL, Verdict.ERROR)
    attachments = [_attachment(directory / file) for file in result.attachments if guilty]
    case = TestCase(
        name=name,
        classname=classname,
        elapsed_sec=result.seconds,
        stdout="\n".join([*attachments, _text("\n".join(_system_out(result)))]),
    )
    # The library leaves out an element that says nothing, and the verdict with it.
    message, detail = text.line(result.message) or str(result.verdict), _outcome(result)
    match result.verdict:
        case Verdict.FAIL:
            case.add_failure_info(message, detail)
        case Verdict.ERROR:
            case.add_error_info(message, detail)
        case Verdict.SKIP:
            case.add_skipped_info(message, detail)
        case Verdict.DEVIATION:
            case.add_skipped_info(f"deviation: {text.line(result.deviation)}")
        case Verdict.PASS:
            pass
    return case


def _cases(results: Iterable[Result], directory: Path) -> Iterator[TestCase]:
    """A case for each result. Of two that have one name, readers drop the second: it is numbered."""
    taken: defaultdict[str, set[str]] = defaultdict(set)
    for result in results:
        classname, name = identity(result)
        yield _case(result, directory, classname, text.unique(name, taken[classname]))


def _told(run: Run, suite: Suite) -> Mapping[str, str]:
    """The properties: what ran, and what a reader who looks for failures alone would miss."""
    retried = [result.node_id for result in suite.results if result.attempts]
    return {
        **suite.properties,
        **({"stale-deviations": "\n".join(run.stale)} if run.stale else {}),
        **({"retried": "\n".join(retried)} if retried else {}),
    }


def _document(run: Run, directory: Path) -> ElementTree.Element:
    root = ElementTree.Element("testsuites", name="luo-cts")
    for number, suite in enumerate(run.complete()):
        element: ElementTree.Element = TestSuite(
            name=text.line(suite.name),
            test_cases=list(_cases(suite.results, directory)),
            properties={text.line(name): _text(value) for name, value in _told(run, suite).items()},
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


def render(run: Run, directory: Path) -> bytes:
    """The document; attachments are files below ``directory``. One too large for a CI has no consoles."""
    document = _encode(run, directory)
    if len(document) <= SIZE_LIMIT:
        return document
    suites = tuple(
        replace(suite, properties={**suite.properties, "left-out": "consoles, for the size of this file"})
        for suite in run.suites
    )
    return _encode(replace(run, suites=suites).without_consoles(), directory)


def _encode(run: Run, directory: Path) -> bytes:
    document: bytes = ElementTree.tostring(_document(run, directory), encoding="utf-8", xml_declaration=True)
    return document


def write(run: Run, path: Path) -> None:
    """Write ``run`` to ``path``, whole or not at all; raises OSError where the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.write(path, render(run, path.parent))
