# SPDX-License-Identifier: GPL-2.0-only
"""A test's own sessions and files, among all that a held machine hands over."""

from fixtures.held import Held
from kernel.abi.luo import File, Session
from kernel.abi.memfd import Memfd


def session_in(held: Held, name: bytes) -> Session:
    """The only session of that name."""
    assert held.handover.luo is not None, "the handover has no node LUO"
    found = [one for one in held.handover.luo.sessions if one.entry.name.rstrip(b"\0") == name]
    assert len(found) == 1, f"{len(found)} sessions are called {name!r}"
    return found[0]


def file_in(held: Held, name: bytes, token: int) -> File:
    """The only file of that token in the only session of that name."""
    found = [file for file in session_in(held, name).files if file.token == token]
    assert len(found) == 1, f"{len(found)} files have token {token}"
    return found[0]


def memfd_in(held: Held, name: bytes, token: int) -> Memfd:
    memfd = file_in(held, name, token).memfd
    assert memfd is not None
    return memfd
