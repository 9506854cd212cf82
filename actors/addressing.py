"""What thespian passes around for a transport: addresses, endpoints of new processes, envelopes of messages.

thespian describes every message twice for a debug log that is off, and slows an actor down to the message rate of a
100 Mbit/s line. The first costs more than sending the message, the second stops a busy actor for 0.1 s at a time; both
are replaced at the end of this file, for every process that imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from thespian.actors import ActorAddress
from thespian.system import systemCommon as system_common  # noqa: N813  (a module)
from thespian.system.transport import ReceiveEnvelope, TransmitIntent, TransportInit__Base

UNTHROTTLED = 10**12
"""Messages per second."""


ADMIN_NAME: Final = "admin"
"""Of the system's own mailbox in its folder; all others have random names."""


class UnixAddress:
    """Where a mailbox is. thespian compares, prints and pickles it."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnixAddress) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __str__(self) -> str:
        return self.path

    def __reduce__(self) -> tuple[type[UnixAddress], tuple[str]]:
        return UnixAddress, (self.path,)


class Endpoint(TransportInit__Base):  # type: ignore[misc]
    """What a parent hands to the process of its child."""

    def __init__(self, instance: int | None, address: Any, parent: Any, admin: Any) -> None:
        self.addrInst = instance
        self.address = address
        self.parent = parent
        self.admin = admin


class Clone(TransportInit__Base):  # type: ignore[misc]
    """One more door of the same process."""

    def __init__(self, admin: Any) -> None:
        self.admin = admin


class Envelope(ReceiveEnvelope):  # type: ignore[misc]
    """A message that has arrived; `size` bytes of it wait for the actor."""

    def __init__(self, sender: Any, message: Any, size: int = 0) -> None:
        super().__init__(sender, message)
        self.size = size

    def identify(self) -> Any:
        return self  # described only if something is really logged

    def __str__(self) -> str:
        return str(ReceiveEnvelope.identify(self))


def address_of(path: Path) -> Any:
    """The actor whose mailbox is at `path`."""
    return ActorAddress(UnixAddress(str(path)))


class _Description:
    """Of an intent to transmit, made only if somebody reads it."""

    def __init__(self, intent: Any) -> None:
        self._intent = intent

    def __str__(self) -> str:
        return str(_describe(self._intent))


_describe = TransmitIntent.identify


def _describe_later(intent: Any) -> _Description:
    return _Description(intent)


TransmitIntent.identify = _describe_later
system_common.RATE_THROTTLE = UNTHROTTLED
