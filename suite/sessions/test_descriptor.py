# SPDX-License-Identifier: GPL-2.0-only
"""What the descriptor of a session is: its link and its flags."""

import os
import re

import pytest

from fixtures.luo import Luo, Session
from fixtures.scenario import KEXEC
from kernel import uapi
from suite.scenario import Scenario
from suite.sessions.crowd import own

PREFIX = "anon_inode:[luo_session] "
LONGEST = uapi.LIVEUPDATE_SESSION_NAME_LENGTH - 1

# fs/d_path.c below 7.1: 64 bytes for the link and its NUL, 25 of which are the prefix.
SAFE = 38

ODD = [b"a/b/../c", b"two\nlines", b"100%s%n", b"\xff\xfe", b"x (deleted)", b"] y"]


def link_of(name: bytes) -> str:
    return PREFIX + name.decode(errors="surrogateescape")


@pytest.mark.clause("session.link")
def test_link_names_the_session_before_and_after_a_handover(luo: Luo) -> Scenario:
    names = [luo.name("vm"), luo.name("vm").rjust(SAFE, b"n"), *(own(luo, raw) for raw in ODD)]
    assert [luo.create_session(name).link for name in names] == [*map(link_of, names)]

    luo = yield KEXEC

    assert [luo.retrieve_session(name).link for name in names] == [*map(link_of, names)]


# The header allows that the name is cut in /proc. It does not allow that the link cannot be read.
@pytest.mark.clause("session.link.long")
def test_links_of_sessions_with_long_names_can_be_read(luo: Luo) -> Scenario:
    def look(session: Session) -> None:
        whole = link_of(session.name)
        assert session.link.startswith(whole[: len(PREFIX) + SAFE])
        assert whole.startswith(session.link)

    names = [luo.name("vm").rjust(length, b"n") for length in (SAFE + 1, LONGEST)]
    for name in names:
        look(luo.create_session(name))

    luo = yield KEXEC

    for name in names:
        look(luo.retrieve_session(name))


@pytest.mark.clause("session.link")
def test_link_is_the_same_for_another_process_that_looks(luo: Luo) -> None:
    session = luo.create_session("vm")
    other = luo.actor.fork()
    other.syscall("close", session.fd)
    assert other.readlink(f"/proc/{luo.actor.pid}/fd/{session.fd}") == link_of(session.name)
    other.close()


@pytest.mark.clause("session.flags", "session.cloexec")
def test_session_is_open_for_reading_and_writing_and_closed_on_exec(luo: Luo) -> Scenario:
    def look(session: Session) -> tuple[int, bool, int]:
        info = session.actor.read_file(f"/proc/self/fdinfo/{session.fd}")
        told = re.search(rb"^flags:\s*0([0-7]+)$", info, re.MULTILINE)
        assert told is not None
        return session.flags & (os.O_ACCMODE | os.O_PATH), session.cloexec, int(told[1], 8) & os.O_CLOEXEC

    expected = (os.O_RDWR, True, os.O_CLOEXEC)
    assert look(luo.create_session("vm")) == expected

    luo = yield KEXEC

    assert look(luo.retrieve_session("vm")) == expected


@pytest.mark.clause("session.create", "session.type")
def test_created_session_has_a_descriptor_of_its_own(luo: Luo) -> None:
    sessions = [luo.create_session(name) for name in ("left", "right")]
    assert len({session.fd for session in sessions}) == 2
    assert min(session.fd for session in sessions) >= 0
    for token, session in enumerate(sessions):
        session.preserve(luo.memfd(b"x"), token=token)
