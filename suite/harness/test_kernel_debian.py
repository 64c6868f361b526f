# SPDX-License-Identifier: GPL-2.0-only
"""Debian sources, from a real archive on this disk, read by the real apt, signed with a key of its own."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pytest

from kernel import debian, source
from kernel.arch import native
from kernel.debian import Archive, ArchiveUnreachableError, DebianVersion, system_mirror
from kernel.errors import LuoCtsError, UsageError
from kernel.source import Source
from kernel.spec import DebSpec

SUITE = "testing-kernels"
WHO = "T <t@example.org>"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb", "gpg", "git"))), reason="needs apt, dpkg and gpg"
)


def tarball(files: dict[str, str]) -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, BytesIO(text.encode()))
    return out.getvalue()


def kernel_tree(version: str, top: str, *, marker: str = "pristine\n") -> dict[str, str]:
    major, minor, patch = (version.split("~")[0] + ".0").split(".")[:3]
    makefile = f"VERSION = {major}\nPATCHLEVEL = {minor}\nSUBLEVEL = {patch}\nEXTRAVERSION =\n"
    return {f"{top}/Makefile": makefile, f"{top}/Kconfig": "", f"{top}/marker": marker}


def hashes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class LocalArchive:
    """A Debian archive of one suite."""

    root: Path
    gnupg: Path
    binaries: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    @property
    def keyring(self) -> Path:
        return self.root.parent / "keyring.gpg"

    @property
    def pool(self) -> Path:
        return self.root / "pool"

    def add_binary(self, series: str, version: str) -> Path:
        """A linux-source-X.Y package, as Debian makes it: a tarball of a patched tree in /usr/src."""
        name = f"linux-source-{series}"
        build = self.root.parent / "build"
        (build / "DEBIAN").mkdir(parents=True)
        (build / "usr/src").mkdir(parents=True)
        tree = kernel_tree(version.partition("-")[0], name, marker="patched by Debian\n")
        (build / f"usr/src/{name}.tar.xz").write_bytes(tarball(tree))
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: {WHO}\nDescription: t\n"
        )
        (build / "DEBIAN/control").write_text(control)
        path = self.pool / f"{name}_{version}_all.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", build, path], check=True, capture_output=True)
        shutil.rmtree(build)
        data = path.read_bytes()
        self.binaries.append(
            f"{control}Filename: pool/{path.name}\nSize: {len(data)}\nSHA256: {hashes(data)}\n"
        )
        return path

    def add_source(self, version: str, *, orig: bool = True, rest: bool = True) -> None:
        """A source package linux; the pool may have lost its tarball or all the rest."""
        upstream = version.rpartition("-")[0]
        patch = "--- a/marker\n+++ b/marker\n@@ -1 +1 @@\n-pristine\n+patched from source\n"
        files = {
            f"linux_{upstream}.orig.tar.xz": tarball(kernel_tree(upstream, f"linux-{upstream}")),
            f"linux_{version}.debian.tar.xz": tarball(
                {"debian/patches/series": "# one\nmarker.patch\n", "debian/patches/marker.patch": patch}
            ),
            f"linux_{version}.dsc": f"Format: 3.0 (quilt)\nSource: linux\nVersion: {version}\n".encode(),
        }
        self.pool.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            if orig if ".orig." in name else rest:
                (self.pool / name).write_bytes(data)
        listed = "".join(f" {hashes(data)} {len(data)} {name}\n" for name, data in files.items())
        self.sources.append(
            f"Package: linux\nBinary: linux-image\nVersion: {version}\nMaintainer: {WHO}\n"
            f"Architecture: any\nFormat: 3.0 (quilt)\nDirectory: pool\nChecksums-Sha256:\n{listed}"
        )

    def publish(self, *, sign: bool = True) -> None:
        base = self.root / "dists" / SUITE
        indices = {
            f"main/binary-{native().debian}/Packages": self.binaries,
            "main/source/Sources": self.sources,
        }
        listed = ""
        for name, stanzas in indices.items():
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(stanzas))
            listed += f" {hashes(path.read_bytes())} {path.stat().st_size} {name}\n"
        release = base / "InRelease"
        text = (
            f"Origin: test\nSuite: {SUITE}\nCodename: {SUITE}\nComponents: main\n"
            f"Architectures: {native().debian} all\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n{listed}"
        )
        if sign:
            gpg = ["gpg", "--homedir", str(self.gnupg), "--batch", "--yes", "--clearsign"]
            release.write_bytes(
                subprocess.run(gpg, input=text.encode(), check=True, capture_output=True).stdout
            )
        else:
            release.write_text(release.read_text().replace("Origin: test", "Origin: evil"))

    def open(self, cache: Path) -> Archive:
        directory = cache / "luo-cts" / "apt"
        return Archive(directory, f"file://{self.root}", keyring=self.keyring, suites=(SUITE,))


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("gpg", numbered=True)
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch"]
    key = [
        "--passphrase",
        "",
        "--quick-generate-key",
        "luo-cts test <t@example.org>",
        "ed25519",
        "sign",
        "never",
    ]
    subprocess.run([*gpg, *key], check=True, capture_output=True)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.fixture
def archive(signer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalArchive:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    local = LocalArchive(tmp_path / "archive", signer)
    local.root.mkdir()
    export = ["gpg", "--homedir", str(signer), "--batch", "--export"]
    local.keyring.write_bytes(subprocess.run(export, check=True, capture_output=True).stdout)
    return local


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def obtained(archive: LocalArchive, cache: Path, series: str) -> Source:
    return source.from_debian(DebSpec(series), archive.open(cache))


def test_newest_version_of_the_series_is_taken(archive: LocalArchive, cache: Path) -> None:
    for version in ("9.9.8-1", "9.9.10-1~bpo13+1", "9.9.10~rc1-1", "9.10.1-1"):
        archive.add_binary(".".join(version.split(".")[:2]), version)
    archive.publish()
    tree = obtained(archive, cache, "9.9")
    assert tree.description == "linux-source-9.9 9.9.10-1~bpo13+1"
    assert (tree.tree / "marker").read_text() == "patched by Debian\n"
    assert str(tree.release) == "9.9.10"


def test_newest_series_is_the_newest_release_that_has_luo(archive: LocalArchive, cache: Path) -> None:
    archive.add_binary("9.9", "9.9.1-1")
    archive.add_binary("9.10", "9.10~rc3-1~exp1")
    archive.add_source("6.18.9-1")
    archive.publish()
    assert obtained(archive, cache, "newest").description == "linux-source-9.9 9.9.1-1"


def test_binary_package_is_preferred_to_the_source_of_the_same_version(
    archive: LocalArchive, cache: Path
) -> None:
    archive.add_source("9.9.1-1")
    archive.add_binary("9.9", "9.9.1-1")
    archive.publish()
    assert obtained(archive, cache, "9.9").description == "linux-source-9.9 9.9.1-1"


def test_missing_binary_falls_back_to_the_source_package_with_debians_patches(
    archive: LocalArchive, cache: Path
) -> None:
    archive.add_binary("9.9", "9.9.2-1").unlink()
    archive.add_source("9.9.2-1")
    archive.publish()
    tree = obtained(archive, cache, "9.9")
    assert tree.description == "linux 9.9.2-1"
    assert (tree.tree / "marker").read_text() == "patched from source\n"


def test_orig_tarball_alone_is_enough_and_is_said(archive: LocalArchive, cache: Path) -> None:
    archive.add_source("9.9.2-1~bpo13+1", rest=False)
    archive.publish()
    tree = obtained(archive, cache, "9.9")
    assert tree.description == "linux 9.9.2 (orig tarball alone)"
    assert (tree.tree / "marker").read_text() == "pristine\n"


def test_pool_is_not_asked_again_for_what_it_lost_until_the_lists_are_new(
    archive: LocalArchive, cache: Path
) -> None:
    lost = archive.add_binary("9.9", "9.9.2-1")
    content = lost.read_bytes()
    lost.unlink()
    archive.add_source("9.9.1-1")
    archive.publish()
    assert obtained(archive, cache, "9.9").description == "linux 9.9.1-1"
    lost.write_bytes(content)
    assert obtained(archive, cache, "9.9").description == "linux 9.9.1-1"
    os.utime(cache / "luo-cts/apt/refreshed", (0, 0))
    assert obtained(archive, cache, "9.9").description == "linux-source-9.9 9.9.2-1"


def test_next_older_version_is_taken_when_nothing_is_left_of_the_newest(
    archive: LocalArchive, cache: Path
) -> None:
    archive.add_source("9.9.3-1", orig=False, rest=False)
    archive.add_source("9.9.2-1")
    archive.publish()
    assert obtained(archive, cache, "9.9").description == "linux 9.9.2-1"


def test_series_of_which_nothing_is_left_is_told_so(archive: LocalArchive, cache: Path) -> None:
    archive.add_source("9.9.3-1", orig=False, rest=False)
    archive.publish()
    with pytest.raises(UsageError, match=r"list Linux 9\.9, but its files are in the archive's pool no more"):
        obtained(archive, cache, "9.9")


def test_series_that_is_not_held_gets_the_list_of_those_that_are(archive: LocalArchive, cache: Path) -> None:
    archive.add_binary("9.9", "9.9.1-1")
    archive.add_source("9.10.2-1")
    archive.add_source("6.12.9-1")
    archive.publish()
    with pytest.raises(UsageError) as caught:
        obtained(archive, cache, "9.8")
    assert str(caught.value) == "the Debian suites hold no Linux 9.8 (they hold deb:9.9, deb:9.10)"


def test_list_that_was_changed_after_signing_is_refused(archive: LocalArchive, cache: Path) -> None:
    archive.add_binary("9.9", "9.9.1-1")
    archive.publish()
    archive.publish(sign=False)
    with pytest.raises(LuoCtsError, match="the Debian archive cannot be trusted") as caught:
        obtained(archive, cache, "9.9")
    assert not isinstance(caught.value, ArchiveUnreachableError)


def test_archive_of_a_stranger_is_refused(archive: LocalArchive, cache: Path) -> None:
    archive.add_binary("9.9", "9.9.1-1")
    archive.publish()
    shutil.copy(debian.KEYRING, archive.keyring)
    with pytest.raises(LuoCtsError, match="cannot be trusted"):
        obtained(archive, cache, "9.9")


def test_package_that_is_not_what_was_signed_is_refused(archive: LocalArchive, cache: Path) -> None:
    path = archive.add_binary("9.9", "9.9.1-1")
    archive.publish()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(LuoCtsError, match="cannot be trusted"):
        obtained(archive, cache, "9.9")


def test_without_network_what_is_unpacked_serves(archive: LocalArchive, cache: Path) -> None:
    archive.add_binary("9.9", "9.9.1-1")
    archive.publish()
    first = obtained(archive, cache, "9.9")
    archive.root.rename(archive.root.with_name("unplugged"))
    assert obtained(archive, cache, "9.9") == first
    # the lists are old now, and no new ones are to be had
    os.utime(cache / "luo-cts/apt/refreshed", (0, 0))
    assert obtained(archive, cache, "9.9") == first
    # not even old lists are there
    shutil.rmtree(cache / "luo-cts/apt")
    assert obtained(archive, cache, "9.9") == first
    assert obtained(archive, cache, "newest") == first
    with pytest.raises(ArchiveUnreachableError, match="look at the network"):
        obtained(archive, cache, "9.8")


def test_new_version_is_seen_when_the_lists_are_old(archive: LocalArchive, cache: Path) -> None:
    archive.add_binary("9.9", "9.9.1-1")
    archive.publish()
    obtained(archive, cache, "9.9")
    archive.add_binary("9.9", "9.9.2-1")
    archive.publish()
    assert obtained(archive, cache, "9.9").description.endswith("9.9.1-1"), "lists of today are good enough"
    os.utime(cache / "luo-cts/apt/refreshed", (0, 0))
    assert obtained(archive, cache, "9.9").description.endswith("9.9.2-1")


def test_version_that_replaced_the_listed_one_is_found(archive: LocalArchive, cache: Path) -> None:
    replaced = archive.add_binary("9.9", "9.9.1-1")
    archive.add_source("9.9.1-1", rest=False)
    archive.add_binary("9.10", "9.10.1-1")
    archive.publish()
    obtained(archive, cache, "9.10")
    replaced.unlink()
    archive.add_binary("9.9", "9.9.2-1")
    archive.publish()
    an_hour_ago = time.time() - 3600
    os.utime(cache / "luo-cts/apt/refreshed", (an_hour_ago, an_hour_ago))
    assert obtained(archive, cache, "9.9").description == "linux-source-9.9 9.9.2-1"


def test_systems_own_apt_is_not_touched(archive: LocalArchive, cache: Path) -> None:
    watched = [
        path for path in map(Path, ("/var/lib/apt/lists", "/var/cache/apt", "/etc/apt")) if path.exists()
    ]

    def state() -> list[tuple[str, int]]:
        return [(str(p), p.lstat().st_mtime_ns) for top in watched for p in (top, *sorted(top.rglob("*")))]

    before = state()
    archive.add_source("9.9.1-1")
    archive.publish()
    obtained(archive, cache, "9.9")
    assert state() == before


def test_versions_have_debians_order() -> None:
    oldest_first = [
        "6.9.1-1",
        "6.19.6-2~bpo13+1",
        "7.3~rc7-1~exp1",
        "7.3-1~exp1",
        "7.3.4-1~bpo13+1",
        "7.3.4-1",
        "7.3.10-1",
    ]
    newest_first = [DebianVersion(text) for text in reversed(oldest_first)]
    versions = sorted(newest_first)
    assert [version.text for version in versions] == oldest_first
    assert [version.series for version in versions] == ["6.9", "6.19", "7.3", "7.3", "7.3", "7.3", "7.3"]


ONE_LINE = """\
# deb http://commented.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] http://docker.example/linux/debian bookworm stable
deb http://security.example/debian-security bookworm-security main
deb-src [ trusted=no ] http://mirror.example/debian/ bookworm main contrib # comment
"""
DEB822 = """\
Types: deb
# a comment between
URIs: http://third.example/apt http://other.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""


