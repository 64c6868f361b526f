# SPDX-License-Identifier: GPL-2.0-only
"""A userland for a machine: what of virtme-ng's command is taken, and that every generation has it."""

import errno
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.agent import build
from fixtures.agent.errors import ActorGone, AgentDied, SyscallError
from fixtures.machine import Machine
from fixtures.setup import Options, Setup
from fixtures.targets import configuration, userland
from fixtures.targets.base import Capability
from fixtures.targets.userland import SHARE, Userland
from kernel import cache
from kernel.errors import LuoCtsError, UsageError
from kernel.kernel import Kernel
from suite.harness.conftest import DEFAULT_KERNEL
from suite.harness.nested import emulators, run, supervise, wait_for

CHANNEL = "/dev/vport0p1"


@pytest.fixture(scope="session")
def here() -> Userland:
    """This host's own."""
    return userland.export(Path("/"), ("/etc",), build.agent(), CHANNEL)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Userland:
    """One in a directory, as far as virtme-ng looks at it."""
    (tmp_path / "root").mkdir()
    return userland.export(tmp_path / "root", ("/etc",), build.agent(), CHANNEL)


def test_file_systems_are_taken_and_neither_machine_nor_console(here: Userland) -> None:
    assert "local,id=" in here.devices[1]
    assert ",path=/," in here.devices[1]
    assert ",readonly=on" in here.devices[1]
    assert here.devices[::2].count("-fsdev") == 2  # the root, and our own cache
    assert not [word for word in here.devices if "serial" in word or "chardev" in word]
    assert set(here.devices[::2]) == {"-fsdev", "-device"}


def test_kernel_s_console_and_end_stay_the_target_s(here: Userland) -> None:
    words = here.kernel_arguments.split()
    assert not [word for word in words if word.startswith(("console=", "loglevel=", "panic=", "quiet"))]
    assert "virtme_rw_overlay0=/etc" in words
    assert f"virtme_initmount0={SHARE}" in words


def test_command_line_ends_with_virtme_s_init(here: Userland, elsewhere: Userland) -> None:
    assert here.init.startswith("init=/")
    assert here.init.endswith("/virtme-ng-init")
    # Here a shell brings init along first, which is not in that directory.
    assert elsewhere.init.startswith('init=/bin/sh -- -c "mount ')


