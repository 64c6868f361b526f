# SPDX-License-Identifier: GPL-2.0-only
"""Overlays: what a spec says of them, what they make of a tree, and which trees take none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernel import mutants, overlay, source
from kernel.errors import UsageError
from kernel.mutants import load
from kernel.source import release_of
from kernel.spec import OVERLAYS, VARIANTS, DebSpec, ImageSpec, TreeSpec, overlay_of, overlays, parse

ROOT = Path(__file__).parents[2]
PROVIDER = OVERLAYS / "provider"
HOME = Path("kernel/liveupdate")

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path, kernel_tree: Path) -> Path:
    """As much of the default kernel's tree as mutants and overlay change."""
    tree = tmp_path / "linux"
    names = {
        "Makefile",
        "Kconfig",
        *(str(path.relative_to(kernel_tree)) for path in (kernel_tree / HOME).iterdir()),
    }
    for name in names | {mutant.file for mutant in load()}:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kernel_tree / name, tree / name)
    return tree


def state(tree: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in tree.rglob("*") if path.is_file()
    }


# Specs


def test_the_provider_is_one() -> None:
    assert overlays() == ["provider"]


def test_specs_with_an_overlay_are_understood(tree: Path) -> None:
    assert parse("deb:7.3,overlay=provider") == DebSpec("7.3", overlay=PROVIDER)
    assert parse("deb:7.3,config=no-memfd,overlay=provider") == DebSpec(
        "7.3", VARIANTS / "no-memfd.config", PROVIDER
    )
    assert parse(f"tree:{tree},overlay=provider") == TreeSpec(tree, overlay=PROVIDER)


@pytest.mark.parametrize(
    "spec", ["deb:7.3,overlay=no-such", "deb:7.3,overlay=../overlay", "deb:7.3,overlay="]
)
def test_what_is_no_overlay_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert "is no overlay" in caught.value.message
    assert "provider" in caught.value.hint


def test_images_take_none(tmp_path: Path) -> None:
    (tmp_path / "bzImage").touch()
    with pytest.raises(UsageError, match="has the unknown setting 'overlay=provider'"):
        parse(f"image:{tmp_path}/bzImage,overlay=provider")


def test_overlay_of_a_spec_is_told(tmp_path: Path) -> None:
    (tmp_path / "bzImage").touch()
    config = tmp_path / "config"
    config.write_text("CONFIG_LIVEUPDATE=y\nCONFIG_LUO_CTS_PROVIDER=y\n")
    image = f"image:{tmp_path}/bzImage"
    assert isinstance(parse(image), ImageSpec)
    assert overlay_of("deb:7.3") is overlay_of(image) is None
    assert overlay_of("deb:7.3,overlay=provider") == overlay_of(f"{image},config={config}") == "provider"
    config.write_text("CONFIG_LIVEUPDATE=y\n# CONFIG_LUO_CTS_PROVIDER is not set\n")
    assert overlay_of(f"{image},config={config}") is None


# Trees


def test_copy_of_the_tree_gets_it_and_the_tree_does_not(tree: Path) -> None:
    before = state(tree)
    found = source.from_tree(TreeSpec(tree, overlay=PROVIDER))
    found.prepare()
    assert state(tree) == before
    assert " + overlay provider sha256:" in found.description
    for path in (PROVIDER / HOME).iterdir():
        copied = (found.tree / HOME / path.name).read_text()
        old = tree / HOME / path.name
        assert copied == (f"{old.read_text()}\n{path.read_text()}" if old.exists() else path.read_text())
    plain = source.from_tree(TreeSpec(tree))
    assert (plain.tree, plain.slug) == (found.tree, found.slug)
    assert plain.identity != found.identity
    plain.prepare()
    assert {path.name for path in (plain.tree / HOME).iterdir()} == {
        path.name for path in (tree / HOME).iterdir()
    }


def test_it_goes_with_the_mutants(tree: Path) -> None:
    fitting = [mutant for mutant in load() if mutant.releases.holds(str(release_of(tree)))]
    patch = tree.parent / "mutants.patch"
    patch.write_text(mutants.patch(tree, fitting))
    found = source.from_tree(parse_tree(f"tree:{tree},patch={patch},overlay=provider"))
    found.prepare()
    assert "luo_mutant" in (found.tree / HOME / "luo_core.c").read_text()
    assert (found.tree / HOME / "luo_cts_main.c").is_file()


def parse_tree(spec: str) -> TreeSpec:
    parsed = parse(spec)
    assert isinstance(parsed, TreeSpec)
    return parsed


def test_tree_without_luo_is_refused(tree: Path) -> None:
    (tree / HOME / "luo_file.c").unlink()
    with pytest.raises(UsageError, match="has no LUO, so the overlay provider has no place in it"):
        overlay.patch(tree, PROVIDER)
    with pytest.raises(UsageError, match="has no LUO"):
        source.from_tree(TreeSpec(tree, overlay=PROVIDER))


# Tests that need it


@pytest.mark.parametrize(("spec", "chosen"), [("deb:7.3", False), ("deb:7.3,overlay=provider", True)])
def test_tests_that_need_the_provider_are_left_out_without_it(
    tmp_path: Path, spec: str, chosen: bool
) -> None:
    # fmt: off
    command = [
        sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider", "-q",
        "--collect-only", f"--kernel={spec}", f"--report-dir={tmp_path}", "suite/faults/test_freeze.py",
    ]
    # fmt: on
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ("test_reboot_gives_the_errno_of_freeze" in done.stdout) is chosen
    assert ("deselected" in done.stdout) is not chosen
