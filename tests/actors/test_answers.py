"""Answers to clients: one that does not read is told of once, forgotten, and in nobody's way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from actors.base import Guarded
from actors.router import OrderRouter
from messages.lifecycle import Alive
from tests.actors.recorded import Recorded
from tests.actors.test_router import RecordedRouter

CLIENT, OTHER = "client", "other"


class Answering(Recorded, Guarded):
    """An actor with a road that says what the test says."""

    def __init__(self, road: Any) -> None:
        super().__init__()
        self.sent: list[tuple[Any, Any]] = []
        self.forgotten: list[Any] = []
        self._myRef = SimpleNamespace(transport=road)

    def forget_client(self, client: Any) -> None:
        self.forgotten.append(client)


@pytest.fixture
def slow() -> set[str]:
    """Who is behind."""
    return {CLIENT}


@pytest.fixture
def actor(slow: set[str]) -> Answering:
    return Answering(SimpleNamespace(is_behind=slow.__contains__))


def test_a_client_that_is_behind_gets_nothing_and_others_everything(actor: Answering) -> None:
    """What it would have got is dropped."""
    for receiver in (CLIENT, OTHER, CLIENT):
        actor.answer(receiver, Alive(name=receiver))
    assert actor.sent == [(OTHER, Alive(name=OTHER))]


def test_it_is_logged_and_forgotten_once_until_it_has_caught_up(actor: Answering, slow: set[str]) -> None:
    """A flood of answers is not a flood of log lines."""
    with structlog.testing.capture_logs() as logged:
        actor.log = structlog.get_logger()
        for _ in range(10):
            actor.answer(CLIENT, Alive(name="1"))
        assert [line["event"] for line in logged] == ["client_too_slow"]
        assert actor.forgotten == [CLIENT]
        slow.clear()
        actor.answer(CLIENT, Alive(name="2"))
        slow.add(CLIENT)
        actor.answer(CLIENT, Alive(name="3"))
    assert [line["event"] for line in logged] == ["client_too_slow"] * 2
    assert actor.sent == [(CLIENT, Alive(name="2"))]


def test_a_road_without_bounds_of_its_own_gets_every_answer() -> None:
    """TCP, and a simulation."""
    for road in (SimpleNamespace(), None):
        actor = Answering(road)
        actor.answer(CLIENT, Alive(name="1"))
        assert actor.sent == [(CLIENT, Alive(name="1"))]


def test_a_router_forgets_every_request_of_a_client() -> None:
    """Of that one only."""
    router = RecordedRouter()
    assert isinstance(router, OrderRouter)
    router.clients = {"1": CLIENT, "2": OTHER, "3": CLIENT}
    router.forget_client(CLIENT)
    assert router.clients == {"2": OTHER}
