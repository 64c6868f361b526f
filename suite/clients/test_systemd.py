# SPDX-License-Identifier: GPL-2.0-only
"""systemd 261 and later: what services left with their manager is theirs again after ``systemctl kexec``."""

import pytest

from fixtures.luo import Luo
from fixtures.scenario import Kexec
from suite.clients.ledger import Told
from suite.clients.memcached import MIB, Cache, found, stored
from suite.clients.services import Service, SystemctlKexec, systemd
from suite.clients.userland import CLIENT, Userland
from suite.scenario import Scenario

pytestmark = pytest.mark.clients

PROGRAM = f"/usr/bin/python3 {CLIENT}"


@pytest.mark.clause("client.systemd.store", "client.systemd.session", "session.link", "memfd.contents")
def test_service_finds_its_memory_and_its_session_again(luo: Luo, told: Told) -> Scenario:
    told("systemd", "the file descriptor store of a service: a memfd, and a session of the service's own")
    userland = Userland(luo)
    told.version(systemd(userland))
    name = luo.name("service").decode()
    command = f"{PROGRAM} serves {name} from-before"
    keeper = Service(userland, "keeper", command, "Type=notify")
    keeper.start()
    assert keeper.kept == 2
    assert keeper.output == ""

    luo = yield Kexec(by=SystemctlKexec(userland))

    keeper = Service(Userland(luo), "keeper", command, "Type=notify")
    kept = keeper.kept
    keeper.start()
    said = keeper.output.splitlines()
    keeper.end()
    assert kept == 2
    assert said == ["memory: from-before", f"session: anon_inode:[luo_session] {name} erofeb-morf"]


@pytest.mark.clause("client.systemd.store", "client.cache", "memfd.contents")
def test_memcached_as_a_service_goes_on_with_its_items(luo: Luo, told: Told) -> Scenario:
    told("memcached as a service", f"its memory, a memfd of {MIB} MiB, in the file descriptor store")
    userland = Userland(luo)
    version = systemd(userland)
    userland.needs("memcached")
    told.version(f"{userland.version('memcached --version')} (systemd {version})")
    cache = Cache("cache-service")
    cache.prepare(userland)
    command = f"{PROGRAM} runs {MIB << 20} {cache.memory} {cache.command}"
    service = Service(userland, "cache", command, "KillSignal=SIGUSR1")
    service.start()
    assert cache.asked(userland, stored("hits", "41")) == ["STORED"]
    assert service.output == "memory: new\n"
    assert service.kept == 1

    luo = yield Kexec(by=SystemctlKexec(userland))

    userland = Userland(luo)
    service = Service(userland, "cache", command, "KillSignal=SIGUSR1")
    kept = service.kept
    service.start()
    items = cache.asked(userland, "get hits", stored("new", "1"))
    said = service.output
    service.end()
    cache.remove(userland)
    assert kept == 1
    assert said == "memory: kept\n"
    assert items == [found("hits", "41"), "STORED"]
