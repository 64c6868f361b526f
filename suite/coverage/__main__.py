# SPDX-License-Identifier: GPL-2.0-only
"""``python -m suite.coverage``: which lines of LUO and KHO the conformance suite executes.

Runs the suite on emulated machines that log what they translate, in every generation and from early boot on,
and maps that to the source. Nothing is added to the kernel but debug information. Arguments that the tool
does not know go to pytest. Exit status: the run's own; 3 also where its logs say nothing; and 1 instead of 0
where an entry of configs/unreachable.yaml is wrong.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from kernel import lines
from kernel.errors import LuoCtsError, UsageError
from kernel.kernel import Kernel, obtain
from kernel.lines import Program
from reports import coverage, coverage_html, delivery, reading, tables
from reports.coverage import Coverage, State
from suite.child import ROOT, outlast
from suite.coverage import blocks, measure, paths, record, unreachable
from suite.coverage.measure import Executed
from suite.coverage.unreachable import Unreachable

OUT = ROOT / "reports" / "out" / "coverage"
RUN = "run"  # below it, the report of the suite's run

FILES = (
    "kernel/liveupdate/luo_core.c",
    "kernel/liveupdate/luo_session.c",
    "kernel/liveupdate/luo_file.c",
    "kernel/liveupdate/luo_flb.c",
    "kernel/liveupdate/kho_block.c",
    "kernel/liveupdate/kexec_handover.c",
    "kernel/liveupdate/kexec_handover_debugfs.c",
    "mm/memfd_luo.c",
)


def kernels(spec: str, others: Sequence[str], names: Sequence[str]) -> list[Kernel]:
    """The kernels whose lines count, with debug information of the source files ``names``.

    Raises UsageError if they differ in source.
    """
    found = [obtain(each, described=names) for each in (spec, *others)]
    for kernel in found:
        if kernel.source_dir is None or kernel.symbols is None:
            raise UsageError(
                f"{kernel.spec} has no source and no debug information that are known",
                "name what it was built from: tree:DIR",
            )
        if kernel.source_dir != found[0].source_dir:
            raise UsageError(
                f"{kernel.spec} and {found[0].spec} are of different sources", "measure one after the other"
            )
    return found


def wanted_files(names: Sequence[str], tree: Path) -> list[str]:
    """``names``, each once and without detours, or those of FILES that this release has."""
    chosen = [os.path.normpath(name) for name in names]
    for name in chosen:
        if Path(name).is_absolute() or name.startswith("../") or not (tree / name).is_file():
            raise UsageError(
                f"there is no {name} in {tree}", "--source takes a path below the top of the tree"
            )
    return list(dict.fromkeys(chosen)) or [name for name in FILES if (tree / name).is_file()]


@contextmanager
def reserved(directory: Path) -> Iterator[None]:
    """Hold the directory of the report; raises UsageError where another run does."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory} cannot be made: {error.strerror}", "--report-dir DIR") from error
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UsageError(
            f"another run writes its report to {directory}", "choose another --report-dir"
        ) from None
    with lock:
        yield


def run(command: Sequence[str]) -> int:
    """Run the suite; its exit status, 3 where a signal ended it."""
    status = outlast(command)
    return status if status >= 0 else LuoCtsError.exit_status


def command_line(options: argparse.Namespace, programs: Sequence[Program], rest: Sequence[str]) -> list[str]:
    """pytest, on machines that log the code of ``programs`` at the addresses it was linked for."""
    stretches = [stretch for program in programs for stretch in program.stretches]
    # fmt: off
    return [
        sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--ignore=suite/harness",
        f"--kernel={options.kernel}", "--accel=tcg",
        *(f"--debug-info-of={name}" for name in options.source or FILES),
        f"--append=nokaslr {options.append}".rstrip(), f"--report-dir={options.report_dir / RUN}",
        f"--qemu-arg={blocks.arguments(stretches, options.report_dir / 'blocks')}", *rest,
    ]
    # fmt: on


def excused(path: Path) -> list[Unreachable]:
    """The list of unreachable lines at ``path``; raises UsageError for one that cannot be read."""
    try:
        return unreachable.load(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            str(error).splitlines()[0], "suite/coverage/unreachable.py says how it looks"
        ) from error


def measured(
    found: Sequence[Kernel],
    programs: Sequence[Program],
    directory: Path,
    known: Sequence[Unreachable],
    absent: Collection[str],
) -> Coverage:
    """What the logs below ``directory`` say; ``absent`` are files that this release does not have yet.

    Raises LuoCtsError where they say nothing of these kernels.
    """
    logs = sorted((directory / "blocks").glob("*.log"))
    executed = Executed.read(logs, programs)
    if not executed.blocks:
        why = (
            "all that was logged is other kernels' code" if executed.foreign else "no machine logged any code"
        )
        raise LuoCtsError(f"{why}: {directory / 'blocks'}", "did a machine boot, in QEMU and without KVM?")
    kernel = found[0]
    assert kernel.source_dir is not None
    release = kernel.release
    files, remarks = measure.files(programs, executed, kernel.source_dir, known, release)
    properties = {
        "release": release,
        "kernels": ", ".join(each.spec for each in found),
        "source": kernel.source,
        "machines": str(len(logs)),
        "blocks": f"{executed.blocks}, and {executed.foreign} of other kernels, which do not count",
    }
    placed = measure.error_paths(programs, files, paths.load(), absent)
    return Coverage(properties, tuple(files), tuple(placed), tuple(remarks))


