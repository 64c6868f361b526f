# SPDX-License-Identifier: GPL-2.0-only
"""A target that boots in milliseconds: the real agent as a process of this host, with a console to write on.

It has no kernel of its own, so nothing of live update works on it; but it can die in every way on command.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fixtures.agent import build
from fixtures.targets.base import Capability, End, Hold, Incapable, Load, Noise, Shape
from kernel.abi.memory import Memory

BANNER = "[    0.000000] Linux version 9.9.9 (process target)\n"


@dataclass(frozen=True)
class ProcessTarget:
    """``directory`` holds the pipe that stands for the kernel's log; a ``mute`` one has no agent,
    and a ``silent`` one prints nothing by itself."""

    directory: Path
    mute: bool = False
    silent: bool = False

    name = "process"
    kernel_arguments = ""
    init = ""
    capabilities = frozenset({Capability.BESIDE})
    noise = Noise()
    boot_seconds = 120.0
    has_disks = False

    @property
    def log(self) -> str:
        return str(self.directory / "kmsg")

    def shaped(self, shape: Shape) -> "ProcessTarget":
        raise Incapable(self.name, Capability.SHAPE)

    def properties(self) -> dict[str, str]:
        return {"target": self.name}

    def start(self, load: Load, machine: str, on_end: Callable[[End], None]) -> "ProcessInstance":
        return ProcessInstance(self, on_end)


class ProcessInstance:
    """One agent process; ``print`` and ``end`` are the hands of fate."""

    def __init__(self, target: ProcessTarget, on_end: Callable[[End], None]) -> None:
        self.console, self._printer = socket.socketpair()
        self.channel, channel = socket.socketpair()
        self.end = on_end
        self._stopping = False
        self._garbled = ""
        if not Path(target.log).exists():
            os.mkfifo(target.log)
        self._log = os.open(target.log, os.O_RDWR)
        threading.Thread(target=self._copy, daemon=True).start()
        if not target.silent:
            self.print(BANNER)
        with channel:
            self.process = subprocess.Popen(
                ["sleep", "infinity"] if target.mute else [build.agent(), "--stdio"],
                stdin=channel.fileno(),
                stdout=channel.fileno(),
            )
        threading.Thread(target=self._reap, daemon=True).start()

    def print(self, text: str) -> None:
        """As if the kernel had printed it."""
        self._printer.sendall(text.encode())

    def garble(self, words: str) -> None:
        """Lose characters of ``words`` when they are logged next."""
        self._garbled = words

    def diagnose(self) -> list[str]:
        return [f"process {self.process.pid}"]

    def memory(self) -> Memory:
        raise Incapable("process", Capability.MEMORY)

    def hold_at(self, address: int) -> Hold:
        raise Incapable("process", Capability.HOLD)

    boot_seconds = None

    def cmdline(self, wanted: str) -> str:
        return wanted

    def expect_jump(self) -> None:
        pass

    def jump_refused(self) -> None:
        pass

    def stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self.process.kill()
        self.process.wait()
        self._printer.close()
        self.channel.close()
        os.write(self._log, b"\n")  # the copier finds the console closed

    def _copy(self) -> None:
        with suppress(OSError):
            while data := os.read(self._log, 1 << 16):
                text = "".join(f"[    1.000000] {line}\n" for line in data.decode().splitlines())
                if self._garbled and self._garbled in text:
                    text, self._garbled = text.replace(self._garbled, self._garbled[::2]), ""
                self.print(text)
        os.close(self._log)

    def _reap(self) -> None:
        self.process.wait()
        if not self._stopping:
            self.end(End.GONE)
