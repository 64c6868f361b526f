# SPDX-License-Identifier: GPL-2.0-only
"""Faults that a kernel meets while it boots: no memory, no debugfs, no device.

Nothing of this can be injected from user space, see fixtures/forced.py. Two machines see most of it, one
kernel after the other: one has no KHO at first, so that each of its kernels boots as from cold and fails to
set it up; the other is handed something each time, and some of its kernels meet two faults.
"""

from collections.abc import Callable, Generator, Sequence
from errno import ENOENT

import pytest

from fixtures.agent.pattern import pattern
from fixtures.forced import FIXED_PLACE, NULL, Forced
from fixtures.luo import DEVICE, PAGE, Luo, refused
from fixtures.machine import Machine
from fixtures.pages import total_memory
from fixtures.scenario import Kexec
from kernel.window import Window
from suite.able import or_skip
from suite.boot.log import said
from suite.scenario import Scenario

pytestmark = pytest.mark.forced

# What a machine goes through: its kernel says which calls can be made to fail.
Chain = Callable[[Machine], Sequence[Kexec]]

DEBUGFS = "/sys/kernel/debug/kho"
CONTENT = pattern(3 * PAGE + 17)


def go(luo: Luo, machine: Machine, chain: Chain, generation: int) -> Generator[Kexec, Luo, Luo]:
    """Along the chain to ``generation``."""
    wishes = chain(machine)
    if luo.generation == 0:
        able(machine, *wishes)
    while luo.generation < generation:
        luo = yield wishes[luo.generation]
    return luo


def lines_of(
    luo: Luo, machine: Machine, chain: Chain, last: int, beginning: str
) -> Generator[Kexec, Luo, dict[int, list[str]]]:
    """Along the chain to generation ``last``: what begins so in the logs, by the generations that say it."""
    found = {}
    for generation in range(last + 1):
        luo = yield from go(luo, machine, chain, generation)
        if lines := said(machine, beginning):
            found[generation] = lines
    return found


def able(machine: Machine, *wishes: Kexec) -> None:
    """Skip the test where the kernel has other functions."""
    with or_skip():
        machine.can_force(each for wish in wishes for each in wish.forced)


# Kernels that were handed nothing

NOTHING_HANDED = pytest.mark.boot(FIXED_PLACE, bare=True)

SET_UP, SHOW = "kho_init", "kho_out_debugfs_init"
NO_SPACE, BAD_MAGIC = -3, -9  # scripts/dtc/libfdt/libfdt.h: FDT_ERR_…

NO_LIST = Forced("memblock_alloc_try_nid", "kho_memory_init", result=NULL)


def no_map(machine: Machine) -> Forced:
    """No memory for the root of the map of what is preserved, which 7.3 asks of somebody else."""
    new = Window(since="7.3").holds(machine.hello.release)
    return Forced("get_zeroed_page_noprof" if new else "__kmalloc_cache_noprof", SET_UP, result=NULL)


NO_METADATA = (
    Forced("folio_alloc_noprof", SHOW, result=NULL),
    Forced("fdt_add_subnode", SHOW, result=NO_SPACE),
)
NO_SETUP = (
    Forced("folio_alloc_noprof", SET_UP, result=NULL),  # the device tree
    Forced("debugfs_create_dir", SHOW),
    Forced("debugfs_create_dir", SHOW, 2),
    Forced("debugfs_create_file_full", SHOW),
    Forced("debugfs_create_file_full", SHOW, 2),
    *NO_METADATA,
)
AREAS_FAILED, MAP_FAILED = 1, 2
METADATA_FAILED = [MAP_FAILED + 1 + NO_SETUP.index(each) for each in NO_METADATA]
LAST_FAILED = MAP_FAILED + len(NO_SETUP)


def without_kho(machine: Machine) -> Sequence[Kexec]:
    return (
        Kexec("kho=on liveupdate=on", forced=(NO_LIST,)),
        *(Kexec("kho=on", forced=(each,)) for each in (no_map(machine), *NO_SETUP)),
        Kexec(),
    )


