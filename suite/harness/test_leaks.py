# SPDX-License-Identifier: GPL-2.0-only
"""What kmemleak says, read; that it is asked is seen on machines (configs/kconfig/variants/debug.config)."""

from fixtures import leaks

# As mm/kmemleak.c prints it, in 7.3 and in older releases, which give each frame its address.
REPORT = """\
unreferenced object 0xffff888005a3c600 (size 96):
  comm "actor-3", pid 71, jiffies 4294670123
  hex dump (first 32 bytes):
    6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b  kkkkkkkkkkkkkkkk
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 1b4a9d3e):
    kmemleak_alloc+0x2a/0x50
    __kmalloc_cache_noprof+0x1c4/0x2b0
    luo_session_create+0x5e/0x1d0
    luo_ioctl+0x8d/0x150
    __x64_sys_ioctl+0x91/0xc0
unreferenced object 0xffff888005a3c700 (size 8):
  comm "swapper/0", pid 1, jiffies 4294667300 (age 12.120s)
  backtrace:
    [<00000000d5a4bd0b>] kmalloc_trace+0x26/0x90
    [<00000000aa8e13f1>] kho_init+0x5e/0x1d0
unreferenced object (percpu) 0x607ec0a01230 (size 4):
  comm "swapper/0", pid 1, jiffies 4294667300
  hex dump (first 4 bytes on cpu 1):
    00 00 00 00                                      ....
  backtrace (crc 0):
"""


def test_each_lost_object_is_told_with_who_asked_for_it() -> None:
    found = leaks.parse(REPORT)
    assert [str(leak) for leak in found] == [
        "96 bytes from luo_session_create < luo_ioctl < __x64_sys_ioctl",
        "8 bytes from kho_init",
        "4 bytes from somewhere",
    ]
    assert found[1].text.startswith("unreferenced object 0xffff888005a3c700 (size 8):")
    assert found[1].text.endswith("kho_init+0x5e/0x1d0")


def test_nothing_lost_is_nothing_found() -> None:
    assert leaks.parse("") == []
