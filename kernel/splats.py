# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's distress looks like on its console.

A pattern matches only at the start of a message, and says as much as the kernel's format string fixes: words
like WARNING in the middle of a line, or in what a program wrote to /dev/kmsg, are nobody's splat.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import jsonschema
import yaml

from kernel.errors import UsageError
from kernel.window import Window


class Kind(StrEnum):
    """What sort of distress; the value is what a report calls it."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "BUG"
    WARNING = "warning"
    LOCKDEP = "lockdep"
    LOCK = "broken lock"
    ATOMIC = "wrong context"
    KASAN = "KASAN"
    KFENCE = "KFENCE"
    KMSAN = "KMSAN"
    KCSAN = "KCSAN"
    UBSAN = "UBSAN"
    STALL = "stall"
    REFCOUNT = "refcount"
    LIST = "list corruption"
    SLAB = "slab corruption"
    PAGE = "bad page"
    LEAK = "memory leak"
    ALLOCATION = "allocation failure"
    OOM = "out of memory"
    TRACE = "call trace"


class _Header(NamedTuple):
    """The first line of a splat; ``fatal``: the kernel cannot be used any more, or not be trusted."""

    kind: Kind
    fatal: bool
    pattern: re.Pattern[str]


def _header(kind: Kind, pattern: str, *, fatal: bool = False) -> _Header:
    return _Header(kind, fatal, re.compile(pattern))


# The first that matches counts. Each with the file that prints it, in 7.3 unless another release is named.
_HEADERS = (
    _header(Kind.PANIC, r"Kernel panic - not syncing: ", fatal=True),  # kernel/panic.c: vpanic()
    _header(Kind.PANIC, r"(traps: )?PANIC: double fault", fatal=True),  # arch/x86/kernel/traps.c
    _header(Kind.PANIC, r"PANIC: early exception ", fatal=True),  # arch/x86/mm/extable.c
    _header(Kind.OOPS, r"BUG: kernel NULL pointer dereference", fatal=True),  # arch/x86/mm/fault.c
    _header(Kind.OOPS, r"BUG: unable to handle (page fault|kernel) ", fatal=True),  # and in older releases
    _header(Kind.OOPS, r"BUG: \S+ stack guard page was hit", fatal=True),  # arch/x86/kernel/traps.c
    _header(Kind.OOPS, r"Oops: ", fatal=True),  # arch/x86/kernel/dumpstack.c: __die_header()
    _header(Kind.OOPS, r"[a-zA-Z][\w ,-]*(0x[0-9a-f]+)?: [0-9a-f]{4} \[#\d+\]", fatal=True),  # older releases
    _header(Kind.OOPS, r"Unable to handle kernel ", fatal=True),  # arch/arm64/mm/fault.c
    _header(Kind.OOPS, r"Internal error: .* \[#\d+\]", fatal=True),  # arch/arm64/kernel/traps.c
    _header(Kind.OOPS, r"Insufficient stack space to handle exception!", fatal=True),  # the same
    _header(Kind.BUG, r"kernel BUG at ", fatal=True),  # lib/bug.c: __report_bug()
    _header(Kind.WARNING, r"WARNING: (\S+:\d+ )?at \S.*, CPU#\d+: "),  # kernel/panic.c: __warn()
    _header(Kind.WARNING, r"WARNING: CPU: \d+ PID: \d+ at "),  # the same, in older releases
    # kernel/locking/lockdep.c
    _header(Kind.LOCKDEP, r"WARNING: possible (circular locking|recursive locking|irq lock inversion)"),
    _header(Kind.LOCKDEP, r"WARNING: \S+-safe -> \S+-unsafe lock order detected"),
    _header(Kind.LOCKDEP, r"WARNING: inconsistent lock state"),
    _header(Kind.LOCKDEP, r"WARNING: bad (unlock balance|contention) detected!"),
    _header(Kind.LOCKDEP, r"WARNING: (held lock freed!|Nested lock was not taken|chain_key collision)"),
    _header(Kind.LOCKDEP, r"WARNING: (.*/\d+ still has locks held!|lock held when returning to user)"),
    _header(Kind.LOCKDEP, r"WARNING: suspicious RCU usage"),
    _header(Kind.LOCKDEP, r"\[ BUG: Invalid wait context \]"),
    _header(Kind.LOCKDEP, r"BUG: (MAX_LOCK|key \S+ has not been registered|looking up invalid subclass)"),
    _header(Kind.LOCKDEP, r"INFO: trying to register non-static key"),
    _header(Kind.LOCK, r"BUG: (spinlock|rwlock) \S.* on CPU#\d+"),  # kernel/locking/spinlock_debug.c
    _header(
        Kind.ATOMIC, r"BUG: scheduling (while atomic|in a non-blocking section): "
    ),  # kernel/sched/core.c
    _header(Kind.ATOMIC, r"BUG: sleeping function called from invalid context"),  # the same
    _header(Kind.ATOMIC, r"BUG: (assuming (atomic|non migratable) context|workqueue leaked)"),  # the same
    _header(Kind.ATOMIC, r"BUG: using \w+\(\) in preemptible"),  # lib/smp_processor_id.c
    _header(Kind.KASAN, r"BUG: KASAN: "),  # mm/kasan/report.c
    _header(Kind.KFENCE, r"BUG: KFENCE: "),  # mm/kfence/report.c
    _header(Kind.KMSAN, r"BUG: KMSAN: "),  # mm/kmsan/report.c
    _header(Kind.KCSAN, r"BUG: KCSAN: "),  # kernel/kcsan/report.c
    _header(Kind.UBSAN, r"UBSAN: [\w -]+ in \S+:\d+"),  # lib/ubsan.c
    _header(Kind.STALL, r"watchdog: BUG: soft lockup - CPU#\d+ stuck"),  # kernel/watchdog.c
    _header(Kind.STALL, r"(watchdog: CPU\d+|NMI watchdog): Watchdog detected hard LOCKUP", fatal=True),
    _header(Kind.STALL, r"BUG: workqueue lockup - pool"),  # kernel/workqueue.c
    _header(Kind.STALL, r"rcu: INFO: \S+ (self-)?detected (expedited )?stalls? "),  # kernel/rcu/tree_stall.h
    _header(
        Kind.STALL, r"INFO: (rcu_\S+ detected|task .* blocked.* for more than \d+ sec)"
    ),  # kernel/hung_task.c
    _header(
        Kind.REFCOUNT, r"refcount_t: (saturated|addition on 0|underflow|decrement hit 0|unk)"
    ),  # lib/refcount.c
    _header(Kind.LIST, r"list_(add|del) (corruption|double add)"),  # lib/list_debug.c
    _header(Kind.SLAB, r"BUG \S+ \(.*\): "),  # mm/slub.c: __slab_bug()
    _header(Kind.PAGE, r"BUG: Bad (page (state|map)|rss-counter state)"),  # mm/page_alloc.c, mm/memory.c
    _header(Kind.PAGE, r"BUG: non-zero pgtables_bytes"),  # kernel/fork.c
    _header(Kind.LEAK, r"kmemleak: \d+ new suspected memory leaks"),  # mm/kmemleak.c
    _header(
        Kind.ALLOCATION, r".{1,15}: page allocation failure: order:\d+, mode:0x"
    ),  # mm/page_alloc.c: warn_alloc()
    _header(Kind.OOM, r".{1,15} invoked oom-killer: gfp_mask=0x"),  # mm/oom_kill.c
    _header(Kind.BUG, r"BUG: \S"),  # whatever else the kernel calls a bug
)

# include/asm-generic/bug.h: CUT_HERE. What follows says what it is, after the message of WARN().
_CUT_HERE = "------------[ cut here ]------------"
_CUT_LINES = 16  # a message longer than this has lost its header
_MATCH_LENGTH = 1024  # of a line; printk's own limit (kernel/printk/internal.h: PRINTK_MESSAGE_MAX is 2048)
_END = re.compile(
    r"---\[ end (trace|Kernel panic)|Rebooting in \d+ seconds\.\.$"
)  # kernel/panic.c, lib/ubsan.c
_RULE = "=" * 66  # mm/kasan/report.c, mm/kfence/report.c: above and below a report
_RULED = {Kind.KASAN, Kind.KFENCE, Kind.KMSAN, Kind.KCSAN}
_BLOCK_LINES = 200
# A splat is printed with interrupts off or nearly so. Reports without an end mark stop where the log pauses.
_PAUSE_SECONDS = 1.0

# A bare stack trace is distress, unless somebody asked for it (drivers/tty/sysrq.c, kernel/sched/core.c:
# sched_show_task(), lib/nmi_backtrace.c, lib/fault-inject.c).
_TRACE = re.compile(r"Call [Tt]race:")
_ASKED = re.compile(
    r"sysrq: |task:\S+ +state:|Sending NMI from CPU|NMI backtrace for cpu|FAULT_INJECTION: forcing a failure"
)
_ASKED_LINES = 60
# What dump_stack() prints above its trace (lib/dump_stack.c); the line above that says why.
_PREAMBLE = re.compile(r"CPU: \d+|Hardware name: |Tainted: |Workqueue: |\[\w+\]=|\s*$| ?<\w+>")

# printk's prefix, with CONFIG_PRINTK_CALLER's part; a log level where the console shows it.
_PREFIX = re.compile(r"\A(?:<\d+>)?\[ *(\d+\.\d{6})\](?:\[ *[TC]\d+\])? ?")
CONTROL = r"\x1b\[[0-9;=?]*[A-Za-z]"  # what is meant for a screen
_ESCAPES = re.compile(rf"{CONTROL}|[\r\x00]")
# The next kernel's first messages, in the middle of a line that the last kernel did not finish.
_TORN = re.compile(r"(?<=.)(?=\[ {4}0\.000000\])")
_BANNER = re.compile(r"Linux version \d")  # init/version-timestamp.c


@dataclass(frozen=True)
class Splat:
    """One splat: its kind, the line that names it, and the block it came in."""

    kind: Kind
    title: str  # without the time stamp
    fatal: bool
    index: int  # of the first line of the block, counted from the first line scanned
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Allowed:
    """A splat that is known and excused: ``pattern`` is searched for in its title. No fatal one ever is."""

    pattern: str
    reason: str
    link: str
    releases: Window = field(default_factory=Window)

    def covers(self, splat: Splat) -> bool:
        return not splat.fatal and re.search(self.pattern, splat.title) is not None


# The trap that an error check ends in is the same splat.
_FOLLOWS = {
    *((kind, Kind.OOPS) for kind in (Kind.OOPS, Kind.BUG, Kind.REFCOUNT, Kind.LIST)),
    *((kind, trap) for kind in (Kind.REFCOUNT, Kind.LIST) for trap in (Kind.WARNING, Kind.BUG)),
}


@dataclass
class _Block:
    """A splat as it comes in. Without a header yet, it is only where one may follow."""

    index: int
    lines: list[str] = field(default_factory=list)
    kind: Kind | None = None
    title: str = ""
    fatal: bool = False

    def name(self, header: _Header, title: str) -> None:
        self.kind, self.title = header.kind, title
        self.fatal |= header.fatal

    def takes(self, header: _Header, title: str) -> bool:
        """Whether ``header`` is a further line of this block and no splat of its own."""
        if self.kind is Kind.PANIC or self.title == title:  # the same line again: two consoles on one wire
            return True
        return (self.kind, header.kind) in _FOLLOWS


class SplatScanner:
    """Finds splats in a console as it grows, line by line."""

    def __init__(self, allow: Sequence[Allowed] = ()) -> None:
        self._allow = allow
        self._count = 0
        self._block: _Block | None = None
        self._stamp = 0.0
        self._asked_until = 0  # line up to which a bare trace is no splat of its own
        self._reason = ""

    def feed(self, line: str) -> Splat | None:
        """Take one line; returns the splat that it completes, unless an allow-list entry covers it."""
        found = None
        for piece in _TORN.split(line.rstrip("\n")):
            found = self._take(piece) or found
        self._count += 1
        return found

    def finish(self) -> Splat | None:
        """The splat that the last lines belong to, for when nothing more is to come; scanning may go on."""
        block, self._block = self._block, None
        if block is None:
            return None
        self._asked_until = self._count + _ASKED_LINES
        if block.kind is None:
            block.kind, block.title = (
                Kind.WARNING,
                next(filter(None, map(_message, block.lines[1:])), _CUT_HERE),
            )
        splat = Splat(block.kind, block.title, block.fatal, block.index, tuple(block.lines))
        return None if any(entry.covers(splat) for entry in self._allow) else splat

    def _take(self, line: str) -> Splat | None:
        stamp = _PREFIX.match(_ESCAPES.sub("", line[:_MATCH_LENGTH]))
        message = _message(line)
        done = self.finish() if self._ends(message, float(stamp[1]) if stamp else None) else None
        header = next((header for header in _HEADERS if header.pattern.match(message)), None)
        block = self._block
        if header is not None:
            if block is None or (block.kind is not None and not block.takes(header, message)):
                done = self.finish() or done
                block = self._block = _Block(self._count)
            if block.kind is None:
                block.name(header, message)
            block.fatal |= header.fatal
        elif block is None and message == _CUT_HERE:
            block = self._block = _Block(self._count)
        elif block is None and _ASKED.match(message):
            self._asked_until = self._count + _ASKED_LINES
        elif block is None and _TRACE.match(message) and self._count >= self._asked_until:
            block = self._block = _Block(self._count, kind=Kind.TRACE, title=self._reason or message)
        if block is not None:
            block.lines.append(line)
            if _END.match(message) or (message == _RULE and block.kind in _RULED):
                done = self.finish() or done
        if not _PREAMBLE.match(message):
            self._reason = message
        return done

    def _ends(self, message: str, stamp: float | None) -> bool:
        """Whether the block that is open was over before this line."""
        paused = stamp is not None and abs(stamp - self._stamp) > _PAUSE_SECONDS
        self._stamp = self._stamp if stamp is None else stamp
        block = self._block
        if block is None:
            return False
        limit = _CUT_LINES if block.kind is None else _BLOCK_LINES
        # A panic waits for the other CPUs.
        paused &= block.kind is not Kind.PANIC
        return paused or len(block.lines) >= limit or _BANNER.match(message) is not None


def _message(line: str) -> str:
    """A console line as printk got it."""
    return _PREFIX.sub("", _ESCAPES.sub("", line[:_MATCH_LENGTH]), count=1).rstrip()


def scan(lines: Iterable[str], allow: Sequence[Allowed] = ()) -> list[Splat]:
    """All splats in ``lines`` that no entry of ``allow`` covers."""
    scanner = SplatScanner(allow)
    found = [scanner.feed(line) for line in lines]
    return [splat for splat in (*found, scanner.finish()) if splat is not None]


ALLOW_LIST = Path(__file__).parents[1] / "configs/splats.yaml"

_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["pattern", "reason", "link"],
        "additionalProperties": False,
        "properties": {
            "pattern": {"type": "string", "format": "regex", "minLength": 1},
            "reason": {"type": "string", "minLength": 1},
            "link": {"type": "string", "pattern": "^https?://"},
            "since": {"type": "string", "pattern": r"^\d+\.\d+"},
            "until": {"type": "string", "pattern": r"^\d+\.\d+"},
        },
    },
}


def load_allowed(release: str, path: Path = ALLOW_LIST) -> tuple[Allowed, ...]:
    """The entries that hold for ``release``; raises UsageError for a file that does not follow the schema."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.validate(entries, _SCHEMA, format_checker=checker)
    except (OSError, yaml.YAMLError, jsonschema.ValidationError) as error:
        reason = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        raise UsageError(
            f"{path} is no allow-list: {reason}", "an entry needs a pattern, a reason and a link"
        ) from error
    allowed = (
        Allowed(
            entry["pattern"], entry["reason"], entry["link"], Window(entry.get("since"), entry.get("until"))
        )
        for entry in entries
    )
    return tuple(entry for entry in allowed if entry.releases.holds(release))
