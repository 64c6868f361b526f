# SPDX-License-Identifier: GPL-2.0-only
"""KHO's directories in debugfs: ``in`` is what a kernel was handed, ``out`` what it will hand over."""

from fixtures.agent.client import Actor
from fixtures.agent.errors import SyscallError
from kernel.abi import fdt
from kernel.abi.errors import Broken
from kernel.abi.memory import PAGE_SIZE, Blobs, Memory
from kernel.abi.root import Root, Subtree

FOLDER = "/sys/kernel/debug/kho"
IN, OUT = "in", "out"

# Where a blob is put to be read by a decoder that wants addresses.
DESK = PAGE_SIZE


def present(actor: Actor, path: str) -> bool:
    return actor.exists(f"{FOLDER}/{path}")


def names(actor: Actor, side: str) -> set[str]:
    """The blobs of whoever takes part in KHO."""
    return set(actor.listdir(f"{FOLDER}/{side}/sub_fdts"))


def blob(actor: Actor, side: str, name: str) -> bytes:
    return actor.read_file(f"{FOLDER}/{side}/sub_fdts/{name}")


def tree(actor: Actor, side: str) -> fdt.Tree:
    """KHO's own device tree; a file that is missing or holds none is a failure of the test."""
    try:
        data = actor.read_file(f"{FOLDER}/{side}/fdt")
        return fdt.parse(desk(data), DESK, len(data), f"{side}/fdt")
    except SyscallError as error:
        raise AssertionError(f"{side}/fdt cannot be read: {error}") from error
    except Broken as broken:
        raise AssertionError(str(broken)) from broken


def desk(data: bytes) -> Memory:
    """Memory that holds nothing but ``data``, at the address ``DESK``."""
    return Blobs({DESK: data.ljust(-(-len(data) // PAGE_SIZE) * PAGE_SIZE, b"\0")})


def children(of: fdt.Tree) -> set[str]:
    return {node.name for node in of.root.children}


def written(memory: Memory, subtree: Subtree) -> bytes:
    """The bytes of a blob where the kernel keeps it; kho-v1 has trees alone, which say their own size."""
    size = subtree.size
    if size is None:
        size = fdt.Header.unpack(memory, subtree.blob, subtree.name).totalsize
    return memory.read(subtree.blob, size)


def written_tree(memory: Memory, root: Root) -> bytes:
    """The bytes of KHO's own device tree."""
    return memory.read(root.address, root.tree.header.totalsize)
