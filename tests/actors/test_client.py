"""The client of strategies and tools."""

from __future__ import annotations

import pytest

from actors.client import Client
from core.book import OpeningOutcome
from core.effects import SubmitAnswer
from core.errors import EngineNotRunning, IntentdError
from core.records import TradingState
from messages import RequestRefused
from tests.actors.scripted import ENGINE, ScriptedDoor
from tests.builders import SYMBOL, request


def test_a_router_that_is_gone_can_be_forgotten() -> None:
    """Then the engine is asked who took its place; before, the one that is known is kept."""
    door = ScriptedDoor()
    client = Client(door, ENGINE)  # type: ignore[arg-type]
    client.router(SYMBOL, 1.0)
    door.router = "second router"
    with pytest.raises(EngineNotRunning):
        client.send_intent(client.router(SYMBOL, 1.0), request(), wait=True)
    client.forget_router(SYMBOL)
    client.send_intent(client.router(SYMBOL, 1.0), request(), wait=True)
    assert [router for router, _ in door.submitted] == ["second router"]


def test_a_router_that_nobody_knows_is_forgotten_already() -> None:
    """No need to ask first; it is looked for as ever."""
    door = ScriptedDoor()
    client = Client(door, ENGINE)  # type: ignore[arg-type]
    client.forget_router(SYMBOL)
    assert client.router(SYMBOL, 1.0) == door.router


def test_a_refusal_is_of_the_request_that_it_names() -> None:
    """One that comes when its own request was given up, or waits for its answer still, is no answer to the next."""
    door = ScriptedDoor()
    client = Client(door, ENGINE)  # type: ignore[arg-type]
    router = client.router(SYMBOL, 1.0)
    asked = client.send_trading(TradingState.HALTED, "odd fills")
    door.letters.append(RequestRefused(request_id=asked, reason="the portfolio is not ready"))
    door.usual = SubmitAnswer(outcome=OpeningOutcome.ACCEPTED)
    assert client.submit(router, request(), wait=False, timeout_s=1.0) == door.usual
    with pytest.raises(IntentdError, match="not ready"):
        client.await_answer(type(door.usual), asked, 1.0)
