# SPDX-License-Identifier: GPL-2.0-only
"""Boots and handovers that a test asks for: command lines, memory, loaded kernels, the last moment."""

import json
from pathlib import Path

import pytest

from kernel.kernel import Kernel
from reports.model import Result, Run, Verdict
from suite.harness.nested import Outcome, run

COMMON = """
    from fixtures.pages import pfns
    from suite.kho.frames import memfd_of
    from suite.lifecycle.reboot import add_reboot

    def words(luo):
        return luo.actor.read_file("/proc/cmdline").decode().split()

    def memory(luo):
        text = luo.actor.read_file("/proc/meminfo").decode()
        return int(text.partition("MemTotal:")[2].split()[0]) // 1024

    def has_device(luo):
        return luo.actor.raw("faccessat", uapi.AT_FDCWD, "/dev/liveupdate", 0) == 0
"""

BOOTS = (
    COMMON
    + """
    @pytest.mark.clause("a.b")
    def test_plain(luo):
        assert "liveupdate=on" in words(luo) and "word=1" not in words(luo)
        assert memory(luo) > 512

    @pytest.mark.boot("word=1")
    def test_booted(luo):
        assert "word=1" in words(luo)
        luo.create_session("vm")

    @pytest.mark.boot("word=1")
    def test_booted_scenario(luo):
        assert "word=1" in words(luo)
        luo.create_session("vm")
        luo = yield Kexec(cmdline="other=2")
        assert {"word=1", "other=2", "liveupdate=on"} <= set(words(luo))
        luo.retrieve_session("vm")

    @pytest.mark.boot("word=1", memory=400)
    def test_small(luo):
        assert "word=1" in words(luo) and 200 < memory(luo) < 400

    @pytest.mark.boot(nodes=(256, 0, 256), below_4g=384)
    def test_shaped(luo, machine):
        assert luo.actor.read_file("/sys/devices/system/node/has_memory") == b"0,2\\n"
        assert "100000000-107ffffff : System RAM" in luo.actor.read_file("/proc/iomem").decode()
        seen = set()
        for node in (0, 2):
            ram = memfd_of(luo, node, 300 * PAGE, seed=node)
            frames = pfns(ram, 300 * PAGE)
            memory = machine.instance.memory()
            told = b"".join(memory.read(frame * PAGE, PAGE) for frame in frames)
            assert told == pattern(300 * PAGE, seed=node)
            seen |= {frame * PAGE >> 28 for frame in frames}
            memory.write(frames[-1] * PAGE, b"changed")
            assert ram.read(7, 299 * PAGE) == b"changed"
        assert seen == {0, 16}  # in units of 256 MiB

    @pytest.mark.boot("memhp_default_state=online", memory=400, dimm=256)
    def test_with_a_dimm(luo):
        assert 400 < memory(luo) < 656
        assert "100000000-10fffffff : System RAM" in luo.actor.read_file("/proc/iomem").decode()

    @pytest.mark.boot(bare=True)
    def test_bare(luo):
        assert not {"kho=on", "liveupdate=on"} & set(words(luo))
        assert not has_device(luo)
        luo = yield KEXEC
        assert not has_device(luo)
"""
)

HANDOVERS = (
    COMMON
    + """
    def test_loaded(luo, load_kernel):
        luo.create_session("vm")
        load_kernel(Kexec(cmdline="word=3"))
        luo = yield Kexec(loaded=True)
        assert "word=3" in words(luo)
        luo.retrieve_session("vm")
        luo = yield Kexec(bare=True)
        assert "word=3" not in words(luo)
        assert not has_device(luo)

    def test_last_moment(luo, machine):
        def late():
            assert machine.admin.read_file("/sys/kernel/kexec_loaded") == b"1\\n"
            luo_before.create_session("late")

        luo_before = luo
        luo = yield Kexec(before_jump=late)
        luo.retrieve_session("late")

    def test_by_itself(luo):
        def jump():
            assert luo.actor.read_file("/sys/kernel/kexec_loaded") == b"1\\n"
            luo.actor.start(program)
            jumps.append(luo.generation)

        jumps = []
        luo.create_session("vm")
        program = luo.actor.program()
        add_reboot(program)
        luo = yield Kexec(by=jump)
        assert jumps == [0]
        luo.retrieve_session("vm")

    @pytest.mark.alone
    def test_nothing_loaded(luo):
        luo.create_session("vm")
        luo = yield Kexec(loaded=True)

    def test_wrong_at_the_last_moment(luo):
        def late():
            assert luo.generation == 7, "not the seventh"

        luo = yield Kexec(before_jump=late)

    def test_mistaken_at_the_last_moment(luo):
        luo = yield Kexec(before_jump=lambda: undefined)

    def test_skipped_at_the_last_moment(luo):
        luo = yield Kexec(before_jump=lambda: pytest.skip("it does not apply"))
"""
)

