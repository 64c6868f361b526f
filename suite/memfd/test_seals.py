# SPDX-License-Identifier: GPL-2.0-only
"""Seals: which are still set after a handover, and what they forbid."""

import itertools
from collections.abc import Iterable, Sequence
from errno import EBUSY, EPERM

import pytest

from fixtures.agent.program import Program, Ref
from fixtures.luo import PAGE, Luo, Memfd, Session, refused
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.memfd.calls import READ_WRITE, status
from suite.scenario import Scenario

SIZE = 2 * PAGE

SEALS = {
    "seal": uapi.F_SEAL_SEAL,
    "shrink": uapi.F_SEAL_SHRINK,
    "grow": uapi.F_SEAL_GROW,
    "write": uapi.F_SEAL_WRITE,
    "future-write": uapi.F_SEAL_FUTURE_WRITE,
    "exec": uapi.F_SEAL_EXEC,
}
ANY_WRITE = uapi.F_SEAL_WRITE | uapi.F_SEAL_FUTURE_WRITE

# What of the calls in attempts() any of these seals forbids.
FORBID = {
    "write": ANY_WRITE,
    "write beyond the end": ANY_WRITE | uapi.F_SEAL_GROW,
    "truncate up": uapi.F_SEAL_GROW,
    "fallocate": uapi.F_SEAL_GROW,
    "punch a hole": ANY_WRITE,
    "shared writable mapping": ANY_WRITE,
    "mprotect": ANY_WRITE,
    "private writable mapping": 0,
    "truncate down": uapi.F_SEAL_SHRINK,
    "change the executable bits": uapi.F_SEAL_EXEC,
    "add seals": uapi.F_SEAL_SEAL,
}


def sets(seals: Iterable[int] = SEALS.values()) -> list[int]:
    """Every set of the seals, as F_ADD_SEALS takes it."""
    every = list(seals)
    return [sum(some) for count in range(len(every) + 1) for some in itertools.combinations(every, count)]


def names(seals: int) -> str:
    return "+".join(name for name, seal in SEALS.items() if seals & seal) or "none"


def sealed(
    luo: Luo, session: Session, wanted: Sequence[int], flags: int, mode: int | None = None
) -> list[int]:
    """Preserve a memfd for each of the sets ``wanted``, tokens from 0; gives the seals that they have."""
    program = luo.actor.program()
    fds = []
    for seals in wanted:
        fd = program.syscall("memfd_create", "luo-cts", flags)
        program.syscall("ftruncate", fd, SIZE)
        if mode is not None:
            program.syscall("fchmod", fd, mode)
        if seals:
            program.syscall("fcntl", fd, uapi.F_ADD_SEALS, seals)
        fds.append(fd)
    results = luo.actor.run(program)
    files = [Memfd(luo.actor, results[fd]) for fd in fds]
    before = seals_of(luo, files)
    program = luo.actor.program()
    for token, file in enumerate(files):
        argument = program.buffer(bytes(uapi.liveupdate_session_preserve_fd(fd=file.fd, token=token)))
        program.syscall("ioctl", session.fd, uapi.LIVEUPDATE_SESSION_PRESERVE_FD, argument)
        program.syscall("close", file.fd)
    luo.actor.run(program)
    return before


def seals_of(luo: Luo, files: Iterable[Memfd]) -> list[int]:
    program = luo.actor.program()
    calls = [program.syscall("fcntl", file.fd, uapi.F_GET_SEALS, 0) for file in files]
    results = luo.actor.run(program)
    return [results[call] for call in calls]


def retrieved(luo: Luo, count: int) -> list[Memfd]:
    [(_, files)] = luo.retrieve_crowd(["vm"], count)
    return files


def compare(luo: Luo, before: Sequence[int]) -> None:
    after = seals_of(luo, retrieved(luo, len(before)))
    lost = {names(old): names(old & ~new) for old, new in zip(before, after, strict=True) if old & ~new}
    assert not lost, f"seals were lost: {lost}"
    added = {names(old): names(new & ~old) for old, new in zip(before, after, strict=True) if new & ~old}
    assert not added, f"seals were added: {added}"