@NOTHING_HANDED
@pytest.mark.clause("boot.scratch.too-big", "boot.liveupdate.needs-kho")
def test_log_says_that_kho_is_off_when_there_is_no_room_to_list_scratch_areas(
    luo: Luo, machine: Machine
) -> Scenario:
    luo = yield from go(luo, machine, without_kho, AREAS_FAILED)

    assert len(said(machine, "KHO: Failed to reserve scratch area, disabling kexec handover")) == 1
    assert len(said(machine, "luo: Disabling liveupdate because KHO is disabled")) == 1
    assert not luo.actor.exists(DEBUGFS)
    assert not luo.actor.exists(DEVICE)


@NOTHING_HANDED
@pytest.mark.clause("boot.fault.kho")
def test_kernel_that_cannot_set_kho_up_hands_over_nothing(luo: Luo, machine: Machine) -> Scenario:
    handed = []
    for generation in range(LAST_FAILED + 2):
        luo = yield from go(luo, machine, without_kho, generation)
        # Neither something nor what cannot be read.
        if lines := said(machine, "KHO: found", "KHO: setup:", "KHO: disabling KHO revival"):
            handed.append((generation, lines))
    assert handed == []


@NOTHING_HANDED
@pytest.mark.clause("boot.fault.kho.memory")
def test_kernel_that_cannot_set_kho_up_has_all_of_its_memory(luo: Luo, machine: Machine) -> Scenario:
    luo = yield from go(luo, machine, without_kho, 0)
    whole = total_memory(luo.actor)
    missing = {}
    for generation in range(MAP_FAILED, LAST_FAILED + 1):
        luo = yield from go(luo, machine, without_kho, generation)
        missing[generation] = whole - total_memory(luo.actor)
    # Kernels differ a little from boot to boot; the smallest scratch area has 4 MiB.
    assert max(missing.values()) < 1 << 20, missing


@NOTHING_HANDED
@pytest.mark.clause("boot.fault.metadata")
def test_log_says_that_the_next_kernel_will_not_know_this_one(luo: Luo, machine: Machine) -> Scenario:
    complaints = yield from lines_of(
        luo, machine, without_kho, LAST_FAILED, "KHO: failed to initialize kexec-metadata subtree: "
    )
    line = "KHO: failed to initialize kexec-metadata subtree: -12"
    assert complaints == {generation: [line] for generation in METADATA_FAILED}


@pytest.mark.boot(f"{FIXED_PLACE} panic_on_warn=1", bare=True)
@pytest.mark.alone
@pytest.mark.clause("boot.liveupdate.needs-kho")
def test_live_update_is_off_where_kho_could_not_be_set_up(luo: Luo, machine: Machine) -> Scenario:
    wish = Kexec("kho=on liveupdate=on", forced=(no_map(machine),))
    able(machine, wish)

    luo = yield wish

    assert not luo.actor.exists(DEVICE)


@pytest.mark.boot(FIXED_PLACE, bare=True)
@pytest.mark.alone
@pytest.mark.clause("boot.fault.no-warning")
def test_kernel_that_cannot_show_what_it_hands_over_does_so_without_a_warning(
    luo: Luo, machine: Machine
) -> Scenario:
    wish = Kexec("kho=on liveupdate=on", forced=(Forced("debugfs_create_blob", SHOW, 2),))
    able(machine, wish)

    luo = yield wish

    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)

    luo = yield Kexec("kho=on liveupdate=on")

    assert luo.retrieve_session("vm").retrieve(1).read_all() == CONTENT


# Kernels that are handed something

# Above 4 GiB is what is preserved, and nothing below: a hole that becomes scratch memory.
HANDED = pytest.mark.boot(FIXED_PLACE, memory=1024, below_4g=512)

READ, TAKE_IN = "kho_memory_init_early", "kho_in_debugfs_init"

EXTENSION = (
    Forced("memblock_alloc_try_nid", READ, 1, NULL),
    Forced("memblock_alloc_try_nid", READ, 2, NULL),
    Forced("kho_radix_add_key", "kho_ext_walk_leaf"),
    Forced("memblock_mark_kho_scratch", "kho_ext_mark_scratch"),
)
SHOWN = (
    Forced("debugfs_create_dir", TAKE_IN),
    Forced("debugfs_create_dir", TAKE_IN, 2),
    Forced("debugfs_create_blob", TAKE_IN),
    Forced("__kmalloc_cache_noprof", TAKE_IN, result=NULL),
)
LATER = (
    Forced("kho_alloc_preserve", "luo_late_startup"),
    Forced("kho_alloc_preserve", "luo_flb_setup_outgoing"),
    Forced("fdt_open_into", "luo_late_startup", result=BAD_MAGIC),
    Forced("misc_register", "liveupdate_ioctl_init"),
)


