# SPDX-License-Identifier: GPL-2.0-only
"""Everything that can die under a test, for real: each ends in the right verdict and exit status.

The kernel's own crash test (LKDTM, drivers/misc/lkdtm) makes it panic, hang and warn; the rest is done to it
from outside. Every run must leave a complete junit.xml.
"""

import re
from pathlib import Path

import pytest

from suite.harness.nested import run

pytestmark = pytest.mark.usefixtures("default_kernel")

# Three scenarios in one batch, of which the middle one does something; the others must not suffer.
BATCH = """
    def quiet(luo):
        session = luo.create_session("vm")
        session.preserve(luo.memfd(pattern(5000)), token=1)
        luo = yield KEXEC
        assert luo.retrieve_session("vm").retrieve(1).read_all() == pattern(5000)

    def provoke(luo, what):
        luo.actor.write_file("/sys/kernel/debug/provoke-crash/DIRECT", what.encode())

    def test_a(luo):
        yield from quiet(luo)

    def test_b(luo):
        {first}
        luo = yield KEXEC
        {second}

    def test_c(luo):
        yield from quiet(luo)
"""


def batch(first: str = "pass", second: str = "pass") -> str:
    return BATCH.format(first=first, second=second)


def test_batch_without_fault_passes(tmp_path: Path) -> None:
    outcome = run(tmp_path, batch())
    assert outcome.verdicts == {"test_a": "pass", "test_b": "pass", "test_c": "pass"}
    assert outcome.status == 0


@pytest.mark.parametrize("where", ["first", "second"])
def test_panic_is_the_fault_of_the_test_that_ran(tmp_path: Path, where: str) -> None:
    outcome = run(tmp_path, batch(**{where: 'provoke(luo, "PANIC")'}))
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "kernel panic" in outcome.message("test_b")
    assert "dumptest" in outcome.message("test_b")  # drivers/misc/lkdtm/bugs.c: lkdtm_PANIC()
    assert outcome.status == 1


@pytest.mark.parametrize("where", ["first", "second"])
def test_splat_that_the_console_lost_is_known_by_the_taint(tmp_path: Path, where: str) -> None:
    # A warning's flag without the warning, as if not a line of it had come through.
    outcome = run(tmp_path, batch(**{where: 'luo.actor.write_file("/proc/sys/kernel/tainted", b"512")'}))
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "did not show whole" in outcome.message("test_b")
    assert outcome.status == 1


def test_kernel_log_is_whole(tmp_path: Path) -> None:
    code = """
        def test_log(luo, machine):
            machine.mark("quotes \\\\ and \\u20ac")
            log = machine.kernel_log()
            assert log[0].startswith("Linux version ")
            assert "luo-cts: quotes \\\\ and \\u20ac" in log
            assert len([line for line in log if line.startswith("Kernel command line: ")]) == 1
    """
    assert run(tmp_path, code).verdicts == {"test_log": "pass"}


def test_warning_in_a_passing_test_fails_it_and_no_other(tmp_path: Path) -> None:
    outcome = run(tmp_path, batch(first='provoke(luo, "WARNING")'))
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "WARNING" in outcome.message("test_b")
    assert outcome.status == 1


def test_warning_that_a_test_is_about_is_no_failure_and_any_other_is(tmp_path: Path) -> None:
    code = """
    def provoke(luo, what):
        luo.actor.write_file("/sys/kernel/debug/provoke-crash/DIRECT", what.encode())

    @pytest.mark.warns("lkdtm_WARNING")
    def test_wanted(luo):
        provoke(luo, "WARNING")

    @pytest.mark.warns("no such function")
    def test_other(luo):
        provoke(luo, "WARNING")

    @pytest.mark.warns("lkdtm_WARNING")
    def test_none(luo):
        pass
    """
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_wanted": "pass", "test_other": "failure", "test_none": "pass"}


