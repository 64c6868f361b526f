# SPDX-License-Identifier: GPL-2.0-only
"""What a built image says of itself: its release, and its configuration if it carries one."""

import bz2
import lzma
import re
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

from kernel.errors import LuoCtsError, UsageError

# Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"
_SETUP_SECTORS = 0x1F1
_MAGIC = 0x202
_VERSION_POINTER = 0x20E  # from 0x200
_PAYLOAD = 0x248  # offset from the protected-mode code, then length
_SECTOR = 512

# include/linux/ikconfig: kernel/configs.c puts the gzipped .config between these
_CONFIG_START = b"IKCFG_ST"
_CONFIG_END = b"IKCFG_ED"


def _is_bzimage(data: bytes) -> bool:
    return data[_MAGIC : _MAGIC + 4] == b"HdrS"


def release(image: Path) -> str:
    """``uname -r`` of an image, from its header or, where it has none, from its banner.

    Raises UsageError for a file that is no kernel.
    """
    data = image.read_bytes()
    if _is_bzimage(data):
        (pointer,) = struct.unpack_from("<H", data, _VERSION_POINTER)
        if pointer:
            text = data[0x200 + pointer :].split(b"\0", 1)[0].decode(errors="replace")
            if text:
                return text.split()[0]
    match = re.search(rb"Linux version (\d+\.\S+) ", _unpacked(image, data))
    if match is None:
        raise UsageError(f"{image} is not a kernel image", "a bzImage, or a vmlinux")
    return match.group(1).decode()


def config(image: Path) -> str | None:
    """The configuration that CONFIG_IKCONFIG put into an image, or None."""
    data = _unpacked(image, image.read_bytes())
    start = data.find(_CONFIG_START + b"\x1f\x8b")
    end = data.find(_CONFIG_END, start)
    if start < 0 or end < 0:
        return None
    return _gunzip(data[start + len(_CONFIG_START) : end]).decode()


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)


def _by(command: str) -> Callable[[bytes], bytes]:
    def run(data: bytes) -> bytes:
        try:
            # the tools end with a complaint about the length word that kbuild puts behind the payload
            return subprocess.run(
                [command, "-d", "-c", "-q"], input=data, capture_output=True, check=False
            ).stdout
        except FileNotFoundError as error:
            raise LuoCtsError(
                f"the image is packed with {command}, which is missing", f"apt-get install {command}"
            ) from error

    return run


# lib/decompress.c
_PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": _gunzip,
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data),
    b"\x5d\x00\x00": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data),
    b"\xfd7zXZ": lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data),
    b"\x02\x21\x4c\x18": _by("lz4"),
    b"\x28\xb5\x2f\xfd": _by("zstd"),
}


def _unpacked(image: Path, data: bytes) -> bytes:
    """The kernel proper: the payload of a bzImage, a gzipped image's content, or the file itself."""
    if _is_bzimage(data):
        offset, length = struct.unpack_from("<II", data, _PAYLOAD)
        start = ((data[_SETUP_SECTORS] or 4) + 1) * _SECTOR + offset
        data = data[start : start + length]
    try:
        for magic, unpack in _PACKERS.items():
            if data.startswith(magic):
                return unpack(data)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise UsageError(f"{image} cannot be unpacked: {error}", "is the file whole?") from error
    return data