def attempts(program: Program, fd: int) -> dict[str, Ref]:
    """Every call of FORBID, in an order in which none that succeeds gets in the way of a later one."""
    beyond = 16 * PAGE
    punch = uapi.FALLOC_FL_PUNCH_HOLE | uapi.FALLOC_FL_KEEP_SIZE
    calls = {
        "write": program.syscall("pwrite64", fd, b"x", 1, 0, check=False),
        "write beyond the end": program.syscall("pwrite64", fd, b"x", 1, SIZE, check=False),
        "truncate up": program.syscall("ftruncate", fd, 2 * SIZE, check=False),
        "fallocate": program.syscall("fallocate", fd, 0, beyond, PAGE, check=False),
        "punch a hole": program.syscall("fallocate", fd, punch, 0, PAGE, check=False),
    }
    kind = "shared writable mapping"
    calls[kind] = program.syscall("mmap", 0, PAGE, READ_WRITE, uapi.MAP_SHARED, fd, 0, check=False)
    program.syscall("munmap", calls[kind], PAGE, check=False)
    address = program.syscall("mmap", 0, PAGE, uapi.PROT_READ, uapi.MAP_SHARED, fd, 0)
    calls["mprotect"] = program.syscall("mprotect", address, PAGE, READ_WRITE, check=False)
    program.syscall("munmap", address, PAGE)
    address = program.syscall("mmap", 0, PAGE, READ_WRITE, uapi.MAP_PRIVATE, fd, 0)
    calls["private writable mapping"] = program.poke(address, b"x", check=False)
    program.syscall("munmap", address, PAGE)
    calls["truncate down"] = program.syscall("ftruncate", fd, PAGE, check=False)
    calls["change the executable bits"] = program.syscall("fchmod", fd, 0o600, check=False)
    calls["add seals"] = program.syscall("fcntl", fd, uapi.F_ADD_SEALS, 0, check=False)
    return calls


@pytest.mark.clause("memfd.seals")
@pytest.mark.parametrize(
    "flags", [uapi.MFD_ALLOW_SEALING, uapi.MFD_ALLOW_SEALING | uapi.MFD_EXEC], ids=["none", "exec"]
)
def test_every_set_of_seals_survives(luo: Luo, flags: int) -> Scenario:
    before = sealed(luo, luo.create_session("vm"), sets(), flags)
    # exec on an executable file sets all the others but seal (mm/memfd.c, memfd_add_seals()).
    assert len(set(before)) == 32 + 2

    luo = yield KEXEC

    compare(luo, before)


@pytest.mark.clause("memfd.seals")
@pytest.mark.parametrize("flags", [0, uapi.MFD_EXEC, uapi.MFD_CLOEXEC], ids=["none", "exec", "cloexec"])
def test_memfd_that_takes_no_seals_takes_none_after_the_handover(luo: Luo, flags: int) -> Scenario:
    before = sealed(luo, luo.create_session("vm"), [0], flags)
    assert before == [uapi.F_SEAL_SEAL]

    luo = yield KEXEC

    [ram] = retrieved(luo, 1)
    assert ram.seals == uapi.F_SEAL_SEAL
    with refused(EPERM):
        ram.add_seals(uapi.F_SEAL_GROW)


@pytest.mark.clause("memfd.seals")
@pytest.mark.parametrize("how", ["MFD_NOEXEC_SEAL", "fchmod"])
def test_every_set_of_seals_of_a_memfd_that_is_not_executable_survives(luo: Luo, how: str) -> Scenario:
    others = sets(seal for seal in SEALS.values() if seal != uapi.F_SEAL_EXEC)
    session = luo.create_session("vm")
    if how == "fchmod":
        wanted = [uapi.F_SEAL_EXEC | seals for seals in others]
        before = sealed(luo, session, wanted, uapi.MFD_ALLOW_SEALING, mode=0o600)
    else:
        before = sealed(luo, session, others, uapi.MFD_NOEXEC_SEAL)
    assert before == [uapi.F_SEAL_EXEC | seals for seals in others]

    luo = yield KEXEC

    compare(luo, before)


@pytest.mark.clause("memfd.seals.forbid")
def test_memory_that_is_sealed_against_execution_stays_writable(luo: Luo) -> Scenario:
    """A virtual machine whose memory is made with MFD_NOEXEC_SEAL, or under vm.memfd_noexec=1, goes on."""
    session = luo.create_session("vm")
    session.preserve(luo.memfd(b"memory", size=SIZE, flags=uapi.MFD_NOEXEC_SEAL), token=1)

    luo = yield KEXEC

    ram = luo.retrieve_session("vm").retrieve(1)
    ram.write(b"MEM", 0)
    assert ram.read(6, 0) == b"MEMory"
    ram.fill(SIZE, seed=1)


