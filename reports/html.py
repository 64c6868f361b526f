# SPDX-License-Identifier: GPL-2.0-only
"""Pages from templates: every value is escaped, and a page holds all it needs.

A page obeys no style and no script but its own, whose hashes stand in its content security policy, and loads
nothing: what a console printed stays text.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).with_name("templates")

# What HTML cannot hold: controls, surrogates and noncharacters, see https://html.spec.whatwg.org/#parse-errors.
# And marks that change the direction of writing: they make a line look like another one.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)


def plain(text: str) -> str:
    """``text`` with what a page cannot hold, or would not show, spelled out."""
    return _UNSEEN.sub(_spelled, text.replace("\r\n", "\n"))


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _shown(value: object) -> object:
    return value if isinstance(value, Markup) else plain(str(value))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
    }
    return environment


def _hash(text: str) -> str:
    """As https://www.w3.org/TR/CSP3/#grammardef-hash-source has it."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def render(template: str, **values: Any) -> str:
    """The page that ``template``, a file of templates/, makes of ``values``."""
    return _environment().get_template(template).render(values)
