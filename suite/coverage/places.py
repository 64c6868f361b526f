# SPDX-License-Identifier: GPL-2.0-only
"""Where lines that are known by their text stand in the source of some release."""

from collections.abc import Sequence

from kernel.lines import SourceFile


def within(
    file: SourceFile, text: Sequence[str], function: str, lines: Sequence[str], after: str
) -> list[int]:
    """The numbers of ``lines`` of a function, in this order, the first one behind ``after`` if that is given.

    No lines are all of the function. Indentation does not matter. Raises LookupError, with a sentence, for
    what does not stand there and for what could be in more than one place.
    """
    extent = file.extent(function)
    if not extent:
        raise LookupError(f"{file.name} has no function {function}")
    if not lines:
        return list(extent)
    at = {number: text[number - 1].strip() for number in extent}
    start = extent.start
    if after:
        start = _only(at, after, function) + 1
    found: list[int] = []
    for wanted in lines:
        if not after and not found:
            found.append(_only(at, wanted, function))
            continue
        nearest = next((n for n in at if n >= (found[-1] + 1 if found else start) and at[n] == wanted), None)
        if nearest is None:
            raise LookupError(f"{function}() has no line {wanted!r} there")
        found.append(nearest)
    return found


def _only(at: dict[int, str], wanted: str, function: str) -> int:
    found = [number for number, text in at.items() if text == wanted]
    if len(found) != 1:
        raise LookupError(f"{function}() has {len(found) or 'no'} lines {wanted!r}")
    return found[0]


def nearest(
    file: SourceFile, text: Sequence[str], functions: Sequence[str], wanted: str, line: int
) -> int | None:
    """The line of one of the functions that reads ``wanted``, of several the one nearest to ``line``."""
    found = [
        number
        for function in functions
        for number in file.extent(function)
        if number <= len(text) and text[number - 1].strip() == wanted
    ]
    return min(found, key=lambda number: abs(number - line), default=None)
