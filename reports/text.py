# SPDX-License-Identifier: GPL-2.0-only
"""Text that a machine, a test or a user wrote, made fit for any report: legal characters, bounded length."""

import re

# libxml2, which reads JUnit in most CIs, refuses a text node above 10 MB; a flooded console has more.
TEXT_LIMIT = 256 * 1024
LINE_LIMIT = 1000

# Everything that is no Char in XML 1.0 (section 2.2), and the C1 controls, which it discourages. With lone
# surrogates it is also all that UTF-8 cannot hold, and with escapes all that a terminal would obey. And marks
# that change the direction of writing: they make a line look like another one.
_ILLEGAL = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


def clean(text: str) -> str:
    """``text`` with what XML cannot hold spelled out, so that a raw console byte stays readable."""
    return _ILLEGAL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


def block(text: str, limit: int = TEXT_LIMIT) -> str:
    """Clean multi-line text of bounded length; a long one keeps its two ends, where the cause mostly is."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return clean(text)


def line(text: str, limit: int = LINE_LIMIT) -> str:
    """Clean text of one line."""
    return clean(" ".join(text.split()))[:limit]


def unique(name: str, taken: set[str]) -> str:
    """``name``, numbered if it is taken; it is taken now."""
    given, number = name, 1
    while name in taken:
        number += 1
        name = f"{given} ({number})"
    taken.add(name)
    return name
