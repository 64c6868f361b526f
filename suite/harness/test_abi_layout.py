# SPDX-License-Identifier: GPL-2.0-only
"""The structs are laid out as the kernel's own headers say, asked of the compiler."""

import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from kernel.abi import blocks, luo, memfd, metadata, reserve_mem, root, scratch, setup_data, vmalloc
from kernel.abi.radix import Geometry
from kernel.abi.structure import Struct

# The parts of the kernel that its ABI headers ask for.
STUBS = {
    "linux/types.h": """
        #pragma once
        #include <stdbool.h>
        #include <stddef.h>
        #include <stdint.h>
        #include_next <linux/types.h>
        typedef __u64 u64; typedef __u32 u32; typedef u64 phys_addr_t;
        #define __packed __attribute__((packed))
        #define BITS_PER_BYTE 8
        #define DECLARE_BITMAP(name, bits) unsigned long name[(bits) / 64]
        #define static_assert _Static_assert
    """,
    "linux/bits.h": "#define BIT(n) (1UL << (n))",
    "linux/log2.h": "#define const_ilog2(n) (63 - __builtin_clzll(n))",
    "linux/math.h": "#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))",
    "linux/align.h": "#define ALIGN(x, a) (((x) + (a) - 1) / (a) * (a))",
    "linux/utsname.h": "#define __NEW_UTS_LEN 64",
    "asm/page.h": "#define PAGE_SIZE (1UL << PAGE_SHIFT)",
}
HEADERS = ("kexec_handover.h", "kexec_metadata.h", "block.h", "luo.h", "memfd.h", "memblock.h")

# Struct -> the kernel's name, and its names of our fields.
STRUCTS: dict[type[Struct], tuple[str, tuple[str, ...]]] = {
    luo.State: ("luo_ser", ("compatible", "liveupdate_num", "sessions_pa", "flbs_pa")),
    luo.SessionEntry: ("luo_session_ser", ("name", "file_set_ser.files", "file_set_ser.count")),
    luo.FileEntry: ("luo_file_ser", ("compatible", "data", "token")),
    luo.FlbHeader: ("luo_flb_header_ser", ("pgcnt", "count")),
    luo.FlbEntry: ("luo_flb_ser", ("name", "data", "count")),
    blocks.Block: ("kho_block_header_ser", ("next", "count")),
    metadata.KexecMetadata: ("kho_kexec_metadata", ("version", "previous_release", "kexec_count")),
    vmalloc.Descriptor: ("kho_vmalloc", ("first", "total_pages", "flags", "order")),
    vmalloc.Chunk: ("kho_vmalloc_hdr", ("next",)),
    memfd.MemfdV2: (
        "memfd_luo_ser",
        (
            "pos", "size", "seals", "flags", "nr_folios",
            "folios.first", "folios.total_pages", "folios.flags", "folios.order",
        ),
    ),
}  # fmt: skip


