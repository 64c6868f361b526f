# SPDX-License-Identifier: GPL-2.0-only
"""Kernel configurations: fragments of what is asked for, and what Kconfig made of them.

A fragment is a .config file in which every option has a reason in the comment above it. A reason may begin
with ``since X.Y:`` or ``until X.Y:`` (the last release): the option is asked for in these releases alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernel.errors import LuoCtsError, UsageError
from kernel.release import KernelRelease

_LINE = re.compile(r"CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set")
_RANGE = re.compile(r"# (since|until) (\d+\.\d+):")


@dataclass(frozen=True)
class Option:
    """One line of a fragment."""

    name: str  # without CONFIG_
    value: str  # "n" for "is not set"
    where: str  # file:line
    since: KernelRelease | None = None
    until: KernelRelease | None = None

    def applies_to(self, release: KernelRelease) -> bool:
        return (self.since is None or release.series >= self.since.series) and (
            self.until is None or release.series <= self.until.series
        )

    def __str__(self) -> str:
        return line(self.name, self.value)


def line(name: str, value: str) -> str:
    return f"# CONFIG_{name} is not set" if value == "n" else f"CONFIG_{name}={value}"


def parse(text: str) -> dict[str, str]:
    """Options and values of a .config; what is not set is not in it."""
    values = {}
    for row in text.splitlines():
        if (match := _LINE.fullmatch(row)) and match.group(1):
            values[match.group(1)] = match.group(2)
    return values


def read_fragment(path: Path) -> list[Option]:
    """Raises UsageError for a line that is neither an option nor a comment."""
    options: list[Option] = []
    bounds: dict[str, KernelRelease] = {}
    for number, row in enumerate(path.read_text().splitlines(), start=1):
        where = f"{path.name}:{number}"
        if match := _LINE.fullmatch(row.rstrip()):
            name = match.group(1) or match.group(3)
            options.append(
                Option(name, match.group(2) or "n", where, bounds.get("since"), bounds.get("until"))
            )
            bounds = {}
        elif match := _RANGE.match(row):
            bounds[match.group(1)] = KernelRelease.parse(match.group(2))
        elif row.strip() and not row.startswith("#"):
            raise UsageError(
                f"{where} is no line of a kernel configuration: {row.strip()}",
                "CONFIG_X=y, or # CONFIG_X is not set",
            )
    return options


def merge(fragments: Iterable[Path], release: KernelRelease) -> list[Option]:
    """What the fragments ask of this release. Raises UsageError when two of them contradict each other."""
    merged: dict[str, Option] = {}
    for path in fragments:
        for option in read_fragment(path):
            if not option.applies_to(release):
                continue
            before = merged.setdefault(option.name, option)
            if before.value != option.value:
                raise UsageError(
                    f"{option.where} asks for {option}, and {before.where} for {before}",
                    "two fragments must not contradict each other",
                )
    return list(merged.values())


def override(options: Iterable[Option], by: Iterable[Option]) -> list[Option]:
    """``options``, but where ``by`` has another wish for one of them, that."""
    return list({option.name: option for option in [*options, *by]}.values())


def verify(asked: Iterable[Option], resolved: Mapping[str, str], tree: Path, kernel_arch: str) -> None:
    """Raises LuoCtsError that names every option that Kconfig did not grant, and what stands against it."""
    dropped = [option for option in asked if resolved.get(option.name, "n") != option.value]
    if not dropped:
        return
    blocks = _definitions(tree, kernel_arch, {option.name for option in dropped})
    reasons = [_reason(option, blocks, resolved) for option in dropped]
    hint = "; ".join(f"{option.where}: {reason}" for option, reason in zip(dropped, reasons, strict=True))
    raise LuoCtsError(f"this kernel cannot be configured with {', '.join(map(str, dropped))}", hint)


@dataclass(frozen=True)
class _Definition:
    name: str
    depends: tuple[str, ...]
    selects: tuple[str, ...]


def _reason(option: Option, blocks: list[_Definition], resolved: Mapping[str, str]) -> str:
    if option.value == "n":
        selecting = [b.name for b in blocks if option.name in b.selects and resolved.get(b.name, "n") != "n"]
        if selecting:
            return f"{option.name} is selected by {', '.join(selecting)}"
        return f"{option.name} cannot be switched off"
    own = [block for block in blocks if block.name == option.name]
    if not own:
        return f"no Kconfig file of the tree has {option.name}"
    depends = " && ".join(f"({d})" if "||" in d else d for block in own for d in block.depends)
    if not depends:
        return f"{option.name} is set by other options ({line(option.name, resolved.get(option.name, 'n'))})"
    symbols = dict.fromkeys(re.findall(r"\b[A-Z0-9_]{2,}\b", depends))
    values = ", ".join(f"{symbol}={resolved.get(symbol, 'n')}" for symbol in symbols)
    return f"{option.name} depends on {depends} (here {values})"


def _definitions(tree: Path, kernel_arch: str, names: set[str]) -> list[_Definition]:
    """The Kconfig entries of the options, and those that select them, read as text."""
    found: list[_Definition] = []
    for path in sorted(tree.rglob("Kconfig*")):
        parts = path.relative_to(tree).parts
        if parts[0] in ("Documentation", "scripts", "tools") or (
            parts[0] == "arch" and len(parts) > 2 and parts[1] != kernel_arch
        ):
            continue
        text = path.read_text(errors="replace")
        if any(name in text for name in names):
            found += [d for d in _entries(text) if d.name in names or names.intersection(d.selects)]
    return found


def _entries(text: str) -> Iterator[_Definition]:
    """Entries of one Kconfig file with their own dependencies and those of the ``if`` blocks around them."""
    ifs: list[str] = []
    name, depends, selects = "", [], []  # type: str, list[str], list[str]
    for row in [*text.replace("\\\n", " ").splitlines(), "endmenu"]:
        words = row.split()
        if not words or words[0].startswith("#"):
            continue
        keyword, rest = words[0], " ".join(words[1:])
        opens = keyword in ("config", "menuconfig")
        if opens or keyword in ("if", "endif", "menu", "endmenu", "choice", "endchoice", "source", "comment"):
            if keyword == "if" and row[0].isspace():
                continue  # a word of a help text
            if name:
                yield _Definition(name, (*ifs, *depends), tuple(selects))
            name, depends, selects = (words[1] if opens and len(words) > 1 else ""), [], []
            if keyword == "if":
                ifs.append(rest)
            elif keyword == "endif" and ifs:
                ifs.pop()
        elif name and rest.startswith("on ") and keyword == "depends":
            depends.append(rest.removeprefix("on "))
        elif name and keyword in ("select", "imply") and len(words) > 1:
            selects.append(words[1])
