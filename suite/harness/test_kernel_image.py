# SPDX-License-Identifier: GPL-2.0-only
"""What an image says of itself."""

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel import image
from kernel.errors import UsageError
from kernel.kernel import obtain

CONFIG = "# Linux/x86 9.9.1 Kernel Configuration\nCONFIG_KEXEC_HANDOVER=y\n"
VMLINUX = (
    b"\x7fELF..Linux version 9.9.1-banner (t@t) ..IKCFG_ST" + gzip.compress(CONFIG.encode()) + b"IKCFG_ED.."
)


def _tool(*command: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    return pack


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lz4": _tool("lz4", "-l", "-c"),
    "zstd": _tool("zstd", "-c"),
}


def bzimage(payload: bytes, version: str = "9.9.1-header (t@t) #1 SMP") -> bytes:
    """Laid out as Documentation/arch/x86/boot.rst says; kbuild appends the size to the payload."""
    sectors = 4
    setup = bytearray((sectors + 1) * 512)
    setup[0x1F1] = sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x20E, 0x400)
    payload += struct.pack("<I", len(VMLINUX))
    struct.pack_into("<II", setup, 0x248, 16, len(payload))
    setup[0x600 : 0x600 + len(version) + 1] = version.encode() + b"\0"
    return bytes(setup) + bytes(16) + payload + b"trailing signature"


@pytest.mark.parametrize("packer", PACKERS)
def test_release_and_configuration_are_found(packer: str, tmp_path: Path) -> None:
    if packer in ("lz4", "zstd") and shutil.which(packer) is None:
        pytest.skip(f"needs {packer}")
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage(PACKERS[packer](VMLINUX)))
    assert image.release(path) == "9.9.1-header"
    assert image.config(path) == CONFIG


def test_bare_vmlinux_has_its_release_in_the_banner(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(VMLINUX)
    assert image.release(path) == "9.9.1-banner"
    path.write_bytes(VMLINUX.replace(b"IKCFG", b"xxxxx"))
    assert image.config(path) is None


@pytest.mark.parametrize("data", [b"", b"\x7fELF", bzimage(gzip.compress(VMLINUX)[:40], version="")])
def test_file_that_is_no_kernel_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"is not a kernel image|cannot be unpacked"):
        image.release(path)


def test_given_image_keeps_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, config, symbols = tmp_path / "bzImage", tmp_path / "config", tmp_path / "vmlinux"
    path.write_bytes(bzimage(gzip.compress(VMLINUX)))
    config.write_text("CONFIG_MINE=y\n")
    symbols.touch()
    alone = obtain(f"image:{path}")
    assert (alone.image, alone.release, alone.symbols) == (path, "9.9.1-header", None)
    assert alone.source.startswith(f"image {path} sha256:")
    assert alone.config is not None
    assert alone.config.read_text() == CONFIG
    kernel = obtain(f"image:{path},config={config},symbols={symbols}")
    assert (kernel.config, kernel.symbols) == (config, symbols)
    assert kernel.config_hash != alone.config_hash