def test_hang_with_interrupts_off_is_named(tmp_path: Path) -> None:
    hang = "luo.actor.fork().start(hang(luo)); luo.actor.run(hang(luo))"
    code = (
        batch(first=hang)
        + """
    def hang(luo):
        program = luo.actor.program()
        path = "/sys/kernel/debug/provoke-crash/DIRECT"
        fd = program.syscall("openat", uapi.AT_FDCWD, path, os.O_WRONLY, 0)
        program.syscall("write", fd, b"HARDLOCKUP", 10)
        return program
    """
    )
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    message = outcome.message("test_b")
    assert "no output" in message or "timed out" in message or "panic" in message
    assert outcome.status == 1


def test_reboot_by_itself_is_named(tmp_path: Path) -> None:
    outcome = run(tmp_path, batch(first='luo.actor.write_file("/proc/sysrq-trigger", b"b")'))
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "unexpected reboot" in outcome.message("test_b")
    assert "RIP=" in (outcome.directory / "junit.xml").read_text()
    assert outcome.status == 1


def test_early_panic_of_the_next_kernel_finds_its_culprit(tmp_path: Path) -> None:
    """No test runs when it dies: the batch is taken apart until the guilty one stands alone."""
    code = (
        batch(first="spoil(machine)").replace("def test_b(luo)", "def test_b(luo, machine)")
        + """
    def spoil(machine):
        # As a foreign kernel would have left it: include/linux/kho/abi/luo.h, LUO_ABI_COMPATIBLE
        import mmap
        with mmap.mmap(machine.instance.ram[0], 0) as ram:
            at = ram.find(b"luo-v5\\0\\0")
            while at >= 0:
                if at % 4096 == 0:
                    ram[at:at + 8] = b"luo-v0\\0\\0"
                at = ram.find(b"luo-v5\\0\\0", at + 8)
    """
    )
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "kernel panic" in outcome.message("test_b")
    assert "incoming tree failed to initialize" in outcome.message("test_b")
    assert outcome.status == 1


def test_panic_of_the_old_kernel_on_its_way_out_finds_its_culprit(tmp_path: Path) -> None:
    code = (
        batch(first="spoil(machine)").replace("def test_b(luo)", "def test_b(luo, machine)")
        + """
    def spoil(machine):
        # An undefined instruction where no test comes by: in the last steps of reboot(2). The text is
        # mapped 2 GiB below the end of the address space (arch/x86: __START_KERNEL_map).
        import mmap
        from kernel.kernel import obtain
        symbols = obtain("deb:newest").system_map.read_text().splitlines()
        address, = [int(line.split()[0], 16) for line in symbols if line.endswith(" T machine_shutdown")]
        with mmap.mmap(machine.instance.ram[0], 0) as ram:
            at = address - 0xffffffff80000000
            ram[at:at + 2] = bytes.fromhex("0f0b")
    """
    )
    outcome = run(tmp_path, code, "--append", "nokaslr oops=panic")
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "kernel panic in generation 0" in outcome.message("test_b")
    assert "the handover" in outcome.message("test_b")
    assert outcome.status == 1


def test_killed_emulator_says_nothing_of_the_kernel(tmp_path: Path) -> None:
    code = batch(first="os.kill(machine.instance.process.pid, 9); luo.actor.syscall('getpid')").replace(
        "def test_b(luo)", "def test_b(luo, machine)"
    )
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_a": "pass", "test_b": "error", "test_c": "pass"}
    assert "emulator gone" in outcome.message("test_b")
    assert outcome.status == 3


def test_killed_agent_says_nothing_of_the_kernel(tmp_path: Path) -> None:
    code = batch(first="luo.actor.syscall('kill', luo.actor.agent.hello.pid, 9); luo.actor.syscall('getpid')")
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_a": "pass", "test_b": "error", "test_c": "pass"}
    assert "agent died" in outcome.message("test_b")
    assert outcome.status == 3


