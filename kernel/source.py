# SPDX-License-Identifier: GPL-2.0-only
"""Source trees: fetched from the Debian archive, or copied from a developer's tree with a patch on top.

What the builds see is always a tree in the cache. A developer's tree is read, never written to, and may hold
a build of its own; the copy follows its changes file by file, so a build in it stays incremental.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kernel import cache, debian, overlay
from kernel.debian import Archive, ArchiveUnreachableError, DebianVersion, GoneFromPoolError, Offer
from kernel.errors import LuoCtsError, UsageError
from kernel.progress import step
from kernel.release import FIRST_WITH_KHO, FIRST_WITH_LUO, KernelRelease
from kernel.spec import NEWEST, DebSpec, TreeSpec


@dataclass(frozen=True)
class Source:
    """A tree to build from. ``prepare`` brings it up to date; call it with the lock of the builds held."""

    tree: Path
    release: KernelRelease
    description: str  # for people, exact: which version, which commit, which patch
    identity: str  # changes whenever the content does
    slug: str  # names the build directories; stays the same while a tree changes
    prepare: Callable[[], None] = lambda: None


def release_of(tree: Path) -> KernelRelease:
    """The release that a tree's Makefile names."""
    head = (tree / "Makefile").read_text(errors="replace")[:2000]
    value = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(.*)$", head, re.MULTILINE))
    try:
        numbers = (value["VERSION"], value["PATCHLEVEL"], value.get("SUBLEVEL") or "0")
        return KernelRelease.parse(".".join(numbers) + value.get("EXTRAVERSION", ""))
    except (KeyError, ValueError) as error:
        raise UsageError(f"{tree} is not a kernel source tree", "its Makefile names no version") from error


# ---- from the Debian archive


def from_debian(spec: DebSpec, archive: Archive | None = None) -> Source:
    """The newest version that really can be had, unpacked in the cache.

    Without network, the newest one that was unpacked before. Raises UsageError with what is there for a
    series that is not, ArchiveUnreachableError when nothing can be had.
    """
    with cache.locked("sources"):
        try:
            archive = archive or Archive(cache.root() / "apt", debian.system_mirror())
            return _newest(spec, archive)
        except (ArchiveUnreachableError, UsageError) as error:
            # a mirror that nobody set is as good as no network
            kept = _kept(spec.series)
            if kept is None or (isinstance(error, UsageError) and archive is not None):
                raise
            print(f"{error.message}; going on with {kept.description}", file=sys.stderr)
            return kept


def _of_series(spec: DebSpec, archive: Archive) -> list[Offer]:
    for age in (debian.REFRESH_SECONDS, debian.REFRESH_MISSING_SECONDS):
        archive.refresh(age)
        offers = archive.offers(debian.SOURCE_PREFIX, debian.SOURCE_PACKAGE)
        series = newest_series(offers) if spec.series == NEWEST else spec.series
        wanted = [offer for offer in offers if offer.version.series == series]
        if wanted:
            return wanted
    raise UsageError(f"the Debian suites hold no Linux {spec.series}", f"they hold {held(offers)}")


def newest_series(offers: list[Offer]) -> str | None:
    """The newest series that has LUO and is released: what is still a candidate must be asked for by name."""
    return next((offer.version.series for offer in offers if _is_default(offer.version)), None)


def _is_default(version: DebianVersion) -> bool:
    return (
        bool(version.series)
        and not version.is_candidate
        and KernelRelease.parse(version.series) >= FIRST_WITH_LUO
    )


def held_series() -> list[str]:
    """The released series with LUO that the Debian suites hold now, oldest first; none without network."""
    with cache.locked("sources"):
        try:
            archive = Archive(cache.root() / "apt", debian.system_mirror())
            archive.refresh()
            offers = archive.offers(debian.SOURCE_PREFIX, debian.SOURCE_PACKAGE)
        except (ArchiveUnreachableError, UsageError):
            return []
    series = {offer.version.series for offer in offers if _is_default(offer.version)}
    return sorted(series, key=KernelRelease.parse)


def held(offers: list[Offer]) -> str:
    """The series of the offers, for people."""
    series = dict.fromkeys(offer.version.series for offer in reversed(offers) if offer.version.series)
    usable = [f"deb:{name}" for name in series if KernelRelease.parse(name) >= FIRST_WITH_KHO]
    return ", ".join(usable) or "none that has KHO"