def write(found: Coverage, directory: Path) -> Path:
    """``coverage.info`` for lcov's readers, ``coverage.json`` for our own tools, and the pages.

    Gives the first of the pages.
    """
    (directory / "coverage.info").write_text("".join(f"{line}\n" for line in coverage.lcov(found)))
    (directory / "coverage.json").write_text(json.dumps(found.to_json(), indent=1))
    html = directory / "html"
    shutil.rmtree(html, ignore_errors=True)
    for name, page in coverage_html.pages(found).items():
        (html / name).parent.mkdir(parents=True, exist_ok=True)
        (html / name).write_text(page, encoding="utf-8")
    return html / coverage_html.INDEX


def attach(found: Coverage, index: Path, directory: Path) -> None:
    """Name the coverage in all reports of the run in ``directory``, if it left any."""
    try:
        run = reading.read(directory / reading.RESULTS)
    except reading.Unreadable:
        return
    told = {
        "coverage": "; ".join(
            [coverage.total(found.files), *([coverage.tally(found)] if found.paths else [])]
        ),
        "coverage report": os.path.relpath(index, directory),
    }
    suites = tuple(replace(suite, properties={**suite.properties, **told}) for suite in run.suites)
    for remark in delivery.deliver(replace(run, suites=suites), directory).remarks:
        print(remark, file=sys.stderr)


def summary(found: Coverage) -> Iterator[str]:
    """The numbers, and what is left."""
    yield from tables.text(coverage.HEADER, coverage.table(found.files))
    for file in found.files:
        missed = file.of(State.MISSED)
        if missed:
            yield f"missed: {file.name}:{coverage.stretches(missed)}"
    if found.paths:
        yield coverage.tally(found)
    yield from found.remarks


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m suite.coverage",
        usage="%(prog)s [options] [--] [arguments for pytest]",
        description="Which lines of LUO and KHO the conformance suite executes.",
        allow_abbrev=False,
    )
    made.add_argument("--kernel", default="deb:newest", metavar="SPEC", help="(deb:newest)")
    made.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="SPEC",
        help="the same source built otherwise, that tests hand over to: its lines count too (repeatable)",
    )
    made.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="PATH",
        help="a source file, relative to the top of the tree (repeatable; those of LUO and KHO)",
    )
    made.add_argument("--append", default="", metavar="TEXT", help="added to the kernel command line")
    made.add_argument("--accel", default="tcg", choices=["auto", "kvm", "tcg"], help="always tcg")
    made.add_argument("--report-dir", type=Path, default=OUT, metavar="DIR", help="(reports/out/coverage)")
    made.add_argument(
        "--unreachable",
        type=Path,
        default=unreachable.FILE,
        metavar="FILE",
        help="lines that cannot be reached (configs/unreachable.yaml)",
    )
    made.add_argument(
        "--record",
        action="store_true",
        help="keep what was reached, in configs/coverage: of a run of everything",
    )
    made.add_argument("--no-run", action="store_true", help="only the report, of logs that are there")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if "--" in words:
            words.remove("--")
        options, rest = parser().parse_known_args(words)
    except SystemExit as leaving:
        # argparse ends with 2, which means interrupted elsewhere in this suite
        return UsageError.exit_status if leaving.code else 0
    options.report_dir = options.report_dir.resolve()
    try:
        if options.accel == "kvm":
            raise UsageError("KVM does not tell what code it runs", "coverage needs --accel tcg, the default")
        with reserved(options.report_dir):
            return _measure(options, rest)
    except LuoCtsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 2


def _measure(options: argparse.Namespace, rest: Sequence[str]) -> int:
    described = options.source or FILES
    found = kernels(options.kernel, options.also, described)
    tree = found[0].source_dir
    assert tree is not None
    names = wanted_files(options.source, tree)
    absent = [] if options.source else [name for name in FILES if name not in names]
    known = excused(options.unreachable)
    programs = [lines.read(kernel.symbols, tree, names) for kernel in found if kernel.symbols is not None]
    status = 0
    if not options.no_run:
        logs = options.report_dir / "blocks"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        started = time.monotonic()
        status = run(command_line(options, programs, rest))
        print(f"The run took {time.monotonic() - started:.0f} s.")
        if status in (4, 5):
            return status
        if kernels(options.kernel, options.also, described) != found:
            raise LuoCtsError(
                f"{options.kernel} changed while it was measured", "once more, and leave the tree alone"
            )
    try:
        result = measured(found, programs, options.report_dir, known, absent)
    except LuoCtsError as error:
        if status == 2:  # before the first machine was up: that there is nothing to report needs no reason
            return status
        raise error
    index = write(result, options.report_dir)
    if not options.no_run:
        attach(result, index, options.report_dir / RUN)
    print(*summary(result), sep="\n")
    if options.record:
        print(f"Kept: {record.write(result)}")
    print(f"Report: {index}")
    return status or int(bool(result.remarks))


if __name__ == "__main__":
    sys.exit(main())
