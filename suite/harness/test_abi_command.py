# SPDX-License-Identifier: GPL-2.0-only
"""``python -m kernel.abi``: what a person sees, and what it ends with."""

import struct
from pathlib import Path

import pytest

from kernel.abi.__main__ import main
from suite.harness import abi_image, abi_libfdt
from suite.harness.abi_image import HIGH, LOW, LOW_SIZE, PAGE, RELEASES, Image, MemfdSpec

SPECS = {"vm": {7: MemfdSpec(b"x" * 6 * PAGE)}, "empty": {}}


@pytest.fixture
def ram(tmp_path: Path) -> Path:
    """A file with a handover, its low memory at the start and what is above 4 GiB behind it."""
    image = Image()
    abi_image.record(image, abi_image.handover(image, RELEASES["7.2"], SPECS))
    path = tmp_path / "ram"
    path.write_bytes(image.low + image.high)
    return path


LAYOUT = f"--layout={LOW:#x}:0:{LOW_SIZE},{HIGH:#x}:{LOW_SIZE}:0x100000"


def test_all_of_a_guests_ram(ram: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ram", str(ram), LAYOUT]) == 0
    out = capsys.readouterr().out
    for said in (
        "outgoing: kho-v4, kexec 1, live update 3, named by 1 setup_data records",
        "kexec-metadata at 0x", "from 7.3.4-test, kexec 1",
        "'trace': 12288 bytes at 0x",
        "luo-v5, live update 3", "session 'vm' at 0x", "file 7: memfd-v2 at 0x",
        "24576 bytes, position 0, seals 0x0, 6 folios", "and 2 more",
        "session 'empty'", "'flb': data 0x5, 2 files",
        "every preserved page has its owner",
    ):  # fmt: skip
        assert said in out


def test_one_of_several(ram: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ram", str(ram), LAYOUT]) == 0
    address = capsys.readouterr().out.split()[0]
    assert main(["--ram", str(ram), LAYOUT, "--root", address, "--release", "7.3"]) == 0
    assert f"KHO FDT at {address}" in capsys.readouterr().out
    assert main(["--ram", str(ram), LAYOUT, "--root", "0x1000"]) == 4
    assert "there is no KHO FDT at 0x1000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (
            abi_libfdt.build(
                {"compatible": b"kho-v4\0", "word": (77).to_bytes(8, "little"), "LUO": {"odd": b"\1\2"}}
            ),
            ["/", '  compatible = "kho-v4"', "  word = 0x4d", "  LUO", "    odd = 01 02"],
        ),
        (struct.pack("<I65sI", 1, b"7.3.4", 12), ["kexec-metadata at 0x0: from 7.3.4, kexec 12"]),
        (
            struct.pack("<8sQQQ", b"luo-v5", 4, 0x1000, 0x2000),
            ["LUO: luo-v5, live update 4", "  sessions at 0x1000, FLB page at 0x2000"],
        ),
    ],
    ids=["tree", "metadata", "luo"],
)
def test_a_blob_says_what_it_is(
    blob: bytes, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(blob)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["FILE"], 4, "is no blob that is known (a device tree, LUO's, kexec-metadata; --ram FILE for all"),
        (["/none"], 4, "/none cannot be read: No such file or directory (name a file"),
        (["--ram", "/none"], 4, "/none cannot be read: No such file"),
        (["--ram", "FILE"], 1, "RAM: no KHO FDT is here (is it whole, and of a kernel with KHO?)"),
        (["--ram", "FILE", "--layout", "pdp11"], 4, "no layout of machine pdp11 is known"),
        (["--ram", "FILE", "--layout", "0:0:9999999"], 4, "the layout needs 9999999 bytes"),
        (["--ram", "FILE", "--layout", "0:0"], 4, "'0:0' is no stretch of memory"),
        (["--ram", "FILE", "--layout", "0:0:x"], 4, "'x' is no number (write 4096 or 0x1000)"),
        (["--ram", "FILE", "--page-size", "100"], 4, "a page of 100 bytes is no power of two"),
        (["--ram", "RAM", "--root", "there"], 4, "'there' is no address"),
        (["--ram", "RAM", "--release", "newest"], 4, "'newest' is no kernel release"),
        (["BROKEN"], 1, "the tree ends before its root does (is it whole"),
        ([], 4, "required"),
        (["--help"], 0, ""),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str],
    status: int,
    said: str,
    ram: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_bytes(bytes(8192))
    (tmp_path / "broken").write_bytes(
        abi_libfdt.build({"compatible": b"kho-v4\0"}).replace(b"\0\0\0\2", b"\0\0\0\4")
    )
    places = {
        "FILE": [str(tmp_path / "file")],
        "BROKEN": [str(tmp_path / "broken")],
        "RAM": [str(ram), LAYOUT],
    }
    got = main([word for one in arguments for word in places.get(one, [one])])
    captured = capsys.readouterr()
    assert got == status
    assert said in captured.err
    assert captured.err.count("\n") <= 1 or "usage:" in captured.err
    assert (captured.out == "") == (status != 0)
