# SPDX-License-Identifier: GPL-2.0-only
"""Processes and threads behind one agent."""

import errno
import os
import signal
import struct
import time
from collections.abc import Iterator

import pytest

from fixtures.agent import local
from fixtures.agent.client import Actor, Agent, Pending
from fixtures.agent.errors import ActorBusy, ActorGone, AgentError, CallTimeout, SyscallError
from fixtures.deadline import Deadline

AT_FDCWD = -100
AF_UNIX, SOCK_STREAM = 1, 1
FD_PIPE = struct.Struct("<2i")


@pytest.fixture
def agent() -> Iterator[Agent]:
    with local.running() as here:
        yield here.agent


def make_pipe(actor: Actor, call: str = "pipe2", *before: int) -> tuple[int, int]:
    fds = bytearray(8)
    actor.syscall(call, *before, fds, *([0] if call == "pipe2" else []))
    first, second = FD_PIPE.unpack(fds)
    return first, second


def start_read(actor: Actor, fd: int) -> Pending:
    program = actor.program()
    buffer = program.buffer(16, out=True)
    program.trim(buffer, program.syscall("read", fd, buffer, 16))
    return actor.start(program)


def wait_until_blocked(actor: Actor, by: Actor) -> None:
    deadline = Deadline(10)
    inside = str(actor.agent.syscalls["read"]).encode() + b" "
    while not by.read_file(f"/proc/{actor.pid}/task/{actor.tid}/syscall").startswith(inside):
        assert not deadline.expired


def test_a_forked_actor_inherits_descriptors_and_memory(agent: Agent) -> None:
    main = agent.main
    fd = main.syscall("memfd_create", "inherited", 0)
    address = main.syscall("mmap", 0, 4096, 3, 0x22, -1, 0)
    program = main.program()
    program.poke(address, b"before")
    main.run(program)
    child = main.fork()
    assert child.pid not in (main.pid, agent.hello.pid)
    assert child.syscall("getpid") == child.pid
    assert child.readlink(f"/proc/self/fd/{fd}") == "/memfd:inherited (deleted)"
    program = child.program()
    seen = program.peek(address, 6)
    program.poke(address, b"behind")
    assert child.run(program).bytes(seen) == b"before"
    program = main.program()
    seen = program.peek(address, 6)
    assert main.run(program).bytes(seen) == b"before"


def test_a_process_has_its_own_actors_socket_only(agent: Agent) -> None:
    other = agent.main.thread()
    child = agent.main.fork()
    grandchild = child.fork()
    fresh = agent.spawn()
    for actor in (grandchild, child, fresh):
        sockets = [int(fd) for fd in actor.listdir("/proc/self/fd") if int(fd) >= 1000]
        assert len(sockets) == 1, actor
    assert other.alive


def test_a_thread_shares_descriptors_and_has_its_own_arena(agent: Agent) -> None:
    main = agent.main
    thread = main.thread()
    assert thread.pid == main.pid
    assert thread.syscall("gettid") == thread.tid != main.pid
    fd = thread.syscall("memfd_create", "shared", 0)
    assert main.readlink(f"/proc/self/fd/{fd}") == "/memfd:shared (deleted)"
    thread.close()
    assert (thread.alive, thread.status) == (False, 0)
    assert main.syscall("close", fd) == 0


def test_a_fresh_actor_inherits_nothing(agent: Agent) -> None:
    agent.main.syscall("memfd_create", "mine", 0)
    fresh = agent.spawn()
    assert fresh.syscall("dup", 0) == 3


def test_exec_closes_what_is_marked_and_keeps_the_actor(agent: Agent) -> None:
    actor = agent.spawn()
    kept = actor.syscall("memfd_create", "kept", 0)
    closed = actor.syscall("memfd_create", "closed", 1)
    thread = actor.thread()
    actor.exec()
    assert actor.syscall("getpid") == actor.pid
    assert actor.readlink(f"/proc/self/fd/{kept}") == "/memfd:kept (deleted)"
    assert actor.raw("close", closed) == -errno.EBADF
    assert thread.wait_gone() == 0
    assert actor.thread().syscall("getpid") == actor.pid


def test_exec_of_a_thread_makes_it_the_process(agent: Agent) -> None:
    first = agent.spawn()
    thread = first.thread()
    thread.exec()
    assert thread.tid == thread.pid == first.pid == thread.syscall("gettid")
    assert first.wait_gone() == 0
    thread.kill()
    assert thread.status == signal.SIGKILL


def test_others_answer_while_one_blocks(agent: Agent) -> None:
    blocked, other = agent.spawn(), agent.main
    reader, writer = make_pipe(blocked)
    helper = blocked.fork()
    pending = start_read(blocked, reader)
    wait_until_blocked(blocked, other)
    assert not pending.done()
    assert other.syscall("getpid") == other.pid
    assert agent.ping() < 10
    with pytest.raises(ActorBusy, match="still in read"):
        blocked.syscall("getpid")
    helper.syscall("write", writer, b"wake up", 7)
    results = pending.wait()
    assert list(results._pieces.values()) == [b"wake up"]
    assert blocked.syscall("getpid") == blocked.pid


def test_closing_ends_an_actor_that_is_still_in_a_call(agent: Agent) -> None:
    blocked = agent.spawn()
    reader, _ = make_pipe(blocked)
    start_read(blocked, reader)
    wait_until_blocked(blocked, agent.main)
    blocked.close()
    assert blocked.status == signal.SIGKILL


