# SPDX-License-Identifier: GPL-2.0-only
"""System calls and programs, on the real agent as a process of this machine."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.agent import local
from fixtures.agent.client import Actor
from fixtures.agent.errors import ActorGone, ChannelBroken, Refused, SyscallError
from fixtures.agent.program import _OP, Code, Kind
from fixtures.agent.protocol import MAX_PAYLOAD, Type

AT_FDCWD = -100
PROT_RW, MAP_PRIVATE_ANONYMOUS = 3, 0x22
PAGE = 4096
MAP_32BIT = 0x40
RLIMIT_NOFILE = 7

# arch/x86/entry/syscalls/syscall_32.tbl: to a 64-bit program the same numbers are other calls
WRITE_32, CLOSE_32, GETPID_32 = 4, 6, 20


@pytest.fixture
def actor() -> Iterator[Actor]:
    with local.running() as here:
        yield here.agent.main


class Utsname(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_char * 65) for name in ("sys", "node", "release", "version", "machine", "domain")
    ]


def test_the_greeting_describes_the_machine(actor: Actor) -> None:
    hello = actor.agent.hello
    assert (hello.machine, hello.release) == (platform.machine(), platform.release())
    assert hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert hello.page_size == os.sysconf("SC_PAGESIZE")
    assert actor.pid == actor.syscall("getpid") != hello.pid


def test_an_error_names_the_call_and_the_errno(actor: Actor) -> None:
    with pytest.raises(SyscallError) as caught:
        actor.syscall("openat", AT_FDCWD, "/no/such/file", 0)
    assert (caught.value.errno, caught.value.call) == (errno.ENOENT, "openat")
    assert str(caught.value) == "openat(-100, '/no/such/file', 0) gave ENOENT (No such file or directory)"
    assert actor.raw("close", 900) == -errno.EBADF


def test_a_ctypes_structure_is_filled_in_place(actor: Actor) -> None:
    name = Utsname()
    actor.syscall("uname", name)
    assert name.release.decode() == platform.release()


def test_results_feed_later_operations(actor: Actor) -> None:
    program = actor.program()
    fd = program.syscall("memfd_create", "ram", 0)
    wrote = program.syscall("write", fd, b"live update", 11)
    mapped = program.syscall("mmap", 0, PAGE, PROT_RW, 1, fd, 0)
    program.store(mapped + 5, ord("U"), size=1)
    program.copy(mapped + 11, mapped, wrote)
    program.syscall("munmap", mapped, PAGE)
    position = program.syscall("lseek", fd, 0, os.SEEK_CUR)
    content = program.buffer(32, out=True)
    read = program.syscall("pread64", fd, content, 32, 0)
    program.trim(content, read)
    results = actor.run(program)
    assert results[position] == 11
    assert results[read] == 11
    assert results.bytes(content) == b"live Update"


def test_numbers_are_loaded_from_memory(actor: Actor) -> None:
    program = actor.program()
    fds = program.buffer(8, out=True)
    program.syscall("pipe2", fds, os.O_CLOEXEC)
    program.syscall("write", fds.u32(4), b"ping", 4)
    buffer = program.buffer(4, out=True)
    length = program.buffer(struct.pack("<Q", 4))
    read = program.syscall("read", fds.s32(), buffer, length.u64())
    negative = program.buffer(struct.pack("<i", -1))
    bad = program.syscall("close", negative.s32(), check=False)
    results = actor.run(program)
    assert results[read] == 4
    assert results.bytes(buffer) == b"ping"
    assert struct.unpack("<2i", results.bytes(fds)) == (3, 4)
    assert results[bad] == -errno.EBADF


def test_the_first_error_ends_the_program(actor: Actor) -> None:
    program = actor.program()
    before = program.syscall("getpid")
    unchecked = program.syscall("close", 900, check=False)
    failing = program.syscall("close", 901)
    after = program.syscall("memfd_create", "never", 0)
    with pytest.raises(SyscallError, match=r"^close\(901\) gave EBADF") as caught:
        actor.run(program)
    results = caught.value.results
    assert results is not None
    assert results[before] == actor.pid
    assert results[unchecked] == results.raw(failing) == -errno.EBADF
    assert results.raw(after) == -errno.ECANCELED
    assert results.nanoseconds(before) > 0 == results.nanoseconds(after)
    for ref in (failing, after):
        with pytest.raises(SyscallError, match="EBADF"):
            results[ref]
    assert actor.syscall("dup", 0) == 3


def test_ten_thousand_operations_in_one_request(actor: Actor) -> None:
    program = actor.program()
    fds = [program.syscall("dup", 0) for _ in range(500)]
    pids = [program.syscall("getpid") for _ in range(9000)]
    for fd in fds:
        program.syscall("close", fd)
    results = actor.run(program)
    assert {results[pid] for pid in pids} == {actor.pid}
    assert len({results[fd] for fd in fds}) == 500


def test_descriptors_start_at_three_and_lead_to_dev_null(actor: Actor) -> None:
    assert [actor.readlink(f"/proc/self/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    assert actor.syscall("dup", 0) == 3
    own = [int(fd) for fd in actor.listdir("/proc/self/fd") if int(fd) > 4]
    assert len(own) == 1
    assert own[0] >= 1000


@pytest.mark.parametrize("what", ["store", "copy", "fill", "check", "hash", "read past"])
def test_a_bad_address_is_an_error_and_no_death(actor: Actor, what: str) -> None:
    program = actor.program()
    mapped = program.syscall("mmap", 0, 2 * PAGE, PROT_RW, MAP_PRIVATE_ANONYMOUS, -1, 0)
    program.syscall("mprotect", mapped + PAGE, PAGE, 0)
    near = mapped + (PAGE - 8)
    match what:
        case "store":
            program.store(1, 1)
        case "copy":
            program.copy(program.buffer(64), near, 64)
        case "fill":
            program.fill(near, 64)
        case "check":
            program.fill(near, 8)
            program.check(near, 64)
        case "hash":
            program.hash(near, 64)
        case "read past":
            program.copy(mapped, (1 << 63) | 12345, 8)
    with pytest.raises(SyscallError) as caught:
        actor.run(program)
    assert caught.value.errno == errno.EFAULT
    assert actor.syscall("getpid") == actor.pid


def test_a_mapping_behind_the_end_of_its_file_is_a_bad_address_too(actor: Actor) -> None:
    program = actor.program()
    fd = program.syscall("memfd_create", "short", 0)
    mapped = program.syscall("mmap", 0, PAGE, PROT_RW, 1, fd, 0)
    program.store(mapped, 1)
    with pytest.raises(SyscallError, match="EFAULT"):
        actor.run(program)


def test_a_page_end_buffer_has_a_forbidden_page_behind_it(actor: Actor) -> None:
    program = actor.program()
    program.buffer(100)
    edge = program.buffer(b"0123456789", out=True, page_end=True)
    other = program.buffer(b"x" * PAGE, page_end=True)
    fd = program.syscall("memfd_create", "edge", 0)
    fits = program.syscall("write", fd, edge, 10)
    beyond = program.syscall("pwrite64", fd, edge + 10, 1, 0, check=False)
    touched = program.copy(other + PAGE, edge, 1, check=False)
    results = actor.run(program)
    assert (results[fits], results[beyond], results[touched]) == (10, -errno.EFAULT, -errno.EFAULT)
    assert results.bytes(edge) == b"0123456789"
    assert (edge.offset + edge.size) % PAGE == 0
    # The next request starts with fresh memory.
    assert actor.syscall("write", results[fd], bytes(3 * PAGE), 3 * PAGE) == 3 * PAGE


def test_memory_is_peeked_and_poked(actor: Actor) -> None:
    address = actor.syscall("mmap", 0, PAGE, PROT_RW, MAP_PRIVATE_ANONYMOUS, -1, 0)
    program = actor.program()
    program.poke(address + 100, b"survivor")
    program.store(address + 108, 0x11223344, size=4)
    program.store(address + 112, program.buffer(b"where am I"))
    seen = program.peek(address + 100, 12)
    pointer = program.peek(address + 112, 8)
    results = actor.run(program)
    assert results.bytes(seen) == b"survivor\x44\x33\x22\x11"
    assert int.from_bytes(results.bytes(pointer), "little") > PAGE


def test_running_out_of_descriptors_leaves_the_agent_working(actor: Actor) -> None:
    actor.syscall("prlimit64", 0, RLIMIT_NOFILE, struct.pack("<QQ", 8, 8), 0)
    assert [actor.raw("dup", 0) for _ in range(6)] == [3, 4, 5, 6, 7, -errno.EMFILE]
    with pytest.raises(Refused) as refused:
        actor.fork()
    assert refused.value.errno == errno.EMFILE
    assert actor.syscall("getpid") == actor.pid
    assert actor.agent.spawn().syscall("dup", 0) == 3


def test_files_are_read_and_written(actor: Actor, tmp_path: Path) -> None:
    path = tmp_path / "file"
    actor.write_file(str(path), b"one")
    actor.write_file(str(path), b"two", append=True)
    assert path.read_bytes() == actor.read_file(str(path)) == b"onetwo"
    assert actor.listdir(str(tmp_path)) == ["file"]
    (tmp_path / "link").symlink_to("file")
    assert actor.readlink(str(tmp_path / "link")) == "file"
    assert actor.read_file("/proc/version") == Path("/proc/version").read_bytes()
    with pytest.raises(SyscallError, match="ENOENT"):
        actor.read_file(str(tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        actor.read_file(str(tmp_path))
    with pytest.raises(OSError, match=r"Permission denied|Invalid argument|Input/output"):
        actor.write_file("/proc/version", b"mine")
    assert actor.syscall("dup", 0) == 3, "a helper left a descriptor open"


def test_a_big_file_goes_there_and_back(actor: Actor, tmp_path: Path) -> None:
    data = os.urandom(9_000_001)
    actor.upload(str(tmp_path / "big"), data, mode=0o700)
    assert (tmp_path / "big").read_bytes() == actor.read_file(str(tmp_path / "big")) == data
    assert (tmp_path / "big").stat().st_mode & 0o777 == 0o700


def test_the_clock_goes_forward(actor: Actor) -> None:
    assert actor.agent.hello.monotonic_ns < actor.clock() < actor.clock()


def test_a_program_that_is_too_big_is_refused_here(actor: Actor) -> None:
    program = actor.program()
    program.buffer(MAX_PAYLOAD + 1, out=True)
    with pytest.raises(ValueError, match="exceeds one request"):
        actor.run(program)


@pytest.fixture
def old(actor: Actor) -> Actor:
    """A process that can make the calls of a 32-bit program."""
    child = actor.fork()
    program = child.program()
    pid = program.compat(GETPID_32, check=False)
    try:
        got = child.run(program)[pid]
    except ActorGone:
        pytest.skip("this machine's kernel has no calls for 32-bit programs, and kills who makes one")
    if got == -errno.ENOSYS:
        pytest.skip("a 64-bit program of this architecture cannot make such a call")
    return child


def test_a_32_bit_call_has_numbers_and_results_of_its_own(old: Actor) -> None:
    program = old.program()
    pid = program.compat(GETPID_32)
    fd = program.syscall("memfd_create", "ram", 0)
    page = program.syscall("mmap", 0, PAGE, PROT_RW, MAP_PRIVATE_ANONYMOUS | MAP_32BIT, -1, 0)
    program.poke(page, b"live update")
    wrote = program.compat(WRITE_32, fd, page, 4)
    size = program.syscall("lseek", fd, 0, os.SEEK_END)
    program.compat(CLOSE_32, fd)
    closed = program.syscall("lseek", fd, 0, os.SEEK_END, check=False)
    results = old.run(program)
    assert (results[pid], results[wrote], results[size]) == (old.pid, 4, 4)
    assert results[closed] == -errno.EBADF


def test_a_32_bit_call_that_fails_is_named_and_ends_the_program(old: Actor) -> None:
    program = old.program()
    ignored = program.compat(CLOSE_32, 900, check=False)
    program.compat(CLOSE_32, 900)
    after = program.syscall("getpid")
    with pytest.raises(SyscallError) as caught:
        old.run(program)
    assert (caught.value.errno, caught.value.call) == (errno.EBADF, f"compat {CLOSE_32}")
    assert caught.value.results is not None
    assert caught.value.results[ignored] == -errno.EBADF
    assert caught.value.results.raw(after) == -errno.ECANCELED


def test_a_32_bit_call_takes_five_arguments(actor: Actor) -> None:
    with pytest.raises(TypeError, match="at most 5"):
        actor.program().compat(GETPID_32, 1, 2, 3, 4, 5, 6)


def run_payload(actor: Actor, payload: bytes) -> bytes:
    return actor.request(Type.RUN, payload).payload()


@pytest.mark.parametrize(
    ("code", "kind", "word", "expected"),
    [
        (Code.COPY, Kind.VALUE, 0, 0),  # of no bytes, so nothing but the argument can be wrong
        (99, Kind.VALUE, 0, -errno.ENOSYS),
        (Code.COPY, 77, 0, -errno.EINVAL),
        (Code.COPY, Kind.RESULT, 5, -errno.EINVAL),
        (Code.COPY, Kind.U64, 1 << 40, -errno.EFAULT),
        (Code.COPY, Kind.U32, 4093, -errno.EFAULT),
        (Code.COPY, Kind.S32, 2**64 - 1, -errno.EFAULT),
    ],
)
def test_operations_the_agent_cannot_know_are_errors(
    actor: Actor, code: int, kind: int, word: int, expected: int
) -> None:
    op = _OP.pack(code, 0, kind, 0, 0, 0, 0, 0, 0, word, 0, 0, 0, 0, 0)
    answer = run_payload(actor, struct.pack("<IIIIQ", 1, 0, 0, 0, 4096) + op)
    assert struct.unpack_from("<q", answer) == (expected,)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(23),
        struct.pack("<IIIIQ", 1, 0, 0, 0, 0),
        struct.pack("<IIIIQ", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0),
        struct.pack("<IIIIQ", 0, 1, 0, 0, 4096) + struct.pack("<QQQ", 4000, 100, 2**64 - 1),
        struct.pack("<IIIIQ", 0, 1, 0, 0, 4096) + struct.pack("<QQQ", 2**64 - 1, 2, 2**64 - 1),
        struct.pack("<IIIIQ", 0, 1, 0, 0, 4096) + struct.pack("<QQQ", 0, 1, 0),
        struct.pack("<IIIIQ", 0, 1, 0, 0, 1 << 40) + struct.pack("<QQQ", 0, 1 << 39, 2**64 - 1),
        struct.pack("<IIIIQ", 0, 0, 1, 0, 4096) + struct.pack("<QQ", 0, 5) + b"four",
        struct.pack("<IIIIQ", 0, 0, 1, 0, 2) + struct.pack("<QQ", 0, 4) + b"four",
        struct.pack("<IIIIQ", 0, 0, 0, 0, 2**64 - 1),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(actor: Actor, payload: bytes) -> None:
    with pytest.raises(Refused):
        run_payload(actor, payload)
    assert actor.syscall("getpid") == actor.pid


def test_a_range_made_unreadable_is_refused(actor: Actor) -> None:
    program = actor.program()
    buffer = program.buffer(PAGE, out=True, align=PAGE)
    program.syscall("mprotect", buffer, PAGE, 0)
    with pytest.raises(Refused, match="cannot be read"):
        actor.run(program)
    assert actor.syscall("getpid") == actor.pid


def test_an_answer_of_the_wrong_length_is_a_broken_channel(actor: Actor) -> None:
    program = actor.program()
    program.syscall("getpid")
    with pytest.raises(ChannelBroken, match="shorter"):
        program.decode(b"")
    with pytest.raises(ChannelBroken, match="17 bytes, not 16"):
        program.decode(bytes(17))
