# SPDX-License-Identifier: GPL-2.0-only
"""What a decoder says of memory that does not hold what the ABI promises."""


class Broken(Exception):
    """Memory contradicts the ABI. Decoders raise nothing else, whatever bytes they are given.

    ``where`` names the part with its physical address, ``what`` says what is wrong with it; both without a
    full stop. It is no LuoCtsError: who wrote the bytes, kernel or test, is for the caller to say.
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what, where)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
