# SPDX-License-Identifier: GPL-2.0-only
"""Write a run as KTAP, version 1 (Documentation/dev-tools/ktap.rst in the kernel tree).

One tree: suite, module, class, test, and its parameters. A known deviation is an ``ok`` with the directive
XFAIL, as the kernel's selftests say it; what there is to read stands as diagnostic lines before a result. The
kernel's own parser (tools/testing/kunit/kunit_parser.py) is stricter than the document here and looser there;
where that matters it is said.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reports import text
from reports.model import Result, Run, Suite, Verdict

INDENT = "  "

# Much of a flooded console, and yet the file stays one that a person can page through.
_LINES = 400

# kunit_parser.py stops for good at these words, wherever they stand in a line.
_END = re.compile("List of all partitions:|Kernel panic - not syncing: VFS:|reboot: System halted")


@dataclass
class _Node:
    """A test, or what holds several of them under one name."""

    result: Result | None = None
    children: "dict[str, _Node]" = field(default_factory=dict)

    def results(self) -> Iterator[Result]:
        if self.result is not None:
            yield self.result
        for child in self.children.values():
            yield from child.results()


def _quoted(given: str) -> str:
    """A clean line that no parser takes for the end of all."""
    return _END.sub(lambda match: match[0].replace(":", r"\x3a"), text.line(given))


def _name(given: str) -> str:
    """A description: no ``#``, for there the directive begins; and no dash first, which TAP leaves away."""
    return re.sub(r"^(?=:?-)", "_", _quoted(given).replace("#", r"\x23")) or "unnamed"


def _reason(given: str) -> str:
    """What follows a directive: kunit_parser.py takes the last ``# SKIP`` of a line for the directive."""
    return _quoted(given).replace("# ", r"\x23 ").rstrip("#").rstrip()


def _tree(suite: Suite) -> _Node:
    root = _Node()
    for result in suite.results:
        path, bracket, parameters = result.node_id.partition("[")
        scopes = [re.sub(r"\.py$", "", path.split("::")[0]).replace("/", "."), *path.split("::")[1:]]
        if bracket:
            scopes.append(parameters.removesuffix("]"))
        node = root
        for scope in scopes:
            node = node.children.setdefault(scope, _Node())
        if node.result is not None:  # the same test once more: nothing is to vanish
            node = node.children.setdefault(f"{len(node.children) + 1}", _Node())
        node.result = result
    return root


def _diagnosis(result: Result) -> Iterator[str]:
    """What there is to say of a test, each line under a word of ours, so that none looks like KTAP."""
    for attempt in result.attempts:
        yield f"earlier attempt: {attempt.verdict}: {attempt.message}"
    for note in result.notes:
        yield f"note: {note}"
    if result.verdict in (Verdict.PASS, Verdict.SKIP):
        return
    yield f"verdict: {result.verdict}"
    if result.clauses:
        yield f"clauses: {' '.join(result.clauses)}"
    if result.machine:
        yield f"machine: {result.machine}, generations: {' '.join(map(str, result.generations)) or 'none'}"
    for file in result.attachments:
        yield f"file: {file}"
    yield f"message: {result.message}"
    for word, told in (("detail", result.detail), ("console", result.console)):
        lines = told.splitlines()
        if len(lines) > _LINES:
            half = _LINES // 2
            lines = [*lines[:half], f"[{len(lines) - 2 * half} lines left out]", *lines[-half:]]
        yield from (f"{word}: {line}" for line in lines)


def _directive(result: Result) -> str:
    match result.verdict:
        case Verdict.PASS:
            return ""
        case Verdict.FAIL:
            # Not the bare message: one that begins with SKIP would be a directive.
            return f" # failure: {_reason(result.message)}".rstrip()
        case Verdict.DEVIATION:
            return f" # XFAIL {_reason(result.deviation)}".rstrip()
        case Verdict.SKIP:
            return f" # SKIP {_reason(result.message)}".rstrip()
        case Verdict.ERROR:
            return f" # ERROR {_reason(result.message)}".rstrip()


_BAD = (Verdict.FAIL, Verdict.ERROR)


def _lines(node: _Node, name: str, number: int, depth: int, told: tuple[str, ...] = ()) -> Iterator[str]:
    """A node and all below it; ``told`` are diagnostic lines for its head."""
    indent = INDENT * depth
    children = list(node.children.items())
    if children:
        inside = indent + INDENT
        yield f"{inside}KTAP version 1"
        yield f"{inside}# Subtest: {name}"
        yield from (f"{inside}# {_quoted(line)}" for line in told)
        if node.result is not None:  # a test whose name is also a scope
            children = [("itself", _Node(node.result)), *children]
        yield f"{inside}1..{len(children)}"
        # Of a child with its parent's name kunit_parser.py thinks that it is the parent's own result.
        taken = {name}
        for position, (child, below) in enumerate(children, 1):
            yield from _lines(below, text.unique(_name(child), taken), position, depth + 1)
        found = Counter(result.verdict for result in node.results())
        bad = any(found[verdict] for verdict in _BAD)
        skipped = " # SKIP" if set(found) == {Verdict.SKIP} else ""
        yield f"{indent}{'not ok' if bad else 'ok'} {number} {name}{skipped}"
    elif node.result is not None:
        result = node.result
        yield from (f"{indent}# {_quoted(line)}" for line in _diagnosis(result))
        outcome = "not ok" if result.verdict in _BAD else "ok"
        yield f"{indent}{outcome} {number} {name}{_directive(result)}"


def _document(run: Run) -> Iterator[str]:
    suites = run.complete()
    yield "KTAP version 1"
    yield f"1..{len(suites)}"
    taken: set[str] = set()
    for number, suite in enumerate(suites, 1):
        # None that reads like the head of a test.
        told = tuple(
            re.sub(r"^(?=\s*Subtest:)", "_", f"{name}: {value}") for name, value in suite.properties.items()
        )
        yield from _lines(_tree(suite), text.unique(_name(suite.name), taken), number, 0, told)
    yield from (f"# incident: {_quoted(incident)}" for incident in run.incidents)
    yield from (f"# stale: {_quoted(line)}" for line in run.stale)
    counts = Counter(result.verdict for suite in suites for result in suite.results)
    # The closing line of tools/testing/selftests/kselftest.h, ksft_print_cnts().
    yield (
        f"# Totals: pass:{counts[Verdict.PASS]} fail:{counts[Verdict.FAIL]} xfail:{counts[Verdict.DEVIATION]}"
        f" xpass:0 skip:{counts[Verdict.SKIP]} error:{counts[Verdict.ERROR]}"
    )


def render(run: Run, directory: Path) -> bytes:
    """The document."""
    return ("\n".join(_document(run)) + "\n").encode()
