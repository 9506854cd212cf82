"""Two ends of the road in one process, and what a test does with them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from thespian.system.transport import TransmitIntent

from actors.addressing import Clone, Endpoint, address_of
from actors.transport import UnixTransport

SOON = timedelta(seconds=60)
"""What must come comes within moments; a machine that is slow has long for it."""
NOW = timedelta(0)


def actor(folder: Path) -> UnixTransport:
    """The end of an actor, not of a client."""
    admin = address_of(folder / "admin")
    return UnixTransport(Endpoint(None, None, admin, admin))


def client(folder: Path) -> UnixTransport:
    """The end of a process outside of the system."""
    return UnixTransport(Clone(address_of(folder / "admin")))


def send(from_: UnixTransport, to: Any, message: Any) -> TransmitIntent:
    intent = TransmitIntent(to, message)
    from_.scheduleTransmit(None, intent)
    return intent


def received(end: UnixTransport, duration: timedelta = NOW) -> list[Any]:
    """Every message that arrives within the time."""
    messages: list[Any] = []
    end.run(lambda envelope: messages.append(envelope.message) or True, duration)
    return messages


def collect(end: UnixTransport, count: int) -> list[Any]:
    """As many messages; fails when they do not come."""
    messages: list[Any] = []

    def handle(envelope: Any) -> bool:
        messages.append(envelope.message)
        return len(messages) < count

    end.run(handle, SOON)
    assert len(messages) == count
    return messages
