# SPDX-License-Identifier: GPL-2.0-only
"""Coverage as pages to read: an index, the error paths, and one page for each source file.

Each page holds all it needs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from urllib.parse import quote

from reports import coverage
from reports.coverage import Coverage, ErrorPath, FileCoverage, State

INDEX = "index.html"
PATHS = "error-paths.html"

_STYLE = """\
:root { color-scheme: light dark; --dim: #767676; }
:root { --reached: #e3f4e3; --missed: #fbdcdc; --unreachable: #fdf0cd; }
@media (prefers-color-scheme: dark) {
  :root { --reached: #17331b; --missed: #51201f; --unreachable: #453712; }
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 80em; padding: 0 1em; }
table { border-collapse: collapse; }
th, td { padding: .2em .7em; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.source { font: 13px/1.4 ui-monospace, monospace; width: 100%; }
.source td { border: 0; padding: 0 .6em; white-space: pre-wrap; tab-size: 8; }
.source td.n, .source td.p { color: var(--dim); white-space: nowrap; }
.reached { background: var(--reached); } .missed { background: var(--missed); }
.unreachable, .partly { background: var(--unreachable); }
:target { outline: 2px solid; }
.why { font: italic 13px system-ui, sans-serif; color: var(--dim); }
"""


def pages(found: Coverage) -> dict[str, str]:
    """The pages, which refer to each other, by their paths below a directory for them alone."""
    made = {INDEX: _page("Coverage", _index(found)), PATHS: _page("Error paths", _paths(found))}
    for file in found.files:
        made[page_of(file.name)] = _page(file.name, _file(file, found.paths_at(file.name)))
    return made


def page_of(file: str) -> str:
    return f"{file}.html"


def _page(title: str, body: Iterable[str]) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>\n{_STYLE}</style>'
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        f"<head>{head}</head>",
        "<body>",
        *body,
        "</body>",
        "</html>",
    )
    return "".join(f"{line}\n" for line in lines)


def _index(found: Coverage) -> Iterator[str]:
    yield "<h1>Lines of the kernel that the suite executed</h1><table>"
    for name, value in found.properties.items():
        yield f"<tr><th>{escape(name)}<td>{escape(value)}</tr>"
    yield "</table><h2>Files</h2><table>"
    yield "<tr>" + "".join(f"<th{_number(column)}>{name}" for column, name in enumerate(coverage.HEADER))
    rows = coverage.table(found.files)
    for file, row in zip([*found.files, None], rows, strict=True):
        first = _at(file.name, row[0]) if file else row[0]
        yield f"<tr><td>{first}" + "".join(f'<td class="n">{cell}' for cell in row[1:]) + "</tr>"
    yield "</table>"
    if found.paths:
        yield f'<p>{coverage.tally(found)}: <a href="{PATHS}">all of them</a>.'
    if found.remarks:
        yield "<h2>What is wrong with the list of unreachable lines</h2><ul>"
        yield from (f"<li>{escape(remark)}" for remark in found.remarks)
        yield "</ul>"
    yield "<h2>Missed functions and lines</h2><table><tr><th>file<th>function<th>lines<th>error paths"
    for file in found.files:
        at = found.paths_at(file.name)
        for function, lines in _by_function(file).items():
            paths = {path.number: path for line in lines for path in at.get(line, ())}
            there = _at(file.name, function or "outside", lines[0])
            numbers = coverage.stretches(lines)
            yield f"<tr><td>{escape(file.name)}<td>{there}<td>{numbers}<td>{_links(paths.values())}</tr>"
    yield "</table>"


def _number(column: int) -> str:
    return ' class="n"' if column else ""


def _at(file: str, text: str, line: int | None = None) -> str:
    """A link from one of the pages at the top to a file's."""
    place = quote(page_of(file)) + (f"#L{line}" if line else "")
    return f'<a href="{place}">{escape(text)}</a>'


def _by_function(file: FileCoverage) -> dict[str, list[int]]:
    missed: dict[str, list[int]] = {}
    for line in file.of(State.MISSED):
        missed.setdefault(file.function(line), []).append(line)
    return missed


def _links(paths: Iterable[ErrorPath], up: str = "") -> str:
    """Links to error paths; ``up`` leads from the page they are on to the top."""

    def link(path: ErrorPath) -> str:
        title = escape(f"{path.result}: {path.condition}")
        return f'<a href="{up}{PATHS}#path{path.number}" title="{title}">#{path.number}</a>'

    return ", ".join(map(link, paths))


def _paths(found: Coverage) -> Iterator[str]:
    columns = (
        "#",
        "place",
        "function",
        "result",
        "condition",
        "kind",
        "method",
        "cheapest way",
        "tests",
        "here",
    )
    yield f'<h1>Error paths</h1><p><a href="{INDEX}">All files</a>. {coverage.tally(found)}.<table>'
    yield "<tr>" + "".join(f"<th>{column}" for column in columns)
    for path in found.paths:
        state = found.state(path)
        place = path.file.rpartition("/")[2]
        if path.lines:
            place = _at(path.file, f"{place}:{coverage.stretches(path.lines)}", path.lines[0])
        else:
            place = escape(place)
        said = (path.function, path.result, path.condition, path.kind, path.method, path.way)
        cells = "".join(f"<td>{escape(cell)}" for cell in said)
        tests = "<br>".join(map(escape, path.tests or ([path.why] if path.why else [])))
        number = f'<tr id="path{path.number}"><td class="n">{path.number}'
        yield f'{number}<td>{place}{cells}<td>{tests}<td class="{state.split()[0]}">{state}</tr>'
    yield "</table>"


def _file(file: FileCoverage, paths: Mapping[int, Sequence[ErrorPath]]) -> Iterator[str]:
    row = coverage.table([file])[0]
    up = "../" * file.name.count("/")
    yield f'<h1>{escape(file.name)}</h1><p><a href="{up}{INDEX}">All files</a>. {row[1]} lines have code:'
    yield f"{row[2]} reached ({row[3]}), {row[4]} unreachable, {row[5]} missed."
    yield "Beside a line: how many machines executed it."
    yield '<table class="source">'
    for line, text in enumerate(file.text, 1):
        state = file.states.get(line)
        count = file.counts.get(line, "")
        missed = state in (State.MISSED, State.UNREACHABLE)
        links = _links(paths.get(line, ()), up) if missed else ""
        why = ""
        if state is State.UNREACHABLE:
            why = f' <span class="why">{escape(file.unreachable[line])}</span>'
        shown = f' class="{state}"' if state else ""
        numbers = f'<td class="n">{line}<td class="n">{count}<td class="p">{links}'
        yield f'<tr id="L{line}"{shown}>{numbers}<td>{escape(text)}{why}</tr>'
    yield "</table>"
