# SPDX-License-Identifier: GPL-2.0-only
"""freeze() that fails, or sleeps: the reboot call comes back, and it is as if it had not been made."""

from collections.abc import Callable
from errno import EAGAIN, EBUSY, EINTR, EINVAL, EIO, ENOENT, ENOMEM, ENOSPC

import pytest

from fixtures.agent.client import Actor, Pending
from fixtures.luo import Device, Luo, refused
from fixtures.provider import Provider
from fixtures.scenario import KEXEC, Kexec
from suite.faults.acts import begin_create, begin_reboot, preserved, sessions_for_the_next_kernel
from suite.lifecycle.reboot import reboot, unload
from suite.scenario import Scenario

pytestmark = pytest.mark.provider

Load = Callable[[Kexec], None]

SESSIONS = 3
FILES = 3


def names(sessions: int = SESSIONS, files: int = FILES) -> list[str]:
    return [f"{session}{file}" for session in range(sessions) for file in range(files)]


@pytest.mark.clause("faults.freeze.failed", "faults.freeze.retry")
@pytest.mark.parametrize("failing", names())
def test_failed_freeze_is_undone_and_the_next_handover_takes_everything(
    luo: Luo, load_kernel: Load, failing: str
) -> Scenario:
    provider = Provider(luo)
    sessions = preserved(luo, provider, SESSIONS, FILES)
    load_kernel(KEXEC)
    provider.fail("freeze", failing, EIO)
    with refused(EIO):
        reboot(luo.actor)
    before = names()[: names().index(failing)]
    assert provider.called("freeze") == [*before, failing]
    assert sorted(provider.called("unfreeze")) == before
    # Each was frozen still, and its handle was the one that freeze() gave.
    assert set(provider.statuses("unfreeze").values()) <= {1}
    more = provider.file("more", content=b"more")
    sessions["1"].preserve(more, FILES)

    luo = yield KEXEC

    provider = Provider(luo)
    for number in range(SESSIONS):
        session = luo.retrieve_session(str(number))
        for token in range(FILES):
            file = session.retrieve(token)
            assert provider.content(file) == f"{number}{token}".encode()
        if number == 1:
            assert provider.content(session.retrieve(FILES)) == b"more"
        session.finish()
    # The handle that freeze() gave came along.
    assert set(provider.statuses("retrieve").values()) == {1}
    assert set(provider.statuses("finish").values()) == {1}


@pytest.mark.clause("faults.freeze.failed")
def test_after_a_failed_freeze_files_can_be_written_to_and_what_is_written_crosses(
    luo: Luo, load_kernel: Load
) -> Scenario:
    provider = Provider(luo)
    session = luo.create_session("vm")
    files = [provider.file(name, content=b"before") for name in ("one", "two", "three")]
    for token, file in enumerate(files):
        session.preserve(file, token)
    load_kernel(KEXEC)
    provider.fail("freeze", "three", ENOMEM)
    with refused(ENOMEM):
        reboot(luo.actor)
    for file in files:
        file.write(b"after it", 0)

    luo = yield KEXEC

    provider = Provider(luo)
    session = luo.retrieve_session("vm")
    assert [provider.content(session.retrieve(token)) for token in range(3)] == [b"after it"] * 3


@pytest.mark.clause("faults.freeze.errno")
@pytest.mark.parametrize("number", [EAGAIN, EBUSY, EINTR, EINVAL, EIO, ENOENT, ENOMEM, ENOSPC])
def test_reboot_gives_the_errno_of_freeze(luo: Luo, load_kernel: Load, number: int) -> None:
    provider = Provider(luo)
    session = luo.create_session("vm")
    session.preserve(provider.file("one"), 1)
    session.preserve(provider.file("two"), 2)
    load_kernel(KEXEC)
    provider.fail("freeze", "two", number, nth=0)
    for _ in range(2):
        with refused(number):
            reboot(luo.actor)
    assert provider.called("freeze") == ["one", "two"] * 2
    assert provider.called("unfreeze") == ["one"] * 2
    unload(luo.actor)


@pytest.mark.clause("faults.freeze.serialized")
def test_failed_freeze_leaves_nothing_for_the_next_kernel(luo: Luo, load_kernel: Load) -> None:
    provider = Provider(luo)
    preserved(luo, provider, SESSIONS, FILES)
    load_kernel(KEXEC)
    provider.fail("freeze", "22", EIO)
    with refused(EIO):
        reboot(luo.actor)
    assert sessions_for_the_next_kernel(luo.actor) == 0
    unload(luo.actor)


@pytest.mark.clause("faults.freeze.order")
def test_files_are_frozen_in_the_order_in_which_they_were_preserved(luo: Luo, load_kernel: Load) -> None:
    provider = Provider(luo)
    sessions = [luo.create_session("first"), luo.create_session("second")]
    order = [(0, "b"), (0, "d"), (0, "a"), (1, "c"), (1, "e")]
    for token, (session, name) in enumerate(reversed(order)):
        sessions[session].preserve(provider.file(name), token)
    load_kernel(KEXEC)
    provider.fail("freeze", "c", EIO)
    with refused(EIO):
        reboot(luo.actor)
    assert provider.called("freeze") == ["a", "d", "b", "e", "c"]
    unload(luo.actor)


