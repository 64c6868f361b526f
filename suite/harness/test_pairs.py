# SPDX-License-Identifier: GPL-2.0-only
"""What is made of a handover between two kernels, and the tables of all of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from suite.child import directory_of
from suite.matrix import __main__ as command
from suite.matrix import pairs
from suite.matrix.pairs import Pair
from suite.releases.sighting import Outcome, Sighting, Witness

TAKEN = Sighting(
    ("7.2.13", "7.3.4"),
    written=("kho-v4", "luo-v5"),
    understood=("luo-v5",),
    retrieved="",
    differences=(),
    inherited=True,
    log=("KHO: found kexec handover data.", "luo: Retrieved live update data, liveupdate number: 1"),
)
REFUSED = replace(
    TAKEN,
    releases=("7.1.13", "7.3.4"),
    written=("kho-v3", "luo-v1"),
    understood=("kho-v4", "luo-v5"),
    retrieved="ENOENT",
    inherited=False,
    log=(
        "KHO: setup: handover FDT (0x12c800000) is incompatible with 'kho-v4': 1",
        "KHO: disabling KHO revival",
    ),
)


def test_everything_taken_is_handed_over() -> None:
    assert TAKEN.outcome is Outcome.HANDED_OVER


def test_everything_refused_with_its_line_is_clean() -> None:
    assert REFUSED.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    "half",
    [
        replace(TAKEN, differences=("size of file 0x7 is 1, it was 2",)),
        replace(TAKEN, retrieved="ENOENT"),
        replace(TAKEN, log=TAKEN.log[:1]),
        replace(TAKEN, log=(*TAKEN.log, *REFUSED.log)),
        replace(REFUSED, retrieved=""),
        replace(REFUSED, retrieved="EIO"),
        replace(REFUSED, inherited=True),
        replace(REFUSED, log=()),
        replace(REFUSED, log=(*TAKEN.log, *REFUSED.log)),
    ],
    ids=lambda sighting: f"{sighting.retrieved}-{len(sighting.log)}-{sighting.inherited}",
)
def test_what_is_neither_is_broken(half: Sighting) -> None:
    assert half.outcome is Outcome.BROKE


@pytest.mark.parametrize(
    ("written", "understood", "same"),
    [
        (("kho-v4", "luo-v5"), ("kho-v4", "luo-v5"), True),
        (("kho-v3", "luo-v1"), ("kho-v4", "luo-v5"), False),
        (("kho-v4", "luo-v4"), ("kho-v4", "luo-v5"), False),
        # A kernel that was handed something does not tell KHO's version.
        (("kho-v4", "luo-v5"), ("luo-v5",), None),
        (("kho-v4", "luo-v4"), ("luo-v5",), False),
    ],
)
def test_versions_are_the_same_where_both_tell_the_same(
    written: tuple[str, ...], understood: tuple[str, ...], same: bool | None
) -> None:
    assert replace(TAKEN, written=written, understood=understood).same_abi is same


def test_a_witness_keeps_what_it_was_told_in_order(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    assert witness.read() == ()
    for sighting in (TAKEN, REFUSED):
        witness.note(sighting)
    assert witness.read() == [TAKEN, REFUSED]
    witness.forget()
    witness.forget()
    assert witness.read() == ()


def test_every_ordered_pair_is_there_and_the_last_kernel_has_its_variants() -> None:
    specs = ["deb:7.2", "deb:7.3"]
    all_pairs = pairs.of(specs)
    assert [(pair.old, pair.new) for pair in all_pairs] == [
        ("deb:7.2", "deb:7.2"),
        ("deb:7.2", "deb:7.3"),
        ("deb:7.3", "deb:7.2"),
        ("deb:7.3", "deb:7.3"),
    ]
    paths = [pairs.tests_of(pair, specs)[-1] for pair in all_pairs]
    assert paths == ["suite/releases/test_pairs.py"] * 3 + ["suite/releases"]


def test_a_pair_tells_the_gravest_of_what_was_seen_on_each_way() -> None:
    there_and_back = [
        TAKEN,
        replace(TAKEN, releases=("7.2.13", "7.3.4", "7.3.4")),
        replace(REFUSED, releases=("7.2.13", "7.3.4", "7.2.13")),
    ]
    pair = Pair("deb:7.2", "deb:7.3", 0, tuple(there_and_back))
    assert (pair.outcome(), pair.onward(), pair.outcome(back=True)) == (
        "handed over",
        "handed over",
        "refused cleanly",
    )
    worse = replace(pair, sightings=(*pair.sightings, replace(TAKEN, retrieved="EIO")))
    assert worse.outcome() == "broke"
    assert (pair.release(0), pair.release(1)) == ("7.2.13", "7.3.4")
    unseen = Pair("deb:7.2", "deb:7.3")
    assert (unseen.outcome(), unseen.release(1)) == ("?", "deb:7.3")


def test_the_tables_are_made_of_reports_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pairs", "--no-run", "--report-dir", str(tmp_path), "deb:7.1", "deb:7.3"]
    directory = directory_of(Pair("deb:7.1", "deb:7.3").name, tmp_path)
    directory.mkdir()
    Witness(directory).note(REFUSED)
    assert command.main(arguments) == 3  # there are no results of any run
    told = capsys.readouterr().out
    assert f"Report: {tmp_path / 'pairs.md'}" in told
    table = (tmp_path / "pairs.md").read_text()
    assert "| 7.1.13 | ? | refused cleanly |" in table
    assert "incompatible with 'kho-v4'" in table
    assert "deb:7.1 → deb:7.1 (exit status 3)" in table
