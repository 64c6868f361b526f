# SPDX-License-Identifier: GPL-2.0-only
"""Pages of a GiB, which a kernel sets aside before it looks at what is preserved."""

from collections import Counter

import pytest

from fixtures.agent.client import Actor
from fixtures.luo import PAGE, Luo
from fixtures.pages import frame_flags, pfns
from fixtures.scenario import Kexec
from kernel import uapi
from suite.boot.scratch import scratch
from suite.kho.frames import memfd_of, scratch_areas, touching
from suite.kho.shape import GIB, MIB
from suite.scenario import Scenario

# The last node has no CPU: what is preserved there is the test's, but for parts of KHO's map. It is the five
# GiB from 4 GiB on, and a bit. The global scratch area takes the upper two, so that one of them is scratch
# memory alone and stays empty: what a boot needs first it takes from the end of the area.
NODES = (512, 512, 5 * 1024 + 64)
SCRATCH = "64M,1920M,64M"
LAST = 2
ADDRESSES = range(4 * GIB, 9 * GIB, GIB)
COUNT = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"

# More than there is room for beside the scratch areas in the GiB that these touch.
FILES, SIZE = 96, 2 * MIB


def gigantic(actor: Actor) -> list[range]:
    """Where the last node's pages of a GiB are."""
    flags = frame_flags(actor, [address // PAGE for address in ADDRESSES])
    return [gib(address) for address, has in zip(ADDRESSES, flags, strict=True) if has >> uapi.KPF_HUGE & 1]


def gib(address: int) -> range:
    """The GiB that an address is in."""
    start = address // GIB * GIB
    return range(start, start + GIB)


def files_of_one_gib(luo: Luo) -> dict[int, list[int]]:
    """Seed → page frames of files that lie in one GiB without scratch memory, and are preserved in ``vm``."""
    files = [memfd_of(luo, LAST, SIZE, seed) for seed in range(FILES)]
    session = luo.create_session("moves them out of scratch memory")
    for token, file in enumerate(files):
        session.preserve(file, token)
    session.close()
    found = [pfns(file, SIZE) for file in files]
    homes = [{gib(frame * PAGE) for frame in frames} for frames in found]
    scratch_memory = scratch_areas(luo.actor)
    alone = [next(iter(home)) for home in homes if len(home) == 1]
    beside = Counter(home for home in alone if not touching(home, scratch_memory))
    assert beside, "the files are where scratch memory is"
    [(chosen, _)] = beside.most_common(1)
    kept = {seed: found[seed] for seed, home in enumerate(homes) if home == {chosen}}
    session = luo.create_session("vm")
    for seed in kept:
        session.preserve(files[seed], token=seed)
    return kept


@pytest.mark.boot(f"nokaslr {scratch(SCRATCH)}", nodes=NODES, below_4g=1024)
@pytest.mark.clause("kho.gigantic-pages")
def test_gigantic_pages_lie_beside_what_is_preserved(luo: Luo) -> Scenario:
    kept = files_of_one_gib(luo)
    home = gib(kept[min(kept)][0] * PAGE)

    for _ in range(2):
        luo = yield Kexec(f"hugepagesz=1G hugepages={LAST}:3")

        places = gigantic(luo.actor)
        assert len(places) == int(luo.actor.read_file(COUNT))
        assert places, "though another GiB is free none was set aside"
        assert [place for place in places if touching(place, [home, *scratch_areas(luo.actor)])] == []
        session = luo.retrieve_session("vm")
        files = {seed: session.retrieve(seed) for seed in kept}
        for seed, file in files.items():
            assert file.first_difference(SIZE, seed) is None
            assert pfns(file, SIZE) == kept[seed]
        session.finish()
        session = luo.create_session("vm")
        for seed, file in files.items():
            session.preserve(file, token=seed)
