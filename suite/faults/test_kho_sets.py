# SPDX-License-Identifier: GPL-2.0-only
"""KHO's radix tree and its sets of blocks, used from the kernel by somebody else than KHO and LUO."""

from errno import EINVAL, EIO, ENOSPC, ERANGE

import pytest

from fixtures.luo import Luo, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC
from suite.scenario import Scenario

pytestmark = pytest.mark.provider

WIDTH = 53  # bits of a key: KHO_RADIX_KEY_WIDTH with pages of 4 KiB (abi/kexec_handover.h)
LEAF = 1 << 15  # keys in a leaf: the bits of a page
TABLE = 1 << 9  # entries in a node
LEVELS = 6

# Both ends of the tree, of leaves and of tables.
KEYS = [
    0, 1, LEAF - 1, LEAF, 2 * LEAF - 1, LEAF * TABLE - 1, LEAF * TABLE, LEAF * TABLE**2, (1 << 40) + 7,
    (1 << WIDTH) - LEAF, (1 << WIDTH) - 1,
]  # fmt: skip

MOST_BLOCKS = 10_000  # kho_block.c: KHO_MAX_BLOCKS
ROOM = 4096 - 16  # a block without its header


# The radix tree


def walk(provider: Provider, *words: str | int) -> list[int]:
    return [int(line, 16) for line in provider.do("radix-walk", *words).split()]


@pytest.mark.alone
@pytest.mark.clause("faults.radix.walk", "faults.radix.del")
def test_walk_meets_each_key_that_is_there_once(luo: Luo) -> None:
    provider = Provider(luo)
    provider.do("radix-init")
    assert walk(provider) == []
    for key in (*reversed(KEYS), KEYS[3]):
        provider.do("radix-add", key)
    assert walk(provider) == KEYS
    for key in KEYS[::2]:
        provider.do("radix-del", key)
    assert walk(provider) == KEYS[1::2]
    # What was there and is not, again; its branch is there still.
    provider.do("radix-del", KEYS[0])
    provider.do("radix-add", KEYS[0])
    assert walk(provider) == sorted([KEYS[0], *KEYS[1::2]])
    provider.do("radix-destroy")


@pytest.mark.alone
@pytest.mark.clause("faults.radix.empty")
def test_walk_of_an_empty_tree_meets_nothing(luo: Luo) -> None:
    provider = Provider(luo)
    for _ in range(2):
        provider.do("radix-init")
        assert walk(provider) == []
        provider.do("radix-destroy")


@pytest.mark.alone
@pytest.mark.clause("faults.radix.range")
def test_key_that_is_too_wide_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    provider.do("radix-init")
    provider.do("radix-add", 5)
    for key in (1 << WIDTH, (1 << WIDTH) + 5, (1 << 64) - 1):
        with refused(ERANGE):
            provider.do("radix-add", key)
        provider.do("radix-del", key)
    assert walk(provider) == [5]
    provider.do("radix-destroy")


@pytest.mark.alone
@pytest.mark.clause("faults.radix.stop")
@pytest.mark.parametrize("callback", ["leaf", "node"])
@pytest.mark.parametrize("nth", [1, 2, 3, 6, 7])
def test_callback_ends_the_walk_with_its_value(luo: Luo, callback: str, nth: int) -> None:
    provider = Provider(luo)
    provider.do("radix-init")
    for key in range(0, 8 * LEAF * TABLE, LEAF * TABLE):
        provider.do("radix-add", key)
    with refused(EIO):
        walk(provider, callback, nth, -EIO)
    with refused(EINVAL):
        walk(provider, callback, nth, -EINVAL)
    assert len(walk(provider, callback, 1000, -EIO)) == 8
    provider.do("radix-destroy")


@pytest.mark.alone
@pytest.mark.clause("faults.radix.destroy")
def test_destroyed_tree_gives_its_nodes_back(luo: Luo) -> None:
    """3,000 leaves of a page each: the machine's memory is compared at the end of every test."""
    provider = Provider(luo)
    provider.do("radix-init")
    assert provider.do("radix-nodes") == "1\n"
    for number in range(3):
        provider.do("radix-fill", number * 1000 * LEAF, 1000, LEAF)
    # 3,000 leaves need 6 tables above them, and these the way down from the root.
    assert provider.do("radix-nodes") == f"{3000 + 6 + LEVELS - 2}\n"
    provider.do("radix-destroy")
    provider.do("radix-destroy")
    provider.do("radix-init")
    assert walk(provider) == []
    provider.do("radix-destroy")


@pytest.mark.alone
@pytest.mark.warns("kho_radix_(add_(key|page)|walk_tree|del_(key|page))")
@pytest.mark.clause("faults.radix.rootless")
def test_tree_without_a_root_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    harmless = ["del"] if "radix-keys" in provider.missing else ["del", "destroy"]
    for _ in range(2):
        for call in ("add", "walk"):
            with refused(EINVAL):
                provider.do("radix-rootless", call)
        for call in harmless:
            provider.do("radix-rootless", call)


