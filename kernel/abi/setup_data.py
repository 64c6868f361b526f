# SPDX-License-Identifier: GPL-2.0-only
"""How x86 tells a kernel of its handover: a record in the chain that boot_params points to.

Source: arch/x86/include/uapi/asm/setup_data.h, setup_kho() of arch/x86/kernel/kexec-bzimage64.c, and
Documentation/arch/x86/boot.rst for the header. Until the jump the record is in a page of the loaded image,
which is not yet where it will be read.
"""

from dataclasses import dataclass

from kernel.abi.errors import Broken
from kernel.abi.memory import Memory
from kernel.abi.structure import Struct

KEXEC_KHO = 10  # SETUP_KEXEC_KHO
_BODY = 32  # struct kho_data, bytes
_LONGEST = 32  # records in a chain; there are seldom more than three

HEADER_MAGIC = b"HdrS"
_FROM_MAGIC_TO_CHAIN = 0x250 - 0x202


@dataclass(frozen=True, slots=True)
class Record(Struct):
    """struct setup_data with its struct kho_data; ``fdt_size`` is a page. ``next`` is an address as it is
    after the jump.
    """

    FORMAT = "<QIIQQQQ"

    next: int
    type: int
    len: int
    fdt: int
    fdt_size: int
    scratch: int
    scratch_size: int


# What a record is found by: type and length, eight bytes into it. All that setup_boot_parameters() puts
# before it has a multiple of 16 bytes, but for a device tree, which hardly an x86 machine has.
PATTERN = KEXEC_KHO.to_bytes(4, "little") + _BODY.to_bytes(4, "little")
PATTERN_OFFSET = 8
ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class _Head(Struct):
    """struct setup_data, of any type."""

    FORMAT = "<QII"

    next: int
    type: int
    len: int


def at_pattern(memory: Memory, address: int) -> Record | None:
    """The record whose PATTERN lies at ``address``, or None where what is around it makes none."""
    try:
        record = Record.unpack(memory, address - PATTERN_OFFSET, "setup_data record")
        memory.aligned(record.fdt, "setup_data record")
    except Broken:
        return None
    sane = record.fdt_size == memory.page_size and record.scratch_size and not record.scratch_size % 16
    return record if sane else None


def chain(memory: Memory, magic: int) -> list[int]:
    """The addresses of the records that a boot_params with its HEADER_MAGIC at ``magic`` points to.

    As far as they can be followed: of a boot_params that is not in use any more, nothing has to be true.
    """
    addresses: list[int] = []
    try:
        address = memory.word(magic + _FROM_MAGIC_TO_CHAIN)
        while address and len(addresses) < _LONGEST:
            head = _Head.unpack(memory, address, "setup_data")
            addresses.append(address)
            address = head.next
    except Broken:
        pass
    return addresses