@pytest.mark.clause("faults.freeze.sessions")
def test_closed_sessions_are_left_out_of_the_handover_after_a_failed_freeze(
    luo: Luo, load_kernel: Load
) -> Scenario:
    provider = Provider(luo)
    sessions = preserved(luo, provider, SESSIONS, FILES)
    load_kernel(KEXEC)
    provider.fail("freeze", "22", EIO)
    with refused(EIO):
        reboot(luo.actor)
    sessions["1"].close()
    assert sorted(provider.called("unpreserve")) == ["10", "11", "12"]

    luo = yield KEXEC

    with refused(ENOENT):
        luo.retrieve_session("1")
    provider = Provider(luo)
    for number in (0, 2):
        session = luo.retrieve_session(str(number))
        assert [provider.content(session.retrieve(token)) for token in range(FILES)] == [
            f"{number}{token}".encode() for token in range(FILES)
        ]


@pytest.mark.clause("faults.freeze.optional")
def test_files_without_freeze_and_unfreeze_are_passed_over(luo: Luo, load_kernel: Load) -> None:
    provider = Provider(luo)
    plain = provider.name("plain")
    provider.do("handler-add", plain, plain, "freeze", "unfreeze")
    session = luo.create_session("vm")
    session.preserve(provider.file("none", plain), 1)
    session.preserve(provider.file("one"), 2)
    session.preserve(provider.file("two"), 3)
    load_kernel(KEXEC)
    provider.fail("freeze", "two", EIO)
    with refused(EIO):
        reboot(luo.actor)
    assert provider.called("freeze", "unfreeze") == ["one", "two", "one"]
    session.close()
    provider.do("handler-del", plain)
    unload(luo.actor)


@pytest.mark.clause("faults.freeze.killed")
def test_reboot_that_is_killed_in_a_freeze_leaves_all_usable(luo: Luo, load_kernel: Load) -> Scenario:
    provider = Provider(luo)
    sessions = preserved(luo, provider, 2, 2)
    load_kernel(KEXEC)
    provider.sleep("freeze", "10")
    rebooter = luo.actor.agent.spawn()
    begin_reboot(rebooter)
    provider.wait_until_asleep("freeze", "10")
    rebooter.kill()
    # The writer's lock is free again, or this would not come back.
    sessions["0"].preserve(provider.file("more", content=b"more"), 2)
    assert provider.called("unfreeze") == ["00", "01"]
    provider.forget("10")

    luo = yield KEXEC

    provider = Provider(luo)
    for number, files in ((0, [b"00", b"01", b"more"]), (1, [b"10", b"11"])):
        session = luo.retrieve_session(str(number))
        assert [provider.content(session.retrieve(token)) for token in range(len(files))] == files


def begin_both(
    provider: Provider, device: Device, rebooter: Actor, other: Actor, op: str, name: str
) -> tuple[Pending, Pending]:
    """A reboot, and once that sleeps in this callback a session being created."""
    rebooting = begin_reboot(rebooter)
    provider.wait_until_asleep(op, name)
    creating = begin_create(other, device, provider.luo.name("late"))
    provider.do("position")
    return rebooting, creating


@pytest.mark.clause("faults.unfreeze.asleep")
def test_reboot_fails_when_all_is_unfrozen_however_long_it_takes(luo: Luo, load_kernel: Load) -> None:
    provider = Provider(luo)
    sessions = preserved(luo, provider, 2, 1)
    device = luo.device
    load_kernel(KEXEC)
    provider.fail("freeze", "10", EIO)
    provider.sleep("unfreeze", "00")
    rebooter, other = luo.actor.agent.spawn(), luo.actor.thread()
    rebooting, creating = begin_both(provider, device, rebooter, other, "unfreeze", "00")
    assert not rebooting.done()
    assert not creating.done()
    provider.forget("00")
    with refused(EIO):
        rebooting.wait()
    creating.wait()
    sessions["0"].preserve(provider.file("more"), 1)
    assert provider.called("freeze", "unfreeze") == ["00", "10", "00"]
    rebooter.close()
    unload(luo.actor)
    other.close()


@pytest.mark.clause("faults.freeze.asleep")
def test_calls_wait_for_a_freeze_that_sleeps_and_go_on_when_it_fails(luo: Luo, load_kernel: Load) -> None:
    provider = Provider(luo)
    sessions = preserved(luo, provider, 2, 1)
    device = luo.device
    load_kernel(KEXEC)
    provider.sleep("freeze", "10", then=EIO)
    rebooter, other = luo.actor.agent.spawn(), luo.actor.thread()
    rebooting, creating = begin_both(provider, device, rebooter, other, "freeze", "10")
    # A session that comes now would not be handed over: whoever makes it has to wait.
    assert not creating.done()
    provider.forget("10")
    with refused(EIO):
        rebooting.wait()
    creating.wait()
    sessions["0"].preserve(provider.file("more"), 1)
    assert provider.called("unfreeze") == ["00"]
    rebooter.close()
    unload(luo.actor)
