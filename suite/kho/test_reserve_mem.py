# SPDX-License-Identifier: GPL-2.0-only
"""Areas of reserve_mem= in three generations: where they are, what is in them, which are refused."""

import pytest

from fixtures.agent.pattern import pattern
from fixtures.held import Held
from fixtures.luo import PAGE, Luo
from fixtures.machine import Machine
from fixtures.pages import total_memory
from fixtures.scenario import KEXEC, Kexec
from kernel.abi import fdt, reserve_mem
from suite.boot.log import said
from suite.boot.scratch import scratch
from suite.kho.debugfs import DESK, IN, OUT, blob, desk, names
from suite.kho.frames import preserved_frames, scratch_areas, system_ram, touching, within
from suite.kho.shape import AREAS, GIB, MIB, UNUSUAL, WRONG, reserve
from suite.scenario import Scenario

# A kernel that is handed nothing boots as from cold, so that areas can differ from one kernel to the next.
ON = "kho=on liveupdate=on"

# Those that are whole pages.
WHOLE = [name for name, (size, _) in AREAS.items() if size % PAGE == 0]


def described(luo: Luo) -> dict[str, range]:
    """The areas that this kernel will hand over, in bytes: its tree for the next one."""
    data = blob(luo.actor, OUT, reserve_mem.NAME)
    # The areas lie in the machine's memory, so that only the tree itself can be read from a blob.
    tree = fdt.parse(desk(data), DESK, len(data), "out/sub_fdts/memblock")
    found = {}
    for node in tree.root.children:
        assert node.compatible((reserve_mem.AREA_COMPATIBLE,), node.name)
        start, size = (node.property(name, node.name).word(node.name) for name in ("start", "size"))
        found[node.name] = range(start, start + size)
    return found


