# SPDX-License-Identifier: GPL-2.0-only
"""Kernel specs: how a user names a kernel."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernel.errors import UsageError
from kernel.release import FIRST_WITH_KHO, FIRST_WITH_LUO, KernelRelease

KINDS = (
    "deb:7.3, deb:newest, tree:DIR[,patch=FILE], image:FILE[,config=FILE][,symbols=FILE]; "
    "deb and tree also with ,config=VARIANT|FILE and ,overlay=NAME"
)
NEWEST = "newest"
VARIANTS = Path(__file__).parents[1] / "configs" / "kconfig" / "variants"
OVERLAYS = Path(__file__).parent / "overlay"


@dataclass(frozen=True)
class DebSpec:
    """The newest kernel of a series that the Debian suites hold now."""

    series: str  # "7.3", or "newest": the newest release that has LUO
    config: Path | None = None  # a fragment that changes what the build is configured with
    overlay: Path | None = None  # what is added to a copy of the tree, see kernel/overlay


@dataclass(frozen=True)
class TreeSpec:
    """A source tree, with a patch, mailbox or directory of patches on top if ``patch`` is given."""

    directory: Path
    patch: Path | None = None
    config: Path | None = None  # as of DebSpec
    overlay: Path | None = None  # as of DebSpec


@dataclass(frozen=True)
class ImageSpec:
    """A kernel that somebody else built."""

    image: Path
    config: Path | None = None
    symbols: Path | None = None  # vmlinux


Spec = DebSpec | TreeSpec | ImageSpec


def parse(text: str) -> Spec:
    """Raises UsageError, with what would be right, for everything unknown and every missing file."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("deb", "tree", "image") or not rest:
        raise UsageError(f"{text!r} names no kernel", f"one of {KINDS}")
    name, *settings = rest.split(",")
    if kind == "deb":
        paths = _settings(text, settings, {"config": _fragment, "overlay": _overlay})
        return DebSpec(_series(name), paths.get("config"), paths.get("overlay"))
    if kind == "tree":
        paths = _settings(text, settings, {"patch": _existing, "config": _fragment, "overlay": _overlay})
        return TreeSpec(_tree(name), paths.get("patch"), paths.get("config"), paths.get("overlay"))
    paths = _settings(text, settings, {"config": _file, "symbols": _file})
    return ImageSpec(_file(name), paths.get("config"), paths.get("symbols"))


def variant(text: str, name: str) -> str:
    """The spec of the same source built as the variant ``name``; raises UsageError where that cannot be."""
    match parse(text):
        case ImageSpec():
            raise UsageError(f"{text} is built already: it has no variants", "give its tree, as tree:DIR")
        case DebSpec(config=None) | TreeSpec(config=None):
            _fragment(name)
            return f"{text},config={name}"
    raise UsageError(f"{text} has a configuration of its own and no variants", "leave ,config= away")


def variants() -> list[str]:
    """The names of the project's own fragments."""
    return sorted(path.stem for path in VARIANTS.glob("*.config"))


def _settings(text: str, settings: list[str], known: Mapping[str, Callable[[str], Path]]) -> dict[str, Path]:
    paths = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in known or not equals:
            raise UsageError(f"{text!r} has the unknown setting {setting!r}", f"one of {KINDS}")
        if key in paths:
            raise UsageError(f"{text!r} sets {key} twice")
        paths[key] = known[key](value)
    return paths


def _series(name: str) -> str:
    if name == NEWEST:
        return name
    if not re.fullmatch(r"\d+\.\d+", name):
        raise UsageError(
            f"'deb:{name}' names no series of kernels",
            "deb:7.3 or deb:newest; the Debian suites drop old versions, so a full one cannot be named",
        )
    if KernelRelease.parse(name) < FIRST_WITH_KHO:
        luo, kho = ("{}.{}".format(*first.series) for first in (FIRST_WITH_LUO, FIRST_WITH_KHO))
        raise UsageError(
            f"Linux {name} has no LUO (since {luo}) and no KHO (since {kho})", "deb:newest has both"
        )
    return name


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise UsageError(f"{name} does not exist", "paths are relative to the working directory")
    return path.resolve()


def _file(name: str) -> Path:
    path = _existing(name)
    if not path.is_file():
        raise UsageError(f"{name} is not a file")
    return path


def _fragment(name: str) -> Path:
    """A fragment of the project by its name, or a file."""
    own = VARIANTS / f"{name}.config"
    if own.parent == VARIANTS and own.is_file():
        return own
    if not Path(name).expanduser().exists():
        raise UsageError(f"{name} is neither a variant nor a file", f"the variants: {', '.join(variants())}")
    return _file(name)


def overlays() -> list[str]:
    """The names of what can be added to a tree."""
    return sorted(path.name for path in OVERLAYS.iterdir() if (path / "kernel").is_dir())


def overlay_of(text: str) -> str | None:
    """The name of the overlay that a spec asks for, or that an image's configuration says is in it.

    Raises UsageError for a spec that is none.
    """
    match parse(text):
        case DebSpec(overlay=Path() as path) | TreeSpec(overlay=Path() as path):
            return path.name
        case ImageSpec(config=Path() as config):
            options = config.read_text(errors="replace").splitlines()
            return next((name for name in overlays() if f"CONFIG_LUO_CTS_{name.upper()}=y" in options), None)
    return None


def _overlay(name: str) -> Path:
    if name not in overlays():
        raise UsageError(f"{name} is no overlay", f"the overlays: {', '.join(overlays())}")
    return OVERLAYS / name


def _tree(name: str) -> Path:
    path = _existing(name)
    if not (path / "Kconfig").is_file() or not (path / "Makefile").is_file():
        raise UsageError(f"{name} is not a kernel source tree", "it has no Kconfig and Makefile")
    return path
