# SPDX-License-Identifier: GPL-2.0-only
"""Tables for a terminal and for Markdown."""

from collections.abc import Sequence


def text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as what is in them, two spaces apart; the last one takes what it needs."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A pipe table; what would end a cell is escaped."""
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
