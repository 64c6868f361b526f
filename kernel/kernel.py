# SPDX-License-Identifier: GPL-2.0-only
"""From a kernel spec to a kernel that can be booted, and what is known of it."""

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kernel import build, cache, debug_info, image, kconfig, source
from kernel.arch import Architecture, native
from kernel.errors import LuoCtsError
from kernel.kconfig import Option
from kernel.source import Source
from kernel.spec import DebSpec, ImageSpec, TreeSpec, parse

FRAGMENTS = Path(__file__).parents[1] / "configs" / "kconfig"
_DEFAULT_FRAGMENTS = ("base", "liveupdate", "faults", "qemu")

# A developer builds many kernels a day, 25 MB each; the ones in use are the newest.
_KEPT_RESULTS = 20
_KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Kernel:
    """A bootable kernel. Its files do not change any more: no build directory holds them."""

    spec: str  # as the user wrote it
    source: str  # exact: package and version, or commit and patch, or the image's hash
    release: str  # uname -r
    image: Path
    config: Path | None
    symbols: Path | None  # vmlinux
    system_map: Path | None
    config_hash: str | None
    source_dir: Path | None  # the tree it was built from, if there is one
    modules: Path | None = None  # the directory of those that its configuration has as modules

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Kernel":
        values: dict[str, Any] = json.loads(text)
        for name in ("image", "config", "symbols", "system_map", "source_dir", "modules"):
            values[name] = Path(values[name]) if values.get(name) is not None else None
        return cls(**values)


def obtain(
    spec: str,
    *,
    with_debug_info: bool = False,
    described: Sequence[str] = (),
    extra_config: Sequence[Path] = (),
) -> Kernel:
    """Everything from the spec to the kernel: fetch, patch, configure, build; or find it in the cache.

    ``described`` are source files to have debug information; the rest has none, where that can be.
    ``extra_config`` fragments may change what the default ones ask for. Raises UsageError for what is wrong
    with the spec, LuoCtsError for what is wrong with the world.
    """
    try:
        return _obtain(spec, with_debug_info, described, extra_config)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise LuoCtsError(
            f"the disk is full under {cache.root()}", "a tree and its build take 3 GB"
        ) from error


def _obtain(
    spec: str, with_debug_info: bool, described: Sequence[str], extra_config: Sequence[Path]
) -> Kernel:
    arch = native()
    match parse(spec):
        case ImageSpec() as given:
            return _given(spec, given)
        case DebSpec() as wanted:
            tree = source.from_debian(wanted)
            origin = tree.tree
            if wanted.overlay:
                tree = source.from_tree(TreeSpec(tree.tree, overlay=wanted.overlay))
        case TreeSpec() as wanted:
            tree = source.from_tree(wanted)
            origin = wanted.directory
    extra = [*([wanted.config] if wanted.config else []), *extra_config]
    variables = debug_info.variables(origin, described) if described else []
    asked = _asked(tree, arch, with_debug_info or variables is None, extra)
    build.require_tools()
    return _built(spec, tree, asked, variables or [], arch)


def _given(spec: str, given: ImageSpec) -> Kernel:
    digest = _digest(given.image.read_bytes())
    config = given.config or _embedded_config(given.image, digest)
    return Kernel(
        spec=spec,
        source=f"image {given.image} sha256:{digest}",
        release=image.release(given.image),
        image=given.image,
        config=config,
        symbols=given.symbols,
        system_map=None,
        config_hash=_digest(config.read_bytes()) if config else None,
        source_dir=None,
    )


def _embedded_config(file: Path, digest: str) -> Path | None:
    text = image.config(file)
    if text is None:
        return None
    kept = cache.root() / "configs" / f"image-{digest}"
    cache.write(kept, text)
    return kept


def _asked(tree: Source, arch: Architecture, with_debug_info: bool, extra: Sequence[Path]) -> list[Option]:
    names = [*_DEFAULT_FRAGMENTS, arch.name, *(["debug-info"] if with_debug_info else [])]
    default = kconfig.merge([FRAGMENTS / f"{name}.config" for name in names], tree.release)
    return kconfig.override(default, kconfig.merge(extra, tree.release))


def _built(spec: str, tree: Source, asked: list[Option], variables: list[str], arch: Architecture) -> Kernel:
    wish = "\n".join([*map(str, asked), *variables])
    key = _digest("\n".join([tree.identity, wish, build.compiler(), arch.name]).encode())
    result = cache.root() / "kernels" / key
    if kernel := _cached(spec, result):
        return kernel
    with cache.locked("build"):
        # the run that held the lock may have built it
        if kernel := _cached(spec, result):
            return kernel
        tree.prepare()
        directory = cache.root() / "builds" / "-".join([tree.slug, *_in_every_object(asked)])
        return _keep(spec, tree, build.build(tree, asked, variables, directory, arch), result)


def _in_every_object(asked: list[Option]) -> list[str]:
    """What the wish puts into each object file, in a directory's words.

    One directory serves all other configurations: kbuild compiles again only what depends on an option that
    changed.
    """
    yes = {option.name for option in asked if option.value == "y"}
    found = {
        "debug-info": any(name.startswith("DEBUG_INFO") for name in yes),
        "kasan": "KASAN" in yes,
        "kcsan": "KCSAN" in yes,
        "ftrace": "FUNCTION_TRACER" in yes,
        "lsm": "SECURITY" in yes,
    }
    return [name for name, there in found.items() if there]


def _cached(spec: str, result: Path) -> Kernel | None:
    try:
        values = json.loads((result / "kernel.json").read_text())
    except FileNotFoundError:
        return None
    result.touch()
    return Kernel.from_json(json.dumps(values | {"spec": spec}))


def _keep(spec: str, tree: Source, built: build.Built, result: Path) -> Kernel:
    """Copy what a build made to where no later build changes it."""
    scratch = result.with_name(result.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for origin, name in (
        (built.image, "image"),
        (built.vmlinux, "vmlinux"),
        (built.system_map, "System.map"),
        (built.config, "config"),
    ):
        shutil.copy2(origin, scratch / name)
    if built.modules:
        (scratch / "modules").mkdir()
        for module in built.modules:
            shutil.copy2(module, scratch / "modules")
    kernel = Kernel(
        spec=spec,
        source=tree.description,
        release=built.release,
        image=result / "image",
        config=result / "config",
        symbols=result / "vmlinux",
        system_map=result / "System.map",
        config_hash=_digest(built.config.read_bytes()),
        source_dir=tree.tree,
        modules=result / "modules" if built.modules else None,
    )
    (scratch / "kernel.json").write_text(kernel.to_json())
    shutil.rmtree(result, ignore_errors=True)
    scratch.rename(result)
    _forget_old(result.parent)
    return kernel


def _forget_old(results: Path) -> None:
    newest_first = sorted(results.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[_KEPT_RESULTS:]:
        if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
