# SPDX-License-Identifier: GPL-2.0-only
"""Can this kernel do live update? Option by option and boot parameter by boot parameter, and at what price.

``python -m kernel.audit SPEC|FILE|--running [--cmdline TEXT]``; exit status 0: it can, 1: it cannot,
4: usage. A ``deb:`` spec means the configuration that Debian ships, not the one that this suite would build.
"""

import argparse
import contextlib
import gzip
import lzma
import platform
import re
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel import cache, debian, image, kconfig
from kernel.arch import native
from kernel.debian import Archive, GoneFromPoolError
from kernel.errors import LuoCtsError, UsageError
from kernel.progress import step
from kernel.release import FIRST_WITH_KHO, FIRST_WITH_LUO, KernelRelease
from kernel.source import held, newest_series
from kernel.spec import KINDS, NEWEST, DebSpec, ImageSpec, TreeSpec, parse


@dataclass(frozen=True)
class Need:
    """One configuration option, and what it is for.

    Sizes were taken with size(1) from objects of 7.3.4 for x86_64, built for size.
    """

    option: str
    wanted: str  # y, or n where it stands in the way
    needed_for: str
    cost: str
    essential: bool  # without it no live update at all
    since: KernelRelease = FIRST_WITH_KHO
    until: KernelRelease | None = None  # the last release
    why: str = ""  # what is said of a kernel that fails here


