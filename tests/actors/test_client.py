"""The client of strategies and tools."""

from __future__ import annotations

import pytest

from actors.client import Client
from core.errors import EngineNotRunning
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
