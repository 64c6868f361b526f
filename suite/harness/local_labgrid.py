# SPDX-License-Identifier: GPL-2.0-only
"""A labgrid of this machine's: a coordinator, an exporter and a power switch, on loopback."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import yaml
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.remote.generated.labgrid_coordinator_pb2_grpc import CoordinatorStub

from suite.harness.nested import wait_for

Tags = Mapping[str, Mapping[str, str]]

JOE = "desk/joe"  # somebody else, as labgrid names people


class Outlet:
    """A power switch in a network, as labgrid's model ``rest``: PUT and GET of 0 or 1."""

    def __init__(self, switch: Callable[[bool], None] = lambda on: None) -> None:
        self.states: list[str] = []
        outlet = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                state = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outlet.states.append(state)
                switch(state == "1")
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """A test's output is for its own words."""

        # In one thread for all requests: an emulator goes with the thread that has started it.
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def resource(self) -> dict[str, Any]:
        return {"model": "rest", "host": f"http://127.0.0.1:{self._server.server_port}/{{index}}", "index": 0}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class LocalLabgrid:
    """``resources`` of each place, by its name, as in an exporter's configuration, and its ``tags``."""

    def __init__(self, directory: Path, resources: Mapping[str, Mapping[str, Any]], tags: Tags) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._write("resources-here.yaml", {place: dict(each) for place, each in resources.items()})
        # As it keeps what it was told, so that nobody has to tell it.
        self._write("places.yaml", {place: _kept(place, tags) for place in resources})
        self._coordinator = self._start("coordinator", "-l", "127.0.0.1:0")
        self._exporter: subprocess.Popen[bytes] | None = None
        try:
            self.address = self._await("coordinator", r"listening on (127\.0\.0\.1:\d+)")[1]
            self._exporter = self._start(
                "exporter", "-c", self.address, "-n", "here", "--hostname", "127.0.0.1", "resources-here.yaml"
            )
            self._await("exporter", "connected to coordinator")
            self._await("coordinator", r"set_resource .*" + list(list(resources.values())[-1])[-1])
        except BaseException:
            self.close()
            raise

    def client(self, *arguments: str, who: str = "") -> str:
        """What labgrid-client says, asked by us or by ``who``: host/user."""
        host, _, user = who.partition("/")
        done = subprocess.run(
            [sys.executable, "-m", "labgrid.remote.client", "-x", self.address, *arguments],
            env={**os.environ, **({"LG_HOSTNAME": host, "LG_USERNAME": user} if who else {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def holders(self) -> dict[str, str]:
        """Who has which place, as host/user."""
        with grpc.insecure_channel(self.address) as channel:
            places = CoordinatorStub(channel).GetPlaces(messages.GetPlacesRequest()).places
        return {place.name: place.acquired for place in places if place.acquired}

    def queue(self) -> list[str]:
        """Who waits for a place, or is about to take one."""
        with grpc.insecure_channel(self.address) as channel:
            answer = CoordinatorStub(channel).GetReservations(messages.GetReservationsRequest())
        return [reservation.owner for reservation in answer.reservations]

    def lose_coordinator(self) -> None:
        self._coordinator.kill()
        self._coordinator.wait()

    def close(self) -> None:
        if self._exporter is not None:
            self._exporter.terminate()  # it ends what it has started
            self._exporter.wait()
        self.lose_coordinator()

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        (self._directory / name).write_text(yaml.safe_dump(data))

    def _start(self, what: str, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", f"labgrid.remote.{what}", *arguments],
            cwd=self._directory,  # where the coordinator keeps what it knows
            stdout=(self._directory / f"{what}.log").open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def _await(self, what: str, pattern: str) -> re.Match[str]:
        found: list[re.Match[str]] = []
        log = self._directory / f"{what}.log"

        def said() -> bool:
            found.extend(re.finditer(pattern, log.read_text()))
            return bool(found)

        wait_for(said, f"labgrid's {what}", 60)
        return found[0]


def _kept(place: str, tags: Tags) -> dict[str, Any]:
    """A place with all resources of its name, as a coordinator's places.yaml has it."""
    match = {"exporter": "here", "group": place, "cls": "*"}
    return {"matches": [match], "tags": dict(tags.get(place, {})), "created": 0.0, "changed": 0.0}


@contextmanager
def running(
    directory: Path, resources: Mapping[str, Mapping[str, Any]], tags: Tags | None = None
) -> Iterator[LocalLabgrid]:
    labgrid = LocalLabgrid(directory, resources, tags or {})
    try:
        yield labgrid
    finally:
        labgrid.close()