NEEDS = (
    Need(
        "KEXEC_FILE", "y", "loading the next kernel", "5 KB of code", True,
        why="it cannot load another kernel",
    ),
    Need(
        "KEXEC_HANDOVER", "y", "KHO: memory that survives", "27 KB of code (with CMA)", True,
        why="KHO is switched off",
    ),
    Need(
        "DEFERRED_STRUCT_PAGE_INIT", "n", "KHO up to 7.1, which excludes it", "large machines boot slower",
        False, until=KernelRelease(7, 1),
    ),
    Need(
        "LIVEUPDATE", "y", "LUO: sessions, /dev/liveupdate", "15 KB of code", True,
        since=FIRST_WITH_LUO, why="LUO is switched off",
    ),
    Need("SHMEM", "y", "memfd", "none: everybody has it", True, why="there are no memfds"),
    Need("MEMFD_CREATE", "y", "memfd", "none: everybody has it", True, why="there are no memfds"),
    Need(
        "LIVEUPDATE_MEMFD", "y", "preserving memfds", "4 KB of code", True,
        since=KernelRelease(7, 0), why="no file can be preserved",
    ),
    Need(
        "KEXEC_HANDOVER_ENABLE_DEFAULT", "y", "KHO without kho=on", "every boot reserves scratch memory",
        False, since=FIRST_WITH_LUO,
    ),
    Need(
        "KEXEC_HANDOVER_DEBUG", "y", "noticing preserved memory in scratch",
        "a range check for each preservation", False, since=KernelRelease(6, 18),
    ),
    Need(
        "KEXEC_HANDOVER_DEBUGFS", "y", "seeing what is handed over", "2 KB of code; root reads the trees",
        False, since=FIRST_WITH_LUO,
    ),
    Need(
        "KEXEC_SIG_FORCE", "n", "loading kernels without a signature", "who can boot may load any kernel",
        False,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    item: str
    now: str
    judgement: str  # good, missing, in the way, off
    needed_for: str
    cost: str


@dataclass(frozen=True)
class Audit:
    """What was found: ``verdict`` is one sentence."""

    able: bool
    verdict: str
    rows: tuple[Row, ...]


def audit(config: Mapping[str, str], release: KernelRelease, cmdline: str | None = None) -> Audit:
    """Judge a configuration, and the command line that the kernel is booted with, if it is known."""
    reasons = [_too_old(release)] if release < FIRST_WITH_LUO else []
    rows = []
    for need in NEEDS:
        if release.series < need.since.series or (need.until and release.series > need.until.series):
            continue
        value = config.get(need.option, "n")
        right = value == need.wanted
        if need.essential and not right:
            reasons.append(
                f"{need.why} (CONFIG_{need.option} {'is not set' if value == 'n' else f'is {value}'})"
            )
        wrong = "in the way" if need.wanted == "n" else "missing" if need.essential else "off"
        rows.append(
            Row(f"CONFIG_{need.option}", value, "good" if right else wrong, need.needed_for, need.cost)
        )
    parameters = _parameters(cmdline) if cmdline is not None else None
    boot = _boot_rows(config, release, parameters)
    wanting = [row.item for row in boot if row.judgement in ("missing", "in the way")]
    if reasons:
        verdict = f"This kernel cannot do live update: {reasons[0]}."
    elif wanting and cmdline is not None:
        verdict = (
            f"This kernel can do live update, but was not booted for it: {', '.join(map(_said, wanting))}."
        )
    elif wanting:
        verdict = f"This kernel can do live update when it is booted with {' '.join(wanting)}."
    else:
        verdict = "This kernel can do live update."
    return Audit(not reasons and not (wanting and cmdline is not None), verdict, (*rows, *boot))


def _too_old(release: KernelRelease) -> str:
    luo, kho = (f"{first.major}.{first.minor}" for first in (FIRST_WITH_LUO, FIRST_WITH_KHO))
    if release < FIRST_WITH_KHO:
        return f"Linux {release} has no KHO (since {kho}) and no LUO (since {luo})"
    return f"Linux {release} has KHO but no LUO (since {luo})"


def _said(item: str) -> str:
    return f"{item} is there" if item == "debugfs=off" else f"{item} is missing"


def _boot_rows(
    config: Mapping[str, str], release: KernelRelease, parameters: Mapping[str, str] | None
) -> list[Row]:
    """The boot parameters; ``parameters`` None: nobody knows how it will be booted."""
    given = parameters if parameters is not None else {}

    def now(name: str) -> str:
        return given.get(name, "unset" if parameters is not None else "?")

    default_on = config.get("KEXEC_HANDOVER_ENABLE_DEFAULT") == "y"
    rows = [
        Row(
            "kho=on", now("kho"),
            "good" if _truth(given.get("kho", ""), default_on) else "missing",
            "KHO" + (" (on by default here)" if default_on else ""),
            "scratch memory: twice what the kernel needs to boot, usable for movable pages only",
        ),
    ]  # fmt: skip
    if release >= FIRST_WITH_LUO:
        rows.append(
            Row(
                "liveupdate=on", now("liveupdate"),
                "good" if _truth(given.get("liveupdate", ""), False) else "missing",
                "LUO and /dev/liveupdate", "none until something is preserved",
            )
        )  # fmt: skip
    rows.append(
        Row(
            "kho_scratch=", now("kho_scratch"), "good", "another size of scratch memory",
            "too little: the next kernel runs out of memory; too much: KHO stays off",
        )
    )  # fmt: skip
    # kho_init() gives up without its debugfs directory; until 6.18 it always makes one
    needs_debugfs = release < FIRST_WITH_LUO or config.get("KEXEC_HANDOVER_DEBUGFS") == "y"
    if needs_debugfs:
        off = given.get("debugfs") == "off"
        rows.append(
            Row(
                "debugfs=off", now("debugfs"), "in the way" if off else "good",
                "(must not be given: it switches KHO off)", "debugfs stays open to root",
            )
        )  # fmt: skip
    return rows


def _parameters(cmdline: str) -> dict[str, str]:
    """The last value of each boot parameter; what follows ``--`` is init's."""
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', cmdline)
    if "--" in words:
        words = words[: words.index("--")]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _truth(text: str, default: bool) -> bool:
    """As lib/kstrtox.c:kstrtobool() reads it; a malformed value changes nothing."""
    if text[:1] in tuple("eEyYtT1") or text[:2].lower() == "on":
        return True
    if text[:1] in tuple("dDnNfF0") or text[:2].lower() == "of":
        return False
    return default


# ---- where configurations come from


def configuration(what: str) -> str:
    """The configuration that a spec or a path stands for. Raises UsageError where there is none."""
    if what.partition(":")[0] not in ("deb", "tree", "image"):
        path = Path(what)
        if not path.is_file():
            raise UsageError(f"{what} is neither a file nor a kernel", f"a configuration, or one of {KINDS}")
        return _read(path)
    match parse(what):
        case DebSpec(config=Path()) | TreeSpec(config=Path()):
            raise UsageError(
                f"what becomes of {what} is known when it is built",
                "leave ,config= away, or give the path of a configuration",
            )
        case DebSpec(series):
            return _of_debian(series)
        case TreeSpec(directory):
            if not (directory / ".config").is_file():
                raise UsageError(
                    f"{directory} has no .config", "configure it, or give the path of a configuration"
                )
            return _read(directory / ".config")
        case ImageSpec(file, config):
            text = _read(config) if config else image.config(file)
            if text is None:
                raise UsageError(
                    f"{file} does not carry its configuration (CONFIG_IKCONFIG)", f"image:{file},config=FILE"
                )
            return text


def running() -> str:
    """The configuration of the kernel that runs here."""
    release = platform.release()
    for path in (
        Path("/proc/config.gz"),
        Path(f"/boot/config-{release}"),
        Path(f"/lib/modules/{release}/config"),
    ):
        if path.is_file():
            return _read(path)
    raise UsageError(
        f"the running kernel {release} tells its configuration neither in /proc/config.gz nor in /boot",
        "give the path of its configuration",
    )


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        elif data.startswith(b"\xfd7zXZ"):
            data = lzma.decompress(data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    text = data.decode(errors="replace")
    if not kconfig.parse(text):
        raise UsageError(f"{path} is not a kernel configuration", "it has no line CONFIG_…=…")
    return text


def release_of(text: str) -> KernelRelease:
    """The release that the head of a configuration names."""
    match = re.search(r"^# Linux/\S+ (\d\S*) Kernel Configuration$", text, re.MULTILINE)
    if match is None:
        raise UsageError(
            "the configuration does not say of which release it is", "its head is gone: # Linux/x86 7.3.4 …"
        )
    return KernelRelease.parse(match.group(1))


def _of_debian(series: str) -> str:
    """The configuration of Debian's own kernel, from package linux-config-X.Y."""
    arch = native().debian
    with cache.locked("sources"):
        archive = Archive(cache.root() / "apt", debian.system_mirror())
        archive.refresh()
        offers = archive.offers(debian.CONFIG_PREFIX)
        wanted = newest_series(offers) if series == NEWEST else series
        for attempt in archive.attempts(offer for offer in offers if offer.version.series == wanted):
            kept = cache.root() / "configs" / f"{attempt.slug}-{arch}"
            if kept.exists():
                return kept.read_text()
            with contextlib.suppress(GoneFromPoolError), step(f"download {attempt}") as progress:
                (package,) = archive.download(attempt, progress)
                with tempfile.TemporaryDirectory() as scratch:
                    subprocess.run(["dpkg-deb", "--extract", package, scratch], check=True)
                    (config,) = Path(scratch).glob(f"usr/src/*/config.{arch}_none_{arch}*")
                    cache.write(kept, _read(config))
                return kept.read_text()
    raise UsageError(
        f"the Debian suites hold no configuration of Linux {series}", f"they hold those of {held(offers)}"
    )


def table(rows: Sequence[Row]) -> str:
    """The rows, in aligned columns."""
    cells = [("what", "now", "", "needed for", "cost")]
    cells += [(row.item, row.now, row.judgement, row.needed_for, row.cost) for row in rows]
    widths = [max(len(cell[column]) for cell in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True)).rstrip()
        for cell in cells
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernel.audit", description="Can this kernel do live update, and what is missing?"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("kernel", nargs="?", help=f"{KINDS}, or a configuration's path")
    what.add_argument("--running", action="store_true", help="the kernel that runs here")
    parser.add_argument("--cmdline", metavar="TEXT", help="boot parameters to judge too")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as leaving:
        # argparse ends with 2, which means interrupted elsewhere in this suite
        return UsageError.exit_status if leaving.code else 0
    cmdline: str | None = options.cmdline
    try:
        text = running() if options.running else configuration(options.kernel)
        if options.running and cmdline is None:
            cmdline = Path("/proc/cmdline").read_text()
        found = audit(kconfig.parse(text), release_of(text), cmdline)
    except LuoCtsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(found.verdict)
    print()
    print(table(found.rows))
    return 0 if found.able else 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may have read enough
    sys.exit(main())
