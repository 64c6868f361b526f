# SPDX-License-Identifier: GPL-2.0-only
"""What two runs of the same tests must agree on in their JUnit files, wherever and whenever each test ran."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from reports.compare import OF_THE_HOST

_OUTCOMES = ("failure", "error", "skipped")
# What belongs to the run and not to the verdict: printk time stamps, durations, machine ids.
_VOLATILE = re.compile(r"\[ *\d+\.\d{6}\]|\b\d+(\.\d+)? ?m?s\b|\bm\d+\b|0x[0-9a-f]+")


@dataclass(frozen=True)
class Case:
    """A test case without its times, its machine and its console."""

    classname: str
    name: str
    outcome: str  # pass, failure, error or skipped
    message: str
    text: str
    says: tuple[str, ...]  # the clauses and notes


def _still(text: str | None) -> str:
    return _VOLATILE.sub("~", text or "")


def _case(element: ElementTree.Element) -> Case:
    outcome = next((child for child in element if child.tag in _OUTCOMES), None)
    said = (element.findtext("system-out") or "").splitlines()
    return Case(
        classname=element.get("classname", ""),
        name=element.get("name", ""),
        outcome="pass" if outcome is None else outcome.tag,
        message="" if outcome is None else _still(outcome.get("message")),
        text="" if outcome is None else _still(outcome.text),
        says=tuple(_still(line) for line in said if line.startswith(("clauses: ", "note: "))),
    )


def normalise(path: Path) -> Mapping[str, tuple[Mapping[str, str], tuple[Case, ...]]]:
    """Suite name → (properties, cases in file order), stripped of what may differ between two equal runs."""
    return {
        suite.get("name", ""): (
            {
                item.get("name", ""): OF_THE_HOST.sub("", item.get("value", ""))
                for item in suite.iterfind("properties/property")
            },
            tuple(map(_case, suite.iterfind("testcase"))),
        )
        for suite in ElementTree.parse(path).getroot().iterfind("testsuite")
    }
