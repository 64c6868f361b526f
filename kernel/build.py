# SPDX-License-Identifier: GPL-2.0-only
"""Building a kernel: out of tree, incrementally, one at a time on the host."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel import kconfig
from kernel.arch import Architecture, native
from kernel.errors import LuoCtsError
from kernel.kconfig import Option
from kernel.progress import Step, step
from kernel.source import Source

# Program or header, and the Debian package that has it. Documentation/process/changes.rst
_PROGRAMS = {
    "make": "make", "gcc": "gcc", "ld": "binutils", "flex": "flex", "bison": "bison", "bc": "bc",
    "perl": "perl", "lz4": "lz4",
}  # fmt: skip
_HEADERS = {"gelf.h": "libelf-dev", "openssl/opensslv.h": "libssl-dev"}

# A build that is interrupted gets this long to remove what is half written.
_TERMINATE_SECONDS = 10

# Runs "$@" and ends the whole process group when standard input ends, that is, when the harness does, however
# it does: no compiler of a killed run goes on writing into the build directory.
_WATCHED = """\
exec 3<&0 </dev/null
(read -r _ <&3; kill -TERM 0) >/dev/null 2>&1 &
"$@" 3<&-
status=$?
kill $! 2>/dev/null
exit $status
"""

_COMPILED = re.compile(r"^  (?:CC|AS|LD|AR|HOSTCC|OBJCOPY|GEN|UPD|VDSO)\b")
_ERROR = re.compile(r"^\S+?:\d+(?::\d+)?: (?:fatal )?error: .*|^.*undefined reference to .*|^make.*\*\*\* .*")


@dataclass(frozen=True)
class Built:
    """What a build made, below its build directory."""

    release: str
    image: Path
    vmlinux: Path
    system_map: Path
    config: Path
    modules: tuple[Path, ...] = ()


def missing_tools(arch: Architecture) -> dict[str, str]:
    """What a build needs and this machine lacks, each with the Debian package that has it."""
    missing = {name: package for name, package in _PROGRAMS.items() if shutil.which(name) is None}
    if "gcc" not in missing:
        missing |= {name: package for name, package in _HEADERS.items() if not _has_header(name)}
    return missing


def _has_header(name: str) -> bool:
    command = ["gcc", "-E", "-include", name, "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def require_tools() -> None:
    """Raises LuoCtsError that names all missing tools at once."""
    if missing := missing_tools(native()):
        packages = " ".join(dict.fromkeys(missing.values()))
        raise LuoCtsError(f"building a kernel needs {', '.join(missing)}", f"apt-get install {packages}")


def compiler() -> str:
    """The compiler and its version: another one makes another kernel."""
    done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def build(
    source: Source, asked: Iterable[Option], variables: Sequence[str], directory: Path, arch: Architecture
) -> Built:
    """Configure and compile ``source`` in ``directory``, going on from what is there.

    ``variables`` are make's, on its command line when it compiles. The caller holds the lock of the builds.
    Raises LuoCtsError with the compiler's first error.
    """
    directory.mkdir(parents=True, exist_ok=True)
    asked = list(asked)
    make = _Make(source, directory, arch)
    _configure(make, asked)
    modular = any(option.value == "m" for option in asked)
    targets = [arch.image_target, *(["modules"] if modular else [])]
    count = directory / "compiled"
    with step(f"build {source.description}") as progress:
        compiled = make.run([*variables, *targets], progress, _number(count))
        # a later build of all of it will take as many; an incremental one is no measure
        if compiled > (_number(count) or 0):
            count.write_text(str(compiled))
    release = (directory / "include/config/kernel.release").read_text().strip()
    return Built(
        release,
        directory / arch.image,
        directory / "vmlinux",
        directory / "System.map",
        directory / ".config",
        _modules(directory) if modular else (),
    )


def _modules(directory: Path) -> tuple[Path, ...]:
    """What make lists in modules.order, which has each module's object file."""
    listed = (directory / "modules.order").read_text().split()
    return tuple((directory / name).with_suffix(".ko") for name in listed)


def _number(path: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.read_text())
    return None


def _configure(make: "_Make", asked: list[Option]) -> None:
    """Resolve what is asked for on top of tinyconfig; an unchanged wish leaves .config and build alone."""
    directory = make.directory
    text = "".join(f"{option}\n" for option in asked)
    request = directory / "requested.config"
    config = directory / ".config"
    with step("configure") as progress:
        if not (config.exists() and request.exists() and request.read_text() == text):
            request.unlink(missing_ok=True)
            make.run(["tinyconfig"], progress)
            with config.open("a") as file:
                file.write(text)
        # also for a known wish: the tree may have got new options
        make.run(["olddefconfig"], progress)
        kconfig.verify(asked, kconfig.parse(config.read_text()), make.source.tree, make.arch.kernel_arch)
        request.write_text(text)


class _Make:
    """make in one build directory, in a process group of its own, so that it can be ended as a whole."""

    def __init__(self, source: Source, directory: Path, arch: Architecture) -> None:
        self.source = source
        self.directory = directory
        self.arch = arch
        self.log = directory / "build.log"

    def run(self, targets: Sequence[str], progress: Step, total: int | None = None) -> int:
        """Returns how many steps make printed."""
        compiler = "ccache gcc" if shutil.which("ccache") else "gcc"
        command = ["sh", "-c", _WATCHED, "build"]
        command += ["make", "-C", str(self.source.tree), f"O={self.directory}"]
        command += [f"ARCH={self.arch.kernel_arch}", f"CC={compiler}", f"HOSTCC={compiler}", "LOCALVERSION="]
        command += [f"-j{len(os.sched_getaffinity(0))}", *targets]
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "KBUILD", "KCONFIG"))
        }
        environment |= {
            "LC_ALL": "C",
            # two builds of the same source are the same kernel
            "KBUILD_BUILD_TIMESTAMP": "@0",
            "KBUILD_BUILD_USER": "luo-cts",
            "KBUILD_BUILD_HOST": "luo-cts",
            "KBUILD_BUILD_VERSION": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            # ccache believes the compiler's own dependency lists: no second preprocessing at a miss
            "CCACHE_DEPEND": "1",
        }
        compiled = 0
        with (
            self.log.open("w") as log,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", env=environment, process_group=0,
            ) as process,
        ):  # fmt: skip
            assert process.stdout is not None
            try:
                for row in process.stdout:
                    log.write(row)
                    if _COMPILED.match(row):
                        compiled += 1
                        progress.advance(compiled, total, "objects")
                process.wait()
            finally:
                _end(process)
        if process.returncode != 0:
            raise self._failure(targets)
        return compiled

    def _failure(self, targets: Sequence[str]) -> LuoCtsError:
        text = self.log.read_text(errors="replace")
        hint = f"the whole log: {self.log}"
        if "No space left on device" in text:
            return LuoCtsError(
                f"the disk is full under {self.directory}", "a build takes 300 MB, with DWARF 2 GB"
            )
        rows = text.splitlines()
        last = rows[-1] if rows else "make said nothing"
        first = next((row for row in rows if _ERROR.match(row)), last)
        first = first.replace(f"{self.source.tree}/", "")
        return LuoCtsError(f"{self.source.description} does not build ({' '.join(targets)}): {first}", hint)


def _end(process: subprocess.Popen[str]) -> None:
    """End make and all it started; it removes half-written files by itself when asked politely."""
    if process.poll() is not None:
        return
    for sign, patience in ((signal.SIGTERM, _TERMINATE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
