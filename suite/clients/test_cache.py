# SPDX-License-Identifier: GPL-2.0-only
"""An in-memory cache whose memory crosses in a session of whoever starts it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fixtures.luo import Luo, Memfd
from fixtures.scenario import KEXEC
from suite.clients.ledger import Told
from suite.clients.memcached import MIB, Cache, found, stored
from suite.clients.userland import Userland
from suite.scenario import Scenario

pytestmark = pytest.mark.clients


CACHE = Cache("cache")


@contextmanager
def serving(userland: Userland, ram: Memfd) -> Iterator[None]:
    """memcached on the memory ``ram``; at the end it is stopped so that another can go on."""
    userland.run(f"ln -sfn /proc/self/fd/{ram.fd} {CACHE.memory}")
    running = userland.start(f"exec {CACHE.command}", keep=[ram.fd])
    yield
    assert running.stop(signal.SIGUSR1) == 0, running.output
    assert userland.exists(CACHE.places), running.output


@pytest.mark.clause("client.cache", "memfd.contents", "memfd.write-after-preserve")
def test_memcached_goes_on_with_its_items(luo: Luo, told: Told) -> Scenario:
    told("memcached", f"its memory, a memfd of {MIB} MiB, in a session of its starter's")
    userland = Userland(luo)
    userland.needs("memcached", "python3")
    told.version(userland.version("memcached --version"))
    CACHE.prepare(userland)
    ram = luo.memfd(size=MIB << 20)
    session = luo.create_session("cache")
    large = "x" * 100_000
    with serving(userland, ram):
        assert CACHE.asked(userland, stored("early", "hello")) == ["STORED"]
        session.preserve(ram, token=1)
        assert CACHE.asked(userland, stored("late", large)) == ["STORED"]

    luo = yield KEXEC

    userland = Userland(luo)
    session = luo.retrieve_session("cache")
    ram = session.retrieve(1)
    session.finish()
    with serving(userland, ram):
        items = CACHE.asked(userland, "get early", "get late", stored("new", "1"), "get new")
    CACHE.remove(userland)
    assert items == [found("early", "hello"), found("late", large), "STORED", found("new", "1")]
