# SPDX-License-Identifier: GPL-2.0-only
"""Kernel specs: what is understood, and what is said of the rest."""

from pathlib import Path

import pytest

from kernel.errors import UsageError
from kernel.spec import VARIANTS, DebSpec, ImageSpec, TreeSpec, parse, variant, variants


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "linux").mkdir()
    for name in ("linux/Kconfig", "linux/Makefile", "bzImage", "config", "vmlinux", "fix.mbox"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_specs_are_understood(place: Path) -> None:
    assert parse("deb:7.3") == DebSpec("7.3")
    assert parse("deb:newest") == DebSpec("newest")
    # KHO without LUO: later tests want it
    assert parse("deb:6.18") == DebSpec("6.18")
    assert parse("tree:linux") == TreeSpec(place / "linux")
    assert parse(f"tree:{place}/linux,patch=fix.mbox") == TreeSpec(place / "linux", place / "fix.mbox")
    assert parse("image:bzImage") == ImageSpec(place / "bzImage")
    assert parse("image:bzImage,symbols=vmlinux,config=config") == ImageSpec(
        place / "bzImage", place / "config", place / "vmlinux"
    )


def test_configurations_are_variants_of_the_project_or_files(place: Path) -> None:
    assert parse("deb:7.3,config=no-memfd") == DebSpec("7.3", VARIANTS / "no-memfd.config")
    assert parse("deb:7.3,config=config") == DebSpec("7.3", place / "config")
    assert parse("tree:linux,config=no-memfd,patch=fix.mbox") == TreeSpec(
        place / "linux", place / "fix.mbox", VARIANTS / "no-memfd.config"
    )


@pytest.mark.usefixtures("place")
def test_a_variant_of_a_spec_is_a_spec() -> None:
    for name in variants():
        assert parse(variant("deb:7.3", name)) == DebSpec("7.3", VARIANTS / f"{name}.config")
    assert variant("tree:linux,patch=fix.mbox", "no-kho") == "tree:linux,patch=fix.mbox,config=no-kho"


@pytest.mark.parametrize(
    ("spec", "name", "message"),
    [
        ("image:bzImage", "no-kho", "image:bzImage is built already: it has no variants"),
        ("deb:7.3,config=config", "no-kho", "deb:7.3,config=config has a configuration of its own"),
        ("deb:7.3", "no-such", "no-such is neither a variant nor a file"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_has_no_such_variant_is_told(spec: str, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        variant(spec, name)


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("7.3", "'7.3' names no kernel", "deb:newest"),
        ("", "'' names no kernel", "deb:newest"),
        ("rpm:7.3", "'rpm:7.3' names no kernel", "tree:DIR"),
        ("deb:", "'deb:' names no kernel", "deb:7.3"),
        ("deb:7.3.4-1", "'deb:7.3.4-1' names no series of kernels", "a full one cannot be named"),
        ("deb:5.10", "Linux 5.10 has no LUO (since 6.19) and no KHO (since 6.16)", "deb:newest has both"),
        ("deb:7.3,patch=fix.mbox", "'deb:7.3,patch=fix.mbox' has the unknown setting 'patch=fix.mbox'", ""),
        ("tree:nowhere", "nowhere does not exist", "relative to the working directory"),
        ("tree:empty", "empty is not a kernel source tree", "no Kconfig and Makefile"),
        ("tree:linux,patch=no.mbox", "no.mbox does not exist", ""),
        ("tree:linux,patsh=x", "'tree:linux,patsh=x' has the unknown setting 'patsh=x'", "patch=FILE"),
        ("image:linux", "linux is not a file", ""),
        ("deb:7.3,config=no-such", "no-such is neither a variant nor a file", "no-memfd"),
        ("deb:7.3,config=../x86_64", "../x86_64 is neither a variant nor a file", "no-memfd"),
        ("tree:linux,patch=fix.mbox,patch=fix.mbox",
         "'tree:linux,patch=fix.mbox,patch=fix.mbox' sets patch twice", ""),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("place")
def test_wrong_specs_get_one_sentence_and_a_hint(spec: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert caught.value.message == message
    assert hint in caught.value.hint
    assert caught.value.exit_status == 4
