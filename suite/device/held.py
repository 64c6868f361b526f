# SPDX-License-Identifier: GPL-2.0-only
"""Calls held inside of the kernel by a page of their argument, see fixtures/userfault.py."""

from fixtures.luo import PAGE
from fixtures.userfault import WatchedPages
from suite.device.calls import Call

TAIL = 8


class HeldCall:
    """A call by another thread of the same process."""

    def __init__(self, call: Call, memory: WatchedPages, place: int) -> None:
        self.call = call
        self.memory = memory
        self.place = place
        program = call.file.actor.program()
        program.syscall("ioctl", call.file.fd, call.number, place)
        self._pending = call.file.actor.thread().start(program)
        memory.wait()

    def change(self, at: int, data: bytes) -> None:
        """Write into the argument."""
        self.memory.write(self.place + at, data)

    def wait(self) -> None:
        """Until it comes back, once the memory is let go; raises SyscallError where it failed."""
        self._pending.wait()

    @property
    def answer(self) -> bytes:
        return self.memory.read(self.place, len(self.call.argument))


def held_before_the_struct(call: Call) -> HeldCall:
    """The kernel has read the size and waits for what lies behind the struct, unread as yet.

    copy_struct_from_user() (include/linux/uaccess.h) looks at the tail first.
    """
    memory = WatchedPages(call.file.actor, 2, missing=True)
    place = memory.watched - len(call.argument)
    memory.write(place, call.longer(bytes(TAIL))[: len(call.argument)])
    return HeldCall(call, memory, place)


def held_in_the_struct(call: Call) -> HeldCall:
    """The kernel has read the size, and waits for all the rest; ``memory.fill`` says what it is."""
    memory = WatchedPages(call.file.actor, 2, missing=True)
    place = memory.watched - 4
    memory.write(place, call.argument[:4])
    return HeldCall(call, memory, place)


def held_before_the_answer(call: Call) -> HeldCall:
    """The kernel has done what it was told, and waits to say so."""
    memory = WatchedPages(call.file.actor, 1, missing=False)
    memory.write(memory.watched, call.argument)
    memory.protect()
    return HeldCall(call, memory, memory.watched)


def untouched(memory: WatchedPages) -> bool:
    """Whether nothing was written into the watched page, filled with zeros."""
    return memory.read(memory.watched, PAGE) == bytes(PAGE)
