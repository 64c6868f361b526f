# SPDX-License-Identifier: GPL-2.0-only
"""What the channel can bring: garbage, torn frames, silence, a new agent, the end."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.agent import build, local
from fixtures.agent.client import Agent
from fixtures.agent.errors import (
    AgentDied,
    AgentError,
    CallTimeout,
    ChannelBroken,
    ChannelClosed,
    Interrupted,
    UnexpectedHello,
)
from fixtures.agent.local import LocalAgent
from fixtures.agent.protocol import MAX_PAYLOAD, ROUTER, VERSION, Decoder, Frame, Hello, Type
from fixtures.deadline import Deadline

HELLO = Hello(VERSION, 4096, 45, 46, 1, "x86_64", "7.3.4", "first")
REBOOTED = Hello(VERSION, 4096, 45, 46, 1, "x86_64", "7.3.4", "second")


def wait_until_dead(pid: int) -> None:
    """Dead may still mean a zombie: whose child it is now depends on the machine's own init."""
    deadline = Deadline(10)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            assert not deadline.expired


def greeting(hello: Hello) -> bytes:
    return Frame(Type.HELLO, payload=hello.encode()).encode()


class Wire:
    """A client that greeted, and the other end of its channel for the test to write on."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair()
        self.wake, self.interrupt = os.pipe()
        self.agent = Agent(ours, self.wake)
        self.agent.deadline_seconds = 0.3
        self.end.sendall(greeting(HELLO))
        self.agent.await_hello(Deadline(5))

    def close(self) -> None:
        self.agent.close()
        self.end.close()
        os.close(self.wake)
        os.close(self.interrupt)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def here() -> Iterator[LocalAgent]:
    with local.running() as agent:
        yield agent


def test_silence_is_a_timeout(wire: Wire) -> None:
    started = time.monotonic()
    with pytest.raises(CallTimeout, match=r"actor 0 \(pid 46\) has not answered getpid for 0\.\d s"):
        wire.agent.main.syscall("getpid")
    assert time.monotonic() - started < 3


def test_garbage_is_a_broken_channel_at_once_and_for_good(wire: Wire) -> None:
    wire.end.sendall(b"[    1.234567] Kernel panic")
    for _ in range(2):
        with pytest.raises(ChannelBroken, match=r"are no frame\n.*K\n"):
            wire.agent.ping()


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=100)
def test_no_garbage_makes_the_client_hang(data: bytes) -> None:
    wire = Wire()
    wire.agent.deadline_seconds = 0.02
    wire.end.sendall(data)
    with pytest.raises(AgentError):
        wire.agent.ping()
    wire.close()


def test_half_a_frame_is_a_timeout(wire: Wire) -> None:
    wire.end.sendall(Frame(Type.REPLY, 0, 1, bytes(100)).encode()[:-1])
    with pytest.raises(CallTimeout):
        wire.agent.ping()


def test_a_reboot_nobody_asked_for_is_named(wire: Wire) -> None:
    pending = wire.agent.main.start(wire.agent.main.program())
    torn = Frame(Type.REPLY, 0, 1, bytes(1000)).encode()[:-500]
    wire.end.sendall(torn + greeting(REBOOTED))
    with pytest.raises(UnexpectedHello, match=r"rebooted by itself.*second"):
        pending.wait()
    with pytest.raises(UnexpectedHello):
        wire.agent.ping()
    hello = wire.agent.await_hello(Deadline(1))
    assert (hello.boot_id, hello.skipped) == ("second", torn)
    assert wire.agent.main.alive


def test_the_next_generation_is_found_behind_what_the_old_one_left(wire: Wire) -> None:
    old = wire.agent.main
    pending = old.start(old.program())
    answer = Frame(Type.REPLY, 0, 99, b"late").encode()
    torn = Frame(Type.REPLY, 0, 99, bytes(1000)).encode()[:-999]
    stream = answer + torn + greeting(REBOOTED)

    def drip() -> None:
        for at in range(0, len(stream), 7):
            wire.end.sendall(stream[at : at + 7])

    writer = threading.Thread(target=drip)
    writer.start()
    hello = wire.agent.await_hello(Deadline(5))
    assert (hello.boot_id, hello.skipped) == ("second", torn)
    assert not old.alive
    with pytest.raises(AgentError, match="next generation"):
        pending.wait()
    writer.join()
    ping = wire.agent.request(Type.PING, None)
    wire.end.sendall(Frame(Type.REPLY, ROUTER, ping.number, b"answered").encode())
    assert ping.payload() == b"answered"


def test_no_greeting_is_a_timeout_that_shows_what_came(wire: Wire) -> None:
    wire.end.sendall(b"GRUB loading")
    with pytest.raises(CallTimeout, match=r"no agent greeted for 0\.. s, 12 other bytes.*GRUB loading"):
        wire.agent.await_hello(Deadline(0.1))


def test_an_agent_of_another_version_is_refused(wire: Wire) -> None:
    other = struct.pack("<I", VERSION + 1) + HELLO.encode()[4:]
    wire.end.sendall(Frame(Type.HELLO, payload=other).encode())
    with pytest.raises(ChannelBroken, match="does not speak version"):
        wire.agent.await_hello(Deadline(1))


def test_a_request_says_which_boot_it_is_for(wire: Wire) -> None:
    for hello in (HELLO, REBOOTED):
        wire.agent.main.start(wire.agent.main.program())
        decoder = Decoder()
        decoder.feed(wire.end.recv(1000))
        request = decoder.next()
        assert request is not None
        assert request.boot == hello.boot
        wire.end.sendall(greeting(REBOOTED))
        wire.agent.await_hello(Deadline(5))


def test_the_end_of_the_channel_is_named(wire: Wire) -> None:
    pending = wire.agent.main.start(wire.agent.main.program())
    wire.end.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ChannelClosed):
        pending.wait()
    with pytest.raises(ChannelClosed):
        wire.agent.spawn()


def test_the_death_of_the_router_is_named(wire: Wire) -> None:
    torn = Frame(Type.REPLY, 0, 1, bytes(1000)).encode()[:-500]
    wire.end.sendall(torn + Frame(Type.AGENT_DIED, ROUTER, 0, struct.pack("<II", 11, 0)).encode())
    with pytest.raises(AgentDied, match="the agent was killed by SIGSEGV"):
        wire.agent.ping()


def test_what_the_agent_could_not_read_is_shown(wire: Wire) -> None:
    wire.end.sendall(Frame(Type.BROKEN, ROUTER, 0, b"half a request").encode())
    with pytest.raises(ChannelBroken, match="half a request"):
        wire.agent.ping()


def test_a_wait_can_be_interrupted(wire: Wire) -> None:
    wire.agent.deadline_seconds = 30
    threading.Timer(0.05, os.write, (wire.interrupt, b"!")).start()
    with pytest.raises(Interrupted):
        wire.agent.ping()
    with pytest.raises(Interrupted):
        wire.agent.await_hello(Deadline(30))


def test_an_agent_that_reads_nothing_is_a_timeout(wire: Wire) -> None:
    program = wire.agent.main.program()
    program.buffer(bytes(MAX_PAYLOAD - 1000))
    with pytest.raises(CallTimeout, match="took no bytes"):
        wire.agent.main.run(program)


def test_a_killed_router_closes_the_channel_and_ends_its_actors(here: LocalAgent) -> None:
    actor = here.agent.main
    here.process.kill()
    with pytest.raises(ChannelClosed):
        actor.syscall("getpid")
    wait_until_dead(actor.pid)


def test_the_agent_ends_blocked_actors_with_itself(here: LocalAgent) -> None:
    actor = here.agent.spawn()
    fds = bytearray(8)
    actor.syscall("pipe2", fds, 0)
    program = actor.program()
    program.syscall("read", struct.unpack_from("<i", fds)[0], bytearray(1), 1)
    actor.start(program)
    here.agent.close()
    assert here.process.wait(10) == 0
    wait_until_dead(actor.pid)


def test_unknown_requests_are_errors(here: LocalAgent) -> None:
    agent = here.agent
    for actor in (None, agent.main):
        with pytest.raises(AgentError, match="does not know this request"):
            agent.request(Type.REPLY, actor).payload()
    agent.actors[0].id = 77
    with pytest.raises(AgentError, match="no such actor"):
        agent.actors[0].syscall("getpid")


def test_a_busy_actor_refuses_and_the_router_goes_on(here: LocalAgent) -> None:
    actor = here.agent.main
    program = actor.program()
    program.syscall("ppoll", 0, 0, program.buffer(struct.pack("<qq", 0, 200_000_000)), 0)
    pending = actor.start(program)
    with pytest.raises(AgentError, match="in an earlier request"):
        here.agent.request(Type.RUN, actor, program.encode()).payload()
    pending.wait()


class Raw:
    """The real agent without a client: bytes in, frames out."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            self.process = subprocess.Popen([str(build.agent()), "--stdio"], stdin=end, stdout=end)
        self.socket.settimeout(10)
        self.decoder = Decoder()
        greeting = self.read()
        assert greeting.type is Type.HELLO
        self.boot = Hello.decode(greeting.payload).boot

    def read(self) -> Frame:
        while not (frame := self.decoder.next()):
            data = self.socket.recv(1 << 16)
            assert data, "the agent ended"
            self.decoder.feed(data)
        return frame

    def ping(self) -> list[Frame]:
        """Frames before the answer to a ping."""
        self.socket.sendall(Frame(Type.PING, ROUTER, 4711, boot=self.boot).encode())
        frames = []
        while (frame := self.read()).request != 4711:
            frames.append(frame)
        return frames

    def close(self) -> None:
        self.socket.close()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="module")
