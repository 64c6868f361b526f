# SPDX-License-Identifier: GPL-2.0-only
"""What differs from architecture to architecture, as data; nothing outside this module names one."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kernel.errors import UsageError


@dataclass(frozen=True)
class Calls:
    """How functions are called: registers of 8 bytes, by the numbers that gdb's protocol has for them."""

    result: int  # what the function returns
    program_counter: int
    stack_pointer: int
    link: int | None  # where the function returns to; None: the top of the stack says so


@dataclass(frozen=True)
class Architecture:
    """One architecture that both KHO and this suite support."""

    name: str  # as uname -m says it
    kernel_arch: str  # the tree's name for it: make ARCH=…
    debian: str
    cross_compile: str  # prefix of the cross compiler, for use on another architecture
    image: str  # bootable image, below the build directory
    image_target: str  # make target that builds it
    qemu: str  # emulator binary
    qemu_machine: str
    console: str  # the console device the emulator gives
    earlycon: str  # parameter that brings out lines before the console is up
    virtual: str  # parameters for a virtual machine
    page_size: int
    last_function: str  # of the old kernel, before it jumps into the one that kexec has loaded
    calls: Calls
    syscalls: Mapping[str, int]
    compat_ioctl: int | None  # number of ioctl for a 32-bit caller that a 64-bit program can play, if it can


# arch/x86/entry/syscalls/syscall_64.tbl
_X86_64_SYSCALLS = {
    "read": 0, "write": 1, "close": 3, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "ioctl": 16,
    "pread64": 17, "pwrite64": 18, "sched_yield": 24, "madvise": 28, "dup": 32, "dup2": 33,
    "getpid": 39, "sendfile": 40, "socket": 41, "connect": 42, "accept": 43, "sendmsg": 46, "recvmsg": 47,
    "socketpair": 53, "wait4": 61, "kill": 62, "uname": 63, "fcntl": 72, "fsync": 74, "ftruncate": 77,
    "getdents64": 217, "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "readlink": 89,
    "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "umask": 95, "sysinfo": 99, "getuid": 102,
    "setuid": 105, "setgid": 106, "prctl": 157, "setrlimit": 160, "sync": 162, "mount": 165, "umount2": 166,
    "reboot": 169, "gettid": 186, "setgroups": 116, "capset": 126, "clock_gettime": 228, "exit_group": 231,
    "tgkill": 234, "kexec_load": 246, "openat": 257, "mkdirat": 258, "fallocate": 285, "pipe2": 293,
    "dup3": 292, "prlimit64": 302, "sched_setaffinity": 203, "unshare": 272, "ppoll": 271, "statx": 332,
    "fstat": 5, "seccomp": 317, "getrandom": 318, "memfd_create": 319, "kexec_file_load": 320,
    "faccessat": 269, "finit_module": 313,
    "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "close_range": 436,
    "setsockopt": 54, "getsockopt": 55, "mremap": 25, "mincore": 27, "mlock": 149, "flock": 73,
    "execve": 59, "exit": 60, "unlinkat": 263, "readlinkat": 267, "link": 86, "linkat": 265, "symlinkat": 266,
    "epoll_create1": 291, "epoll_ctl": 233, "eventfd2": 290, "signalfd4": 289, "timerfd_create": 283,
    "inotify_init1": 294, "userfaultfd": 323, "fanotify_init": 300, "perf_event_open": 298, "bpf": 321,
    "io_uring_setup": 425, "openat2": 437, "fsopen": 430, "mq_open": 240, "landlock_create_ruleset": 444,
    "swapon": 167, "swapoff": 168, "poll": 7, "select": 23, "futex": 202, "nanosleep": 35, "pause": 34,
    "fork": 57, "setresuid": 117, "setresgid": 119, "capget": 125, "shmget": 29, "shmat": 30, "shmctl": 31,
    "shmdt": 67, "fchmodat": 268, "fdatasync": 75, "fadvise64": 221, "truncate": 76, "readv": 19,
    "writev": 20, "preadv2": 327, "pwritev2": 328, "splice": 275, "vmsplice": 278, "tee": 276,
    "copy_file_range": 326, "process_madvise": 440, "mlock2": 325, "munlock": 150, "msync": 26,
    "remap_file_pages": 216, "getrusage": 98, "kcmp": 312, "setns": 308, "clone": 56, "memfd_secret": 447,
    "setxattr": 188, "fsetxattr": 190, "fgetxattr": 193, "utimensat": 280, "statfs": 137, "fstatfs": 138,
    "clock_nanosleep": 230, "times": 100, "getppid": 110, "pselect6": 270, "sethostname": 170,
    "move_pages": 279, "mbind": 237, "ioprio_set": 251, "sched_setscheduler": 144,
    "mknodat": 259,
}  # fmt: skip

X86_64 = Architecture(
    name="x86_64",
    kernel_arch="x86",
    debian="amd64",
    cross_compile="x86_64-linux-gnu-",
    image="arch/x86/boot/bzImage",
    image_target="bzImage",
    qemu="qemu-system-x86_64",
    qemu_machine="q35",
    console="ttyS0",
    earlycon="earlyprintk=serial,ttyS0,115200",
    # Between two CPUs that a host runs when it likes, clocks always seem to differ. And 7.3's watchdog waits
    # with interrupts off for an answer of the other CPU; while jiffies are the clock, its own deadline never
    # passes (watchdog_wait_seq() of kernel/time/clocksource.c), so that a boot hung when the other CPU was
    # stopped for the change to a better clock. And a timer whose ticks are late at boot is none that does not
    # work, which a kernel panics over (arch/x86/kernel/apic/io_apic.c: check_timer()).
    virtual="tsc=nowatchdog no_timer_check",
    page_size=4096,
    last_function="machine_kexec",
    calls=Calls(result=0, program_counter=16, stack_pointer=7, link=None),  # gdb/features/i386/64bit-core.xml
    syscalls=MappingProxyType(_X86_64_SYSCALLS),
    compat_ioctl=54,  # arch/x86/entry/syscalls/syscall_32.tbl, by int 0x80
)

ARCHITECTURES = {X86_64.name: X86_64}


def native() -> Architecture:
    """The architecture of the machine this runs on."""
    name = platform.machine()
    if name not in ARCHITECTURES:
        raise UsageError(f"luo-cts does not run on {name} yet", f"it knows {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
