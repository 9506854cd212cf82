"""The guard that every actor inherits: to whom it sends, and when it begins to listen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from actors.base import ActorExitRequest, Guarded
from core.ids import IntentId
from core.records import TradingState
from core.replacing import NewTerms
from messages import ClientRequest, RequestRefused
from messages.book import ArmTrading, DisarmTrading, SetTradingState
from messages.intents import ReplaceIntent
from messages.lifecycle import Alive, Probe

NO_TIME = 1 << 80
"""Larger than what the book can keep."""


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


@pytest.mark.parametrize(
    "message",
    [
        ReplaceIntent(
            request_id="r",
            intent_id=IntentId("i"),
            terms=NewTerms(qty=None, price=Decimal(1), reason="", asked_ns=NO_TIME),
        ),
        SetTradingState(request_id="r", state=TradingState.HALTED, reason="why", asked_ns=NO_TIME),
        ArmTrading(request_id="r", account="a", for_ns=1, reason="why", asked_ns=NO_TIME),
        DisarmTrading(request_id="r", reason="why", asked_ns=NO_TIME),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_time_that_is_none_is_refused(message: ClientRequest) -> None:
    """The book could not keep it: the portfolio would end over it, and again when it is asked once more."""
    sender = Sender()
    assert sender.checked(message, "client") is None
    ((receiver, told),) = sender.handed
    assert isinstance(told, RequestRefused)
    assert (receiver, "asked_ns" in told.reason) == ("client", True)
