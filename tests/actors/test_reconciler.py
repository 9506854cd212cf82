"""The reconciler's shell: which intents it compares, when it asks, and what it tells the book."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.reconciler import Reconciler
from core import book
from core.ids import NS_PER_S, ExchangeOrderId
from core.outcomes import apply_report
from core.records import AttemptRecord
from core.reports import OrderStatus, Trade
from core.settings import Settings
from messages.book import RecordEvents
from messages.lifecycle import ConfigureChild
from messages.venue import FetchTrades, TradesFetched
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests import builders
from tests.actors.recorded import Recorded
from tests.builders import SYMBOL, dec


class RecordedReconciler(Recorded, Reconciler):
    """A reconciler on a real book."""

    def __init__(self, folder: StateFolder) -> None:
        super().__init__()
        self.sent, self.woken = [], []
        self.folder = folder

    def begin(self) -> None:
        self.on_start(
            ConfigureChild(
                settings=Settings(),
                state_root=str(self.folder.root),
                session_id="s",
                portfolio="portfolio",
                gateway="gateway",
            )
        )


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state").create()


@pytest.fixture
def store(folder: StateFolder) -> Iterator[BookStore]:
    opened = BookStore.open_writer(folder, 1, "binance/sim")
    with opened.transaction() as unit:
        book.record_opening_balances(unit, {"USDT": dec(100_000)}, time.time_ns())
    yield opened
    opened.close()


def fill(store: BookStore, number: int) -> tuple[AttemptRecord, Trade]:
    """An intent that ended filled, and its trade."""
    now = time.time_ns()
    with store.transaction() as unit:
        result = book.open_intent(unit, builders.opening(builders.request(key=f"k{number}"), at_ns=now), now)
        assert result.attempt is not None
        done = builders.trade(f"t{number}", "0.01")
        apply_report(unit, builders.snapshot(result.attempt, OrderStatus.FILLED, [done]), dec(5), now)
    known_as = ExchangeOrderId(f"X-{result.attempt.client_order_id}")
    return result.attempt, builders.replace(done, exchange_order_id=known_as)


def answer(actor: Any, trades: list[Trade]) -> None:
    actor.receiveMsg_TradesFetched(
        TradesFetched(purpose="check", symbol=SYMBOL, trades=tuple(trades), complete=True), "gateway"
    )


def write_results(actor: RecordedReconciler, store: BookStore) -> list[Any]:
    """What the reconciler told the book, which takes it in."""
    told = [event for message in actor.to("portfolio", RecordEvents) for event in message.events]
    with store.transaction() as unit:
        for event in told:
            unit.append_event(event)
    return told


# One process opens a book once, so the reconciler reads through the writer's own environment.
@pytest.fixture
def reconciler(folder: StateFolder, store: BookStore, monkeypatch: pytest.MonkeyPatch) -> RecordedReconciler:
    monkeypatch.setattr(BookStore, "open_reader", lambda _folder: store)
    return RecordedReconciler(folder)


def test_what_ended_is_compared_in_one_question_and_told_in_one_message(
    reconciler: RecordedReconciler, store: BookStore
) -> None:
    """C6: each ended intent gets its result, from its own trades alone."""
    reconciler.begin()
    trades = [fill(store, number)[1] for number in range(3)]
    reconciler.ask_for_trades()
    (asked,) = reconciler.to("gateway", FetchTrades)
    assert asked.symbol == SYMBOL
    answer(reconciler, trades)
    assert len(reconciler.to("portfolio", RecordEvents)) == 1
    told = write_results(reconciler, store)
    assert [event.code for event in told] == ["RECONCILED"] * 3


def test_an_intent_is_compared_once_more_after_a_while(reconciler: RecordedReconciler, store: BookStore) -> None:
    """The second look is due no earlier than the setting says, and only for what was compared."""
    reconciler.begin()
    trades = [fill(store, 1)[1]]
    reconciler.ask_for_trades()
    answer(reconciler, trades)
    (check,) = reconciler.checks[SYMBOL]
    wait_ns = check.due_ns - time.time_ns()
    assert 59 * NS_PER_S <= wait_ns <= 120 * NS_PER_S
    reconciler.ask_for_trades()
    assert len(reconciler.to("gateway", FetchTrades)) == 1


def test_a_restart_takes_up_what_was_not_compared(reconciler: RecordedReconciler, store: BookStore) -> None:
    """An intent whose result is in the book is left alone; one that ended just before the stop is not forgotten."""
    reconciler.begin()
    compared = fill(store, 1)
    reconciler.ask_for_trades()
    answer(reconciler, [compared[1]])
    write_results(reconciler, store)
    left, _ = fill(store, 2)
    again = RecordedReconciler(reconciler.folder)
    again.begin()
    again.find_ended()
    assert [check.intent_id for check in again.checks[SYMBOL]] == [left.intent_id]