def theirs(tree: Path, directory: Path, expressions: list[str], page_shift: int, more: str = "") -> list[int]:
    """What the tree's headers make of ``expressions``."""
    for name, text in STUBS.items():
        path = directory / "stubs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # Only these of the tree: its other headers are for the kernel alone.
    ours = directory / "stubs/linux/kho/abi"
    ours.mkdir(parents=True, exist_ok=True)
    for header in HEADERS:
        (ours / header).write_bytes((tree / "include/linux/kho/abi" / header).read_bytes())
    uapi = directory / "stubs/uapi/linux"
    uapi.mkdir(parents=True, exist_ok=True)
    (uapi / "liveupdate.h").write_bytes((tree / "include/uapi/linux/liveupdate.h").read_bytes())
    lines = ["#include <stdio.h>", *(f"#include <linux/kho/abi/{header}>" for header in HEADERS), more]
    prints = [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    source = directory / "layout.c"
    source.write_text("\n".join([*lines, "int main(void) {", *prints, "}"]))
    binary = directory / "layout"
    subprocess.run(
        ["cc", f"-DPAGE_SHIFT={page_shift}", "-I", directory / "stubs", "-o", binary, source], check=True
    )
    return [
        int(line)
        for line in subprocess.run([binary], check=True, capture_output=True, text=True).stdout.split()
    ]


def test_every_struct_has_the_kernels_layout(kernel_tree: Path, tmp_path: Path) -> None:
    expressions, expected = [], []
    for ours, (name, names) in STRUCTS.items():
        mine = [field.name for field in fields(ours)[1:]]
        zero = ours.of_items(0, tuple(bytes(1) if item.endswith("s") else 0 for item in ours.formats()))
        expressions += [f"sizeof(struct {name})"]
        expected += [ours.size_of()]
        for field, its_name in zip(mine, names, strict=True):
            expressions.append(f"offsetof(struct {name}, {its_name})")
            expected.append(zero.address_of(field))
    assert theirs(kernel_tree, tmp_path, expressions, 12) == expected


def test_a_folio_has_the_kernels_bits(kernel_tree: Path, tmp_path: Path) -> None:
    more = "union folio { struct memfd_luo_folio_ser folio; u64 words[2]; };"
    values = "((union folio){ .folio = { .pfn = 0x123456789abcd, .flags = 0x803, .index = 77 } })"
    got = theirs(kernel_tree, tmp_path, [f"{values}.words[0]", f"{values}.words[1]"], 12, more)
    folio = memfd.Folio(0, 0x123456789ABCD, 0x803, 77)
    assert folio.pack() == b"".join((word % (1 << 64)).to_bytes(8, "little") for word in got)
    assert next(memfd.Folio.parse(folio.pack(), 0)) == folio


@pytest.mark.parametrize("page_shift", [12, 14, 16])
def test_the_radix_tree_has_the_kernels_shape(kernel_tree: Path, tmp_path: Path, page_shift: int) -> None:
    names = ["KHO_RADIX_KEY_WIDTH", "KHO_TABLE_SIZE_LOG2", "KHO_BITMAP_SIZE_LOG2", "KHO_TREE_MAX_DEPTH"]
    ours = Geometry(1 << page_shift)
    assert theirs(kernel_tree, tmp_path, names, page_shift) == [
        ours.key_width,
        ours.table_log2,
        ours.bitmap_log2,
        ours.depth,
    ]


def test_the_names_are_the_kernels(kernel_tree: Path, tmp_path: Path) -> None:
    newest = root.ABIS["kho-v4"]
    names = {
        "KHO_FDT_COMPATIBLE": newest.compatible,
        "KHO_FDT_MEMORY_MAP_PROP_NAME": root.MEMORY_MAP,
        "KHO_SUB_TREE_PROP_NAME": newest.blob,
        "KHO_SUB_TREE_SIZE_PROP_NAME": newest.blob_size,
        "KHO_METADATA_NODE_NAME": metadata.NAME,
        "LUO_KHO_ENTRY_NAME": luo.NAME,
        "LUO_ABI_COMPATIBLE": "luo-v5",
        "MEMFD_LUO_FH_COMPATIBLE": "memfd-v2",
        "MEMBLOCK_KHO_FDT": reserve_mem.NAME,
        "MEMBLOCK_KHO_NODE_COMPATIBLE": reserve_mem.COMPATIBLE,
        "RESERVE_MEM_KHO_NODE_COMPATIBLE": reserve_mem.AREA_COMPATIBLE,
    }
    same = [f'!__builtin_strcmp({macro}, "{name}")' for macro, name in names.items()]
    assert theirs(kernel_tree, tmp_path, same, 12) == [1] * len(same)


def test_the_limits_are_the_kernels(kernel_tree: Path) -> None:
    """Numbers that no header has."""
    directory = kernel_tree / "kernel/liveupdate"
    assert f"#define KHO_MAX_BLOCKS {blocks.MAX_BLOCKS}\n" in (directory / "kho_block.c").read_text()
    flb = (directory / "luo_flb.c").read_text()
    assert f"#define LUO_FLB_PGCNT\t\t{luo.SIZES.flbs}ul\n" in flb
    scratch_header = (kernel_tree / "include/asm-generic/kexec_handover.h").read_text()
    assert "phys_addr_t addr;\n\tphys_addr_t size;\n" in scratch_header
    assert scratch.Area.size_of() == 16


def test_the_setup_data_record_is_the_kernels(kernel_tree: Path) -> None:
    header = (kernel_tree / "arch/x86/include/uapi/asm/setup_data.h").read_text()
    assert f"#define SETUP_KEXEC_KHO\t\t\t{setup_data.KEXEC_KHO}\n" in header
    body = header[header.index("struct kho_data {") :].splitlines()[1:5]
    assert [line.split()[-1] for line in body] == [
        "fdt_addr;", "fdt_size;", "scratch_addr;", "scratch_size;",
    ]  # fmt: skip
    assert setup_data.Record.size_of() == 16 + 4 * 8
