# SPDX-License-Identifier: GPL-2.0-only
"""Live updates that do not take place: calls that are refused, images that are loaded and dropped."""

from collections.abc import Callable
from errno import EBADF, EINVAL, ENOEXEC, EPERM

import pytest

from fixtures.agent.pattern import pattern
from fixtures.luo import Luo, Session, refused
from fixtures.scenario import KEXEC, Kexec
from kernel import uapi
from suite.lifecycle.reboot import load, reboot, reboot_from_child_pid_namespace, unload
from suite.scenario import Scenario

SIZE = 5_001


def reboot_without_an_image(luo: Luo) -> None:
    unload(luo.actor)
    with refused(EINVAL):
        reboot(luo.actor)


def reboot_with_bad_magic(luo: Luo) -> None:
    with refused(EINVAL):
        reboot(luo.actor, magic=uapi.LINUX_REBOOT_MAGIC1 - 1)


def reboot_without_capability(luo: Luo) -> None:
    user = luo.actor.fork()
    user.syscall("setresuid", 1000, 1000, 1000)
    with refused(EPERM):
        reboot(user)
    user.close()


def reboot_in_child_pid_namespace(luo: Luo) -> None:
    assert reboot_from_child_pid_namespace(luo.actor.fork()) == -EINVAL


def load_without_capability(luo: Luo) -> None:
    user = luo.actor.fork()
    user.syscall("setresuid", 1000, 1000, 1000)
    with refused(EPERM):
        load(user, "/proc/version")  # which anybody may read, as not the agent on a host
    user.close()


def load_what_is_no_kernel(luo: Luo) -> None:
    with refused(ENOEXEC):
        load(luo.actor, "/proc/self/exe")


def load_a_closed_descriptor(luo: Luo) -> None:
    with refused(EBADF):
        luo.actor.syscall("kexec_file_load", -1, -1, 1, b"\0", uapi.KEXEC_FILE_NO_INITRAMFS)


def load_with_unknown_flags(luo: Luo) -> None:
    with refused(EINVAL):
        load(luo.actor, "/proc/self/exe", flags=1 << 31)


REFUSALS = (
    reboot_with_bad_magic,
    reboot_without_capability,
    reboot_in_child_pid_namespace,
    load_without_capability,
    load_what_is_no_kernel,
    load_a_closed_descriptor,
    load_with_unknown_flags,
)


def use(luo: Luo, session: Session, token: int) -> None:
    """What must be possible at any time before a handover."""
    session.preserve(luo.memfd(pattern(SIZE, seed=token)), token=token)
    other = luo.create_session(f"other {token}")
    other.preserve(luo.memfd(b"x"), token=token)
    other.close()


@pytest.mark.clause("handover.refused")
@pytest.mark.parametrize("refuse", [reboot_without_an_image, *REFUSALS])
def test_refused_call_leaves_sessions_usable(luo: Luo, refuse: Callable[[Luo], None]) -> None:
    session = luo.create_session("vm")
    use(luo, session, 1)
    refuse(luo)
    use(luo, session, 2)


@pytest.mark.clause("handover.refused")
def test_refused_call_leaves_a_loaded_kernel_and_sessions_alone(
    luo: Luo, load_kernel: Callable[[Kexec], None]
) -> None:
    load_kernel(KEXEC)
    session = luo.create_session("vm")
    for token, refuse in enumerate(REFUSALS):
        refuse(luo)
        assert luo.actor.read_file("/sys/kernel/kexec_loaded") == b"1\n"
        use(luo, session, token)
    unload(luo.actor)


@pytest.mark.clause("handover.refused", "memfd.contents")
def test_everything_crosses_after_a_row_of_refused_calls(luo: Luo) -> Scenario:
    session = luo.create_session("vm")
    for token, refuse in enumerate((reboot_without_an_image, *REFUSALS)):
        use(luo, session, token)
        refuse(luo)

    luo = yield KEXEC

    session = luo.retrieve_session("vm")
    for token in range(len(REFUSALS) + 1):
        assert session.retrieve(token).read_all() == pattern(SIZE, seed=token)


@pytest.mark.clause("handover.image.independent")
def test_loading_and_dropping_a_kernel_touches_no_session(
    luo: Luo, load_kernel: Callable[[Kexec], None]
) -> None:
    session = luo.create_session("vm")
    use(luo, session, 1)
    load_kernel(KEXEC)
    use(luo, session, 2)
    unload(luo.actor)
    use(luo, session, 3)
    with refused(EINVAL):
        reboot(luo.actor)
