# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments: what they ask for, how they are merged, and what is said when Kconfig refuses."""

from pathlib import Path

import pytest

from kernel import kconfig
from kernel.arch import ARCHITECTURES
from kernel.errors import LuoCtsError, UsageError
from kernel.kernel import FRAGMENTS
from kernel.release import KernelRelease

RELEASES = [KernelRelease.parse(text) for text in ("6.18", "6.19", "7.0", "7.1", "7.2", "7.3")]


def fragment(directory: Path, name: str, text: str) -> Path:
    path = directory / f"{name}.config"
    path.write_text(text)
    return path


def test_options_are_asked_for_in_their_releases_alone(tmp_path: Path) -> None:
    path = fragment(
        tmp_path,
        "some",
        "# since 7.0: new\nCONFIG_NEW=y\n# until 7.2: old\nCONFIG_OLD=y\n"
        '# always\nCONFIG_TEXT="a b"\n# off\n# CONFIG_OFF is not set\n',
    )
    asked = {release.series: kconfig.merge([path], release) for release in RELEASES}
    assert [str(option) for option in asked[6, 19]] == [
        "CONFIG_OLD=y",
        'CONFIG_TEXT="a b"',
        "# CONFIG_OFF is not set",
    ]
    assert {option.name for option in asked[7, 2]} == {"NEW", "OLD", "TEXT", "OFF"}
    assert {option.name for option in asked[7, 3]} == {"NEW", "TEXT", "OFF"}


def test_fragments_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    one = fragment(tmp_path, "one", "# why\nCONFIG_SMP=y\nCONFIG_NET=y\n")
    same = fragment(tmp_path, "same", "CONFIG_SMP=y\n")
    other = fragment(tmp_path, "other", "# CONFIG_SMP is not set\n")
    assert len(kconfig.merge([one, same], RELEASES[0])) == 2
    with pytest.raises(
        UsageError, match=r"other\.config:1 asks for # CONFIG_SMP is not set, and one\.config:2"
    ):
        kconfig.merge([one, other], RELEASES[0])


def test_an_extra_fragment_may_change_a_default(tmp_path: Path) -> None:
    default = kconfig.merge([fragment(tmp_path, "base", "CONFIG_A=y\nCONFIG_B=y\n")], RELEASES[0])
    extra = kconfig.merge([fragment(tmp_path, "extra", "# CONFIG_A is not set\nCONFIG_C=y\n")], RELEASES[0])
    changed = kconfig.override(default, extra)
    assert [str(option) for option in changed] == ["# CONFIG_A is not set", "CONFIG_B=y", "CONFIG_C=y"]


def test_a_broken_fragment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"bad\.config:2 is no line of a kernel configuration: CONFIG_A = y"):
        kconfig.read_fragment(fragment(tmp_path, "bad", "# fine\nCONFIG_A = y\n"))


KCONFIG = """\
menu "Live update"

config KEXEC_HANDOVER
\tbool "handover"
\tselect CMA
\thelp
\t  if this is on,
\t  memory survives.

if KEXEC_HANDOVER

menuconfig LIVEUPDATE
\tbool "Live Update"
\tdepends on SHMEM || \\
\t\tTMPFS

endif

config BARE
\tbool "bare"

endmenu
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "mm").mkdir()
    (tmp_path / "Kconfig").write_text(KCONFIG)
    (tmp_path / "mm/Kconfig").write_text("config CMA\n\tbool\n\tdepends on MMU\n")
    for arch in ("x86", "arm64"):
        (tmp_path / "arch" / arch).mkdir(parents=True)
    (tmp_path / "arch/arm64/Kconfig").write_text("config LIVEUPDATE\n\tdepends on ARM64_ONLY\n")
    return tmp_path


def test_granted_options_pass(tree: Path) -> None:
    asked = kconfig.read_fragment(fragment(tree, "f", "CONFIG_A=y\nCONFIG_N=16\n# CONFIG_OFF is not set\n"))
    kconfig.verify(asked, kconfig.parse("CONFIG_A=y\nCONFIG_N=16\n# CONFIG_OFF is not set\n"), tree, "x86")
    kconfig.verify(asked, kconfig.parse("CONFIG_A=y\nCONFIG_N=16\n"), tree, "x86")


@pytest.mark.parametrize(
    ("asked", "resolved", "reason"),
    [
        ("CONFIG_LIVEUPDATE=y", "CONFIG_KEXEC_HANDOVER=y\n# CONFIG_LIVEUPDATE is not set",
         "LIVEUPDATE depends on KEXEC_HANDOVER && (SHMEM || TMPFS)"
         " (here KEXEC_HANDOVER=y, SHMEM=n, TMPFS=n)"),
        ("CONFIG_LIVEUPDAET=y", "", "no Kconfig file of the tree has LIVEUPDAET"),
        ("# CONFIG_CMA is not set", "CONFIG_KEXEC_HANDOVER=y\nCONFIG_CMA=y",
         "CMA is selected by KEXEC_HANDOVER"),
        ("# CONFIG_BARE is not set", "CONFIG_BARE=y", "BARE cannot be switched off"),
        ("CONFIG_BARE=y", "", "BARE is set by other options (# CONFIG_BARE is not set)"),
        ("CONFIG_CMA=16", "CONFIG_MMU=y\nCONFIG_CMA=8", "CMA depends on MMU (here MMU=y)"),
    ],
)  # fmt: skip
def test_a_dropped_option_is_named_with_what_it_depends_on(
    tree: Path, asked: str, resolved: str, reason: str
) -> None:
    options = kconfig.read_fragment(fragment(tree, "wish", asked + "\n"))
    with pytest.raises(LuoCtsError) as caught:
        kconfig.verify(options, kconfig.parse(resolved), tree, "x86")
    assert caught.value.message == f"this kernel cannot be configured with {asked}"
    assert caught.value.hint == f"wish.config:1: {reason}"


@pytest.mark.parametrize("path", sorted(FRAGMENTS.rglob("*.config")), ids=lambda path: path.name)
def test_every_option_of_ours_has_its_reason_above_it(path: Path) -> None:
    rows = path.read_text().splitlines()
    assert rows[0] == "# SPDX-License-Identifier: GPL-2.0-only"
    options = kconfig.read_fragment(path)
    names = [option.name for option in options]
    assert len(names) == len(set(names))
    for option in options:
        above = rows[int(option.where.rpartition(":")[2]) - 2]
        assert above.startswith("# "), f"{option.where}: {option}"
        assert "CONFIG_" not in above, f"{option.where}: {option}"


@pytest.mark.parametrize("release", RELEASES, ids=str)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_our_fragments_fit_each_other(release: KernelRelease, arch: str) -> None:
    names = ["base", "liveupdate", "faults", "qemu", arch, "debug-info"]
    asked = {
        o.name: o.value for o in kconfig.merge([FRAGMENTS / f"{name}.config" for name in names], release)
    }
    assert asked["KEXEC_HANDOVER"] == "y"
    assert ("LIVEUPDATE" in asked) == (release >= KernelRelease(6, 19))
    assert ("LIVEUPDATE_MEMFD" in asked) == (release >= KernelRelease(7, 0))
