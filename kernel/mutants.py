# SPDX-License-Identifier: GPL-2.0-only
"""Mutants: a kernel with many faults built in, one of which is chosen on its command line.

A test that was never seen to fail proves nothing. Each entry of ``configs/mutants/*.yaml`` breaks a promise
in a copy of a kernel tree: it replaces a piece of text. Where ``MUTANT`` stands in the new text, the kernel
asks whether this fault was chosen by ``luo_mutant=ID``. So one build serves all of them:

* ``id``: what the command line names;
* ``breaks``: the clauses whose tests have to notice;
* ``file``: a source file of the kernel;
* ``old``: text that stands there once, or once behind the text ``after``;
* ``new``: what takes its place; ``{old}`` in it is the old text;
* ``config``: the variant of the kernel in which it breaks something, where the kernel as built by default
  knows nothing of it;
* ``since`` and ``until``: the releases whose source it fits, both included.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

from kernel import cache, entries
from kernel.entries import RELEASE, TEXT
from kernel.errors import LuoCtsError
from kernel.source import from_debian
from kernel.spec import DebSpec, variants
from kernel.window import Window

DIRECTORY = Path(__file__).parents[1] / "configs" / "mutants"

# Where the choice is kept: built in always, for a variant without LUO may have mutants as well.
_HOME = "kernel/reboot.c"

_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "breaks", "file", "old", "new"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": r"^[a-z0-9]+([.-][a-z0-9]+)*$"},
            "breaks": {"type": "array", "minItems": 1, "items": TEXT},
            "file": {"type": "string", "pattern": r"^[\w./-]+$"},
            "after": TEXT,
            "old": TEXT,
            "new": {"type": "string", "pattern": r"\bMUTANT\b"},
            "config": {"enum": variants()},
            "since": RELEASE,
            "until": RELEASE,
        },
    },
}


@dataclass(frozen=True)
class Mutant:
    """One fault, and the clauses it breaks."""

    id: str
    breaks: tuple[str, ...]
    file: str
    old: str
    new: str
    after: str = ""
    config: str = ""
    releases: Window = field(default_factory=Window)


def load(directory: Path = DIRECTORY) -> list[Mutant]:
    """All mutants of all files; raises ValueError for a broken file and for an id used twice."""
    mutants = []
    for entry in entries.read(sorted(directory.glob("*.yaml")), _SCHEMA, "mutants"):
        releases = Window(entry.pop("since", None), entry.pop("until", None))
        breaks = tuple(entry.pop("breaks"))
        mutants.append(Mutant(**entry, breaks=breaks, releases=releases))
    return mutants


def mutate(text: str, mutant: Mutant, number: int) -> str:
    """``text`` with the mutant in it; raises LuoCtsError where its place is not found, or found twice."""
    start = text.find(mutant.after) + len(mutant.after) if mutant.after else 0
    if mutant.after and text.count(mutant.after) != 1:
        times = text.count(mutant.after)
        raise LuoCtsError(f"mutant {mutant.id}: 'after' stands {times} times in {mutant.file}")
    found = text.count(mutant.old, start)
    # Behind "after" the nearest counts; without it there may be only one.
    if found == 0 or (found > 1 and not mutant.after):
        raise LuoCtsError(f"mutant {mutant.id}: 'old' stands {found} times in {mutant.file}")
    at = text.index(mutant.old, start)
    new = mutant.new.replace("{old}", mutant.old)
    new = re.sub(r"\bMUTANT\b", f"unlikely(luo_mutant == {number})", new)
    return text[:at] + new + text[at + len(mutant.old) :]


def infest(tree: Path, mutants: Sequence[Mutant]) -> dict[str, str]:
    """The files of ``tree`` that mutants change, with all of them in; LuoCtsError where one does not fit."""
    changed: dict[str, str] = {}
    for number, mutant in enumerate(mutants, 1):
        if mutant.file not in changed:
            if not (tree / mutant.file).is_file():
                raise LuoCtsError(f"mutant {mutant.id}: there is no {mutant.file}")
            changed[mutant.file] = (tree / mutant.file).read_text(encoding="utf-8")
        changed[mutant.file] = mutate(changed[mutant.file], mutant, number)
    for name in changed:
        changed[name] = _declared(changed[name])
    home = changed.get(_HOME) or (tree / _HOME).read_text(encoding="utf-8")
    changed[_HOME] = home + _choice(mutants)
    return changed


def _declared(text: str) -> str:
    """With the variable known: before the first include, for what is included may be a mutant itself."""
    return text.replace("#include", "extern int luo_mutant;\n\n#include", 1)


def _choice(mutants: Iterable[Mutant]) -> str:
    names = "".join(f'\t"{mutant.id}",\n' for mutant in mutants)
    return f"""
int luo_mutant;

static const char *const luo_mutants[] = {{
{names}}};

static int __init luo_choose_mutant(char *buf)
{{
	for (int i = 0; i < ARRAY_SIZE(luo_mutants); i++)
		if (!strcmp(buf, luo_mutants[i]))
			luo_mutant = i + 1;
	pr_notice("mutant %s is %d\\n", buf, luo_mutant);
	return luo_mutant ? 0 : -EINVAL;
}}
early_param("luo_mutant", luo_choose_mutant);
"""


def patch(tree: Path, mutants: Sequence[Mutant]) -> str:
    """What puts the mutants into ``tree``, as a diff."""
    rows: list[str] = []
    for name, text in infest(tree, mutants).items():
        old = (tree / name).read_text(encoding="utf-8").splitlines(keepends=True)
        new = text.splitlines(keepends=True)
        rows += unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(rows)


def spec(series: str, mutants: Sequence[Mutant], overlay: str = "") -> str:
    """The kernel spec of a Debian series with those of the mutants in it that fit its release.

    ``overlay`` is added too, for clauses that need it.
    """
    origin = from_debian(DebSpec(series))
    fitting = [mutant for mutant in mutants if mutant.releases.holds(str(origin.release))]
    text = patch(origin.tree, fitting)
    file = cache.root() / "mutants" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.patch"
    cache.write(file, text)
    return f"tree:{origin.tree},patch={file}" + (f",overlay={overlay}" if overlay else "")
