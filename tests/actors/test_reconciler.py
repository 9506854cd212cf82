"""The reconciler's shell: what the brain wants becomes messages, what comes is handed to it, and nothing is decided."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.children import GATEWAY
from actors.reconciler import ASKERS_MAX, CLOSE_TICK, Reconciler, to_gateway
from core import book, inquiry, wants
from core.events import StartReconciled
from core.ids import NS_PER_S, ClientOrderId, ExchangeOrderId, TradeId
from core.outcomes import apply_report
from core.records import AttemptRecord, PrivateData, PrivateDataState
from core.reports import OpenOrder, OrderStatus, QueryFailed, Trade
from core.settings import UNLIMITED, RouterSettings, Settings
from messages.book import ApplyReport, RecordEvents, RecordPrivateData, SettleTrades
from messages.lifecycle import ChildReady, ConfigureChild, PrepareStop, Rewire, StopPrepared, Tick
from messages.reconciling import (
    BookVerified,
    CompareAtStop,
    ComparedAtStop,
    ResolveUnknown,
    UnknownResolved,
    VerifyBook,
)
from messages.venue import (
    BalancesFetched,
    CancelAttempted,
    CancelOrder,
    EndPlacing,
    FetchBalances,
    FetchOpenOrders,
    FetchOrder,
    FetchRecentOrders,
    FetchTrades,
    OpenOrdersFetched,
    OrderReported,
    TradesFetched,
)
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
        self.engine = "engine"
        self.label = "reconciler"

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

    def answer(self, trades: tuple[Trade, ...] = (), totals: dict[str, Any] | None = None) -> None:
        """The gateway answers everything that it was asked."""
        asked, self.sent = self.to("gateway"), [entry for entry in self.sent if entry[0] != "gateway"]
        for question in asked:
            if isinstance(question, FetchTrades):
                told = TradesFetched(purpose=question.purpose, symbol=question.symbol, trades=trades, complete=True)
                self.receiveMsg_TradesFetched(told, "gateway")
            elif isinstance(question, FetchOpenOrders):
                self.receiveMsg_OpenOrdersFetched(
                    OpenOrdersFetched(purpose=question.purpose, symbol=question.symbol, orders=()), "gateway"
                )
            elif isinstance(question, FetchBalances):
                held = {"USDT": dec(100_000)} if totals is None else totals
                self.receiveMsg_BalancesFetched(BalancesFetched(purpose=question.purpose, totals=held), "gateway")


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


# One process opens a book once, so the reconciler reads through the writer's own environment.
@pytest.fixture
def reconciler(folder: StateFolder, store: BookStore, monkeypatch: pytest.MonkeyPatch) -> RecordedReconciler:
    monkeypatch.setattr(BookStore, "open_reader", lambda _folder: store)
    return RecordedReconciler(folder)


def accepted(store: BookStore, number: int = 1) -> AttemptRecord:
    now = time.time_ns()
    with store.transaction() as unit:
        result = book.open_intent(unit, builders.opening(builders.request(key=f"k{number}"), at_ns=now), UNLIMITED, now)
    assert result.attempt is not None
    return result.attempt


def lost(store: BookStore) -> AttemptRecord:
    """An order whose outcome is unknown."""
    attempt = accepted(store)
    with store.transaction() as unit:
        apply_report(unit, builders.unknown(attempt), RouterSettings(), time.time_ns())
    return attempt


def filled(store: BookStore) -> Trade:
    """The trade of an intent that ended."""
    attempt = accepted(store)
    report = builders.snapshot(attempt, OrderStatus.FILLED, [builders.trade("1", "0.01", venue_ns=time.time_ns())])
    with store.transaction() as unit:
        apply_report(unit, report, RouterSettings(), time.time_ns())
    return report.trades[0]


# ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_ready_when_the_comparison_is_over(reconciler: RecordedReconciler) -> None:
    """C1: the engine trades no earlier, and the result is in the book's outbox."""
    reconciler.begin()
    assert reconciler.to("engine", ChildReady) == []
    reconciler.answer()
    reconciler.answer()
    assert len(reconciler.to("engine", ChildReady)) == 1
    told = [event for message in reconciler.to("portfolio", RecordEvents) for event in message.events]
    assert any(isinstance(event, StartReconciled) for event in told)


def test_every_check_is_woken_at_its_interval(reconciler: RecordedReconciler) -> None:
    """And set again each time it comes."""
    reconciler.begin()
    assert {payload.name: delay for delay, payload in reconciler.woken} == reconciler.brain.intervals
    reconciler.woken.clear()
    reconciler.on_timer(Tick(name="search"))
    assert [payload.name for _, payload in reconciler.woken] == ["search"]


# ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_asks_about_an_order_is_told(reconciler: RecordedReconciler, store: BookStore) -> None:
    """The router that asked, where it is now; not the portfolio, which would not know whom to tell."""
    reconciler.begin()
    attempt = lost(store)
    reconciler.receiveMsg_ResolveUnknown(ResolveUnknown(attempt=attempt), "router")
    (question,) = reconciler.to("gateway", FetchOrder)
    report = builders.snapshot(attempt, source="lookup")
    reconciler.receiveMsg_OrderReported(
        OrderReported(purpose=question.purpose, client_order_id=attempt.client_order_id, report=report), "gateway"
    )
    assert reconciler.to("router") == [UnknownResolved(client_order_id=attempt.client_order_id, report=report)]
    assert reconciler.to("portfolio", ApplyReport) == []


def test_what_nobody_asked_about_goes_to_the_book(reconciler: RecordedReconciler, store: BookStore) -> None:
    """After a restart no router waits."""
    attempt = lost(store)
    reconciler.begin()
    (question,) = reconciler.to("gateway", FetchOrder)
    report = builders.snapshot(attempt, source="lookup")
    reconciler.receiveMsg_OrderReported(
        OrderReported(purpose=question.purpose, client_order_id=attempt.client_order_id, report=report), "gateway"
    )
    assert reconciler.to("portfolio", ApplyReport) == [ApplyReport(report=report)]


def test_a_replaced_gateway_is_asked_again(reconciler: RecordedReconciler) -> None:
    """Whatever waits; of a replaced portfolio nothing was asked."""
    reconciler.begin()
    asked = reconciler.to("gateway")
    assert asked
    new = {"portfolio": "portfolio", "gateway": "gateway 2", "reconciler": "self", "routers": {}}
    reconciler.receiveMsg_Rewire(Rewire(replaced="portfolio", **new), "engine")
    assert reconciler.to("gateway 2") == []
    reconciler.receiveMsg_Rewire(Rewire(replaced=GATEWAY, **new), "engine")
    assert reconciler.to("gateway 2") == asked


def test_what_nobody_wants_is_canceled_by_the_gateway(reconciler: RecordedReconciler, store: BookStore) -> None:
    """What the gateway answers proves nothing, and nothing follows from it."""
    reconciler.begin()
    attempt = lost(store)
    reconciler.carry_out(wants.Cancel(attempt))
    assert reconciler.to("gateway", CancelOrder) == [CancelOrder(attempt=attempt)]
    before = list(reconciler.sent)
    told = CancelAttempted(client_order_id=attempt.client_order_id, note="accepted")
    reconciler.receiveMsg_CancelAttempted(told, "gateway")
    assert reconciler.sent == before


def test_trades_of_others_are_sent_to_the_book(reconciler: RecordedReconciler, store: BookStore) -> None:
    """C4: as a settlement; and a booked trade is not handed over again."""
    done = filled(store)
    reconciler.begin()
    reconciler.answer(trades=(done,))
    assert reconciler.to("portfolio", ApplyReport) == []
    orders = (OpenOrder(client_order_id=ClientOrderId("web-1"), exchange_order_id=ExchangeOrderId("7"), symbol=SYMBOL),)
    reconciler.answer(totals={"USDT": dec(99_500), "BTC": dec("0.01")})
    reconciler.on_timer(Tick(name="orders"))
    (asked,) = reconciler.to("gateway", FetchOpenOrders)
    reconciler.receiveMsg_OpenOrdersFetched(
        OpenOrdersFetched(purpose=asked.purpose, symbol=None, orders=orders), "gateway"
    )
    (settled,) = reconciler.to("portfolio", SettleTrades)
    assert [order.client_order_id for order in settled.settlement.external_orders] == ["web-1"]


# ── verify ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everybody_who_wants_a_verdict_gets_it(reconciler: RecordedReconciler) -> None:
    """One comparison, an answer each, and nobody is remembered afterwards."""
    reconciler.begin()
    for _ in range(3):
        reconciler.answer()
    for number in range(2):
        reconciler.receiveMsg_VerifyBook(VerifyBook(request_id=f"v{number}"), f"client {number}")
    reconciler.answer()
    for number in range(2):
        (told,) = reconciler.to(f"client {number}", BookVerified)
        assert (told.request_id, told.verdict.differences) == (f"v{number}", ())
    assert reconciler.askers == {}


def test_an_engine_that_stops_hears_how_book_and_venue_compare(reconciler: RecordedReconciler) -> None:
    """Within the time it gave."""
    reconciler.begin()
    for _ in range(3):
        reconciler.answer()
    reconciler.receiveMsg_CompareAtStop(CompareAtStop(within_ns=5 * NS_PER_S), "engine")
    reconciler.answer()
    (told,) = reconciler.to("engine", ComparedAtStop)
    assert told.compared.agrees