CLAUSES = """
    @pytest.mark.clause("a.b", "x")
    def test_one(): pass

    @pytest.mark.clause("a.c")
    def test_other(): pass

    def test_none(): pass
"""


def results(outcome: Outcome) -> dict[str, Result]:
    """What results.json says, by the test's name."""
    told = Run.from_json(json.loads((outcome.directory / "results.json").read_text()))
    return {result.node_id.partition("::")[2]: result for result in told.results}


@pytest.mark.usefixtures("default_kernel")
def test_each_boot_is_what_its_tests_ask_for(tmp_path: Path) -> None:
    outcome = run(tmp_path, BOOTS)
    names = ["test_plain", "test_booted", "test_booted_scenario", "test_small", "test_shaped"]
    names += ["test_with_a_dimm", "test_bare"]
    assert outcome.verdicts == dict.fromkeys(names, "pass")
    assert outcome.status == 0
    told = results(outcome)
    assert {name: result.verdict for name, result in told.items()} == dict.fromkeys(names, Verdict.PASS)
    assert (told["test_plain"].clauses, told["test_bare"].generations) == (("a.b",), (0, 1))
    assert told["test_booted"].machine == told["test_booted_scenario"].machine
    assert len({result.machine for result in told.values()}) == 6


@pytest.mark.usefixtures("default_kernel")
def test_boots_are_the_same_on_two_workers_and_isolated(tmp_path: Path) -> None:
    outcome = run(tmp_path, BOOTS, "-n", "2", "--isolate", "-k", "plain or booted")
    names = ["test_plain", "test_booted", "test_booted_scenario"]
    assert outcome.verdicts == dict.fromkeys(names, "pass")
    assert len({result.machine for result in results(outcome).values()}) == 3


@pytest.mark.usefixtures("default_kernel")
def test_a_handover_is_what_its_test_asks_for(tmp_path: Path) -> None:
    outcome = run(tmp_path, HANDOVERS)
    assert outcome.verdicts == {
        "test_loaded": "pass",
        "test_last_moment": "pass",
        "test_by_itself": "pass",
        "test_nothing_loaded": "failure",
        "test_wrong_at_the_last_moment": "failure",
        "test_mistaken_at_the_last_moment": "error",
        "test_skipped_at_the_last_moment": "skipped",
    }
    assert outcome.message("test_nothing_loaded").startswith("the kernel refused the handover: reboot(")
    assert outcome.message("test_nothing_loaded").endswith("gave EINVAL (Invalid argument)")
    assert outcome.message("test_wrong_at_the_last_moment").startswith("before the handover: not the seventh")
    assert "NameError" in outcome.message("test_mistaken_at_the_last_moment")
    assert outcome.message("test_skipped_at_the_last_moment") == "it does not apply"
    assert outcome.status == 1


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [(["a.*"], {"test_one", "test_other"}), (["x", "b"], {"test_one"}), (["a"], set())],
    ids=["pattern", "one of many", "none"],
)
def test_clauses_choose_their_tests(tmp_path: Path, patterns: list[str], chosen: set[str]) -> None:
    outcome = run(tmp_path, CLAUSES, *(f"--clause={pattern}" for pattern in patterns))
    assert {name for name, verdict in outcome.verdicts.items() if verdict == "pass"} == chosen
    assert f"{3 - len(chosen)} deselected" in outcome.output
    assert outcome.status == (0 if chosen else 5)


