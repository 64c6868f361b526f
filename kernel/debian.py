# SPDX-License-Identifier: GPL-2.0-only
"""Kernel sources from the Debian archive, through an apt of our own.

apt does what it is good at (signatures, versions, hashes) on private state in the cache: the system's package
lists and configuration are neither used nor touched, and no root is needed.
"""

import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kernel.errors import LuoCtsError, UsageError
from kernel.progress import Step, step

# Debian's stable releases take new kernels as backports; sid and experimental have them first.
SUITES = ("trixie-backports", "sid", "experimental")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_SETTING = "LUO_CTS_DEBIAN_MIRROR"

# The archive changes four times a day.
REFRESH_SECONDS = 6 * 3600
# ... but who asks for a version that came today gets it, without a refresh for every mistyped one.
REFRESH_MISSING_SECONDS = 300

_SUITE = re.compile(
    r"(buster|bullseye|bookworm|trixie|forky|duke|sid|(old)*stable|testing|unstable)(-updates|-backports)?"
)
SOURCE_PACKAGE = "linux"
SOURCE_PREFIX = "linux-source-"
CONFIG_PREFIX = "linux-config-"

# What apt says of a signature or hash that is wrong, and of a file that is not there (http, file).
_DISTRUST = re.compile(r"NO_PUBKEY|BADSIG|EXPKEYSIG|not signed|signature|Hash Sum mismatch|unexpected size")
_GONE = re.compile(r"404  Not Found|File not found")


class ArchiveUnreachableError(LuoCtsError):
    """Neither package lists nor packages can be had at the moment."""


class GoneFromPoolError(Exception):
    """The lists name a file that the archive's pool does not have any more."""


@functools.total_ordering
@dataclass(frozen=True)
class DebianVersion:
    """A package version in the archive's own order (deb-version(7)), as dpkg decides it."""

    text: str

    def __lt__(self, other: "DebianVersion") -> bool:
        command = ["dpkg", "--compare-versions", self.text, "lt", other.text]
        return subprocess.run(command, check=False).returncode == 0

    @property
    def upstream(self) -> str:
        return self.text.rpartition("-")[0] or self.text

    @property
    def series(self) -> str:
        match = re.match(r"\d+\.\d+", self.text)
        return match.group() if match else ""

    @property
    def is_candidate(self) -> bool:
        return "~rc" in self.text


@dataclass(frozen=True)
class Offer:
    """One version of the kernel's source in the archive, and the packages that hold it."""

    version: DebianVersion
    packages: tuple[
        str, ...
    ]  # of linux-source-X.Y (source with Debian's patches) and linux (what it is made of)


@dataclass(frozen=True)
class Attempt:
    """One way to get one version."""

    version: DebianVersion
    package: str
    tar_only: bool = False  # of a source package, the orig tarball alone

    @property
    def slug(self) -> str:
        return f"{self.package}-{self.version.text}" + ("-orig" if self.tar_only else "")

    def __str__(self) -> str:
        if self.tar_only:
            return f"{self.package} {self.version.upstream} (orig tarball alone)"
        return f"{self.package} {self.version.text}"


def system_mirror(apt: Path = Path("/etc/apt")) -> str:
    """The Debian archive that this system installs from, or what LUO_CTS_DEBIAN_MIRROR says.

    Raises UsageError where there is neither, as on a distribution that is not Debian.
    """
    if setting := os.environ.get(MIRROR_SETTING):
        return setting.rstrip("/")
    found = [uri for uri, suites, components in _system_sources(apt) if _is_debian(uri, suites, components)]
    if not found:
        raise UsageError(
            "this system's apt sources name no Debian archive to take kernel sources from",
            f"set {MIRROR_SETTING} to the URI of one (what stands before the suite in a Debian sources.list)",
        )
    return found[0].rstrip("/")


