# SPDX-License-Identifier: GPL-2.0-only
"""``python -m kernel.abi``: what KHO and LUO wrote, from a blob or from a guest's RAM."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kernel.abi import dump, fdt, luo, memory, metadata, search
from kernel.abi.bitmaps import bitmap_bytes
from kernel.abi.errors import Broken
from kernel.abi.handover import Handover
from kernel.abi.memory import Extent, Ram
from kernel.arch import native
from kernel.errors import LuoCtsError, UsageError
from kernel.release import KernelRelease

_LAYOUT_HINT = "a machine of QEMU's such as q35, or START:OFFSET:LENGTH, several with commas between"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernel.abi", description="Read what one kernel hands to the next."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "blob", nargs="?", type=Path, metavar="FILE",
        help="a blob such as kho/out/fdt or kho/in/sub_fdts/LUO of debugfs",
    )  # fmt: skip
    what.add_argument("--ram", type=Path, metavar="FILE", help="a guest's RAM, alive or saved")
    parser.add_argument("--layout", metavar="WHERE", help=f"where its bytes belong: {_LAYOUT_HINT}")
    parser.add_argument(
        "--page-size", type=int, default=memory.PAGE_SIZE, metavar="BYTES", help="the guest's"
    )
    parser.add_argument(
        "--release", help="of the kernel that wrote it: 6.16 and 6.17 cannot be told from 6.18"
    )
    parser.add_argument("--root", metavar="ADDRESS", help="the KHO FDT to read, if not the newest")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as leaving:
        # argparse ends with 2, which means interrupted elsewhere in this suite
        return UsageError.exit_status if leaving.code else 0
    try:
        if options.ram is None:
            lines = list(_blob(options.blob))
        else:
            lines = list(_ram(options.ram, options.layout, options.page_size, options.release, options.root))
    except Broken as error:
        print(f"{error} (is it whole, and of a kernel with KHO?)", file=sys.stderr)
        return 1
    except LuoCtsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print("\n".join(lines))
    return 0


def _blob(path: Path) -> Iterator[str]:
    """A blob says what it is: by a magic, by its ABI's name, or by its size and version."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name a file, or --ram FILE") from error
    blob = memory.Blobs({0: data})
    if data.startswith(fdt.MAGIC.to_bytes(4, "big")):
        return dump.tree(fdt.parse(blob, 0, len(data), str(path)).root)
    if data.startswith(b"luo-"):
        return dump.state(luo.state(blob, 0, len(data)))
    if len(data) >= metadata.KexecMetadata.size_of() and 0 < int.from_bytes(data[:4], "little") < 256:
        return dump.metadata(metadata.read(blob, 0, len(data)))
    raise UsageError(
        f"{path} is no blob that is known", "a device tree, LUO's, kexec-metadata; --ram FILE for all memory"
    )


def _ram(
    path: Path, layout: str | None, page_size: int, release: str | None, at: str | None
) -> Iterator[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "name a file with a guest's RAM"
        ) from error
    try:
        ram = _memory(descriptor, layout, page_size)
        handovers = search.find(ram)
        yield from dump.search(handovers)
        chosen = None
        if at is not None:
            wanted = _number(at, "address")
            chosen = next((one.root for one in handovers.found if one.root.address == wanted), None)
            if chosen is None:
                raise UsageError(f"there is no KHO FDT at {wanted:#x}", "without --root all are listed")
        size = None if release is None else bitmap_bytes(_release(release), page_size)
        yield from dump.handover(Handover.read(ram, chosen, bitmap_bytes=size))
    finally:
        os.close(descriptor)


def _memory(descriptor: int, layout: str | None, page_size: int) -> Ram:
    try:
        if layout is None or ":" not in layout:
            return Ram.of_machine(descriptor, layout or native().qemu_machine, page_size)
        return Ram(descriptor, [_extent(part) for part in layout.split(",")], page_size)
    except ValueError as error:
        raise UsageError(str(error), f"--layout takes {_LAYOUT_HINT}") from error


def _extent(text: str) -> Extent:
    numbers = [_number(part, "number") for part in text.split(":")]
    if len(numbers) != 3:
        raise UsageError(f"{text!r} is no stretch of memory", _LAYOUT_HINT)
    return Extent(*numbers)


def _number(text: str, what: str) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise UsageError(f"{text!r} is no {what}", "write 4096 or 0x1000") from error


def _release(text: str) -> KernelRelease:
    try:
        return KernelRelease.parse(text)
    except ValueError as error:
        raise UsageError(str(error), "write 6.17") from error


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may have read enough
    sys.exit(main())