def test_a_machine_smaller_than_the_target_has_any_is_a_skip(tmp_path: Path) -> None:
    target = tmp_path / "roomy.yaml"
    target.write_text("kind: qemu\nmemory: 512\ncpus: 1\nleast: 512\n")
    code = """
    @pytest.mark.boot(memory=400)
    def test_small(luo): pass

    @pytest.mark.boot(nodes=(256, 0, 256))
    def test_large_enough(luo): pass
    """
    outcome = run(tmp_path, code, f"--target={target}", "-n", "0")
    assert outcome.verdicts == {"test_small": "skipped", "test_large_enough": "pass"}
    assert "400 MiB are less than 512" in outcome.message("test_small")


@pytest.mark.parametrize(
    ("noise", "verdict", "status"),
    [("", "error", 3), ("noise:\n  unused: 300\n", "skipped", 5)],
    ids=["quiet", "noisy"],
)
def test_memory_that_does_not_suit_a_test_is_a_skip_where_others_use_it_too(
    tmp_path: Path, noise: str, verdict: str, status: int
) -> None:
    target = tmp_path / "some.yaml"
    target.write_text(f"kind: qemu\nmemory: 512\ncpus: 1\n{noise}")
    code = """
    from suite.able import given

    def test_one(luo): given(False, "the pages are not scattered")

    def test_other(luo):
        luo = yield KEXEC
        given(False, "the pages are not scattered")
    """
    outcome = run(tmp_path, code, f"--target={target}")
    assert outcome.verdicts == {"test_one": verdict, "test_other": verdict}
    assert "the pages are not scattered" in outcome.message("test_other")
    assert outcome.status == status


def test_a_scenario_that_is_not_set_up_leaves_nothing_of_the_test_before_it(tmp_path: Path) -> None:
    target = tmp_path / "roomy.yaml"
    target.write_text("kind: qemu\nmemory: 512\ncpus: 1\nleast: 512\n")
    code = """
    class TestFirst:
        def test_plain(self, luo): pass

        @pytest.mark.boot(memory=400)
        def test_small(self, luo):
            luo = yield KEXEC

    class TestSecond:
        @pytest.mark.boot("word=1")
        def test_other(self, luo):
            luo = yield KEXEC
    """
    outcome = run(tmp_path, code, f"--target={target}")
    assert outcome.verdicts == {"test_plain": "pass", "test_small": "skipped", "test_other": "pass"}


def test_scratch_areas_that_are_chosen_are_not_for_a_kernel_with_kasan(
    default_kernel: Kernel, tmp_path: Path
) -> None:
    assert default_kernel.config is not None
    config = tmp_path / "config"
    config.write_text(f"{default_kernel.config.read_text()}CONFIG_KASAN=y\n")
    code = """
    def test_plain(luo): pass

    @pytest.mark.boot("kho_scratch=16M,16M,16M")
    def test_scratch(luo): pass

    @pytest.mark.boot("kho_scratch=16M,16M,16M")
    def test_scenario(luo):
        luo = yield KEXEC
    """
    outcome = run(tmp_path, code, f"--kernel=image:{default_kernel.image},config={config}", "-n", "0")
    assert outcome.verdicts == {"test_plain": "pass", "test_scratch": "skipped", "test_scenario": "skipped"}
    assert "its shadow has to fit" in outcome.message("test_scratch")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [("memmory=1", "memmory"), ("memory=512, nodes=(256, 256)", "memory and nodes both say")],
)
def test_a_boot_that_cannot_be_is_wrong_usage(tmp_path: Path, arguments: str, complaint: str) -> None:
    outcome = run(tmp_path, f"@pytest.mark.boot({arguments})\ndef test_one(luo): pass")
    assert outcome.status == 4
    assert "test_one" in outcome.output
    assert complaint in outcome.output