def _newest(spec: DebSpec, archive: Archive) -> Source:
    offers = _of_series(spec, archive)
    sources = cache.root() / "sources"
    attempts = archive.attempts(offers)
    if attempts and (kept := _unpacked(sources / attempts[0].slug)) is not None:
        return kept
    series = offers[0].version.series
    with step(f"download Linux {series} from the Debian archive") as progress:
        for attempt in attempts:
            if (kept := _unpacked(sources / attempt.slug)) is not None:
                return kept
            try:
                files = archive.download(attempt, progress)
                break
            except GoneFromPoolError:
                # a newer version may have replaced it
                if archive.refresh(debian.REFRESH_MISSING_SECONDS):
                    return _newest(spec, archive)
        else:
            raise UsageError(
                f"the Debian suites list Linux {series}, but its files are in the archive's pool no more",
                "another series may be there, or deb:newest",
            )
    return _unpack(files, sources / attempt.slug, str(attempt))


def _unpack(files: list[Path], directory: Path, description: str) -> Source:
    scratch = directory.with_name(directory.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    tree = scratch / "tree"
    tree.mkdir(parents=True)
    with step(f"unpack {description}"):
        for path in files:
            if path.suffix == ".deb":
                _extract("dpkg-deb", "--extract", path, scratch / "deb")
                (tarball,) = (scratch / "deb/usr/src").glob("linux-source-*.tar.*")
                _extract("tar", "-xf", tarball, "--strip-components=1", "-C", tree)
                shutil.rmtree(scratch / "deb")
            elif ".orig.tar" in path.name:
                _extract("tar", "-xf", path, "--strip-components=1", "-C", tree)
            elif ".debian.tar" in path.name:
                _extract("tar", "-xf", path, "-C", scratch)
        if (scratch / "debian").is_dir():
            for patch in patch_files(scratch / "debian/patches"):
                _apply(patch, tree)
            shutil.rmtree(scratch / "debian")
    (scratch / "description").write_text(description)
    scratch.rename(directory)
    for path in files:
        path.unlink()
    source = _unpacked(directory)
    assert source is not None
    return source


def _extract(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise LuoCtsError(f"the package cannot be unpacked: {said[0]}", f"is there room in {cache.root()}?")


def _unpacked(directory: Path) -> Source | None:
    try:
        description = (directory / "description").read_text()
    except FileNotFoundError:
        return None
    tree = directory / "tree"
    return Source(tree, release_of(tree), description, description, directory.name)


def _kept(series: str) -> Source | None:
    found = []
    for directory in (cache.root() / "sources").glob("*"):
        source = _unpacked(directory)
        if source is not None:
            version = DebianVersion(source.description.split()[1])
            if series == version.series or (series == NEWEST and _is_default(version)):
                found.append((version, source))
    return max(found, key=lambda pair: pair[0])[1] if found else None


# ---- from a developer's tree


def from_tree(spec: TreeSpec) -> Source:
    """A copy of the tree with the patch applied.

    ``prepare`` copies what changed since the last time and nothing else, so that nothing else is compiled
    again; it raises UsageError when the patch does not apply.
    """
    slug = f"tree-{spec.directory.name}-{_digest(str(spec.directory))[:10]}"
    home = cache.root() / "trees" / slug
    home.mkdir(parents=True, exist_ok=True)
    description = f"tree {spec.directory} {_describe_tree(spec.directory)}"
    patches = patch_files(spec.patch) if spec.patch else []
    digest = hashlib.sha256()
    if spec.patch:
        for patch in patches:
            digest.update(patch.read_bytes())
        description += f" + patch {spec.patch.name} sha256:{digest.hexdigest()[:12]}"
    if spec.overlay:
        text = overlay.patch(spec.directory, spec.overlay).encode()
        digest.update(text)
        mark = hashlib.sha256(text).hexdigest()[:16]
        description += f" + overlay {spec.overlay.name} sha256:{mark[:12]}"
        file = cache.root() / "overlays" / f"{mark}.patch"
        cache.write(file, text.decode())
        patches.append(file)
    stamps = _stamps(spec.directory, home)
    identity = _digest(json.dumps([sorted(stamps.items()), digest.hexdigest()]))
    follow = partial(_WorkTree(home).follow, spec.directory, stamps, patches, identity)
    return Source(home / "tree", release_of(spec.directory), description, identity, slug, follow)


class _WorkTree:
    """The copy of a developer's tree, and the record of what it was copied from."""

    def __init__(self, home: Path) -> None:
        self.tree = home / "tree"
        self._record = home / "record.json"

    def follow(self, origin: Path, stamps: dict[str, str], patches: list[Path], identity: str) -> None:
        record = self._read()
        if record is not None and record["identity"] == identity:
            return
        if record is None:
            shutil.rmtree(self.tree, ignore_errors=True)
            record = {"stamps": {}, "patched": []}
        # no record until the copy is whole: who is interrupted there starts anew
        self._record.unlink(missing_ok=True)
        old, patched = record["stamps"], record["patched"]
        before = {name: (self.tree / name).read_bytes() for name in patched if (self.tree / name).is_file()}
        times = {name: (self.tree / name).stat() for name in before}
        for name in old.keys() - stamps.keys() | set(patched) - stamps.keys():
            (self.tree / name).unlink(missing_ok=True)
        changed = sorted(
            {name for name in stamps if stamps[name] != old.get(name)} | (set(patched) & stamps.keys())
        )
        self.tree.mkdir(parents=True, exist_ok=True)
        if changed:
            with step(f"copy {len(changed)} files of {origin}"):
                _copy(origin, self.tree, changed)
        if moved := [name for name in changed if _stamp(f"{origin}/{name}") != stamps[name]]:
            known = {name: stamp for name, stamp in stamps.items() if name not in moved}
            self._record.write_text(json.dumps({"identity": "", "stamps": known, "patched": moved}))
            raise LuoCtsError(f"{origin} changed while it was copied: {moved[0]}", "run again")
        touched = sorted({name for patch in patches for name in _touched(patch)})
        new = {"identity": "", "stamps": stamps, "patched": touched}
        self._record.write_text(json.dumps(new))
        for patch in patches:
            _apply(patch, self.tree)
        for name, content in before.items():
            path = self.tree / name
            if path.is_file() and path.read_bytes() == content:
                # the same as before, so nothing that was built of it is out of date
                os.utime(path, ns=(times[name].st_atime_ns, times[name].st_mtime_ns))
        self._record.write_text(json.dumps(new | {"identity": identity}))

    def _read(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._record.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return record


def _git(
    arguments: list[str], cwd: Path, environment: dict[str, str] | None = None, text: bytes | None = None
) -> bytes:
    """Run git where it writes nothing by itself, whoever owns the directory."""
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", *arguments]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(environment or {})}
    try:
        done = subprocess.run(command, cwd=cwd, env=env, input=text, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise LuoCtsError(
            "git is missing: it lists the files of a tree and applies patches", "apt-get install git"
        ) from error
    return done.stdout


def _describe_tree(directory: Path) -> str:
    if (directory / ".git").exists():
        with contextlib.suppress(subprocess.CalledProcessError):
            commit = _git(["describe", "--always", "--abbrev=12"], directory).decode().strip()
            # not describe --dirty, which rewrites the index
            changed = _git(["status", "--porcelain", "--untracked-files=no"], directory)
            return commit + ("-dirty" if changed else "")
    return f"v{release_of(directory)}"


def _stamps(directory: Path, home: Path) -> dict[str, str]:
    """Size, mode and time of every source file, by name; what .gitignore names is a build's, not a source."""
    environment = {}
    if not (directory / ".git").exists():
        # an empty repository lends its eyes: .gitignore files count in a tree without one
        bare = home / "empty.git"
        if not bare.exists():
            _git(["init", "--quiet", "--bare", str(bare)], home)
        environment = {"GIT_DIR": str(bare), "GIT_WORK_TREE": str(directory)}
    try:
        listing = _git(
            ["ls-files", "-z", "--cached", "--others", *_ignored(directory)], directory, environment
        )
    except subprocess.CalledProcessError as error:
        raise LuoCtsError(
            f"git cannot list {directory}: {error.stderr.decode(errors='replace').strip()}"
        ) from error
    names = listing.decode(errors="surrogateescape").split("\0")
    stamps = {name: stamp for name in names if name and (stamp := _stamp(f"{directory}/{name}"))}
    if "Makefile" not in stamps:
        raise UsageError(f"the .gitignore files of {directory} say that it holds no sources", "mend them")
    return stamps


def _stamp(path: str) -> str:
    """Empty for what is no file: deleted without telling git, or another repository's directory."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ""
    return "" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} {status.st_mode:o} {status.st_mtime_ns}"


def _ignored(directory: Path) -> list[str]:
    """Options for git ls-files: all .gitignore files count, but none may ignore everything.

    Debian's trees do that, with a line /* for which nothing but the packaging is a source. Options go before
    files, so the first one takes that back, and the others are what else the file said.
    """
    top = directory / ".gitignore"
    rows = top.read_text(errors="replace").splitlines() if top.exists() else []
    patterns = [row for row in rows if row and not row.startswith("#") and row != "/*"]
    return ["--exclude=!/*", *(f"--exclude={pattern}" for pattern in patterns), "--exclude-standard"]


def _copy(origin: Path, to: Path, names: list[str]) -> None:
    """Copy files, sharing blocks where the file system can; they are new to make, whatever their age."""
    for name in names:
        if (to / name).is_symlink():
            (to / name).unlink()
    command = [
        "xargs",
        "-0",
        "cp",
        "--parents",
        "--no-dereference",
        "--preserve=mode,links",
        "--reflink=auto",
        "-t",
        str(to),
    ]
    data = b"".join(os.fsencode(name) + b"\0" for name in names)
    done = subprocess.run(command, cwd=origin, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise LuoCtsError(
            f"{origin} cannot be copied: {said[0] if said else 'no reason given'}", f"is there room in {to}?"
        )


# ---- patches


def patch_files(path: Path) -> list[Path]:
    """The patches that a file (mailbox or diff) or directory (``series`` file, or by name) stands for."""
    if path.is_file():
        return [path]
    series = path / "series"
    if series.is_file():
        names = [
            row.split()[0]
            for row in series.read_text().splitlines()
            if row.strip() and not row.startswith("#")
        ]
    else:
        names = sorted(entry.name for entry in path.iterdir() if entry.suffix in (".patch", ".diff", ".mbox"))
    if not names:
        raise UsageError(f"{path} holds no patch", "*.patch files, or a series file that names them")
    return [path / name for name in names]


def _diffs(patch: Path) -> Iterator[bytes]:
    """The diffs of a patch; the mails of a mailbox are decoded, letters without a diff left out."""
    content = patch.read_bytes()
    if not content.startswith((b"From ", b"From:", b"Return-Path:", b"Received:")):
        yield content
        return
    with tempfile.TemporaryDirectory() as scratch:
        mails = Path(scratch)
        _git(["mailsplit", "-b", f"-o{scratch}", str(patch)], mails)
        for mail in sorted(mails.glob("[0-9]*")):
            _git(["mailinfo", "message", "diff"], mails, text=mail.read_bytes())
            if diff := (mails / "diff").read_bytes():
                yield diff


def _apply(patch: Path, tree: Path) -> None:
    for diff in _diffs(patch):
        # no repository: the tree may lie inside one that is not its own
        try:
            _git(
                ["apply", "--whitespace=nowarn", "-p1", "-"],
                tree,
                {"GIT_DIR": os.devnull, "GIT_CEILING_DIRECTORIES": str(tree.parent)},
                diff,
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().removeprefix("error: ").splitlines()
            raise UsageError(
                f"{patch.name} does not apply: {said[0] if said else 'no reason given'}", f"to {tree}"
            ) from error


def _touched(patch: Path) -> Iterator[str]:
    for diff in _diffs(patch):
        for match in re.finditer(rb"^(?:---|\+\+\+) (?:a|b)/([^\t\n]+)", diff, re.MULTILINE):
            yield match.group(1).decode(errors="surrogateescape")
        for match in re.finditer(rb"^(?:rename|copy) (?:from|to) (.+)$", diff, re.MULTILINE):
            yield match.group(1).decode(errors="surrogateescape")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
