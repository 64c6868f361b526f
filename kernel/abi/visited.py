# SPDX-License-Identifier: GPL-2.0-only
"""Where decoders have been."""

from kernel.abi.errors import Broken


class Visited:
    """Addresses that were followed, by all decoders of one handover.

    No part of a handover is reached in two ways. To insist on that ends every walk, also through memory that
    somebody made to keep it going, and bounds what is read by what RAM there is.
    """

    def __init__(self) -> None:
        self._addresses: set[int] = set()

    def once(self, address: int, where: str) -> None:
        """Raises Broken for an address that something else led to before."""
        if address in self._addresses:
            raise Broken(f"something else leads to {address:#x} already", where)
        self._addresses.add(address)
