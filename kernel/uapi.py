# SPDX-License-Identifier: GPL-2.0-only
"""What crosses the system call boundary: LUO's structs and ioctl numbers, and the few other numbers in use.

Names are the kernel's. The source of the first part is include/uapi/linux/liveupdate.h, the same from 6.19 on
but for LIVEUPDATE_SESSION_GET_NAME, which came in 7.2; every later group names its header. Numbers that
Python's ``os`` and ``errno`` have are not repeated here. A harness test compares all of it with the kernel's
own headers.
"""

import ctypes
from ctypes import c_int32, c_uint8, c_uint32, c_uint64
from typing import Any

LIVEUPDATE_IOCTL_TYPE = 0xBA
LIVEUPDATE_SESSION_NAME_LENGTH = 64  # with the terminating NUL

LIVEUPDATE_CMD_BASE = 0x00
LIVEUPDATE_CMD_CREATE_SESSION = 0x00
LIVEUPDATE_CMD_RETRIEVE_SESSION = 0x01

LIVEUPDATE_CMD_SESSION_BASE = 0x40
LIVEUPDATE_CMD_SESSION_PRESERVE_FD = 0x40
LIVEUPDATE_CMD_SESSION_RETRIEVE_FD = 0x41
LIVEUPDATE_CMD_SESSION_FINISH = 0x42
LIVEUPDATE_CMD_SESSION_GET_NAME = 0x43


def _io(nr: int) -> int:
    """_IO() of include/uapi/asm-generic/ioctl.h for LUO's type: no direction and no size bits."""
    return LIVEUPDATE_IOCTL_TYPE << 8 | nr


LIVEUPDATE_IOCTL_CREATE_SESSION = _io(LIVEUPDATE_CMD_CREATE_SESSION)
LIVEUPDATE_IOCTL_RETRIEVE_SESSION = _io(LIVEUPDATE_CMD_RETRIEVE_SESSION)
LIVEUPDATE_SESSION_PRESERVE_FD = _io(LIVEUPDATE_CMD_SESSION_PRESERVE_FD)
LIVEUPDATE_SESSION_RETRIEVE_FD = _io(LIVEUPDATE_CMD_SESSION_RETRIEVE_FD)
LIVEUPDATE_SESSION_FINISH = _io(LIVEUPDATE_CMD_SESSION_FINISH)
LIVEUPDATE_SESSION_GET_NAME = _io(LIVEUPDATE_CMD_SESSION_GET_NAME)

SessionName = c_uint8 * LIVEUPDATE_SESSION_NAME_LENGTH


def session_name(name: str | bytes) -> "ctypes.Array[c_uint8]":
    """``name`` as the field of a struct, filled up with NULs; 64 bytes fill it and leave no terminator.

    Raises ValueError for a name that does not fit at all.
    """
    raw = name.encode() if isinstance(name, str) else name
    if len(raw) > LIVEUPDATE_SESSION_NAME_LENGTH:
        raise ValueError(f"a session name has at most {LIVEUPDATE_SESSION_NAME_LENGTH} bytes, not {len(raw)}")
    return SessionName(*raw)


class Argument(ctypes.Structure):
    """An ioctl argument; its first word is its own size, set unless given; ``bytes()`` is its memory."""

    size: int

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"size": ctypes.sizeof(self), **fields})


def offset(argument: type[Argument], field: str) -> int:
    """Bytes from the start of an argument to one of its fields."""
    return int(getattr(argument, field).offset)


class liveupdate_ioctl_create_session(Argument):
    fd: int
    name: "ctypes.Array[c_uint8]"
    _fields_ = (("size", c_uint32), ("fd", c_int32), ("name", SessionName))


class liveupdate_ioctl_retrieve_session(Argument):
    fd: int
    name: "ctypes.Array[c_uint8]"
    _fields_ = (("size", c_uint32), ("fd", c_int32), ("name", SessionName))


class liveupdate_session_preserve_fd(Argument):
    fd: int
    token: int
    _fields_ = (("size", c_uint32), ("fd", c_int32), ("token", c_uint64))


