"""The one exception tree of intentd.

Every text says what was wrong, with the value, and what to do about it: it is printed to a user as one line.
`exit_code` is what a command line tool ends with when the error reaches it (see docs/operations.md).
"""

from __future__ import annotations

import errno
from typing import Final


class IntentdError(Exception):
    """Anything intentd raises on purpose."""

    exit_code = 1


class InvalidInput(IntentdError):
    """A field that a caller gave is malformed, unknown or out of range. Nothing has happened because of it."""

    exit_code = 2

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        super().__init__(f"{field} = {value!r}: {rule}; {remedy}")
        self.field = field
        self.value = value
        self.rule = rule
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, object, str, str]]:
        return type(self), (self.field, self.value, self.rule, self.remedy)


class SettingsError(IntentdError):
    """The settings file, a credential or the environment cannot be used."""

    exit_code = 2


class IllegalTransition(IntentdError):
    """The transition table has no such row. Whoever raises it has changed nothing."""


class EngineExhausted(IntentdError):
    """The engine died too often in too short a time."""


class InvariantViolated(IntentdError):
    """The book would contradict itself. The process that finds out must stop and start again from the book."""


class Fenced(IntentdError):
    """A newer epoch has begun: this process may neither write nor send any more."""


class StorageError(IntentdError):
    """The book cannot be opened, read or written."""

    exit_code = 2


class BookDamaged(StorageError):
    """The book holds what nobody has written. Waiting does not mend it, and nobody may trade on it."""


class StorageFull(StorageError):
    """There is no room for what must be written: on the disk, in a quota, in the book. It passes when there is some."""


class EngineNotRunning(IntentdError):
    """No engine runs on this state folder."""

    exit_code = 3


class EngineAlreadyRunning(IntentdError):
    """Another process holds this state folder."""

    exit_code = 2


class StartupFailed(IntentdError):
    """A part of the engine could not start."""

    exit_code = 2


class StartRefused(StartupFailed):
    """A part has said that a cause from outside keeps it from starting, one that can pass (`PASSING`)."""


class VenueSilent(StartRefused):
    """The venue does not answer, or not now; nobody has made a mistake that could be mended here."""

    exit_code = 75


class RequestTimedOut(IntentdError):
    """The engine did not answer in time. What was asked for may still happen; ask again with the same key."""


PASSING: Final[tuple[type[IntentdError], ...]] = (StorageFull, VenueSilent)
"""What comes from outside and can pass by itself: who ends over it works as soon as it has passed. Of nothing else we
know that: a contradiction, a bug, damage, a wrong key are found again by whoever starts next."""

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What the operating system says where `StorageFull` is the error of ours."""
