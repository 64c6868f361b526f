# SPDX-License-Identifier: GPL-2.0-only
"""Runs read back from what they wrote: results.json, or a junit.xml of ours or of another tool."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from reports import junit
from reports.model import Part, Result, Run, Suite, Verdict

RESULTS, JUNIT = "results.json", "junit.xml"

# The verdicts that say something of a kernel.
JUDGED = (Verdict.PASS, Verdict.FAIL, Verdict.DEVIATION)

_EPOCH = datetime.fromtimestamp(0, UTC)


class Unreadable(Exception):
    """There is no run where one was looked for; the text is a sentence and a hint."""


def find(path: Path) -> list[Path]:
    """The reports at ``path``: itself, a report directory's one, or those of the directories in it."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Unreadable(f"{path} is not there (a report directory or a junit.xml)")
    own = _report_in(path)
    found = [own] if own else [each for each in map(_report_in, sorted(path.iterdir())) if each]
    # reports/out has its newest run twice: latest is a link.
    unique = list({each.resolve(): each for each in found}.values())
    if not unique:
        raise Unreadable(
            f"{path} has no report (a directory with results.json or junit.xml, or of such ones)"
        )
    return unique


def _report_in(directory: Path) -> Path | None:
    return next((directory / name for name in (RESULTS, JUNIT) if (directory / name).is_file()), None)


def read(path: Path) -> Run:
    """The run of one file. Raises Unreadable."""
    try:
        data = path.read_bytes()
        if path.suffix == ".json":
            return Run.from_json(json.loads(data))
        return _from_junit(ElementTree.fromstring(data))
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError) as error:
        raise Unreadable(
            f"{path} holds no run (it is neither our results.json nor JUnit: {error})"
        ) from error


def read_all(path: Path) -> list[Run]:
    """The runs at ``path``, the oldest first."""
    return sorted(map(read, find(path)), key=lambda run: run.started)


def key(result: Result) -> str:
    """What a test is called in JUnit, where results.json and junit.xml agree."""
    return "::".join(junit.identity(result))


def _from_junit(root: ElementTree.Element) -> Run:
    if root.tag not in ("testsuites", "testsuite"):
        raise ValueError(f"its root is <{root.tag}>")
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    started = [stamp for suite in suites if (stamp := suite.get("timestamp"))]
    return Run(_time(started[0]) if started else _EPOCH, tuple(map(_suite, suites)))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _suite(element: ElementTree.Element) -> Suite:
    properties = {
        each.get("name", ""): each.get("value") or each.text or ""
        for each in element.findall("properties/property")
    }
    cases = enumerate(element.iter("testcase"))
    return Suite(element.get("name", ""), properties, tuple(_result(case, order) for order, case in cases))


def _result(case: ElementTree.Element, order: int) -> Result:
    node_id = "::".join(filter(None, (case.get("classname"), case.get("name", ""))))
    result = Result(node_id, Verdict.PASS, order, seconds=float(case.get("time") or 0))
    for tag, verdict in (("failure", Verdict.FAIL), ("error", Verdict.ERROR), ("skipped", Verdict.SKIP)):
        found = case.find(tag)
        if found is not None:
            message = found.get("message", "")
            result = replace(result, verdict=verdict, message=message, detail=found.text or "")
            break
    known = result.message.removeprefix("deviation: ")
    if result.verdict is Verdict.SKIP and known != result.message:
        result = replace(result, verdict=Verdict.DEVIATION, deviation=known, message="")
    head = (case.findtext("system-out") or "").partition("\nconsole:\n")[0].splitlines()
    told = dict(line.split(": ", 1) for line in head if line.startswith(("clauses: ", "failure: ")))
    return replace(
        result,
        clauses=tuple(told.get("clauses", "").split()),
        message=told.get("failure", result.message),
        parts=tuple(_parts(head)),
    )


def _parts(lines: Sequence[str]) -> Iterator[Part]:
    for line in lines:
        if line.startswith("time: ") and line.endswith(" s"):
            name, _, seconds = line.removeprefix("time: ").removesuffix(" s").rpartition(": ")
            yield Part(name, float(seconds))
