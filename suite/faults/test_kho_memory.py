# SPDX-License-Identifier: GPL-2.0-only
"""KHO's functions for memory and subtrees, called from the kernel: all they take, and all they refuse."""

import os
from errno import E2BIG, EEXIST, EINVAL, EIO, ENOENT, ENOMEM, EOPNOTSUPP

import pytest

from fixtures.agent.errors import ActorGone, SyscallError
from fixtures.level import UNUSED_PAGES_SLACK, Level
from fixtures.luo import DEVICE, PAGE, Luo, refused
from fixtures.provider import COMMAND, Provider
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.boot import scratch
from suite.scenario import Scenario

pytestmark = pytest.mark.provider

MAX_ORDER = 10  # of what the page allocator gives: 4 MiB (MAX_PAGE_ORDER of x86)
BIGGEST = PAGE << MAX_ORDER
CHUNK = 511  # addresses in a page that lists those of a vmalloc area (abi/kexec_handover.h)

ORDERS = range(MAX_ORDER + 1)
# Of a block of an order, from which page on and how many: aligned and not, at powers of two and beside them.
RANGES = [
    (0, 1, 0), (1, 1, 1), (0, 2, 1), (1, 2, 2), (1, 3, 2), (3, 5, 3), (1, 7, 3), (0, 8, 3), (5, 6, 4),
    (1, 254, 8), (1, 255, 8), (0, 1023, 10), (1, 1023, 10), (0, 1024, 10), (511, 2, 10), (341, 342, 10),
]  # fmt: skip
AREAS = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 4096]
HUGE_AREAS = [512, 513, 1024, 1536]  # a huge page of x86 has 512 pages
SIDE = 1024  # pages on each side of the end of a node
SIZES = [1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 5 * PAGE + 1, BIGGEST // 2 + 1, BIGGEST]


def preserve_everything(provider: Provider) -> list[str]:
    """Memory of each kind and every size; the names."""
    names = []
    for order in ORDERS:
        names.append(provider.name(f"f{order}"))
        provider.do("folio", names[-1], order)
    for first, count, order in RANGES:
        names.append(provider.name(f"p{first}-{count}"))
        provider.do("pages", names[-1], first, count, order)
    return names


def end(provider: Provider, names: list[str]) -> None:
    for name in names:
        provider.do("unpreserve", name)
    provider.do("clean")


@pytest.mark.alone
@pytest.mark.clause("faults.kho.folio", "faults.kho.pages")
def test_folios_and_pages_of_every_order_cross(luo: Luo) -> Scenario:
    provider = Provider(luo)
    for order in ORDERS:
        provider.do("folio", f"f{order}", order)
    for number, (first, count, order) in enumerate(RANGES):
        provider.do("pages", f"p{number}", first, count, order)

    luo = yield KEXEC

    provider = Provider(luo)
    told = {order: provider.do("restore", f"f{order}") for order in ORDERS}
    assert told == {order: f"intact\norder {order}, held 1 times\n" for order in ORDERS}
    told = {number: provider.do("restore", f"p{number}") for number in range(len(RANGES))}
    assert told == {
        number: f"intact\n0 pages that are not single, {count} given\n"
        for number, (_, count, _) in enumerate(RANGES)
    }
    provider.do("done")


@pytest.mark.alone
@pytest.mark.clause("faults.kho.vmalloc")
def test_areas_of_sizes_around_full_chunks_cross(luo: Luo) -> Scenario:
    provider = Provider(luo)
    for pages in AREAS:
        provider.do("vmalloc", f"v{pages}", pages, "plain")
    orders = [int(provider.do("vmalloc", f"h{pages}", pages, "huge")) for pages in HUGE_AREAS]
    assert max(orders) == 9

    luo = yield KEXEC

    provider = Provider(luo)
    names = [f"v{pages}" for pages in AREAS] + [f"h{pages}" for pages in HUGE_AREAS]
    assert {name: provider.do("restore", name) for name in names} == dict.fromkeys(names, "intact\nan area\n")
    provider.do("done")


@pytest.mark.alone
@pytest.mark.clause("faults.kho.alloc")
def test_allocations_of_all_sizes_are_zeroed_and_cross(luo: Luo) -> Scenario:
    provider = Provider(luo)
    assert {size: provider.do("alloc", f"a{size}", size) for size in SIZES} == dict.fromkeys(
        SIZES, "zeroed\n"
    )

    luo = yield KEXEC

    provider = Provider(luo)
    before = Level.read(luo.actor)
    assert {size: provider.do("restore", f"a{size}") for size in SIZES} == dict.fromkeys(SIZES, "intact\n")
    gained = Level.read(luo.actor).unused - before.unused
    given = sum(1 << (-(-size // PAGE) - 1).bit_length() for size in SIZES)
    assert abs(gained - given) <= UNUSED_PAGES_SLACK
    provider.do("done")


@pytest.mark.clause("faults.kho.alloc.size")
def test_allocation_of_nothing_or_too_much_is_refused(luo: Luo) -> None:
    provider = Provider(luo)
    with refused(EINVAL):
        provider.do("alloc", "none", 0)
    for size in (BIGGEST + 1, 1 << 40, (1 << 64) - 1):
        with refused(E2BIG):
            provider.do("alloc", "much", size)
    provider.do("clean")


@pytest.mark.clause("faults.kho.unpreserve")
def test_what_is_unpreserved_is_free_again(luo: Luo) -> None:
    """The level of the machine's memory is compared at the end of every test."""
    provider = Provider(luo)
    names = preserve_everything(provider)
    for name in names:
        provider.do("unpreserve", name)
    provider.do("vmalloc", provider.name("v"), 2 * CHUNK + 1, "plain")
    provider.do("vmalloc", provider.name("h"), 1024, "huge")
    provider.do("alloc", provider.name("a"), BIGGEST)
    end(provider, [provider.name(name) for name in "vha"])


@pytest.mark.clause("faults.kho.unpreserve.crossed")
def test_what_was_unpreserved_is_not_kept_from_the_next_kernel(luo: Luo) -> Scenario:
    provider = Provider(luo)
    total = Level.read(luo.actor).unused
    for number in range(8):
        provider.do("folio", provider.name(f"f{number}"), MAX_ORDER)
        provider.do("vmalloc", provider.name(f"h{number}"), 1024, "huge")
    end(provider, [provider.name(f"{kind}{number}") for kind in "fh" for number in range(8)])
    assert total - Level.read(luo.actor).unused <= 2 * UNUSED_PAGES_SLACK
    managed = managed_pages(luo)

    luo = yield KEXEC

    # 64 MiB were handed over for a while. Scratch and the kernel itself move things by less.
    assert managed - managed_pages(luo) < 16 * 1024


def managed_pages(luo: Luo) -> int:
    """Pages of 4 KiB that the page allocator of the running kernel has, free or not."""
    return next(
        int(line.split()[1]) // 4
        for line in luo.actor.read_file("/proc/meminfo").decode().splitlines()
        if line.startswith("MemTotal:")
    )


def kernel_code(luo: Luo) -> int:
    """Where the kernel itself lies, which nobody has preserved."""
    return next(
        int(line.split("-")[0], 16)
        for line in luo.actor.read_file("/proc/iomem").decode().splitlines()
        if line.endswith("Kernel code")
    )


@pytest.mark.clause("faults.kho.null")
def test_nothing_is_freed_without_complaint(luo: Luo) -> None:
    Provider(luo).do("nothing")


@pytest.mark.clause("faults.kho.vmalloc.refused")
@pytest.mark.parametrize(
    ("memory", "number"), [("linear", EINVAL), ("vmap", EOPNOTSUPP), ("user", EOPNOTSUPP)]
)
def test_memory_that_is_no_plain_area_is_refused(luo: Luo, memory: str, number: int) -> None:
    with refused(number):
        Provider(luo).do("no-vmalloc", memory)


@pytest.mark.alone
@pytest.mark.warns("kho_restore_page")
@pytest.mark.clause("faults.kho.restore.twice")
@pytest.mark.parametrize("kind", ["folio", "pages", "vmalloc"])
def test_memory_is_restored_once(luo: Luo, kind: str) -> Scenario:
    provider = Provider(luo)
    arguments = {"folio": (3,), "pages": (0, 3, 2), "vmalloc": (3, "plain")}[kind]
    provider.do(kind, "one", *arguments)

    luo = yield KEXEC

    provider = Provider(luo)
    assert provider.do("restore", "one").startswith("intact\n")
    with refused(EIO):
        provider.do("restore", "one")
    provider.do("done")


@pytest.mark.alone
@pytest.mark.warns("kho_restore_page")
@pytest.mark.clause("faults.kho.restore.nothing")
@pytest.mark.parametrize("pages", [0, 1, 5])
def test_memory_that_was_not_preserved_is_not_restored(luo: Luo, pages: int) -> None:
    """0 stands for a folio."""
    with refused(EIO):
        Provider(luo).do("restore-nothing", kernel_code(luo), pages)


@pytest.mark.alone
@pytest.mark.warns("kho_preserve_(pages|folio)")
@pytest.mark.clause("faults.kho.scratch")
@pytest.mark.parametrize("kind", ["pages", "folio"])
def test_memory_in_scratch_is_refused(luo: Luo, kind: str) -> None:
    """With CONFIG_KEXEC_HANDOVER_DEBUG, which the kernels of this suite have."""
    provider = Provider(luo)
    areas = [(start, size) for start, size in scratch.areas(luo.actor) if size]
    assert areas
    for start, size in areas:
        for page in (start, start + size - PAGE):
            with refused(EINVAL):
                provider.do("preserve-at", kind, page, 1)


@pytest.mark.alone
@pytest.mark.warns("kho_radix_del_(key|page)")
@pytest.mark.clause("faults.kho.unpreserve.nothing")
@pytest.mark.parametrize("kind", ["pages", "folio"])
def test_unpreserving_what_was_not_preserved_takes_nothing_from_others(luo: Luo, kind: str) -> Scenario:
    provider = Provider(luo)
    provider.do("folio", "one", 3)
    provider.do("pages", "two", 1, 5, 3)
    provider.do("unpreserve-at", kind, kernel_code(luo), 7)
    luo.create_session("vm").preserve(luo.memfd(b"ram"), 1)

    luo = yield KEXEC

    provider = Provider(luo)
    for name in ("one", "two"):
        assert provider.do("restore", name).startswith("intact\n")
    provider.do("done")
    assert luo.retrieve_session("vm").retrieve(1).read_all() == b"ram"


def extent(luo: Luo, function: str) -> tuple[int, int]:
    """Where the kernel's code of the function begins and the next one's does."""
    rows = [row.split()[:3] for row in luo.actor.read_file("/proc/kallsyms").decode().splitlines()]
    addresses = sorted({int(address, 16) for address, kind, _ in rows if kind in "tT"})
    start = next(int(address, 16) for address, _, name in rows if name == function)
    return start, next(address for address in addresses if address > start)


def without_a_page(luo: Luo, function: str, nth: int, *command: str | int) -> int:
    """The errno of the command where the n-th page that the function wants is refused; 0: it succeeded."""
    start, end = extent(luo, function)
    settings = {
        "ignore-gfp-wait": "N", "min-order": "0", "verbose": "0", "stacktrace-depth": "32",
        "require-start": f"{start:#x}", "require-end": f"{end:#x}",
    }  # fmt: skip
    for name, value in settings.items():
        luo.actor.write_file(f"/sys/kernel/debug/fail_page_alloc/{name}", value.encode())
    text = " ".join(map(str, command)).encode()
    program = luo.actor.program()
    control = program.syscall("openat", uapi.AT_FDCWD, "/proc/thread-self/fail-nth", os.O_WRONLY, 0)
    told = program.syscall("openat", uapi.AT_FDCWD, COMMAND, os.O_RDWR, 0)
    digits = b"%d" % nth
    program.syscall("write", control, digits, len(digits))
    wrote = program.syscall("write", told, text, len(text), check=False)
    program.syscall("pwrite64", control, b"0", 1, 0)
    for fd in (control, told):
        program.syscall("close", fd)
    try:
        return max(0, -luo.actor.run(program).raw(wrote))
    except ActorGone as gone:
        raise AssertionError("the call did not come back") from gone


@pytest.mark.alone
@pytest.mark.clause("faults.kho.vmalloc.failed")
@pytest.mark.parametrize("kind", ["plain", "plain unset", "huge"])
def test_area_that_cannot_be_preserved_is_the_next_kernels_from_the_start(luo: Luo, kind: str) -> Scenario:
    """``unset``: nobody has set what KHO is to describe the area in, which it has to do itself."""
    provider = Provider(luo)
    provider.do("folio", "kept", 3)
    pages = 8 * 512
    failures = 0
    for nth in range(1, 20):
        number = without_a_page(luo, "kho_preserve_vmalloc", nth, "vmalloc", f"v{nth}", pages, *kind.split())
        assert number in (0, ENOMEM)
        if number == 0:
            provider.do("unpreserve", f"v{nth}")
            break
        failures += 1
    assert failures >= 2
    managed = managed_pages(luo)

    luo = yield KEXEC

    lost = managed - managed_pages(luo)
    provider = Provider(luo)
    assert provider.do("restore", "kept").startswith("intact\n")
    provider.do("done")
    assert lost < pages // 2, f"{lost} pages are kept from this kernel for nobody"


@pytest.mark.alone
@pytest.mark.boot(nodes=(260, 252))
@pytest.mark.clause("faults.kho.pages.nodes")
def test_pages_on_two_nodes_are_all_restored(luo: Luo) -> Scenario:
    """The first node ends 4 MiB behind a multiple of 8 MiB: a block of 8 MiB would be on both."""
    provider = Provider(luo)
    provider.do("span", "span", SIDE)

    luo = yield KEXEC

    provider = Provider(luo)
    told = provider.do("restore", "span")
    assert told == f"0 pages that are not single, {2 * SIDE} given\n", told
    provider.do("done")


# Subtrees


@pytest.mark.clause("faults.kho.subtree.twice", "faults.kho.subtree.remove")
def test_name_of_a_subtree_is_taken_until_it_is_removed(luo: Luo) -> None:
    provider = Provider(luo)
    name = provider.name("tree")
    provider.do("subtree-add", name)
    for taken in (name, "LUO"):
        with refused(EEXIST):
            provider.do("subtree-add", taken)
    assert name in luo.actor.listdir("/sys/kernel/debug/kho/out/sub_fdts")
    provider.do("subtree-del-unknown")
    provider.do("subtree-del", name)
    assert name not in luo.actor.listdir("/sys/kernel/debug/kho/out/sub_fdts")
    provider.do("subtree-add", name)
    provider.do("subtree-del", name)


@pytest.mark.clause("faults.kho.subtree.cross")
def test_subtrees_cross_with_their_sizes(luo: Luo) -> Scenario:
    provider = Provider(luo)
    names = [provider.name(plain) for plain in ("one", "two", "gone")]
    for name in names:
        provider.do("subtree-add", name)
    provider.do("subtree-del", names[2])
    with refused(ENOENT):
        provider.do("subtree-get", names[0])

    luo = yield KEXEC

    provider = Provider(luo)
    for name in names[:2]:
        assert provider.do("subtree-get", name) == f"{name} {len(name) + 1}\n"
        assert provider.do("subtree-get", name, "unsized") == f"{name} 0\n"
        with refused(EINVAL):
            provider.do("subtree-get", name, "nowhere")
        provider.do("subtree-free", name)
    for name in (names[2], "nobody", ""):
        if name:
            with refused(ENOENT):
                provider.do("subtree-get", name)


def has_room(provider: Provider, name: str) -> bool:
    """Add a subtree; False where there is no memory for it."""
    try:
        provider.do("subtree-add", name)
    except SyscallError as error:
        if error.errno != ENOMEM:
            raise
        return False
    return True


@pytest.mark.alone
@pytest.mark.clause("faults.kho.subtree.full")
def test_subtree_that_does_not_fit_is_refused_and_all_others_cross(luo: Luo) -> Scenario:
    provider = Provider(luo)
    names: list[str] = []
    # Ever shorter names: the tree (one page) gets full in each of the places where it can, which are the node
    # and its two properties. Names that begin with 93 leave the gaps for all three in trees of 7.1 to 7.3.
    for length in range(93, 3, -1):
        while has_room(provider, name := f"{len(names):02}".ljust(length, "x")):
            names.append(name)
    assert len(names) > 20
    provider.do("subtree-del", names.pop(3))
    provider.do("subtree-add", "short")

    luo = yield KEXEC

    provider = Provider(luo)
    for name in [*names, "short"]:
        assert provider.do("subtree-get", name) == f"{name} {len(name) + 1}\n"
        provider.do("subtree-free", name)


@pytest.mark.alone
@pytest.mark.warns("kho_add_subtree")
@pytest.mark.clause("faults.kho.subtree.name")
def test_subtree_whose_name_debugfs_does_not_take_is_refused_or_crosses(luo: Luo) -> Scenario:
    provider = Provider(luo)
    added = True
    try:
        provider.do("subtree-add", "a/b")
    except SyscallError:
        added = False

    luo = yield KEXEC

    provider = Provider(luo)
    if added:
        assert provider.do("subtree-get", "a/b") == "a/b 4\n"


@pytest.mark.boot("luo_cts.subtree=LUO")
@pytest.mark.clause("faults.kho.subtree.luo")
def test_kernel_whose_luo_has_no_place_lives_without_it(luo: Luo) -> None:
    assert luo.actor.raw("faccessat", -100, DEVICE, 0) == -ENOENT
    assert Provider(luo).do("kho") == "1 0\n"


@pytest.mark.boot("kho=off")
@pytest.mark.warns("kho_radix_add_(key|page)")
@pytest.mark.clause("faults.kho.off")
def test_memory_is_not_preserved_where_kho_is_off(luo: Luo) -> None:
    provider = Provider(luo)
    assert provider.do("kho") == "0 0\n"
    with refused(EINVAL, EOPNOTSUPP):
        provider.do("alloc-only", PAGE)


@pytest.mark.boot("kho=off")
@pytest.mark.alone
@pytest.mark.clause("faults.kho.subtree.off")
def test_subtree_is_refused_where_kho_is_off(luo: Luo) -> None:
    provider = Provider(luo)
    try:
        with refused(EINVAL, ENOENT, ENOMEM, EOPNOTSUPP):
            provider.do("subtree-only", "tree")
    except ActorGone as gone:
        raise AssertionError("the call did not come back") from gone


@pytest.mark.clause("faults.kho.boot")
def test_kernel_knows_whether_it_was_handed_something(luo: Luo) -> Scenario:
    assert Provider(luo).do("kho") == "1 0\n"

    luo = yield KEXEC

    assert Provider(luo).do("kho") == "1 1\n"
