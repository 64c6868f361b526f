# SPDX-License-Identifier: GPL-2.0-only
"""Services under an access policy: the device is refused or allowed, and a session may be passed to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.agent.client import Actor
from fixtures.luo import DEVICE, Device, Luo, Session
from fixtures.scenario import KEXEC
from suite.clients.ledger import Told
from suite.clients.userland import CLIENT, DIRECTORY, Userland
from suite.scenario import Scenario

pytestmark = pytest.mark.clients

PRESERVED = "a memfd in a session that was passed to a confined service"

# AppArmor

PROFILES = """
profile luo-cts-guest {
  file,
  signal,
  unix,
  network,
  capability,
  deny /dev/liveupdate rw,
}
profile luo-cts-owner {
  file,
  signal,
  unix,
  network,
  capability,
}
"""


class AppArmor:
    """The machine's AppArmor, with a profile that refuses the device and one that does not."""

    def __init__(self, userland: Userland) -> None:
        if not userland.exists("/sys/kernel/security/apparmor"):
            pytest.skip("the kernel has no AppArmor, or it is not on")
        userland.needs("apparmor_parser", "aa-exec", "python3")
        self._userland = userland
        userland.write(f"{DIRECTORY}/profiles", PROFILES)
        userland.run(f"apparmor_parser --replace --skip-cache {DIRECTORY}/profiles")

    def service(self, profile: str, *words: str, session: Session | None = None) -> list[str]:
        """What the client says with this profile; the session is its standard input."""
        script = f"exec aa-exec -p luo-cts-{profile} -- python3 {CLIENT} {' '.join(words)}"
        stdin = None if session is None else session.fd
        return self._userland.run(script, stdin=stdin).splitlines()


@pytest.mark.boot("lsm=apparmor")
@pytest.mark.clause("client.confined", "device.any-caller", "memfd.contents")
def test_apparmor_decides_who_opens_the_device_and_lets_sessions_be_passed(luo: Luo, told: Told) -> Scenario:
    told("AppArmor", PRESERVED)
    userland = Userland(luo)
    apparmor = AppArmor(userland)
    told.version(userland.version("apparmor_parser --version"))
    assert apparmor.service("guest", "opens") == ["luo-cts-guest (enforce)", "refused EACCES"]
    assert apparmor.service("owner", "opens") == ["luo-cts-owner (enforce)", "opened"]
    session = luo.create_session("confined")
    luo.close_device()
    assert apparmor.service("guest", "puts", "hello", session=session)[1:] == ["preserved"]

    luo = yield KEXEC

    apparmor = AppArmor(Userland(luo))
    assert apparmor.service("guest", "opens")[1:] == ["refused EACCES"]
    session = luo.retrieve_session("confined")
    assert apparmor.service("guest", "takes", session=session) == ["luo-cts-guest (enforce)", "hello"]


# SELinux

_SELINUX = "/sys/fs/selinux"
_POLICY = Path(__file__).with_name("policy.cil")
_LABEL = "luo:object_r:liveupdate_t"


class SELinux:
    """The machine's SELinux, with the policy beside this file."""

    def __init__(self, userland: Userland, luo: Luo) -> None:
        filesystems = userland.read("/proc/filesystems").split()
        if "selinuxfs" not in filesystems:
            pytest.skip("the kernel has no SELinux, or it is not on")
        userland.needs("secilc", "python3")
        self._userland = userland
        self._luo = luo
        userland.write(f"{DIRECTORY}/policy.cil", _POLICY.read_text())
        compiled = f"{DIRECTORY}/policy"
        userland.run(
            f"mountpoint -q {_SELINUX} || mount -t selinuxfs selinuxfs {_SELINUX}; "
            f"secilc --handle-unknown=allow --mls=false --policyvers=33 --output={compiled} "
            f"--filecontext=/dev/null {DIRECTORY}/policy.cil; "
            # The kernel takes a policy in one write.
            f"dd if={compiled} of={_SELINUX}/load bs=1M status=none"
        )
        label = _LABEL.encode() + b"\0"
        luo.actor.syscall("setxattr", DEVICE, "security.selinux", label, len(label), 0)

    @contextmanager
    def enforcing(self) -> Iterator[None]:
        """Until the end what the policy forbids is refused, and not only told."""
        self._userland.write(f"{_SELINUX}/enforce", "1")
        try:
            yield
        finally:
            self._userland.write(f"{_SELINUX}/enforce", "0")

    def service(self, domain: str, *words: str, session: Session | None = None) -> list[str]:
        """What the client says in this domain; the session is its standard input."""
        into = f"printf luo:system:{domain} >/proc/self/attr/exec"
        stdin = None if session is None else session.fd
        script = f"{into} && exec python3 {CLIENT} {' '.join(words)}"
        return self._userland.run(script, stdin=stdin).splitlines()

    def owner(self) -> Actor:
        """A process in the domain that may open the device."""
        actor = self._luo.actor.fork()
        actor.write_file("/proc/self/attr/current", b"luo:system:owner_t")
        return actor

    def passed(self, session: Session) -> Session:
        """The session of an owner who ends, in the hands of the test's own process."""
        actor = self._luo.actor
        pidfd = actor.syscall("pidfd_open", session.actor.pid, 0)
        taken = Session(actor, actor.syscall("pidfd_getfd", pidfd, session.fd, 0), session.name)
        session.actor.close()
        return taken


@pytest.mark.boot("lsm=selinux")
@pytest.mark.clause("client.confined", "device.any-caller", "memfd.contents")
def test_selinux_decides_who_opens_the_device_and_to_whom_sessions_are_passed(
    luo: Luo, told: Told
) -> Scenario:
    told("SELinux", PRESERVED)
    userland = Userland(luo)
    selinux = SELinux(userland, luo)
    told.version(f"policy {userland.read(f'{_SELINUX}/policyvers')}")
    name = luo.name("confined")
    with selinux.enforcing():
        for domain in ("guest_t", "stranger_t"):
            assert selinux.service(domain, "opens") == [f"luo:system:{domain}", "refused EACCES"]
        assert selinux.service("owner_t", "opens") == ["luo:system:owner_t", "opened"]
        session = selinux.passed(Device.open(selinux.owner()).create_session(name))
        # What may not be passed to a program is not there when it begins.
        assert selinux.service("stranger_t", "puts", "hello", session=session)[1:] == ["refused ENOTTY"]
        assert selinux.service("guest_t", "puts", "hello", session=session)[1:] == ["preserved"]

    luo = yield KEXEC

    selinux = SELinux(Userland(luo), luo)
    with selinux.enforcing():
        assert selinux.service("guest_t", "opens")[1:] == ["refused EACCES"]
        session = selinux.passed(Device.open(selinux.owner()).retrieve_session(name))
        assert selinux.service("stranger_t", "takes", session=session)[1:] == ["refused ENOTTY"]
        assert selinux.service("guest_t", "takes", session=session) == ["luo:system:guest_t", "hello"]
