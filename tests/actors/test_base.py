"""The guard that every actor inherits: to whom it sends, and when it begins to listen."""

from __future__ import annotations

import errno
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.base import ActorExitRequest, Guarded
from core.errors import (
    BookDamaged,
    Fenced,
    InvariantViolated,
    StartupFailed,
    StorageError,
    StorageFull,
    VenueSilent,
)
from core.ids import IntentId
from core.records import TradingState
from core.replacing import NewTerms
from core.settings import Settings
from messages import ClientRequest, RequestRefused
from messages.book import ArmTrading, DisarmTrading, SetTradingState
from messages.intents import ReplaceIntent
from messages.lifecycle import Alive, ChildFailed, ChildReady, ConfigureChild, Probe

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


class Failing(Sender):
    """Cannot start, or ends at work, over this."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

        self.engine = "engine"

    def on_start(self, message: ConfigureChild) -> ChildReady | None:  # noqa: ARG002
        raise self.error

    def receiveMsg_Probe(self, _message: Probe, _sender: Any) -> None:  # noqa: N802  (thespian's naming)
        raise self.error

    def open_log(self, session_id: str) -> Any:  # noqa: ARG002
        return self.log

    def name_process(self) -> None:
        """The tests' own process keeps its name."""

    def end_process(self) -> None:
        self.handed.append(("nobody", "ended"))

    def told(self) -> list[ChildFailed]:
        return [message for _, message in self.handed if isinstance(message, ChildFailed)]


def test_a_part_whose_engine_is_gone_handles_nothing_more() -> None:
    """Nobody could halt it. The kernel ends it at once, where it can; else it ends itself before the next message."""
    orphan = Failing(InvariantViolated("never asked"))
    orphan.parent_pid = lambda: 1  # type: ignore[method-assign]
    orphan.is_configured = True
    orphan.engine_pid = 4_711
    orphan.receiveMessage(ActorExitRequest(), "engine")
    assert orphan.handed[0] == ("nobody", "ended")


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "order.jsonl")


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (NO_SPACE, True),
        (StorageFull("the book is full"), True),
        (VenueSilent("503"), True),
        (InvariantViolated("two reservations of one intent"), False),
        (StartupFailed("the venue does not take the key"), False),
        (StorageError("a disk that is broken"), False),
        (BookDamaged("a page that nobody wrote"), False),
        (Fenced("a newer epoch"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_a_cause_from_outside_that_can_pass_is_told_as_one(
    tmp_path: Path, error: Exception, passing: bool
) -> None:
    """Who is told that restarts without end are right relies on it (E1)."""
    part = Failing(error)
    wish = ConfigureChild(settings=Settings(), state_root=str(tmp_path), session_id="s")
    part.receiveMessage(wish, "engine")
    (failed,) = part.told()
    assert (failed.passing, failed.venue_silent) == (passing, isinstance(error, VenueSilent))
    assert failed.damaged is isinstance(error, BookDamaged)


@pytest.mark.parametrize(
    ("error", "told"), [(NO_SPACE, [True]), (StorageError("a broken disk"), [False]), (ZeroDivisionError(), [])]
)
def test_a_part_that_ends_at_work_says_so_only_where_somebody_can_mend_it(error: Exception, told: list[bool]) -> None:
    """Then, too, what can pass is told from what cannot; a bug has nothing to say."""
    part = Failing(error)
    part.is_configured = True
    part.receiveMessage(Probe(), "engine")
    assert [failed.passing for failed in part.told()] == told
    assert part.handed[-1] == ("nobody", "ended")