def in_spite_of(machine: Machine) -> Sequence[Kexec]:
    extends = Window(since="7.3").holds(machine.hello.release)
    first = zip(EXTENSION, SHOWN, strict=True) if extends else ((each,) for each in SHOWN)
    return *(Kexec(forced=both) for both in first), *(Kexec(forced=(each,)) for each in LATER), Kexec()


EXTENSION_FAILED = SHOWING_FAILED = range(1, 5)
# Until 7.1 the state is a device tree ("FDT memory", "LUO FDT").
STATE_FAILED = {
    5: ("luo: failed to allocate/preserve ", " memory"),
    6: ("luo: failed to prepare LUO ", ": -12"),
    7: ("luo: failed to prepare LUO ", ": -12"),
}
NO_DEVICE, AFTER = 8, 9

RETRIEVED = "luo: Retrieved live update data, liveupdate number: "


@HANDED
@pytest.mark.clause("boot.fault.extend", "boot.fault.in")
def test_kernel_with_faults_beside_it_takes_what_it_is_handed(luo: Luo, machine: Machine) -> Scenario:
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)
    for generation in EXTENSION_FAILED:
        luo = yield from go(luo, machine, in_spite_of, generation)
        session = luo.retrieve_session("vm")
        ram = session.retrieve(1)
        assert ram.read_all() == CONTENT
        session.finish()
        luo.create_session("vm").preserve(ram, token=1)


@HANDED
@pytest.mark.clause("boot.fault.extend")
def test_log_says_that_there_is_no_more_scratch_memory(luo: Luo, machine: Machine) -> Scenario:
    told = yield from lines_of(luo, machine, in_spite_of, AFTER, "KHO: Failed to extend scratch: ")
    line = "KHO: Failed to extend scratch: -ENOMEM"
    assert told == {generation: [line] for generation in EXTENSION_FAILED}


@HANDED
@pytest.mark.clause("boot.fault.in")
def test_log_says_that_what_was_handed_over_is_not_shown(luo: Luo, machine: Machine) -> Scenario:
    told, shown = {}, {}
    for generation in range(1, AFTER + 1):
        luo = yield from go(luo, machine, in_spite_of, generation)
        if lines := said(machine, "KHO: failed exposing handover FDT in debugfs: "):
            told[generation] = lines
        shown[generation] = luo.actor.exists(f"{DEBUGFS}/in")
    line = "KHO: failed exposing handover FDT in debugfs: -ENOMEM"
    assert told == {generation: [line] for generation in SHOWING_FAILED}
    assert shown == {generation: generation not in SHOWING_FAILED for generation in shown}


@pytest.mark.boot(FIXED_PLACE)
@pytest.mark.alone
@pytest.mark.parametrize(("nth", "what"), [(1, "FDT"), (2, "scratch")], ids=["tree", "areas"])
@pytest.mark.clause("boot.fault.map")
def test_kernel_that_cannot_map_what_it_is_handed_boots_as_from_cold(
    luo: Luo, machine: Machine, nth: int, what: str
) -> Scenario:
    wish = Kexec(forced=(Forced("early_memremap", "kho_populate", nth, NULL),))
    able(machine, wish)
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)

    luo = yield wish

    assert len(said(machine, f"KHO: setup: failed to memremap {what} (")) == 1
    assert len(said(machine, "KHO: disabling KHO revival")) == 1
    assert said(machine, RETRIEVED) == []
    with refused(ENOENT):
        luo.retrieve_session("vm")
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)


@HANDED
@pytest.mark.clause("boot.fault.luo")
def test_live_update_that_finds_no_memory_says_so_and_is_off(luo: Luo, machine: Machine) -> Scenario:
    for generation, (beginning, end) in STATE_FAILED.items():
        luo = yield from go(luo, machine, in_spite_of, generation)
        (line,) = said(machine, beginning)
        assert line.endswith(end)
        assert not luo.actor.exists(DEVICE)
        # KHO is not.
        assert luo.actor.listdir(f"{DEBUGFS}/out/sub_fdts") == ["kexec-metadata"]


