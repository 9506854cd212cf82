"""An operator who insists: what he is told when nobody can do what he asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from thespian.actors import DeadEnvelope

from actors import operator, system
from actors.client import Client
from actors.operator import Operator
from core.errors import EngineNotRunning, IntentdError, RequestTimedOut
from core.records import Standing, TradingState
from messages import RequestRefused
from messages.book import SetTradingState, TradingStateSet
from storage.layout import StateFolder
from tests.actors.scripted import ENGINE, ScriptedDoor
from tests.builders import T0

BY_OPERATOR = Standing(state=TradingState.HALTED, reason="odd fills", by="operator", since_ns=T0)


class Desk(ScriptedDoor):
    """An engine that refuses so often before it does what it is asked for."""

    def __init__(self, refusals: int, *, is_passing: bool) -> None:
        super().__init__()
        self.refusals, self.is_passing = refusals, is_passing
        self.asked: list[SetTradingState] = []

    def tell(self, address: str, message: Any) -> None:  # noqa: ARG002
        self.asked.append(message)
        answer = TradingStateSet(request_id=message.request_id, standing=BY_OPERATOR, canceling=0)
        refusal = RequestRefused(request_id=message.request_id, reason="being restarted", is_passing=self.is_passing)
        self.letters.append(refusal if len(self.asked) <= self.refusals else answer)

    def leave(self) -> None:
        pass


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Its launcher lives, and it is asked again at once."""
    found = Desk(refusals=2, is_passing=True)
    monkeypatch.setattr(operator, "AGAIN_S", 0.01)
    monkeypatch.setattr(operator, "CONNECT_AGAIN_S", 0.01)
    monkeypatch.setattr(operator, "launcher_of", lambda _folder: 1)
    monkeypatch.setattr(system, "read_engine_file", lambda _folder: "the same")
    monkeypatch.setattr(Client, "connect", lambda _folder: Client(found, ENGINE))  # type: ignore[arg-type]
    return found


def halt(tmp_path: Path, timeout_s: float = 20.0) -> TradingStateSet:
    return Operator(StateFolder(tmp_path)).set_trading(TradingState.HALTED, "odd fills", timeout_s)


def test_a_refusal_that_passes_is_waited_out(desk: Desk, tmp_path: Path) -> None:
    """Each question is as old as the first one."""
    assert halt(tmp_path).standing == BY_OPERATOR
    assert (len(desk.asked), len({each.asked_ns for each in desk.asked})) == (3, 1)


def test_a_refusal_that_does_not_pass_is_told_at_once(desk: Desk, tmp_path: Path) -> None:
    desk.is_passing = False
    with pytest.raises(IntentdError, match="being restarted"):
        halt(tmp_path)
    assert len(desk.asked) == 1


def test_whoever_waited_in_vain_hears_what_the_engine_has_said(desk: Desk, tmp_path: Path) -> None:
    """Not that it was silent."""
    desk.refusals = 1_000_000
    with pytest.raises(RequestTimedOut, match="being restarted"):
        halt(tmp_path, 0.1)


def test_where_nobody_could_be_asked_nothing_was_changed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is being started all the time: exit code 3, and no doubt about what is in force."""

    def connect(_folder: StateFolder) -> Client:
        raise EngineNotRunning("the engine is being started")

    monkeypatch.setattr(Client, "connect", connect)
    with pytest.raises(EngineNotRunning, match="nothing was changed: the engine is being started"):
        halt(tmp_path, 0.1)
    assert desk.asked == []


def test_an_engine_that_has_ended_may_have_heard(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was asked, and its answer was still to come; nobody starts another one."""
    monkeypatch.setattr(operator, "launcher_of", lambda _folder: None)
    desk.letters.append(DeadEnvelope(ENGINE, "halt"))
    with pytest.raises(EngineNotRunning, match="has ended; it may have been heard all the same"):
        halt(tmp_path)
    assert len(desk.asked) == 1


def test_a_door_that_goes_while_it_is_knocked_at_is_looked_for_again(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's folder is removed in this very moment; the next engine has another one."""
    doors = [FileNotFoundError(2, "No such file or directory"), Client(desk, ENGINE)]  # type: ignore[arg-type]

    def connect(_folder: StateFolder) -> Client:
        found = doors.pop(0)
        if isinstance(found, OSError):
            raise found
        assert isinstance(found, Client)
        return found

    monkeypatch.setattr(Client, "connect", connect)
    assert halt(tmp_path).standing == BY_OPERATOR
