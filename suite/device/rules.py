# SPDX-License-Identifier: GPL-2.0-only
"""The rules that every ioctl keeps to, each as a check of one call."""

from errno import E2BIG, EFAULT, EINVAL

from fixtures.agent.program import Arg
from fixtures.luo import PAGE, refused
from kernel import uapi
from suite.device.calls import Call
from suite.device.held import held_before_the_struct, untouched

WORD = 4  # the size, which is read first
LARGEST = 0xFFFFFFFF


def short_argument_is_refused(call: Call) -> None:
    """All structs are as they always were: the smallest size is the size."""
    least = len(call.argument)
    for size in (0, WORD, least - 1):
        with refused(EINVAL):
            call.make(call.sized(size))
    call.undone()


def zeros_behind_the_struct_are_accepted(call: Call, size: int) -> None:
    """``size``: of the whole argument."""
    tail = bytes(size - len(call.argument))
    answer = call.make(call.longer(tail))
    assert answer[len(call.argument) :] == tail
    call.done(answer)


def something_behind_the_struct_is_refused(call: Call) -> None:
    far = PAGE - len(call.argument) - 1
    for tail in (b"\1" + bytes(7), bytes(7) + b"\1", bytes(far) + b"\x80"):
        with refused(E2BIG):
            call.make(call.longer(tail))
    with refused(E2BIG):
        call.make(call.sized(LARGEST, b"\1" + bytes(7)))
    call.undone()


def argument_may_cross_pages(call: Call, before: int) -> None:
    """``before``: so many bytes of it lie on the first page."""
    actor = call.file.actor
    flags = uapi.MAP_PRIVATE | uapi.MAP_ANONYMOUS
    program = actor.program()
    address = program.syscall("mmap", 0, 2 * PAGE, uapi.PROT_READ | uapi.PROT_WRITE, flags, -1, 0)
    place = address + (PAGE - before)
    program.poke(place, call.argument)
    program.syscall("ioctl", call.file.fd, call.number, place)
    answer = program.peek(place, len(call.argument))
    program.syscall("munmap", address, 2 * PAGE)
    call.done(actor.run(program).bytes(answer))


def unreadable_argument_is_refused(call: Call) -> None:
    length = len(call.argument)
    with_tail = call.longer(bytes(8))
    huge = call.sized(LARGEST)
    cases = [(call.argument, readable) for readable in (0, 1, WORD, 6, length - 1)]
    cases += [(with_tail, length), (with_tail, length + 4), (huge, length)]
    program = call.file.actor.program()
    places: list[Arg] = [0, 1 << 63, (1 << 64) - PAGE]  # NULL, no address at all, one of the kernel's
    places += [program.buffer(argument[:readable], page_end=True) for argument, readable in cases]
    calls = [program.syscall("ioctl", call.file.fd, call.number, place, check=False) for place in places]
    results = call.file.actor.run(program)
    assert [results.raw(made) for made in calls] == [-EFAULT] * len(calls)
    call.undone()


def unwritable_answer_is_refused(call: Call) -> None:
    """Where the kernel can read the argument and not write its answer: all of it, or the end of it."""
    actor = call.file.actor
    flags = uapi.MAP_PRIVATE | uapi.MAP_ANONYMOUS
    for writable in (0, len(call.argument) - 1):
        program = actor.program()
        address = program.syscall("mmap", 0, 2 * PAGE, uapi.PROT_READ | uapi.PROT_WRITE, flags, -1, 0)
        program.poke(address + (PAGE - writable), call.argument)
        program.syscall("mprotect", address + PAGE, PAGE, uapi.PROT_READ)
        made = program.syscall("ioctl", call.file.fd, call.number, address + (PAGE - writable), check=False)
        program.syscall("munmap", address, 2 * PAGE)
        assert actor.run(program).raw(made) == -EFAULT
        call.undone()


def size_counts_as_first_read(call: Call, size: int) -> None:
    """Change the size when the kernel has read it and is about to look at what lies behind the struct."""
    held = held_before_the_struct(call)
    held.change(0, size.to_bytes(WORD, "little"))
    held.memory.fill()
    held.wait()
    assert untouched(held.memory), "the kernel wrote behind the struct"
    call.done(held.answer)