def _system_sources(apt: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """URI, suites and components of every entry (sources.list(5), both formats)."""
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            yield from _one_line_sources(path.read_text())
    for path in sorted(parts.glob("*.sources")):
        yield from _deb822_sources(path.read_text())


def _one_line_sources(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for line in text.splitlines():
        match = re.match(r"\s*deb(?:-src)?\s+(?:\[[^]]*\]\s*)?([^#]+)", line)
        if match and len(words := match.group(1).split()) >= 2:
            yield words[0], words[1:2], words[2:]


def _deb822_sources(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza)
        fields = {
            key.strip().lower(): value.split()
            for key, colon, value in (line.partition(":") for line in unfolded.splitlines())
            if colon
        }
        if fields.get("enabled", ["yes"])[0].lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", []):
            yield uri, fields.get("suites", []), fields.get("components", [])


def _is_debian(uri: str, suites: Iterable[str], components: Iterable[str]) -> bool:
    # Others serve packages for Debian's suites too; Debian's own archive is at …/debian and has a component
    # main. Cloud images name it through a mirror list, mirror+file:/…/debian.list.
    last = uri.rstrip("/").rpartition("/")[2]
    return (
        last in ("debian", "debian.list")
        and "main" in components
        and any(_SUITE.fullmatch(s) for s in suites)
    )


class Archive:
    """A Debian archive, seen through a private apt in ``directory``."""

    def __init__(
        self, directory: Path, mirror: str, *, keyring: Path = KEYRING, suites: tuple[str, ...] = SUITES
    ) -> None:
        self.directory = directory
        self._stamp = directory / "refreshed"
        self._gone = directory / "gone"  # what the pool lost, as far as we know since the last refresh
        if not keyring.is_file():
            raise LuoCtsError(
                f"{keyring} is not there to check Debian's signatures with",
                _install("debian-archive-keyring"),
            )
        for name in ("state/lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").touch()
        sources = "".join(
            f"{kind} [signed-by={keyring}] {mirror} {suite} main\n"
            for suite in suites
            for kind in ("deb", "deb-src")
        )
        sources_list = directory / "sources.list"
        if not sources_list.exists() or sources_list.read_text() != sources:
            sources_list.write_text(sources)
            self._stamp.unlink(missing_ok=True)
        self._config = directory / "apt.conf"
        self._config.write_text(_APT_CONF.format(directory=directory))

    def refresh(self, max_age: float = REFRESH_SECONDS) -> bool:
        """Fetch the package lists if the ones here are older than ``max_age`` seconds, and say whether.

        Without network the old lists go on to serve, and a line says so. Raises ArchiveUnreachableError when
        there are none, LuoCtsError when a signature is bad.
        """
        fetched = self._stamp.stat().st_mtime if self._stamp.exists() else None
        if fetched is not None and time.time() - fetched < max_age:
            return False
        try:
            with step("Debian package lists") as progress:
                self._apt_get(["update"], progress)
        except ArchiveUnreachableError as error:
            if fetched is None:
                raise
            print(f"{error.message}; going on with the lists of {time.ctime(fetched)}", file=sys.stderr)
            return False
        self._stamp.touch()
        self._gone.unlink(missing_ok=True)
        return True

    def offers(self, prefix: str = SOURCE_PREFIX, *others: str) -> list[Offer]:
        """All versions of the packages ``prefix``X.Y and ``others`` that the lists name, newest first."""
        names = self._apt_cache(["pkgnames", prefix]).split()
        binaries = sorted(name for name in names if re.fullmatch(re.escape(prefix) + r"\d+\.\d+", name))
        held: dict[str, list[str]] = {}
        for line in self._apt_cache(["madison", *binaries, *others]).splitlines():
            name, version, _where = (field.strip() for field in line.split("|", 2))
            packages = held.setdefault(version, [])
            if name not in packages:
                packages.append(name)
        versions = sorted((DebianVersion(text) for text in held), reverse=True)
        return [
            Offer(version, tuple(sorted(held[version.text], key=others.__contains__))) for version in versions
        ]

    def attempts(self, offers: Iterable[Offer]) -> list[Attempt]:
        """The ways to get one of the offers, best first, without those that the pool is known to lack."""
        gone = self._gone.read_text().splitlines() if self._gone.exists() else []
        ways = [
            Attempt(offer.version, package, tar_only)
            for offer in offers
            for package in offer.packages
            # the pool drops a version's files one by one: Debian's own changes first, the tarball last
            for tar_only in ((False, True) if package == SOURCE_PACKAGE else (False,))
        ]
        return [way for way in ways if way.slug not in gone]

    def download(self, attempt: Attempt, progress: Step) -> list[Path]:
        """Fetch into ``directory``/download, checked by apt against the signed lists.

        Raises GoneFromPoolError when the pool does not have it, ArchiveUnreachableError without network.
        """
        into = self.directory / "download"
        into.mkdir(exist_ok=True)
        for old in into.iterdir():
            old.unlink()
        what = f"{attempt.package}={attempt.version.text}"
        if attempt.package == SOURCE_PACKAGE:
            command = ["source", "--download-only", *(["--tar-only"] if attempt.tar_only else []), what]
        else:
            command = ["download", what]
        try:
            self._apt_get(command, progress, into)
        except GoneFromPoolError:
            with self._gone.open("a") as file:
                file.write(f"{attempt.slug}\n")
            raise
        return sorted(into.iterdir())

    def _apt_cache(self, arguments: list[str]) -> str:
        command = ["apt-cache", f"--config-file={self._config}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        if done.returncode != 0:
            raise LuoCtsError(f"apt-cache failed: {_first_error(done.stderr)}", f"remove {self.directory}")
        return done.stdout

    def _apt_get(self, arguments: list[str], progress: Step, cwd: Path | None = None) -> None:
        command = ["apt-get", f"--config-file={self._config}", *arguments]
        said = []
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd or self.directory,
            env=_environment(),
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    # apt's README.progress-reporting: dlstatus:package:percent:text
                    if line.startswith("dlstatus:"):
                        progress.advance(round(float(line.split(":")[2])), 100, "%")
                    else:
                        said.append(line)
            except BaseException:
                process.terminate()
                raise
        if process.returncode == 0:
            return
        errors = "".join(line for line in said if line.startswith(("E: ", "W: ")))
        first = _first_error(errors)
        if _DISTRUST.search(errors):
            raise LuoCtsError(f"the Debian archive cannot be trusted: {first}", "try another mirror")
        if arguments[0] != "update" and _GONE.search(errors):
            raise GoneFromPoolError(first)
        raise ArchiveUnreachableError(
            f"the Debian archive cannot be reached: {first}",
            f"look at the network, or set {MIRROR_SETTING} to another mirror",
        )


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _install(*packages: str) -> str:
    return f"apt-get install {' '.join(packages)}"


def _first_error(text: str) -> str:
    lines = text.splitlines()
    for mark in ("E: ", "W: ", ""):
        for line in lines:
            if line.startswith(mark) and line.strip():
                return re.sub(r"\s+", " ", line.removeprefix(mark)).strip().rstrip(".")
    return "no reason given"


# Proxies and the like in the system's apt configuration stay in force; its hooks do not.
_APT_CONF = """\
Dir::State "{directory}/state";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::PDiffs "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
APT::Status-Fd "1";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