@pytest.mark.clause("memfd.seals.exec")
@pytest.mark.parametrize("how", ["MFD_NOEXEC_SEAL", "fchmod"])
def test_memory_that_is_sealed_against_execution_is_not_executable_after(luo: Luo, how: str) -> Scenario:
    session = luo.create_session("vm")
    if how == "fchmod":
        sealed(luo, session, [uapi.F_SEAL_EXEC], uapi.MFD_ALLOW_SEALING, mode=0o600)
    else:
        sealed(luo, session, [0], uapi.MFD_NOEXEC_SEAL)

    luo = yield KEXEC

    [ram] = retrieved(luo, 1)
    assert ram.seals & uapi.F_SEAL_EXEC
    executable = status(ram).mode & 0o111
    assert not executable, f"executable by {executable:03o} and sealed"


@pytest.mark.clause("memfd.seals.forbid")
def test_every_set_of_seals_forbids_the_same_after_the_handover(luo: Luo) -> Scenario:
    before = sealed(luo, luo.create_session("vm"), sets(), uapi.MFD_ALLOW_SEALING)

    luo = yield KEXEC

    wrong = {}
    for file, seals in zip(retrieved(luo, len(before)), before, strict=True):
        program = luo.actor.program()
        calls = attempts(program, file.fd)
        results = luo.actor.run(program)
        forbidden = {name for name, call in calls.items() if results.raw(call) < 0}
        should_be = {name for name, forbidding in FORBID.items() if forbidding & seals}
        if forbidden != should_be:
            wrong[names(seals)] = forbidden ^ should_be
    assert not wrong


@pytest.mark.clause("memfd.seals.late")
@pytest.mark.parametrize("seal", SEALS)
def test_seal_set_between_preserve_and_handover_survives(luo: Luo, seal: str) -> Scenario:
    """A seal may also be refused; a process that was promised one may rely on it."""
    session = luo.create_session("vm")
    files = [luo.memfd(size=SIZE), luo.memfd(), luo.memfd(size=SIZE, flags=uapi.MFD_NOEXEC_SEAL)]
    for token, file in enumerate(files):
        session.preserve(file, token)
        luo.actor.raw("fcntl", file.fd, uapi.F_ADD_SEALS, SEALS[seal])
    before = seals_of(luo, files)

    luo = yield KEXEC

    after = seals_of(luo, retrieved(luo, len(files)))
    lost = [names(old & ~new) for old, new in zip(before, after, strict=True) if old & ~new]
    assert not lost, f"seals were lost: {lost}"


@pytest.mark.clause("memfd.seals.late")
def test_memory_is_not_sealed_against_writing_while_preserved_and_is_after(luo: Luo) -> None:
    """Its pages are pinned, so somebody might still write to them (mm/memfd.c, memfd_wait_for_pins())."""
    session = luo.create_session("vm")
    ram = luo.memfd(b"memory", size=SIZE)
    session.preserve(ram, token=1)
    with refused(EBUSY):
        ram.add_seals(uapi.F_SEAL_WRITE)
    assert ram.seals == 0
    ram.write(b"MEM", 0)
    session.close()
    ram.add_seals(uapi.F_SEAL_WRITE)
    with refused(EPERM):
        ram.write(b"x", 0)
    assert ram.read(6, 0) == b"MEMory"


@pytest.mark.clause("memfd.seals")
def test_mapping_from_before_future_write_writes_until_the_handover(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    ram = luo.memfd(size=SIZE)
    address = luo.actor.syscall("mmap", 0, SIZE, READ_WRITE, uapi.MAP_SHARED, ram.fd, 0)
    ram.add_seals(uapi.F_SEAL_FUTURE_WRITE)
    session.preserve(ram, token=0)
    program = luo.actor.program()
    program.fill(address, SIZE, 4)
    luo.actor.run(program)

    luo = yield KEXEC

    [ram] = retrieved(luo, 1)
    assert ram.seals == uapi.F_SEAL_FUTURE_WRITE
    assert ram.first_difference(SIZE, seed=4) is None


@pytest.mark.clause("memfd.seals.reset")
def test_restored_memfd_can_be_sealed_again(luo: Luo) -> Scenario:
    before = sealed(luo, luo.create_session("vm"), [uapi.F_SEAL_GROW, 0], uapi.MFD_ALLOW_SEALING)
    assert before == [uapi.F_SEAL_GROW, 0]

    luo = yield KEXEC

    for ram in retrieved(luo, 2):
        assert ram.seals == 0
        ram.add_seals(uapi.F_SEAL_SHRINK)
        assert ram.seals == uapi.F_SEAL_SHRINK