def test_before_the_last_questions_of_a_stop_the_gateway_hears_that_nothing_is_placed(
    reconciler: RecordedReconciler,
) -> None:
    """They get the room that is kept for placements, and hear in time if there is none."""
    reconciler.begin()
    for _ in range(3):
        reconciler.answer()
    reconciler.receiveMsg_CompareAtStop(CompareAtStop(within_ns=6 * NS_PER_S), "engine")
    first, *questions = reconciler.to("gateway")
    assert first == EndPlacing(wait_max_ns=2 * NS_PER_S)
    assert {type(question) for question in questions} == {FetchOpenOrders, FetchBalances}


def test_those_who_ask_are_bounded(reconciler: RecordedReconciler) -> None:
    """A flood of requests takes no memory."""
    reconciler.begin()
    for number in range(ASKERS_MAX + 5):
        reconciler.receiveMsg_VerifyBook(VerifyBook(request_id=f"v{number}"), "client")
    assert len(reconciler.askers) == ASKERS_MAX


def test_a_failed_balance_is_passed_on_as_failed(reconciler: RecordedReconciler) -> None:
    """G3: it does not become an empty account on the way."""
    reconciler.begin()
    reconciler.answer()
    (question,) = reconciler.to("gateway", FetchBalances)
    failed = BalancesFetched(purpose=question.purpose, totals=QueryFailed(reason="502"))
    reconciler.receiveMsg_BalancesFetched(failed, "gateway")
    assert reconciler.to("engine", ChildReady) == []  # it is asked again


def test_the_book_is_told_that_the_account_can_be_read_again(reconciler: RecordedReconciler, store: BookStore) -> None:
    """A reconciler that starts finds it gone in the book; the first answer to any question about balances counts."""
    with store.transaction() as unit:
        unit.put_private_data(PrivateData(state=PrivateDataState.GONE, since_ns=5, reason="502", revision=3))
    reconciler.begin()
    reconciler.answer()
    assert reconciler.to("portfolio", RecordPrivateData) == []
    reconciler.answer()
    (told, *again) = reconciler.to("portfolio", RecordPrivateData)
    assert (told.private_data.is_gone, told.private_data.revision) == (False, 4)
    assert set(again) <= {told}


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (inquiry.AskOpenOrders("1", None), FetchOpenOrders(purpose="1", symbol=None)),
        (
            inquiry.AskOrders("2", SYMBOL, ExchangeOrderId("7"), 5),
            FetchRecentOrders(purpose="2", symbol=SYMBOL, from_order_id=ExchangeOrderId("7"), since_ns=5),
        ),
        (
            inquiry.AskTrades("3", SYMBOL, TradeId("8"), 6),
            FetchTrades(purpose="3", symbol=SYMBOL, from_trade_id=TradeId("8"), since_ns=6),
        ),
        (inquiry.AskBalances("4"), FetchBalances(purpose="4")),
    ],
)
def test_each_question_has_its_message(question: inquiry.Question, message: Any) -> None:
    """With the word that the answer brings back."""
    assert to_gateway(question) == message
    if not isinstance(question, inquiry.AskOrder):
        assert to_gateway(replace(question, on_demand=True)) == replace(message, on_demand=True)


def test_after_the_comparison_of_a_stop_nothing_is_told_any_more(reconciler: RecordedReconciler) -> None:
    """Whatever the venue answers, or is due: it would be written when nobody tells of it any more."""
    reconciler.begin()
    reconciler.receiveMsg_PrepareStop(PrepareStop(), "engine")
    assert isinstance(reconciler.sent[-1][1], StopPrepared)
    before = len(reconciler.sent)
    for name in reconciler.brain.intervals:
        reconciler.on_timer(Tick(name=name))
    assert len(reconciler.sent) == before


def test_the_time_of_a_stops_comparison_is_looked_at_when_it_is_over(reconciler: RecordedReconciler) -> None:
    """Not at the next look at what is due: the engine waits for the answer a moment only."""
    reconciler.begin()
    reconciler.receiveMsg_CompareAtStop(CompareAtStop(within_ns=3), "engine")
    assert (3, CLOSE_TICK) in reconciler.woken
    reconciler.on_timer(CLOSE_TICK)
    assert [CLOSE_TICK for _, payload in reconciler.woken if payload == CLOSE_TICK] == [CLOSE_TICK]
    assert isinstance(reconciler.to("engine", ComparedAtStop)[-1], ComparedAtStop)