def test_long_command_line_is_not_put_into_the_userland(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(LuoCtsError, match="too long"):
        userland.export(
            tmp_path / "root", tuple(f"/a/long/path/{n}" for n in range(20)), build.agent(), CHANNEL
        )
    assert list((tmp_path / "root").iterdir()) == []


def test_same_userland_has_the_same_initramfs(here: Userland, elsewhere: Userland) -> None:
    assert here.initramfs == elsewhere.initramfs


def test_what_is_in_the_cache_a_machine_has() -> None:
    inside = cache.root() / "kernels" / "one" / "image"
    assert userland.place(inside) == f"{SHARE}/kernels/one/image"
    assert userland.place(Path("/boot/vmlinuz")) is None


def test_nothing_of_virtme_ng_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    userland.export.cache_clear()
    userland.export(Path("/"), (), build.agent(), CHANNEL)
    assert list(tmp_path.iterdir()) == []


def test_missing_busybox_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("qemu-system-x86_64", "file", "strings"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    agent = build.agent()
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "root").mkdir()
    with pytest.raises(LuoCtsError, match=r"no busybox was found \(.*busybox-static"):
        userland.export(tmp_path / "root", (), agent, CHANNEL)


def test_directory_without_a_userland_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "virtme.yaml"
    file.write_text(f"kind: virtme\nmemory: 512\ncpus: 1\nroot: {tmp_path}\n")
    with pytest.raises(UsageError, match="holds no userland"):
        configuration.load(str(file)).prepare()


def test_virtme_ng_is_asked_before_a_kernel_is_built() -> None:
    userland.export.cache_clear()
    configuration.load("virtme").prepare()
    assert userland.export.cache_info().currsize == 1


@pytest.mark.parametrize("wrong", ["root: relative/path", "writable: /etc", "size: 3", "memory: 1"])
def test_target_file_is_checked(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "virtme.yaml"
    file.write_text(f"kind: virtme\ncpus: 1\n{wrong}\n" + ("" if "memory" in wrong else "memory: 512\n"))
    with pytest.raises(UsageError, match="is wrong"):
        configuration.load(str(file))


def test_kernel_that_cannot_mount_a_userland_is_not_started(default_kernel: Kernel, tmp_path: Path) -> None:
    assert default_kernel.config is not None
    config = default_kernel.config.read_text()
    (tmp_path / "config").write_text(config.replace("CONFIG_9P_FS=y", "CONFIG_9P_FS=m"))
    spec = f"image:{default_kernel.image},config={tmp_path / 'config'}"
    with pytest.raises(UsageError, match="CONFIG_9P_FS is not built in"):
        Setup.prepare(Options(spec, target="virtme", accel="tcg"))


@pytest.fixture(scope="module")
def machine(default_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    setup = Setup.prepare(Options(DEFAULT_KERNEL, target="virtme", accel="tcg"))
    machine = Machine("m0", setup.target, setup.load(), tmp_path_factory.mktemp("console"), ())
    machine.arrive()
    yield machine
    machine.stop()


def test_every_generation_is_in_the_same_userland(machine: Machine) -> None:
    os_release = Path("/etc/os-release").read_bytes()
    load = machine._load
    for generation in range(2):
        assert machine.admin.read_file("/etc/os-release") == os_release
        root = machine.admin.read_file("/proc/mounts").decode().splitlines()[0].split()
        assert root[1:3] == ["/", "9p"]
        assert root[3].startswith("ro,")
        assert (
            f"init={load.cmdline.rpartition('init=')[2]}" in machine.admin.read_file("/proc/cmdline").decode()
        )
        if not generation:
            machine.load_next(load.image, load.initramfs, load.cmdline)
            machine.jump()
    assert machine.generation == 1


def test_programs_of_the_userland_run_there(machine: Machine) -> None:
    actor = machine.agent.spawn()
    program = actor.program()
    words = [
        program.buffer(word.encode() + b"\0")
        for word in ("sh", "-c", "grep -c processor /proc/cpuinfo >/tmp/said")
    ]
    argv = program.buffer(8 * (len(words) + 1))
    for number, word in enumerate(words):
        program.store(argv + 8 * number, word)
    program.syscall("execve", "/bin/sh", argv, 0)
    with pytest.raises(ActorGone):
        actor.run(program)
    assert machine.admin.read_file("/tmp/said") == b"2\n"


def test_userland_is_the_host_s_and_cannot_be_harmed(machine: Machine) -> None:
    for path in ("/luo-cts-probe", "/root/luo-cts-probe", f"{SHARE}/luo-cts-probe"):
        with pytest.raises(SyscallError) as refused:
            machine.admin.write_file(path, b"x")
        assert refused.value.errno == errno.EROFS
    assert not Path("/luo-cts-probe").exists()


def test_death_of_the_agent_is_told_although_it_is_not_init(machine: Machine) -> None:
    """The last test of the machine."""
    assert b"virtme" in machine.admin.read_file("/proc/1/cmdline")
    with pytest.raises(AgentDied, match="SIGKILL"):
        machine.admin.syscall("kill", machine.agent.hello.pid, signal.SIGKILL)


def test_what_is_done_from_outside_is_done_as_on_qemu(tmp_path: Path, default_kernel: Kernel) -> None:
    outcome = run(
        tmp_path,
        """
        def test_held(luo):
            session = luo.create_session("vm")
            session.preserve(luo.memfd(pattern(5000)), token=1)
            seen = []
            luo = yield Kexec(at_handover=lambda held: seen.append(held.memory.pages))
            assert seen and seen[0] > 0
            assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(5000)

        @pytest.mark.boot(memory=2048)
        def test_shaped(luo):
            total = luo.actor.read_file("/proc/meminfo").decode().split()[1]
            assert int(total) > 1 << 20
        """,
        "--target", "virtme",
    )  # fmt: skip
    assert outcome.verdicts == {"test_held": "pass", "test_shaped": "pass"}
    assert outcome.status == 0


def test_interrupted_run_leaves_nothing(tmp_path: Path, default_kernel: Kernel) -> None:
    (tmp_path / "tmp").mkdir()
    mark = str(uuid.uuid4())

    def interrupt(process: subprocess.Popen[str]) -> None:
        wait_for(lambda: bool(list(tmp_path.glob("report/console/m0.0.log"))), "the machine")
        assert len(emulators(mark)) == 1
        os.killpg(process.pid, signal.SIGINT)

    outcome = supervise(
        tmp_path,
        """
        def test_any(luo):
            luo.create_session("vm")
            luo = yield KEXEC
        """,
        "--target", "virtme", "--qemu-arg", f"-uuid {mark}",
        meanwhile=interrupt,
        env={"TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    assert outcome.status == 2
    assert list((tmp_path / "tmp").iterdir()) == []
    assert emulators(mark) == []


def test_it_can_all_that_qemu_can(default_kernel: Kernel) -> None:
    assert Setup.prepare(Options(DEFAULT_KERNEL, target="virtme", accel="tcg")).target.capabilities == set(
        Capability
    )
