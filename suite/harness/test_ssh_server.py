# SPDX-License-Identifier: GPL-2.0-only
"""Target ``ssh`` up to its first jump, on a real OpenSSH server of this machine: no kernel is loaded."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.agent import build
from fixtures.deadline import Deadline
from fixtures.targets.base import Load
from fixtures.targets.boots import Boots
from fixtures.targets.departure import Departure
from fixtures.targets.facts import Facts, check, look
from fixtures.targets.hosts import Host, Way
from fixtures.targets.kmsg import Kmsg
from fixtures.targets.rack import Rack, Seat
from fixtures.targets.session import agent_for_ourselves, leave, sweep
from fixtures.targets.ssh_configuration import SshConfiguration
from fixtures.targets.transport import CommandFailed, Connection, NotLetIn, Unreachable
from kernel.errors import LuoCtsError, UsageError
from kernel.kernel import Kernel
from suite.harness import local_sshd, nested
from suite.harness.local_sshd import LocalSshd, know
from suite.harness.nested import wait_for
from suite.hosts.vm import target_file

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalSshd]:
    if why := local_sshd.missing():
        pytest.skip(why)
    with local_sshd.running(tmp_path) as sshd:
        yield sshd


@pytest.fixture
def connection(server: LocalSshd) -> Iterator[Connection]:
    made = Connection(server.host())
    yield made
    made.close()


def test_facts_are_this_machines(connection: Connection) -> None:
    facts = Facts.ask(connection)
    assert facts.boot_id == BOOT_ID.read_text().strip()
    assert (facts.uid, facts.machine) == ("0", os.uname().machine)
    assert facts.cmdline == Path("/proc/cmdline").read_text().strip()
    assert not facts.ours


def test_unknown_key_is_refused_unless_told(server: LocalSshd) -> None:
    server.known_hosts.unlink()
    with pytest.raises(
        UsageError, match=r"does not know .* shows the key ssh-ed25519 SHA256:.*nothing was done"
    ):
        Connection(server.host())
    Connection(server.host(unknown_keys="accept")).close()
    assert not server.known_hosts.exists(), "nothing is written down"


@pytest.mark.parametrize("unknown", ["refuse", "accept"])
def test_changed_key_is_refused_in_any_case(server: LocalSshd, unknown: str) -> None:
    know(server, "other_key")
    with pytest.raises(UsageError, match=r"shows the key ssh-ed25519 SHA256:.*nothing was done"):
        Connection(server.host(unknown_keys=unknown))


def test_whom_the_server_does_not_know_it_does_not_let_in(server: LocalSshd) -> None:
    with pytest.raises(NotLetIn, match="does not let us in"):
        Connection(server.host(key=str(server.directory / "other_key")))
    with pytest.raises(UsageError, match="there is no key /nonexistent"):
        Connection(server.host(key="/nonexistent"))


def test_silent_and_absent_servers_are_unreachable(server: LocalSshd) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        silent = server.host(port=mute.getsockname()[1], unknown_keys="accept", timeouts={"connect": 1})
        with pytest.raises(Unreachable):
            Connection(silent)
    with pytest.raises(Unreachable):
        Connection(silent)


def test_dead_host_is_an_error_of_each_test_and_no_interruption(
    default_kernel: Kernel, tmp_path: Path
) -> None:
    host = {"address": "127.0.0.1", "port": 9, "machine_id": "9" * 32, "allow_kexec": True}
    file = target_file(tmp_path / "rack.yaml", [host], timeouts={"boot": 1})
    code = """
    def test_one(luo):
        pass

    def test_two(luo):
        pass
    """
    outcome = nested.run(tmp_path, code, "--kernel", default_kernel.spec, "--target", str(file))
    assert outcome.verdicts == {"test_one": "error", "test_two": "error", "setup": "error"}
    for name in outcome.verdicts:
        assert "no host is left: 127.0.0.1 stays dead: " in outcome.message(name)
    assert outcome.status == 3


def test_host_behind_another_is_reached(server: LocalSshd) -> None:
    way = server.host().way
    jump = {
        "address": way.address,
        "port": way.port,
        "key": str(way.key),
        "known_hosts": str(way.known_hosts),
    }
    connection = Connection(server.host(jump=jump))
    assert connection.run("echo there") == "there\n"
    connection.close()
    with pytest.raises(UsageError, match="does not know"):
        Connection(server.host(jump={**jump, "known_hosts": "/nonexistent"}))
    # A gate that gets no answer is no reason to look at the host in another way.
    with pytest.raises(Unreachable, match="does not get through"):
        Connection(server.host(jump=jump, port=1))


def test_another_machine_is_left_alone(server: LocalSshd, tmp_path: Path) -> None:
    other = server.host(machine_id="0" * 32)
    configuration = SshConfiguration([other], "run")
    configuration.rack = Rack([other], "run", tmp_path)
    machine_id = server.host().machine_id
    with pytest.raises(UsageError, match=f"has the machine-id {machine_id}, .*says 0*: nothing was done"):
        configuration.prepare()


def test_what_a_host_must_be() -> None:
    host = Host("here", Way("here.example"), "1" * 32)
    right = Facts("b", host.machine_id, "0", "x86_64", "7.3", "", "", ())
    check(host, right)
    with pytest.raises(UsageError, match="is not root there"):
        check(host, replace(right, uid="1000"))
    with pytest.raises(UsageError, match="here is a riscv64"):
        check(host, replace(right, machine="riscv64"))
    with pytest.raises(LuoCtsError, match=r"is held by luod \(process 7\)"):
        check(host, replace(right, holders=("luod (process 7)",)))


def test_kho_is_seen_on_the_command_line() -> None:
    facts = Facts("b", "", "0", "x86_64", "7.3", "", "", ())
    for words, on in (("kho=on", True), ("a kho b", True), ("kho=off", False), ("kho_scratch=1M", False)):
        assert replace(facts, cmdline=words).kho is on, words


def test_command_says_fails_and_takes_too_long(connection: Connection) -> None:
    assert connection.run("cat", data=b"x" * 300_000) == "x" * 300_000
    with pytest.raises(CommandFailed, match="ended with status 3 and said no such thing"):
        connection.run("echo no such thing >&2; exit 3")
    took = Deadline(30)
    with pytest.raises(Unreachable, match="has not ended"):
        connection.run("sleep 60", seconds=0.5)
    assert not took.expired
    assert connection.run("echo still here") == "still here\n"


def test_file_is_put_whole_or_not_at_all(connection: Connection, tmp_path: Path) -> None:
    connection.put(f"{tmp_path}/it's", b"\0\xff" * 100_000, 0o700, 30)
    there = tmp_path / "it's"
    assert there.read_bytes() == b"\0\xff" * 100_000
    assert there.stat().st_mode & 0o777 == 0o700
    with pytest.raises(CommandFailed):
        connection.put(f"{tmp_path}/nowhere/file", b"x", 0o600, 30)


def test_server_that_stops_gives_no_sign_and_then_does(server: LocalSshd, connection: Connection) -> None:
    assert connection.answers(30)
    servers = server.servers()
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    assert not connection.answers(0.5)
    assert connection.open
    for pid in servers:
        os.kill(pid, signal.SIGCONT)
    assert connection.answers(30)
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not connection.open, "the connection to end")
    assert not connection.answers(30)


@pytest.mark.parametrize(
    ("may_hang", "power", "gives_up"),
    [(True, {"cycle": "true"}, 0), (True, {}, 3), (False, {"cycle": "true"}, 3)],
    ids=["can be reset", "no power switch", "the host's own kernel"],
)
def test_kernel_that_hangs_on_its_way_out_is_given_up_early_where_that_helps(
    server: LocalSshd, connection: Connection, may_hang: bool, power: dict[str, str], gives_up: int
) -> None:
    seat = Seat(server.host(power=power, timeouts={"boot": 3}), -1)
    seat.jump_seconds = 0.05
    boots = Boots(seat, threading.Event())
    facts = Facts.ask(connection)
    with pytest.raises(Unreachable, match=f"goes on in the boot that it was to leave, {gives_up} s after"):
        boots.await_jump(facts.boot_id, connection, lambda: False, may_hang=may_hang)
    assert seat.jump_seconds == 0.05, "there was none"


def brought(server: LocalSshd, tmp_path: Path) -> tuple[Connection, Facts, str]:
    """The agent and two files on this machine, as before a first jump."""
    image, root = tmp_path / "bzImage", tmp_path / "root.cpio"
    image.write_bytes(b"image")
    root.write_bytes(b"initramfs")
    load = Load(image, root, "", {image: "/kernel-1", root: "/sys/firmware/initrd"})
    connection, facts = look(server.host())
    directory = f"{tmp_path}/luo-cts-run"
    Departure(server.host(), load, directory).bring_along(connection, facts)
    return connection, facts, directory


def test_agent_has_a_root_of_its_own_and_leaves_nothing(server: LocalSshd, tmp_path: Path) -> None:
    connection, facts, directory = brought(server, tmp_path)
    actor = agent_for_ourselves(connection, facts, directory).main
    assert actor.listdir("/") == ["dev", "init", "initrd", "kernel-1", "proc", "root", "run", "sys", "tmp"]
    assert actor.read_file("/kernel-1") == b"image"
    assert actor.read_file("/initrd") == b"initramfs"
    assert actor.read_file("/proc/sys/kernel/random/boot_id").decode().strip() == facts.boot_id
    assert actor.exists("/dev/null")
    actor.write_file("/tmp/file", b"x")
    assert not Path("/tmp/file").exists()
    connection.close()
    leave(server.host(), "run")
    wait_for(lambda: local_sshd.free_of(Path(directory)), "the agent to be gone", 60)


def test_agent_that_hangs_is_not_left_behind(server: LocalSshd, tmp_path: Path) -> None:
    connection, facts, directory = brought(server, tmp_path)
    agent = agent_for_ourselves(connection, facts, directory)
    os.kill(agent.hello.pid, signal.SIGSTOP)
    leave(server.host(), "run")
    wait_for(lambda: local_sshd.free_of(Path(directory)), "the agent to be gone", 60)
    connection.close()


@pytest.mark.parametrize("hangs", [False, True], ids=["agent ends", "agent hangs"])
def test_what_earlier_runs_left_is_removed_and_a_run_that_goes_on_is_told(
    server: LocalSshd, tmp_path: Path, hangs: bool
) -> None:
    first, facts, directory = brought(server, tmp_path)
    users_own = tmp_path / "luo-cts-checkout"
    users_own.mkdir()
    second = Connection(server.host(directory=str(tmp_path)))
    sweep(second, "run")
    assert Path(directory).exists(), "our own"
    agent = agent_for_ourselves(first, facts, directory)
    if hangs:
        os.kill(agent.hello.pid, signal.SIGSTOP)
    with pytest.raises(LuoCtsError, match=r"another run works on here: luo-cts-run in .* is in use"):
        sweep(second, "another")
    assert Path(directory, "agent").exists()
    first.close()

    def swept() -> bool:
        with suppress(LuoCtsError):
            sweep(second, "another")
        return not Path(directory).exists()

    wait_for(swept, "what is left to be removed", 60)
    assert users_own.exists()
    if hangs:
        os.kill(agent.hello.pid, signal.SIGKILL)
    second.close()


def test_files_that_are_there_are_not_sent_again(server: LocalSshd, tmp_path: Path) -> None:
    connection, _, directory = brought(server, tmp_path)
    agent = Path(directory, "agent")
    first = agent.stat().st_mtime_ns
    agent.with_name("inside").joinpath("kernel-1").write_bytes(b"torn")
    connection.close()
    connection, _, directory = brought(server, tmp_path)
    connection.close()
    assert agent.stat().st_mtime_ns == first
    assert Path(directory, "inside/kernel-1").read_bytes() == b"image"
    assert agent.read_bytes() == build.agent().read_bytes()


def test_full_disk_is_named(server: LocalSshd, tmp_path: Path) -> None:
    load = Load(tmp_path, tmp_path, "", {})
    connection, facts = look(server.host())
    small = tmp_path / "small"
    small.mkdir()
    connection.run(f"mount -t tmpfs -o size=64K none {small}")
    try:
        host = server.host(directory=str(small))
        with pytest.raises(LuoCtsError, match=f"the disk of here is full: {small} has no room"):
            Departure(host, load, f"{small}/luo-cts-run").bring_along(connection, facts)
        leave(host, "run")
        assert list(small.iterdir()) == []
    finally:
        connection.run(f"umount {small}")
        connection.close()


def test_kernel_log_is_read_from_its_beginning(connection: Connection) -> None:
    here, printer = socket.socketpair()
    kmsg = Kmsg(printer)
    kmsg.follow(connection)
    word = f"luo-cts harness {os.getpid()}"
    Path("/dev/kmsg").write_text(f"{word}\n")
    here.settimeout(60)
    said = b""
    while word.encode() not in said:
        said += here.recv(1 << 16)
    assert said.startswith(b"[    0.000000] Linux version ")
    (line,) = [line for line in said.decode(errors="replace").splitlines() if word in line]
    assert line.startswith("[")
    # What the host kept is added where it goes on.
    assert kmsg.recall([(1.0, "seen"), (10_000_000.5, "new")]) == ["[10000000.500000] new"]
    kmsg.close()
    here.close()
