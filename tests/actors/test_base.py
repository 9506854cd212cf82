"""The guard that every actor inherits: to whom it sends, and when it begins to listen."""

from __future__ import annotations

from typing import Any

from actors.base import ActorExitRequest, Guarded
from messages.lifecycle import Alive, Probe


class Sender(Guarded):
    """Notes what is handed to the road."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[tuple[Any, Any]] = []
        self.stopped = False

    def on_stop(self) -> None:
        self.stopped = True

    def transmit(self, targetAddr: Any, msg: Any) -> None:  # noqa: N803  (thespian's name)
        self.handed.append((targetAddr, msg))


def test_what_is_for_nobody_is_not_sent() -> None:
    """While a part is being replaced the others have no address of it; that must not be their end, too."""
    sender = Sender()
    sender.send(None, Probe())
    sender.send("portfolio", Probe())
    assert sender.handed == [("portfolio", Probe())]


def test_what_comes_before_the_configuration_is_not_taken_in() -> None:
    """The road may let a message overtake it, and nothing of an actor is there yet. It can be ended, though."""
    sender = Sender()
    sender.receiveMessage(Probe(), "engine")
    assert sender.handed == []
    sender.receiveMessage(ActorExitRequest(), "engine")
    assert sender.stopped
    sender.is_configured = True
    sender.receiveMessage(Probe(), "engine")
    assert sender.handed == [("engine", Alive(name="actor"))]
