# SPDX-License-Identifier: GPL-2.0-only
"""Coverage as pages to read: an index, the error paths, and one page for each source file.

Each page holds all it needs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

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
    """The pages by the names of their files, which refer to each other."""
    made = {INDEX: _page("Coverage", _index(found)), PATHS: _page("Error paths", _paths(found))}
    for file in found.files:
        made[page_of(file.name)] = _page(file.name, _file(file, found.paths_at(file.name)))
    return made


def page_of(file: str) -> str:
    return file.replace("/", "-") + ".html"


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
        yield f"<tr><th>{escape(name)}<td>{escape(value)}"
    yield "</table><h2>Files</h2><table>"
    yield "<tr>" + "".join(f"<th{_number(column)}>{name}" for column, name in enumerate(coverage.HEADER))
    rows = coverage.table(found.files)
    for file, row in zip([*found.files, None], rows, strict=True):
        name = escape(row[0])
        first = f'<a href="{page_of(file.name)}">{name}</a>' if file else name
        yield f"<tr><td>{first}" + "".join(f'<td class="n">{cell}' for cell in row[1:])
    yield "</table>"
    if found.remarks:
        yield "<h2>Unreachable lines that are not</h2><ul>"
        yield from (f"<li>{escape(remark)}" for remark in found.remarks)
        yield "</ul>"
    yield "<h2>Missed functions and lines</h2><table><tr><th>file<th>function<th>lines<th>error paths"
    for file in found.files:
        at = found.paths_at(file.name)
        for function, lines in _by_function(file).items():
            paths = {path.number: path for line in lines for path in at.get(line, ())}
            there = f'<a href="{page_of(file.name)}#L{lines[0]}">{escape(function)}</a>'
            numbers = coverage.stretches(lines)
            yield f"<tr><td>{escape(file.name)}<td>{there}<td>{numbers}<td>{_links(paths.values())}"
    yield "</table>"
    if found.paths:
        counts = Counter(found.state(path) for path in found.paths)
        told = ", ".join(f"{number} {state}" for state, number in counts.most_common())
        yield f'<p>{len(found.paths)} <a href="{PATHS}">error paths</a>: {told}.'


def _number(column: int) -> str:
    return ' class="n"' if column else ""


def _by_function(file: FileCoverage) -> dict[str, list[int]]:
    missed: dict[str, list[int]] = {}
    for line in file.of(State.MISSED):
        missed.setdefault(file.function(line), []).append(line)
    return missed


def _links(paths: Iterable[ErrorPath]) -> str:
    def link(path: ErrorPath) -> str:
        title = escape(f"{path.result}: {path.condition}")
        return f'<a href="{PATHS}#path{path.number}" title="{title}">#{path.number}</a>'

    return ", ".join(map(link, paths))


def _paths(found: Coverage) -> Iterator[str]:
    columns = ("#", "place", "function", "result", "condition", "kind", "method", "cheapest way", "here")
    yield f'<h1>Error paths</h1><p><a href="{INDEX}">All files</a><table>'
    yield "<tr>" + "".join(f"<th>{column}" for column in columns)
    for path in found.paths:
        state = found.state(path)
        place = escape(path.file.rpartition("/")[2])
        if path.lines:
            place += f":{coverage.stretches(path.lines)}"
            place = f'<a href="{page_of(path.file)}#L{path.lines[0]}">{place}</a>'
        said = (path.function, path.result, path.condition, path.kind, path.method, path.way)
        cells = "".join(f"<td>{escape(cell)}" for cell in said)
        number = f'<tr id="path{path.number}"><td class="n">{path.number}'
        yield f'{number}<td>{place}{cells}<td class="{state}">{state}'
    yield "</table>"


def _file(file: FileCoverage, paths: Mapping[int, Sequence[ErrorPath]]) -> Iterator[str]:
    row = coverage.table([file])[0]
    yield f'<h1>{escape(file.name)}</h1><p><a href="{INDEX}">All files</a>. {row[1]} lines have code:'
    yield f"{row[2]} reached ({row[3]}), {row[4]} unreachable, {row[5]} missed."
    yield "Beside a line: how many machines executed it."
    yield '<table class="source">'
    for line, text in enumerate(file.text, 1):
        state = file.states.get(line)
        count = file.counts.get(line, "")
        missed = state in (State.MISSED, State.UNREACHABLE)
        links = _links(paths.get(line, ())) if missed else ""
        why = ""
        if state is State.UNREACHABLE:
            why = f' <span class="why">{escape(file.unreachable[line])}</span>'
        numbers = f'<td class="n">{line}<td class="n">{count}<td class="p">{links}'
        yield f'<tr id="L{line}" class="{state or ""}">{numbers}<td>{escape(text)}{why}'
    yield "</table>"
