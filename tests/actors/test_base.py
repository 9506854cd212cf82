"""The guard that every actor inherits: to whom it sends."""

from __future__ import annotations

from typing import Any

from actors.base import Guarded
from messages.lifecycle import Probe


class Sender(Guarded):
    """Notes what is handed to the road."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[tuple[Any, Any]] = []

    def transmit(self, targetAddr: Any, msg: Any) -> None:  # noqa: N803  (thespian's name)
        self.handed.append((targetAddr, msg))


def test_what_is_for_nobody_is_not_sent() -> None:
    """While a part is being replaced the others have no address of it; that must not be their end, too."""
    sender = Sender()
    sender.send(None, Probe())
    sender.send("portfolio", Probe())
    assert sender.handed == [("portfolio", Probe())]
