# SPDX-License-Identifier: GPL-2.0-only
"""Kernel releases: parsing and order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.release import FIRST_WITH_LUO, KernelRelease


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("7.3.4", (7, 3, 4, None)),
        ("7.3.0-rc7+", (7, 3, 0, 7)),
        ("6.19.0-rc3-next-20260101-dirty", (6, 19, 0, 3)),
        ("7.3", (7, 3, 0, None)),
        ("7.3~rc7-1~exp1", (7, 3, 0, 7)),
        ("6.12.43+deb13-amd64", (6, 12, 43, None)),
    ],
)
def test_release_parts(text: str, parts: tuple[int, int, int, int | None]) -> None:
    release = KernelRelease.parse(text)
    assert (release.major, release.minor, release.patch, release.rc) == parts
    assert str(release) == text


@pytest.mark.parametrize("text", ["", "next", "v7.3", "7"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no kernel release"):
        KernelRelease.parse(text)


def test_releases_are_ordered_by_age() -> None:
    before_luo = ["5.10.0", "6.9.1", "6.16", "6.19.0-rc3-next-20260101", "6.19.0-rc8"]
    oldest_first = [*before_luo, "6.19", "6.19.14", "7.3.0-rc10", "7.3.0"]
    newest_first = [KernelRelease.parse(text) for text in reversed(oldest_first)]
    assert [str(release) for release in sorted(newest_first)] == oldest_first
    assert [text for text in oldest_first if KernelRelease.parse(text) < FIRST_WITH_LUO] == before_luo


_numbers = st.integers(0, 99)
_releases = st.builds(KernelRelease, _numbers, _numbers, _numbers, st.none() | st.integers(1, 9))


@given(_releases, _releases)
def test_order_is_total_and_text_keeps_it(one: KernelRelease, other: KernelRelease) -> None:
    assert (one < other) + (one == other) + (one > other) == 1
    assert KernelRelease.parse(str(one)) == one