def test_a_call_that_does_not_return_times_out_by_name(agent: Agent) -> None:
    actor = agent.spawn()
    reader, writer = make_pipe(actor)
    helper = actor.fork()
    with pytest.raises(CallTimeout, match=rf"^actor 1 \(pid {actor.pid}\) has not answered read for 0\.\d s"):
        actor.syscall("read", reader, bytearray(1), 1, deadline=Deadline(0.1))
    # A late answer is not mistaken for that of a later request.
    helper.syscall("write", writer, b"!", 1)
    assert actor.pending is not None
    assert agent.wait_for(actor.pending.done, Deadline(10))
    assert actor.syscall("getpid") == actor.pid


def test_a_descriptor_passes_between_two_processes(agent: Agent) -> None:
    parent = agent.main
    ours, theirs = make_pipe(parent, "socketpair", AF_UNIX, SOCK_STREAM, 0)
    child = parent.fork()
    fd = parent.syscall("memfd_create", "passed", 0)
    parent.send_fd(ours, fd)
    received = child.recv_fd(theirs)
    assert child.readlink(f"/proc/self/fd/{received}") == "/memfd:passed (deleted)"


def test_a_killed_actor_is_gone_with_its_status(agent: Agent) -> None:
    actor = agent.main.fork()
    thread = actor.thread()
    reader, _ = make_pipe(actor)
    pending = start_read(actor, reader)
    actor.kill()
    assert not actor.alive
    assert thread.wait_gone() == actor.status == signal.SIGKILL
    with pytest.raises(ActorGone, match="was killed by SIGKILL"):
        pending.wait()
    with pytest.raises(ActorGone, match=f"pid {actor.pid}.* was killed by SIGKILL"):
        actor.syscall("getpid")
    assert agent.main.syscall("getpid") == agent.main.pid


def test_an_actor_that_exits_in_a_call_is_gone_with_its_status(agent: Agent) -> None:
    actor = agent.spawn()
    with pytest.raises(ActorGone, match="exited with status 7"):
        actor.syscall("exit_group", 7)
    assert os.waitstatus_to_exitcode(actor.status or 0) == 7


def test_children_outlive_the_actor_that_forked_them(agent: Agent) -> None:
    parent = agent.spawn()
    child = parent.fork()
    parent.close()
    assert parent.status == 0
    assert child.syscall("getpid") == child.pid
    assert f"PPid:\t{agent.hello.pid}\n" in child.read_file("/proc/self/status").decode()
    child.close()
    assert not os.path.exists(f"/proc/{child.pid}")  # noqa: PTH110 - reaped, not only dead


def test_another_program_run_by_an_actor_ends_with_its_status(agent: Agent) -> None:
    actor = agent.spawn()
    program = actor.program()
    argv = program.buffer(32)
    for i, word in enumerate(["sh", "-c", "exit 5"]):
        program.store(argv + 8 * i, program.buffer(word.encode() + b"\0"))
    program.syscall("execve", "/bin/sh", argv, 0)
    with pytest.raises(ActorGone, match="exited with status 5"):
        actor.run(program)


def test_a_crashing_actor_is_gone_by_its_signal(agent: Agent) -> None:
    actor = agent.spawn()
    actor.kill(signal.SIGSEGV)
    assert actor.wait_gone() & 0x7F == signal.SIGSEGV  # the rest says whether there is a core dump


def test_an_actor_that_loses_its_socket_is_missed_only_when_it_ends(agent: Agent) -> None:
    actor = agent.spawn()
    with pytest.raises(ActorGone):
        actor.syscall("close_range", 3, 0xFFFFFFFF, 0)
    assert agent.main.syscall("getpid") == agent.main.pid


def test_a_hundred_actors(agent: Agent) -> None:
    actors = [agent.main.fork() if i % 2 else agent.main.thread() for i in range(100)]
    pendings = []
    for actor in actors:
        program = actor.program()
        program.syscall("gettid")
        pendings.append((actor, program, actor.start(program)))
    assert len({actor.tid for actor in actors}) == 100
    for actor, _, pending in reversed(pendings):
        results = pending.wait()
        assert results._values[0][0] == actor.tid
    for actor in actors:
        actor.close()
    assert list(agent.actors) == [0]


def test_actors_of_an_earlier_generation_are_refused(agent: Agent) -> None:
    old = agent.main
    agent.close()
    with pytest.raises(AgentError, match="earlier generation"):
        old.syscall("getpid")


def test_a_call_takes_as_long_as_it_says(agent: Agent) -> None:
    actor = agent.main
    program = actor.program()
    wait = program.syscall("ppoll", 0, 0, program.buffer(struct.pack("<qq", 0, 50_000_000)), 0)
    quick = program.syscall("getpid")
    started = time.monotonic()
    results = actor.run(program)
    assert 50e6 <= results.nanoseconds(wait) <= (time.monotonic() - started) * 1e9
    assert results.nanoseconds(quick) < 50e6


def test_an_error_is_an_oserror(agent: Agent) -> None:
    with pytest.raises(OSError, match=r"kill\(1, 999\) gave EINVAL") as caught:
        agent.main.syscall("kill", 1, 999)
    assert isinstance(caught.value, SyscallError)
