# SPDX-License-Identifier: GPL-2.0-only
"""The config audit: its one sentence, its table, its exit status."""

import gzip
from pathlib import Path

import pytest

from kernel import kconfig
from kernel.audit import audit, main
from kernel.release import KernelRelease

# the lines that matter of linux-config-7.3 7.3.4-1~bpo13+1, config.amd64_none_amd64
DEBIAN = """\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 7.3.4 Kernel Configuration
#
CONFIG_SHMEM=y
CONFIG_KEXEC=y
CONFIG_KEXEC_FILE=y
CONFIG_KEXEC_SIG=y
# CONFIG_KEXEC_SIG_FORCE is not set
# CONFIG_KEXEC_HANDOVER is not set
CONFIG_ARCH_SUPPORTS_KEXEC_HANDOVER=y
CONFIG_DEFERRED_STRUCT_PAGE_INIT=y
CONFIG_MEMFD_CREATE=y
CONFIG_DEBUG_FS=y
"""
ABLE = DEBIAN.replace("# CONFIG_KEXEC_HANDOVER is not set", "CONFIG_KEXEC_HANDOVER=y") + (
    "CONFIG_KEXEC_HANDOVER_DEBUGFS=y\nCONFIG_LIVEUPDATE=y\nCONFIG_LIVEUPDATE_MEMFD=y\n"
)


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(DEBIAN)
    return path


def test_debians_kernel_has_kho_switched_off(debian: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(debian)]) == 1
    verdict, _, *table = capsys.readouterr().out.splitlines()
    assert (
        verdict
        == "This kernel cannot do live update: KHO is switched off (CONFIG_KEXEC_HANDOVER is not set)."
    )
    rows = {row.split()[0]: row for row in table}
    assert "missing" in rows["CONFIG_KEXEC_HANDOVER"]
    assert "KB of code" in rows["CONFIG_KEXEC_HANDOVER"]
    assert "good" in rows["CONFIG_KEXEC_FILE"]
    assert {"kho=on", "liveupdate=on", "kho_scratch="} <= rows.keys()


@pytest.mark.parametrize(
    ("cmdline", "able", "rest"),
    [
        (None, True, " when it is booted with kho=on liveupdate=on."),
        ("quiet kho=on liveupdate=1", True, "."),
        ("kho=on liveupdate=on -- kho=off", True, "."),
        ("kho=1", False, ", but was not booted for it: liveupdate=on is missing."),
        ("kho=on kho=off liveupdate=on", False, ", but was not booted for it: kho=on is missing."),
        ("kho=on liveupdate=on debugfs=off", False, ", but was not booted for it: debugfs=off is there."),
        ("", False, ", but was not booted for it: kho=on is missing, liveupdate=on is missing."),
    ],
)
def test_boot_parameters_count(cmdline: str | None, able: bool, rest: str) -> None:
    found = audit(kconfig.parse(ABLE), KernelRelease.parse("7.3.4"), cmdline)
    assert (found.able, found.verdict) == (able, "This kernel can do live update" + rest)


def test_kho_may_be_on_by_default() -> None:
    config = kconfig.parse(ABLE + "CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n")
    assert audit(config, KernelRelease.parse("7.3"), "liveupdate=on").able
    assert not audit(config, KernelRelease.parse("7.3"), "liveupdate=on kho=off").able


def test_debugfs_off_does_no_harm_without_kho_debugfs() -> None:
    config = kconfig.parse(ABLE.replace("CONFIG_KEXEC_HANDOVER_DEBUGFS=y\n", ""))
    assert audit(config, KernelRelease.parse("7.3"), "kho=on liveupdate=on debugfs=off").able


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        ("5.10.0", "Linux 5.10.0 has no KHO (since 6.16) and no LUO (since 6.19)"),
        ("6.18.3", "Linux 6.18.3 has KHO but no LUO (since 6.19)"),
    ],
)
def test_old_releases_cannot(release: str, reason: str) -> None:
    found = audit(kconfig.parse(ABLE), KernelRelease.parse(release))
    assert (found.able, found.verdict) == (False, f"This kernel cannot do live update: {reason}.")


def test_a_deferred_memory_map_stands_in_the_way_until_7_1() -> None:
    config = kconfig.parse(ABLE)
    judged = {
        release: {row.item: row.judgement for row in audit(config, KernelRelease.parse(release)).rows}
        for release in ("7.1", "7.2")
    }
    assert judged["7.1"]["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] == "in the way"
    assert "CONFIG_DEFERRED_STRUCT_PAGE_INIT" not in judged["7.2"]


def test_a_packed_configuration_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "config.gz"
    packed.write_bytes(gzip.compress(ABLE.encode()))
    assert main([str(packed), "--cmdline", "kho=on liveupdate=on"]) == 0
    assert capsys.readouterr().out.startswith("This kernel can do live update.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        (["nowhere/config"], "nowhere/config is neither a file nor a kernel"),
        (["deb:5.10"], "Linux 5.10 has no LUO"),
        ([pytest.__file__], "is not a kernel configuration"),
    ],
)
def test_wrong_arguments_end_with_4(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 4
    assert said in capsys.readouterr().err


def test_a_tree_without_configuration_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Kconfig", "Makefile"):
        (tmp_path / name).touch()
    assert main([f"tree:{tmp_path}"]) == 4
    assert f"{tmp_path} has no .config" in capsys.readouterr().err
    (tmp_path / ".config").write_text(DEBIAN)
    assert main([f"tree:{tmp_path}"]) == 1