def test_garbage_on_the_channel_says_nothing_of_the_kernel(tmp_path: Path) -> None:
    code = (
        batch(first="spit(luo)")
        + """
    def spit(luo):
        pid = luo.actor.agent.hello.pid
        numbers = [int(fd) for fd in luo.actor.listdir(f"/proc/{pid}/fd")]
        channel, = [fd for fd in numbers if "vport" in luo.actor.readlink(f"/proc/{pid}/fd/{fd}")]
        pidfd = luo.actor.syscall("pidfd_open", pid, 0)
        fd = luo.actor.syscall("pidfd_getfd", pidfd, channel, 0)
        luo.actor.syscall("write", fd, b"garbage!" * 100, 800)
    """
    )
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_a": "pass", "test_b": "error", "test_c": "pass"}
    assert "67 61 72 62 61 67 65 21" in str(outcome.cases["test_b"].result[0].text)
    assert outcome.status == 3


def test_flooded_console_costs_nobody_a_verdict(tmp_path: Path) -> None:
    code = (
        batch(first="flood(luo)")
        + """
    def flood(luo):
        kmsg = luo.actor.syscall("openat", uapi.AT_FDCWD, "/dev/kmsg", os.O_WRONLY, 0)
        program = luo.actor.program()
        line = program.buffer(b"x" * 900)
        for _ in range(2000):
            program.syscall("write", kmsg, line, 900)
        luo.actor.run(program)
    """
    )
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_a": "pass", "test_b": "pass", "test_c": "pass"}
    assert outcome.status == 0


def test_failing_assertion_stays_what_it_is(tmp_path: Path) -> None:
    outcome = run(tmp_path, batch(second="assert 1 + 1 == 3"))
    assert outcome.verdicts == {"test_a": "pass", "test_b": "failure", "test_c": "pass"}
    assert "1 + 1" in str(outcome.cases["test_b"].result[0].text)
    assert outcome.status == 1


def test_mistake_in_a_test_says_nothing_of_the_kernel(tmp_path: Path) -> None:
    outcome = run(tmp_path, batch(second="undefined"))
    assert outcome.verdicts == {"test_a": "pass", "test_b": "error", "test_c": "pass"}
    assert "NameError" in outcome.message("test_b")
    assert outcome.status == 3


def test_something_left_behind_fails_the_test_that_left_it(tmp_path: Path) -> None:
    code = """
    def test_leaks(luo, machine):
        # Held by a process that is not the test's own, as a kernel that leaks would hold it.
        program = machine.admin.program()
        fd = program.syscall("memfd_create", "leak", 0)
        program.syscall("pwrite64", fd, b"x", 1, 0)
        machine.admin.run(program)

    def test_next(luo):
        luo.create_session("vm")
    """
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_leaks": "failure", "test_next": "pass"}
    assert "1 open files" in outcome.message("test_leaks")
    assert "1 pages of shared memory" in outcome.message("test_leaks")
    assert outcome.status == 1


def test_a_failure_after_a_handover_names_its_consoles_and_what_was_handed_over(tmp_path: Path) -> None:
    code = """
    @pytest.mark.parametrize("wrong", [False, True])
    def test_one(luo, wrong):
        session = luo.create_session("vm")
        session.preserve(luo.memfd(pattern(5000)), token=7)
        luo = yield Kexec(at_handover=lambda held: None)
        assert not wrong
        luo.retrieve_session("vm").retrieve(7)
    """
    outcome = run(tmp_path, code)
    assert outcome.verdicts == {"test_one[False]": "pass", "test_one[True]": "failure"}
    failed = str(outcome.cases["test_one[True]"].system_out)
    attached = [Path(path) for path in re.findall(r"^\[\[ATTACHMENT\|(.*)\]\]$", failed, re.MULTILINE)]
    assert [path.relative_to(outcome.directory).as_posix() for path in attached] == [
        "console/m0.1.log", "console/m0.0.log", "handover/m0.1.txt",
    ]  # fmt: skip
    assert all(path.stat().st_size > 100 for path in attached)
    handover = attached[-1].read_text()
    assert "memfd" in handover
    assert "[[ATTACHMENT" not in str(outcome.cases["test_one[False]"].system_out)
