# SPDX-License-Identifier: GPL-2.0-only
"""What a person has to be told: one sentence, and what to do about it."""


class LuoCtsError(Exception):
    """A problem that is not the kernel's: no verdict can be given.

    ``message`` is one sentence without a full stop, ``hint`` says what to do and may be empty.
    """

    exit_status = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(LuoCtsError):
    """What the user asked for, on the command line or in a file, does not exist or contradicts itself."""

    exit_status = 4