def raw() -> Iterator[Raw]:
    raw = Raw()
    yield raw
    raw.close()


@given(st.binary(min_size=32, max_size=3000))
@settings(max_examples=200)
def test_garbage_leaves_the_agent_answering(raw: Raw, data: bytes) -> None:
    raw.socket.sendall(data)
    frames = raw.ping()
    assert [frame.type for frame in frames] == [Type.BROKEN]
    assert data.startswith(frames[0].payload[: len(data)]) or frames[0].payload.startswith(data)


@given(st.sampled_from(Type), st.integers(0, 2), st.binary(max_size=200), st.data())
@settings(max_examples=200)
def test_any_payload_in_a_sound_frame_leaves_the_agent_answering(
    kind: Type, actor: int, payload: bytes, data: st.DataObject
) -> None:
    number = data.draw(st.sampled_from([ROUTER, actor]))
    raw = Raw()
    raw.socket.sendall(Frame(kind, number, 1, payload, raw.boot).encode())
    raw.ping()
    raw.close()


@given(st.data())
@settings(max_examples=100)
def test_a_damaged_request_is_reported_and_the_next_one_answered(raw: Raw, data: st.DataObject) -> None:
    request = bytearray(
        Frame(Type.RUN, 0, 1, bytes(data.draw(st.binary(min_size=24, max_size=200))), raw.boot).encode()
    )
    bit = data.draw(st.integers(0, len(request) * 8 - 1))
    request[bit // 8] ^= 1 << bit % 8
    raw.socket.sendall(bytes(request))
    frames = raw.ping()
    assert [frame.type for frame in frames] == [Type.BROKEN]
    assert frames[0].payload == bytes(request[:64]) or frames[0].payload.startswith(bytes(request[:32]))


@pytest.mark.parametrize("actor", [ROUTER, 0])
def test_a_request_that_was_for_the_kernel_before_is_passed_over(raw: Raw, actor: int) -> None:
    raw.socket.sendall(Frame(Type.RUN, actor, 1, bytes(24), raw.boot ^ 1).encode())
    assert raw.ping() == []


def test_the_agent_does_not_spin_on_garbage_and_silence() -> None:
    raw = Raw()
    raw.socket.sendall(os.urandom(100_000) + Frame(Type.RUN, 0, 1, bytes(1000)).encode()[:500])
    assert raw.read().type is Type.BROKEN

    def cpu() -> int:
        fields = Path(f"/proc/{raw.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    deadline = Deadline(0.5)
    before = cpu()
    threading.Event().wait(deadline.remaining)
    assert cpu() - before <= 5  # clock ticks of 10 ms
    raw.socket.close()
    assert raw.process.wait(10) == 0