def pages(area: range) -> list[int]:
    """The frames that have a byte of the area."""
    return list(range(area.start // PAGE, -(-area.stop // PAGE)))


@UNUSUAL
@pytest.mark.clause("kho.reserved.areas")
def test_areas_have_the_sizes_and_alignments_asked_for(luo: Luo) -> None:
    found = described(luo)
    assert {name: len(area) for name, area in found.items()} == {
        name: size for name, (size, _) in AREAS.items()
    }
    assert [name for name, area in found.items() if area.start % AREAS[name][1]] == []
    ram = system_ram(luo.actor)
    for area in found.values():
        assert within(area, ram)
        assert touching(area, scratch_areas(luo.actor)) == []
        assert touching(area, found.values()) == [area]


@UNUSUAL
@pytest.mark.clause("kho.reserved.names")
def test_names_used_twice_too_long_or_missing_are_refused(luo: Luo, machine: Machine) -> None:
    assert said(machine, "reserve_mem: name") == ['reserve_mem: name "one" was already used']
    assert len(said(machine, "reserve_mem: empty or malformed parameter")) == len(WRONG)


@UNUSUAL
@pytest.mark.clause("kho.reserved.most")
def test_ninth_area_is_refused_and_eight_stay(luo: Luo, machine: Machine) -> None:
    assert described(luo).keys() == AREAS.keys()
    assert len(said(machine, "reserve_mem: no more room for reserved memory")) == 1


@UNUSUAL
@pytest.mark.clause("kho.reserved.address")
def test_areas_are_at_the_same_addresses_in_three_generations(luo: Luo, machine: Machine) -> Scenario:
    first = described(luo)

    for _ in range(2):
        luo = yield KEXEC

        assert described(luo) == first
        lines = {f"Revived memory reservation '{name}' from KHO" for name in AREAS}
        assert set(said(machine, "Revived memory reservation")) == lines


@UNUSUAL
@pytest.mark.clause("kho.reserved.contents")
def test_contents_are_the_same_in_three_generations(luo: Luo, machine: Machine) -> Scenario:
    found = [described(luo)[name] for name in WHOLE]
    memory = machine.instance.memory()
    for area in found:
        memory.write(area.start, pattern(len(area), seed=area.start))

    for _ in range(2):
        luo = yield KEXEC

        for area in found:
            assert memory.read(area.start, len(area)) == pattern(len(area), seed=area.start)


@UNUSUAL
@pytest.mark.clause("kho.reserved.blob")
def test_kernel_is_handed_what_the_one_before_described(luo: Luo) -> Scenario:
    assert reserve_mem.NAME in names(luo.actor, OUT)
    sent = blob(luo.actor, OUT, reserve_mem.NAME)

    luo = yield KEXEC

    assert blob(luo.actor, IN, reserve_mem.NAME) == sent


@UNUSUAL
@pytest.mark.clause("kho.reserved.preserved")
@pytest.mark.parametrize("name", AREAS)
def test_every_page_of_an_area_is_preserved(luo: Luo, name: str) -> Scenario:
    area = described(luo)[name]

    def look(held: Held) -> None:
        frames = preserved_frames(held.handover.memory_map)
        missing = [frame for frame in pages(area) if frame not in frames]
        assert missing == [], "the next kernel is not told to leave alone all pages of the area"

    yield Kexec(at_handover=look)


@pytest.mark.soak
@pytest.mark.boot(bare=True, memory=512)
@pytest.mark.clause("kho.reserved.absent")
def test_area_that_is_not_asked_for_again_is_kept_for_one_generation(luo: Luo, machine: Machine) -> Scenario:
    luo = yield Kexec(f"{ON} {reserve('1M:4096:kept', '32M:4096:left')}")
    first = described(luo)
    data = pattern(32 * MIB, seed=1)
    machine.instance.memory().write(first["left"].start, data)

    luo = yield Kexec(f"{ON} {reserve('1M:4096:kept')}")
    assert described(luo) == {"kept": first["kept"]}
    assert machine.instance.memory().read(first["left"].start, len(data)) == data
    held = total_memory(luo.actor)

    luo = yield Kexec(f"{ON} {reserve('1M:4096:kept')}")
    assert described(luo) == {"kept": first["kept"]}
    # Kernels differ a little from boot to boot.
    assert total_memory(luo.actor) - held > len(data) // 2


@pytest.mark.soak
@pytest.mark.boot(bare=True, memory=512)
@pytest.mark.clause("kho.reserved.changed")
@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        ("2M:4096:vm", "KHO reserve-mem 'vm' has wrong size"),
        ("1M:16M:vm", "KHO reserve-mem 'vm' has wrong alignment"),
        ("1M:4096:new", "FDT 'memblock' has no child 'new'"),
    ],
    ids=["size", "alignment", "name"],
)
def test_area_that_does_not_match_is_made_anew(
    luo: Luo, machine: Machine, second: str, complaint: str
) -> Scenario:
    luo = yield Kexec(f"{ON} {reserve('1M:4096:vm')}")
    luo = yield Kexec(f"{ON} {reserve(second)}")

    assert len(said(machine, complaint)) == 1
    ((name, area),) = described(luo).items()
    size, _, wanted = second.split(":")
    assert (name, len(area)) == (wanted, int(size[:-1]) * MIB)
    assert touching(area, scratch_areas(luo.actor)) == [], "the new area lies in scratch memory"


@pytest.mark.soak
# The areas count as memory that the boot took, so that without sizes scratch memory would be twice as large.
# A kernel at a random address may lie in the middle of all that is above 4 GiB.
@pytest.mark.boot(f"nokaslr {reserve('3G:4096:big', '64M:64M:next')} {scratch('64M,64M,256M')}", memory=6144)
@pytest.mark.clause("kho.reserved.address", "kho.reserved.contents", "kho.memory.high")
def test_area_beyond_2_gib_crosses(luo: Luo, machine: Machine) -> Scenario:
    first = described(luo)
    assert len(first["big"]) == 3 * GIB
    memory = machine.instance.memory()
    ends = [area.start for area in first.values()] + [area.stop - PAGE for area in first.values()]
    ends.append(first["big"].start + 2 * GIB)
    for address in ends:
        memory.write(address, pattern(PAGE, seed=address))
    luo.create_session("vm").preserve(luo.memfd(pattern(PAGE)), token=1)

    for _ in range(2):
        luo = yield KEXEC

        assert described(luo) == first
        for address in ends:
            assert memory.read(address, PAGE) == pattern(PAGE, seed=address)
