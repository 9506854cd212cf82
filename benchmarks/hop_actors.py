"""Two actors that play ping-pong, in two processes: the same classes on our road and on thespian's own.

They import thespian alone and nothing of `actors/`, which changes parts of thespian for the process that imports it.
"""

from __future__ import annotations

import time
from typing import Any

from thespian.actors import ActorTypeDispatcher

from messages import Message

PAYLOAD_BYTES = 256
"""About what a request of intentd weighs."""


class Ping(Message, frozen=True, kw_only=True):
    """There and back again, unchanged."""

    sent_ns: int
    """By the pinger's monotonic clock."""
    payload: bytes


class PlayPings(Message, frozen=True, kw_only=True):
    """To the pinger. Answer: `PingsPlayed`."""

    ponger: Any
    """Its address."""
    count: int
    """Round trips that are measured."""
    warm_up: int
    """Round trips before them."""
    window: int
    """How many are under way at a time."""


class PingsPlayed(Message, frozen=True, kw_only=True):
    elapsed_ns: int
    """From the end of the warm-up to the last return."""
    round_trips_ns: list[int]


class Ponger(ActorTypeDispatcher):  # type: ignore[misc]
    def receiveMsg_Ping(self, message: Ping, sender: Any) -> None:  # noqa: N802  (thespian dispatches on the name)
        self.send(sender, message)


class Pinger(ActorTypeDispatcher):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.play: PlayPings | None = None
        self.asker: Any = None
        self.unsent = 0
        self.unmeasured = 0
        self.began_ns = 0
        self.round_trips_ns: list[int] = []

    def receiveMsg_PlayPings(self, message: PlayPings, sender: Any) -> None:  # noqa: N802
        self.play, self.asker = message, sender
        self.unsent, self.unmeasured = message.count + message.warm_up, message.warm_up
        self.round_trips_ns = []
        self.began_ns = time.monotonic_ns()
        for _ in range(message.window):
            self.ping()

    def ping(self) -> None:
        assert self.play is not None
        if self.unsent > 0:
            self.unsent -= 1
            self.send(self.play.ponger, Ping(sent_ns=time.monotonic_ns(), payload=bytes(PAYLOAD_BYTES)))

    def receiveMsg_Ping(self, message: Ping, _sender: Any) -> None:  # noqa: N802
        assert self.play is not None
        now_ns = time.monotonic_ns()
        self.ping()
        if self.unmeasured > 0:
            self.unmeasured -= 1
            self.began_ns = now_ns
            return
        self.round_trips_ns.append(now_ns - message.sent_ns)
        if len(self.round_trips_ns) == self.play.count:
            self.send(self.asker, PingsPlayed(elapsed_ns=now_ns - self.began_ns, round_trips_ns=self.round_trips_ns))
