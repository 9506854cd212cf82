"""The stream of intents that goes on whatever dies."""

from __future__ import annotations

import pytest

from actors.client import Client
from benchmarks.errors import BenchmarkFailed
from benchmarks.stream import Stream
from benchmarks.venue import Order
from core.book import OpeningOutcome
from core.effects import SubmitAnswer
from core.ids import NS_PER_MS
from core.planning import Refusal
from tests.actors.scripted import ENGINE, ScriptedDoor
from tests.builders import SYMBOL, Desk, request

BUY = Order(SYMBOL, "0.01")
SOON_S = 60.0
SELDOM_NS = 3_600_000 * NS_PER_MS
"""Between two intents, so that the test's own is alone; the first one leaves at once."""


def stream_on(door: ScriptedDoor, every_ns: int = SELDOM_NS) -> Stream:
    return Stream(Client(door, ENGINE), [BUY], every_ns)  # type: ignore[arg-type]


def filled() -> SubmitAnswer:
    return SubmitAnswer(outcome=OpeningOutcome.ACCEPTED, record=Desk().filled(request()))


def refused(code: str) -> SubmitAnswer:
    return SubmitAnswer(outcome=OpeningOutcome.REFUSED, refusal=Refusal(code, "because"))


def keys(door: ScriptedDoor) -> set[str | None]:
    return {message.request.key for _, message in door.submitted}


def test_an_intent_leaves_when_it_is_due() -> None:
    """Not when the one before it is answered: the engine is silent."""
    door = ScriptedDoor()
    stream = stream_on(door, every_ns=NS_PER_MS)
    stream.flow_until(lambda: len(stream.submitted) == 5, "five have left", SOON_S)
    assert len(keys(door)) == 5


def test_not_now_is_no_answer() -> None:
    """It is asked again with the same key until it is accepted."""
    door = ScriptedDoor()
    door.answers.append(refused("MARKET_DATA_UNAVAILABLE"))
    door.usual = filled()
    stream = stream_on(door)
    asked = stream.submit(BUY)
    assert not asked.accepted_ns
    stream.flow_until(lambda: asked.is_over, "it is filled", SOON_S)
    assert asked.accepted_ns >= asked.submitted_ns
    assert [message.request.key for _, message in door.submitted].count(asked.request.key) == 2


def test_silence_is_asked_again() -> None:
    """With the same key: whether the first question arrived is not known."""
    door = ScriptedDoor()
    door.answers.append(None)
    door.usual = filled()
    stream = stream_on(door)
    asked = stream.submit(BUY)
    stream.flow_until(lambda: asked.is_over, "it is filled", SOON_S)
    assert [message.request.key for _, message in door.submitted].count(asked.request.key) == 2


def test_everything_of_a_router_that_is_gone_is_asked_of_its_successor() -> None:
    """Also what the old one had taken without a word, and at once, not after a silence."""
    door = ScriptedDoor()
    door.answers.append(None)
    door.usual = filled()
    stream = stream_on(door)
    first = stream.submit(BUY)
    door.router = "second router"
    second = stream.submit(BUY)
    stream.flow_until(lambda: first.is_over and second.is_over, "both are filled", SOON_S)
    asked_of = [(router, message.request.key) for router, message in door.submitted]
    assert asked_of.count(("first router", first.request.key)) == 1
    assert asked_of.count(("second router", first.request.key)) == 1
    assert asked_of.count(("second router", second.request.key)) == 1


def test_a_no_ends_the_benchmark() -> None:
    """Then it measures something else than it says."""
    door = ScriptedDoor()
    door.answers.append(refused("BUDGET_EXCEEDED"))
    with pytest.raises(BenchmarkFailed, match="BUDGET_EXCEEDED"):
        stream_on(door).flow_until(lambda: False, "never", SOON_S)


def test_what_does_not_come_is_named_with_what_is_open() -> None:
    """When patience is over."""
    stream = stream_on(ScriptedDoor())
    stream.submit(BUY)
    with pytest.raises(BenchmarkFailed, match=r"trading goes on; \d+ intents are open"):
        stream.flow_until(lambda: False, "trading goes on", 0.01)