class liveupdate_session_retrieve_fd(Argument):
    fd: int
    token: int
    _fields_ = (("size", c_uint32), ("fd", c_int32), ("token", c_uint64))


class liveupdate_session_finish(Argument):
    reserved: int
    _fields_ = (("size", c_uint32), ("reserved", c_uint32))


class liveupdate_session_get_name(Argument):
    reserved: int
    name: "ctypes.Array[c_uint8]"
    _fields_ = (("size", c_uint32), ("reserved", c_uint32), ("name", SessionName))


# include/uapi/linux/memfd.h
MFD_CLOEXEC = 0x0001
MFD_ALLOW_SEALING = 0x0002
MFD_HUGETLB = 0x0004
MFD_NOEXEC_SEAL = 0x0008
MFD_EXEC = 0x0010
MFD_HUGE_2MB = 21 << 26
MFD_HUGE_1GB = 30 << 26

# include/uapi/linux/fcntl.h
F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL = 0x0001
F_SEAL_SHRINK = 0x0002
F_SEAL_GROW = 0x0004
F_SEAL_WRITE = 0x0008
F_SEAL_FUTURE_WRITE = 0x0010
F_SEAL_EXEC = 0x0020
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

# include/uapi/asm-generic/fcntl.h
F_DUPFD = 0
F_GETFD = 1
F_SETFD = 2
F_GETFL = 3
F_SETFL = 4
FD_CLOEXEC = 1

# include/uapi/linux/falloc.h
FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02
FALLOC_FL_COLLAPSE_RANGE = 0x08
FALLOC_FL_ZERO_RANGE = 0x10
FALLOC_FL_INSERT_RANGE = 0x20

# include/uapi/linux/reboot.h
LINUX_REBOOT_MAGIC1 = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2 = 672274793
LINUX_REBOOT_CMD_RESTART = 0x01234567
LINUX_REBOOT_CMD_HALT = 0xCDEF0123
LINUX_REBOOT_CMD_POWER_OFF = 0x4321FEDC
LINUX_REBOOT_CMD_KEXEC = 0x45584543

# include/uapi/linux/kexec.h
KEXEC_ON_CRASH = 0x00000001
KEXEC_PRESERVE_CONTEXT = 0x00000002
KEXEC_FILE_UNLOAD = 0x00000001
KEXEC_FILE_ON_CRASH = 0x00000002
KEXEC_FILE_NO_INITRAMFS = 0x00000004
KEXEC_FILE_DEBUG = 0x00000008
KEXEC_FILE_NO_CMA = 0x00000010

# include/uapi/linux/mman.h and include/uapi/asm-generic/mman-common.h
PROT_NONE = 0x0
PROT_READ = 0x1
PROT_WRITE = 0x2
PROT_EXEC = 0x4
MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
MAP_POPULATE = 0x008000
MAP_32BIT = 0x40  # arch/x86/include/uapi/asm/mman.h
MREMAP_MAYMOVE = 1
MADV_DONTNEED = 4
MADV_FREE = 8
MADV_REMOVE = 9
MADV_HUGEPAGE = 14
MADV_NOHUGEPAGE = 15
MADV_COLD = 20
MADV_PAGEOUT = 21
MADV_POPULATE_READ = 22
MADV_POPULATE_WRITE = 23
MADV_COLLAPSE = 25
MADV_HWPOISON = 100
MADV_SOFT_OFFLINE = 101

# include/uapi/linux/resource.h and linux/capability.h
RLIMIT_NOFILE = 7
CAP_SYS_ADMIN = 21
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

# include/uapi/linux/stat.h
STATX_BASIC_STATS = 0x000007FF

# include/uapi/linux/kernel-page-flags.h
KPF_UPTODATE = 3
KPF_DIRTY = 4
KPF_LRU = 5
KPF_BUDDY = 10
KPF_SWAPBACKED = 14
KPF_COMPOUND_HEAD = 15
KPF_COMPOUND_TAIL = 16
KPF_HUGE = 17
KPF_HWPOISON = 19
KPF_THP = 22

# include/uapi/linux/fs.h
BLKDISCARD = 0x1277

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