@pytest.mark.parametrize(
    ("files", "mirror"),
    [
        ({"sources.list": ONE_LINE}, "http://mirror.example/debian"),
        ({"sources.list.d/x.list": ONE_LINE}, "http://mirror.example/debian"),
        ({"sources.list.d/x.sources": DEB822}, "http://other.example/debian"),
        ({"sources.list.d/x.sources": f"Enabled: no\n{DEB822}\n{DEB822.replace('other', 'next')}"},
         "http://next.example/debian"),
        ({"sources.list": "deb mirror+file:/etc/apt/mirrors/debian.list trixie main"},
         "mirror+file:/etc/apt/mirrors/debian.list"),
    ],
)  # fmt: skip
def test_mirror_is_the_systems_own(
    files: dict[str, str], mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(debian.MIRROR_SETTING, raising=False)
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert system_mirror(tmp_path) == mirror


def test_setting_names_the_mirror_where_the_system_is_not_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text("deb http://archive.ubuntu.example/ubuntu noble main\n")
    monkeypatch.delenv(debian.MIRROR_SETTING, raising=False)
    with pytest.raises(UsageError, match="name no Debian archive") as caught:
        system_mirror(tmp_path)
    assert "LUO_CTS_DEBIAN_MIRROR" in caught.value.hint
    monkeypatch.setenv(debian.MIRROR_SETTING, "http://set.example/debian/")
    assert system_mirror(tmp_path) == "http://set.example/debian"
