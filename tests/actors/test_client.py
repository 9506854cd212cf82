"""The client of strategies and tools."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from actors.client import Client
from core.book import OpeningOutcome
from core.effects import SubmitAnswer
from core.errors import EngineNotRunning, IntentdError, RequestTimedOut
from core.records import TradingState
from messages import RequestRefused
from messages.admin import EngineStopped
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


# ── a stop ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LONG_S = 60.0
SHORT_S = 0.05


@pytest.fixture
def dead_pid() -> int:
    """Of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_stop_that_nobody_is_left_to_answer_is_not_waited_for(dead_pid: int) -> None:
    """Engine and launcher were killed in the middle of it; the text names the launcher."""
    door = ScriptedDoor()
    door.engine_is_there = False
    with pytest.raises(EngineNotRunning, match=f"launcher .pid {dead_pid}. are gone, and nobody has told"):
        Client(door, ENGINE, dead_pid).stop("enough", LONG_S)  # type: ignore[arg-type]


def test_the_last_words_of_a_stop_are_heard_though_everybody_is_gone(dead_pid: int) -> None:
    """They may have come between the last look into the mailbox and the look for who is there."""
    door, ended = ScriptedDoor(), EngineStopped(reason="enough", failed=False)
    door.engine_is_there, door.last_words = False, [ended]
    assert Client(door, ENGINE, dead_pid).stop("enough", LONG_S) == ended  # type: ignore[arg-type]


@pytest.mark.parametrize("is_there", [True, False])
def test_who_may_still_answer_a_stop_is_waited_for(dead_pid: int, is_there: bool) -> None:
    """An engine without its launcher ends its stop; a launcher without its engine will end."""
    door = ScriptedDoor()
    door.engine_is_there = is_there
    with pytest.raises(RequestTimedOut):
        Client(door, ENGINE, dead_pid if is_there else os.getpid()).stop("enough", SHORT_S)  # type: ignore[arg-type]
