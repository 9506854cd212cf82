"""Who waits has a deadline: requests that were sent and not answered yet, and what to do when the time is over.

Messages can be lost between actors. Every request of the router but one is idempotent and is simply made again; the
exception is a placement, which is never repeated: its outcome is then unknown. Pure: the clock comes in.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Request = TypeVar("Request")


class Patience(Generic[Request]):
    """Open requests by a key that their answer also knows."""

    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns
        self._waiting: dict[tuple[str, ...], tuple[Request, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def expect(self, key: tuple[str, ...], when_late: Request, now_ns: int) -> None:
        """An answer to `key` is awaited; if it does not come in time, do `when_late`."""
        self._waiting[key] = (when_late, now_ns + self._timeout_ns)

    def heard(self, key: tuple[str, ...]) -> None:
        """The answer came, or nobody needs it any more."""
        self._waiting.pop(key, None)

    def all(self) -> list[Request]:
        """What to do about every request, since whoever was asked is gone; they are forgotten until made again."""
        return [self._waiting.pop(key)[0] for key in list(self._waiting)]

    def of(self, kind: str) -> list[Request]:
        """The same for the requests whose key begins with this word."""
        return [self._waiting.pop(key)[0] for key in list(self._waiting) if key[0] == kind]

    def overdue(self, now_ns: int) -> list[Request]:
        """What to do about every request whose time is over; they are forgotten until they are made again."""
        late = [key for key, (_, due_ns) in self._waiting.items() if due_ns <= now_ns]
        return [self._waiting.pop(key)[0] for key in late]