@pytest.mark.alone
@pytest.mark.warns("kho_radix_del_(key|page)")
@pytest.mark.clause("faults.radix.del")
def test_key_that_was_never_there_is_deleted_in_vain(luo: Luo) -> None:
    provider = Provider(luo)
    provider.do("radix-init")
    provider.do("radix-add", 5)
    provider.do("radix-del", 1 << 52)
    provider.do("radix-del", 6)
    assert walk(provider) == [5]
    provider.do("radix-destroy")


# Sets of blocks


def begin(provider: Provider, size: int) -> int:
    """A set with entries of so many bytes; how many of them a block has."""
    return int(provider.do("block-init", size))


@pytest.mark.alone
@pytest.mark.clause("faults.blocks.grow", "faults.blocks.entries")
@pytest.mark.parametrize("size", [8, 16, 64, 80, 2040, 2048, ROOM])
def test_set_grows_and_shrinks_by_blocks(luo: Luo, size: int) -> None:
    provider = Provider(luo)
    per = begin(provider, size)
    assert per == ROOM // size
    wanted = [0, 1, per, per + 1, 3 * per, 3 * per + 1, per]
    assert [int(provider.do("block-grow", count)) for count in wanted] == [0, 1, 1, 2, 3, 4, 4]
    # There is room for what was asked for, and no more than that.
    assert int(provider.do("block-fill", 5 * per)) == 4 * per
    assert provider.do("block-read") == f"{4 * per} right\n"
    for count in (1, per, per + 1, 4 * per):
        assert provider.do("block-back", count) == f"{count} right\n"
    assert provider.do("block-back", 0) == "0 right\n"
    wanted = [4 * per, 3 * per + 1, 3 * per, per + 1, per, 1, 0]
    assert [int(provider.do("block-shrink", count)) for count in wanted] == [4, 4, 3, 2, 1, 1, 0]
    assert int(provider.do("block-fill", 1)) == 0
    assert provider.do("block-read") == "0 right\n"
    assert provider.do("block-destroy") == "0 0 1\n"


@pytest.mark.alone
@pytest.mark.clause("faults.blocks.clear")
def test_cleared_set_is_zeroed_and_keeps_its_room(luo: Luo) -> None:
    provider = Provider(luo)
    per = begin(provider, 64)
    provider.do("block-grow", 3 * per)
    provider.do("block-fill", 3 * per)
    assert provider.do("block-clear") == "zeroed\n"
    assert int(provider.do("block-fill", 4 * per)) == 3 * per
    assert provider.do("block-destroy") == "0 0 1\n"


@pytest.mark.alone
@pytest.mark.clause("faults.blocks.most")
def test_set_does_not_grow_beyond_the_most(luo: Luo) -> None:
    provider = Provider(luo)
    assert begin(provider, ROOM) == 1
    assert int(provider.do("block-grow", 5)) == 5
    with refused(ENOSPC):
        provider.do("block-grow", MOST_BLOCKS + 1)
    # What it had grown by on the way is given back.
    assert int(provider.do("block-grow", 5)) == 5
    assert int(provider.do("block-grow", MOST_BLOCKS)) == MOST_BLOCKS
    with refused(ENOSPC):
        provider.do("block-grow", MOST_BLOCKS + 1)
    assert int(provider.do("block-grow", 1)) == MOST_BLOCKS
    assert provider.do("block-destroy") == "0 0 1\n"


@pytest.mark.alone
@pytest.mark.warns("kho_block_set_grow")
@pytest.mark.clause("faults.blocks.restore")
@pytest.mark.parametrize("blocks", [1, 2, 300])
def test_set_crosses_and_does_not_grow_any_more(luo: Luo, blocks: int) -> Scenario:
    provider = Provider(luo)
    per = begin(provider, 64)
    count = blocks * per - 1
    provider.do("block-grow", count)
    assert int(provider.do("block-fill", count)) == count
    provider.do("block-leave")

    luo = yield KEXEC

    provider = Provider(luo)
    assert int(provider.do("block-restore")) == blocks
    assert provider.do("block-read") == f"{count} right\n"
    assert provider.do("block-back", count) == f"{count} right\n"
    with refused(EINVAL):
        provider.do("block-grow", count)
    assert int(provider.do("block-shrink", 1)) == 1
    assert provider.do("block-destroy") == "0 0 1\n"


@pytest.mark.alone
@pytest.mark.clause("faults.blocks.restore")
def test_set_with_an_empty_block_is_refused_by_the_next_kernel(luo: Luo) -> Scenario:
    provider = Provider(luo)
    per = begin(provider, 64)
    provider.do("block-grow", 3 * per)
    provider.do("block-fill", 2 * per)
    provider.do("block-leave")

    luo = yield KEXEC

    provider = Provider(luo)
    with refused(EINVAL):
        provider.do("block-restore")
