# SPDX-License-Identifier: GPL-2.0-only
"""KHO's files in debugfs, in three generations, against what the kernels have in memory."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.held import Held
from fixtures.luo import PAGE, Luo
from fixtures.pages import frame_flags
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from kernel.abi import luo as luo_abi
from kernel.abi import metadata
from suite.boot.scratch import areas
from suite.kho.debugfs import IN, OUT, blob, children, names, present, tree, written, written_tree
from suite.kho.frames import scratch_areas, system_ram, touching, within
from suite.scenario import Scenario

GENERATIONS = range(3)


@pytest.mark.clause("kho.debugfs.files")
def test_each_generation_has_the_files_that_it_should(luo: Luo) -> Scenario:
    for generation in GENERATIONS:
        if generation:
            luo = yield KEXEC
        for name in ("out/scratch_phys", "out/scratch_len", "out/sub_fdts"):
            assert present(luo.actor, name), f"{name} is missing in generation {generation}"
        for name in ("in/fdt", "in/sub_fdts"):
            assert present(luo.actor, name) == bool(generation), f"{name} in generation {generation}"


@pytest.mark.clause("kho.debugfs.out.fdt")
def test_outgoing_tree_of_a_cold_boot_is_whole(luo: Luo) -> None:
    assert names(luo.actor, OUT) <= children(tree(luo.actor, OUT))


@pytest.mark.clause("kho.debugfs.out.fdt")
def test_outgoing_tree_of_a_kernel_that_was_handed_something_is_there(luo: Luo) -> Scenario:
    luo = yield KEXEC

    assert names(luo.actor, OUT) <= children(tree(luo.actor, OUT))


@pytest.mark.clause("kho.debugfs.out.blobs")
def test_outgoing_blobs_are_those_that_the_kernel_hands_over(luo: Luo) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(PAGE)), token=1)
    shown = {name: blob(luo.actor, OUT, name) for name in names(luo.actor, OUT)}
    assert metadata.NAME in shown
    assert luo_abi.NAME in shown

    def look(held: Held) -> None:
        kept = {subtree.name: subtree for subtree in held.handover.root.subtrees}
        assert kept.keys() == shown.keys()
        memory = held.memory
        assert written(memory, kept[metadata.NAME]) == shown[metadata.NAME]
        # Sessions are written at the reboot; what of the state says which format it is stays.
        assert written(memory, kept[luo_abi.NAME])[:8] == shown[luo_abi.NAME][:8]

    yield Kexec(at_handover=look)


@pytest.mark.clause("kho.debugfs.in.fdt")
def test_incoming_tree_is_that_of_the_kernel_before(luo: Luo) -> Scenario:
    for _ in GENERATIONS[1:]:
        luo.create_session("vm")
        handed: list[bytes] = []

        def look(held: Held, handed: list[bytes] = handed) -> None:
            handed.append(written_tree(held.memory, held.handover.root))

        luo = yield Kexec(at_handover=look)

        assert [luo.actor.read_file("/sys/kernel/debug/kho/in/fdt")] == handed
        assert names(luo.actor, IN) == children(tree(luo.actor, IN))


@pytest.mark.clause("kho.debugfs.in.blobs")
@pytest.mark.parametrize("name", [metadata.NAME, luo_abi.NAME])
def test_incoming_blob_is_as_the_kernel_before_left_it(luo: Luo, name: str) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(pattern(PAGE)), token=1)
    handed: list[tuple[int, bytes]] = []

    def look(held: Held) -> None:
        subtree = held.handover.root.subtree(name)
        assert subtree is not None
        handed.append((subtree.blob, written(held.memory, subtree)))

    luo = yield Kexec(at_handover=look)

    (address, data) = handed[0]
    (flags,) = frame_flags(luo.actor, [address // PAGE])
    assert not flags >> uapi.KPF_BUDDY & 1, "the blob is shown, and its memory is free"
    assert blob(luo.actor, IN, name) == data, "the blob is not what was handed over"


@pytest.mark.clause("kho.debugfs.scratch")
def test_scratch_areas_are_apart_and_lie_in_memory_in_each_generation(luo: Luo) -> Scenario:
    first = areas(luo.actor)
    for generation in GENERATIONS:
        if generation:
            luo = yield KEXEC
        assert areas(luo.actor) == first
        ram = system_ram(luo.actor)
        scratch = [area for area in scratch_areas(luo.actor) if area]
        assert scratch
        for area in scratch:
            assert within(area, ram), f"{area} is not memory"
            assert touching(area, scratch) == [area]
            assert area.start % PAGE == len(area) % PAGE == 0