@pytest.mark.boot(FIXED_PLACE)
@pytest.mark.alone
@pytest.mark.parametrize("part", ["session", "flb"])
@pytest.mark.clause("boot.fault.luo.tree")
def test_live_update_that_cannot_write_its_device_tree_says_so_and_is_off(
    luo: Luo, machine: Machine, part: str
) -> Scenario:
    wish = Kexec(forced=(Forced("fdt_begin_node", f"luo_{part}_setup_outgoing", result=NO_SPACE),))
    able(machine, wish)

    luo = yield wish

    assert len(said(machine, "luo: failed to prepare LUO FDT: ")) == 1
    assert not luo.actor.exists(DEVICE)
    assert luo.actor.listdir(f"{DEBUGFS}/out/sub_fdts") == ["kexec-metadata"]


@HANDED
@pytest.mark.clause("boot.fault.luo", "boot.fault.device", "handover.one-generation")
def test_live_update_begins_anew_after_kernels_without(luo: Luo, machine: Machine) -> Scenario:
    luo = yield from go(luo, machine, in_spite_of, max(EXTENSION_FAILED))
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)
    numbers = {}
    for generation in range(max(EXTENSION_FAILED) + 1, AFTER + 1):
        luo = yield from go(luo, machine, in_spite_of, generation)
        numbers[generation] = [line.removeprefix(RETRIEVED) for line in said(machine, RETRIEVED)]
    # What lacks only the device hands over its state.
    assert numbers == {5: ["5"], 6: [], 7: [], NO_DEVICE: [], AFTER: ["1"]}
    with refused(ENOENT):
        luo.retrieve_session("vm")
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)


@HANDED
@pytest.mark.clause("boot.fault.device")
def test_kernel_whose_device_cannot_be_registered_goes_on_without(luo: Luo, machine: Machine) -> Scenario:
    luo = yield from go(luo, machine, in_spite_of, NO_DEVICE)

    assert not luo.actor.exists(DEVICE)
    assert sorted(luo.actor.listdir(f"{DEBUGFS}/out/sub_fdts")) == ["LUO", "kexec-metadata"]


@pytest.mark.boot(f"{FIXED_PLACE} reserve_mem=4M:4096:luo-cts")
@pytest.mark.alone
@pytest.mark.clause("boot.fault.reserve-mem")
def test_memory_that_cannot_be_handed_over_takes_nothing_else_along(luo: Luo, machine: Machine) -> Scenario:
    """KHO is told of its areas before they are preserved, and then finds that it cannot forget them again."""
    areas = Forced("kho_preserve_pages", "reserve_mem_init", 2)
    removal = (
        (),
        (Forced("fdt_open_into", "kho_remove_subtree", result=BAD_MAGIC),),
        (Forced("fdt_getprop", "kho_remove_subtree", result=NULL),),
    )
    wishes = [Kexec(forced=(areas, *more)) for more in removal]
    able(machine, *wishes)
    for wish in wishes:
        luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)

        luo = yield wish

        session = luo.retrieve_session("vm")
        assert session.retrieve(1).read_all() == CONTENT
        session.finish()
        # mm/memblock.c does not say whose line it is.
        assert len(said(machine, "failed to prepare memblock FDT for KHO: -12")) == 1


@pytest.mark.boot(FIXED_PLACE)
@pytest.mark.alone
@pytest.mark.clause("boot.fault.kho")
def test_kernel_that_cannot_set_kho_up_lives_though_it_was_handed_something(
    luo: Luo, machine: Machine
) -> Scenario:
    # Where it goes wrong it does so without end; the first warning is enough.
    wish = Kexec("panic_on_warn=1", forced=(no_map(machine),))
    able(machine, wish)
    luo.create_session("vm").preserve(luo.memfd(CONTENT), token=1)

    luo = yield wish

    # There is as much memory as before, and none of it is anybody else's.
    ram = luo.memfd(size=64 << 20)
    ram.fill(64 << 20, seed=1)
    assert ram.first_difference(64 << 20, seed=1) is None
