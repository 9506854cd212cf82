"""Group commit: nobody hears "yes" before the commit, and what was not committed was not answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.portfolio import Portfolio
from core import arming, trading
from core.book import OpeningOutcome
from core.concern import Concern
from core.events import AlertFired
from core.ids import NS_PER_S, IntentId
from core.intent import TimeInForce
from core.lifecycle import State
from core.planning import OrderPlan, Refusal
from core.records import AttemptRecord, BreakerRecord, BreakerState, PrivateData, PrivateDataState, TradingState
from core.reports import OrderStatus
from core.settings import from_mapping
from messages.book import (
    ApplyReport,
    ArmingSet,
    ArmTrading,
    BeginAttempt,
    CancelOpenIntents,
    CancelRequested,
    CommitBatch,
    DisarmTrading,
    FlushBook,
    IntentOpened,
    OpeningBalancesRecorded,
    OpenIntent,
    OpenIntentsCanceled,
    RecordBreaker,
    RecordClock,
    RecordOpeningBalances,
    RecordPrivateData,
    RecordRefusal,
    ReportApplied,
    RequestCancel,
    SetTradingState,
    TightenTrading,
    TradingStateSet,
)
from messages.lifecycle import ConfigureChild, Rewire, Tick
from messages.venue import PlaceOrder
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.actors.recorded import Recorded
from tests.builders import not_placed, opening, quote, request, snapshot, trade

CLIENT = "client"
BATCH = 3


class RecordedPortfolio(Recorded, Portfolio):
    """The portfolio with its sending recorded; everything else, and the book, is real."""

    def __init__(self, store: BookStore) -> None:
        super().__init__()
        self.store = store
        self.settings = from_mapping(
            {
                "portfolio": {"commit_batch_max": BATCH},
                "router": {"intent_stale_threshold": "36500d"},
                "risk": {"max_daily_drawdown_pct": 0.01},
            }
        )
        self.sent, self.woken = [], []


@pytest.fixture
def portfolio(tmp_path: Path) -> Iterator[RecordedPortfolio]:
    store = BookStore.open_writer(StateFolder(tmp_path).create(), 1, "binance/sim")
    recorded = RecordedPortfolio(store)
    yield recorded
    if recorded.unit is not None:
        recorded.unit.abort()
    store.close()


def committed(portfolio: RecordedPortfolio) -> int:
    with portfolio.store.snapshot() as view:
        return view.last_sequence("audit")


def refusal() -> RecordRefusal:
    return RecordRefusal(symbol="BTC/USDT", key=None, refusal=Refusal("TEST", "because"))


def name_gateway(portfolio: RecordedPortfolio, address: str | None) -> None:
    """As the engine does."""
    named = Rewire(replaced="gateway", portfolio="self", gateway=address, reconciler=None, routers={})
    portfolio.receiveMsg_Rewire(named, "engine")


def test_answers_leave_after_the_commit(portfolio: RecordedPortfolio) -> None:
    """A request is applied at once, but neither durable nor answered before the batch is committed."""
    name_gateway(portfolio, CLIENT)
    portfolio.receiveMsg_RecordOpeningBalances(RecordOpeningBalances(totals={"BTC": Decimal(1)}), CLIENT)
    assert (portfolio.to(CLIENT), committed(portfolio)) == ([], 0)
    (mark,) = portfolio.to("self")
    portfolio.receiveMsg_CommitBatch(mark, "self")
    assert committed(portfolio) == 1
    assert [answer.first for answer in portfolio.to(CLIENT)] == [True]


def test_requests_that_arrive_together_share_a_commit(portfolio: RecordedPortfolio) -> None:
    """One mark for the whole batch, and all answers in the order of the requests."""
    portfolio.receiveMsg_RecordRefusal(refusal(), CLIENT)
    portfolio.receiveMsg_FlushBook(FlushBook(), CLIENT)
    assert len(portfolio.to("self")) == 1
    portfolio.receiveMsg_CommitBatch(portfolio.to("self")[0], "self")
    assert [answer.last_event for answer in portfolio.to(CLIENT)] == [1]


def opened(portfolio: RecordedPortfolio) -> IntentOpened:
    """An intent that the book has accepted, answered and handed over."""
    name_gateway(portfolio, "gateway")
    portfolio.receiveMsg_RecordOpeningBalances(RecordOpeningBalances(totals={"USDT": Decimal(1_000)}), "gateway")
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=opening(request(qty=Decimal("0.001")))), "router")
    portfolio.commit()
    (answer,) = portfolio.to("router", IntentOpened)
    assert isinstance(answer, IntentOpened)
    return answer


def test_an_attempt_goes_to_the_gateway_once_and_after_the_commit(portfolio: RecordedPortfolio) -> None:
    """What may be on the wire is on disk first; a request that is repeated sends nothing again."""
    name_gateway(portfolio, "gateway")
    portfolio.receiveMsg_RecordOpeningBalances(RecordOpeningBalances(totals={"USDT": Decimal(1_000)}), "gateway")
    portfolio.commit()
    wanted = OpenIntent(opening=opening(request(qty=Decimal("0.001"))))
    portfolio.receiveMsg_OpenIntent(wanted, "router")
    portfolio.receiveMsg_OpenIntent(wanted, "router")
    assert portfolio.to("gateway", PlaceOrder) == []
    portfolio.commit()
    portfolio.receiveMsg_OpenIntent(wanted, "router")
    portfolio.commit()
    first, second, third = portfolio.to("router", IntentOpened)
    assert first == second == third
    assert [message.attempt for message in portfolio.to("gateway", PlaceOrder)] == [first.result.attempt]


def test_a_refused_intent_sends_nothing(portfolio: RecordedPortfolio) -> None:
    """Nor does one whose key belongs to another."""
    answer = opened(portfolio)
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=opening(request(qty=Decimal(1), key="dear"))), "router")
    key = answer.result.record.intent.idempotency_key
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=opening(request(qty=Decimal("0.002"), key=key))), "router")
    portfolio.commit()
    assert [message.result.outcome for message in portfolio.to("router", IntentOpened)] == [
        OpeningOutcome.ACCEPTED,
        OpeningOutcome.REFUSED,
        OpeningOutcome.CONFLICT,
    ]
    assert len(portfolio.to("gateway", PlaceOrder)) == 1


def test_a_next_attempt_goes_to_the_gateway_once(portfolio: RecordedPortfolio) -> None:
    """Whether its beginning was asked for once or twice, and not while it cannot begin."""
    first = opened(portfolio).result
    again = BeginAttempt(intent_id=first.record.intent.intent_id, attempt=2, plan=wanted_plan(first.attempt))
    portfolio.receiveMsg_BeginAttempt(again, "router")
    portfolio.receiveMsg_ApplyReport(ApplyReport(report=not_placed(first.attempt, retryable=True)), "gateway")
    portfolio.commit()
    assert len(portfolio.to("gateway", PlaceOrder)) == 1
    portfolio.receiveMsg_BeginAttempt(again, "router")
    portfolio.receiveMsg_BeginAttempt(again, "router")
    portfolio.commit()
    assert [message.attempt.attempt for message in portfolio.to("gateway", PlaceOrder)] == [1, 2]


def wanted_plan(attempt: AttemptRecord) -> OrderPlan:
    return OrderPlan(
        qty=attempt.qty,
        price=attempt.price,
        tif=TimeInForce.IOC,
        reference=attempt.price,
        asked_price=None,
        slippage_bps=Decimal(0),
        capped=False,
    )


@pytest.mark.parametrize("teller", ["gateway", "router"])
def test_a_report_is_answered_to_the_router_of_its_symbol(portfolio: RecordedPortfolio, teller: str) -> None:
    """Whoever brings it: the gateway brings outcomes of placements, the router what it found out otherwise."""
    answer = opened(portfolio)
    told = len(portfolio.to("gateway"))
    portfolio.receiveMsg_ApplyReport(ApplyReport(report=snapshot(answer.result.attempt)), teller)
    portfolio.commit()
    (applied,) = portfolio.to("router", ReportApplied)
    assert applied.record.state is State.SENT
    assert len(portfolio.to("gateway")) == told


def test_a_full_batch_is_committed_without_waiting(portfolio: RecordedPortfolio) -> None:
    """The bound commits by itself; the mark that comes later is stale and does nothing."""
    for _ in range(BATCH):
        portfolio.receiveMsg_RecordRefusal(refusal(), CLIENT)
    assert committed(portfolio) == BATCH
    portfolio.receiveMsg_RecordRefusal(refusal(), CLIENT)
    stale, fresh = portfolio.to("self")
    portfolio.receiveMsg_CommitBatch(stale, "self")
    assert committed(portfolio) == BATCH
    portfolio.receiveMsg_CommitBatch(fresh, "self")
    assert committed(portfolio) == BATCH + 1


def test_a_cancel_does_not_wait_until_the_batch_is_full(portfolio: RecordedPortfolio) -> None:
    """It is durable and answered at once, and so is what was in the open batch."""
    portfolio.receiveMsg_RecordRefusal(refusal(), CLIENT)
    nobody = IntentId("1-BTCUSDT-0")
    portfolio.receiveMsg_RequestCancel(RequestCancel(intent_id=nobody, reason="enough"), CLIENT)
    assert portfolio.to(CLIENT) == [CancelRequested(intent_id=nobody, record=None, attempt=None)]
    assert committed(portfolio) == 1


def test_a_batch_that_was_not_committed_has_not_happened(portfolio: RecordedPortfolio) -> None:
    """If the process ends before the commit, nothing is in the book and nobody was told otherwise."""
    name_gateway(portfolio, CLIENT)
    portfolio.receiveMsg_RecordOpeningBalances(RecordOpeningBalances(totals={"BTC": Decimal(1)}), CLIENT)
    assert portfolio.unit is not None
    portfolio.unit.abort()
    portfolio.unit = None
    assert (portfolio.to(CLIENT), committed(portfolio)) == ([], 0)
    assert isinstance(portfolio.to("self")[0], CommitBatch)


INTRODUCTION = RecordOpeningBalances(totals={"USDT": Decimal(1_000)})


def let_in(portfolio: RecordedPortfolio, address: str) -> None:
    name_gateway(portfolio, address)
    portfolio.receiveMsg_RecordOpeningBalances(INTRODUCTION, address)
    portfolio.commit()


def test_only_the_gateway_that_the_engine_has_named_is_let_in(portfolio: RecordedPortfolio) -> None:
    """An introduction that a dead one has left on the road would turn every order to nobody."""
    let_in(portfolio, "first")
    let_in(portfolio, "second")
    portfolio.receiveMsg_RecordOpeningBalances(INTRODUCTION, "first")
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=opening(request(qty=Decimal("0.001")))), "router")
    portfolio.commit()
    assert (len(portfolio.to("first", PlaceOrder)), len(portfolio.to("second", PlaceOrder))) == (0, 1)


def test_a_gateway_that_comes_before_its_name_is_let_in_when_it_asks_again(portfolio: RecordedPortfolio) -> None:
    """Nothing says in which order the engine's word and its own arrive."""
    portfolio.receiveMsg_RecordOpeningBalances(INTRODUCTION, "gateway")
    portfolio.commit()
    assert (portfolio.to("gateway"), portfolio.gateway) == ([], None)
    let_in(portfolio, "gateway")
    assert portfolio.gateway == "gateway"


def test_a_gateway_that_asks_twice_is_answered_twice_and_begins_one_epoch(portfolio: RecordedPortfolio) -> None:
    """What is on its way through it would be lost track of."""
    let_in(portfolio, "gateway")
    epoch = portfolio.epoch
    portfolio.receiveMsg_RecordOpeningBalances(INTRODUCTION, "gateway")
    portfolio.commit()
    assert [answer.first for answer in portfolio.to("gateway", OpeningBalancesRecorded)] == [True, False]
    assert portfolio.epoch == epoch


def test_a_gateway_that_was_replaced_gets_no_order_any_more(portfolio: RecordedPortfolio) -> None:
    """From the moment in which the engine names another one, and before that one has come."""
    let_in(portfolio, "first")
    name_gateway(portfolio, "second")
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=opening(request(qty=Decimal("0.001")))), "router")
    portfolio.commit()
    assert portfolio.to("first", PlaceOrder) == []
    ((report,),) = [[message.report for message in portfolio.to("self", ApplyReport)]]
    assert (report.code, report.never_left) == ("NO_GATEWAY", True)  # it uses up no retry


def test_the_breaker_is_kept_for_the_gateway_that_is_let_in(portfolio: RecordedPortfolio) -> None:
    """One that was replaced has no say; the same told twice is one change."""
    let_in(portfolio, "gateway")
    opened = BreakerRecord(state=BreakerState.OPEN, revision=1, since_ns=5, opens_total=1)
    portfolio.receiveMsg_RecordBreaker(RecordBreaker(breaker=opened), "somebody else")
    before = committed(portfolio)
    for _ in range(2):
        portfolio.receiveMsg_RecordBreaker(RecordBreaker(breaker=opened), "gateway")
    portfolio.commit()
    with portfolio.store.snapshot() as view:
        assert (view.breaker(), view.last_sequence("audit") - before) == (opened, 1)


def test_the_venues_clock_is_kept_for_the_gateway_that_is_let_in(portfolio: RecordedPortfolio) -> None:
    """And whoever is told of a halt is told how far ahead an order may have claimed to be."""
    let_in(portfolio, "gateway")
    portfolio.receiveMsg_RecordClock(RecordClock(correction_ns=60 * NS_PER_S), "somebody else")
    for _ in range(2):
        portfolio.receiveMsg_RecordClock(RecordClock(correction_ns=20 * NS_PER_S), "gateway")
    portfolio.commit()
    halt = SetTradingState(request_id="r", state=TradingState.HALTED, reason="a test")
    portfolio.receiveMsg_SetTradingState(halt, CLIENT)
    assert [told.clock_span_ns for told in portfolio.to(CLIENT, TradingStateSet)] == [20 * NS_PER_S]


def test_what_can_be_read_is_kept_whoever_says_it_and_however_often(portfolio: RecordedPortfolio) -> None:
    """A change is two events, the change itself and its alert; said again, it is nothing."""
    gone = PrivateData(state=PrivateDataState.GONE, since_ns=5, reason="502", revision=1)
    before = committed(portfolio)
    for reconciler in ("the first", "its successor"):
        portfolio.receiveMsg_RecordPrivateData(RecordPrivateData(private_data=gone), reconciler)
    portfolio.commit()
    with portfolio.store.snapshot() as view:
        assert (view.private_data(), view.last_sequence("audit") - before) == (gone, 2)


# ── trading is narrowed ───────────────────────────────────────────────────────────────────────────────────────────────


def working(portfolio: RecordedPortfolio) -> IntentOpened:
    """A buy that rests at the venue."""
    answer = opened(portfolio)
    portfolio.receiveMsg_ApplyReport(ApplyReport(report=snapshot(answer.result.attempt)), "gateway")
    portfolio.commit()
    return answer


def set_trading(portfolio: RecordedPortfolio, state: TradingState, *, cancel_open: bool = False) -> TradingStateSet:
    wanted = SetTradingState(request_id="r", state=state, reason="a test", cancel_open=cancel_open)
    portfolio.receiveMsg_SetTradingState(wanted, "engine")
    portfolio.commit()
    answer: TradingStateSet = portfolio.to("engine", TradingStateSet)[-1]
    return answer


def states_told(portfolio: RecordedPortfolio) -> list[State]:
    return [message.record.state for message in portfolio.to("router", ReportApplied)]


def test_reducing_cancels_what_buys_and_tells_its_router(portfolio: RecordedPortfolio) -> None:
    """In the same transaction as the state; saying it again cancels nothing more."""
    working(portfolio)
    assert set_trading(portfolio, TradingState.REDUCING).canceling == 1
    assert states_told(portfolio) == [State.SENT, State.CANCELING]
    assert set_trading(portfolio, TradingState.REDUCING).canceling == 0


@pytest.mark.parametrize(("cancel_open", "told"), [(False, []), (True, [State.CANCELING])])
def test_a_halt_cancels_what_works_only_when_asked(
    portfolio: RecordedPortfolio, cancel_open: bool, told: list[State]
) -> None:
    """Working orders stay, unless the operator wants them gone."""
    working(portfolio)
    assert set_trading(portfolio, TradingState.HALTED, cancel_open=cancel_open).canceling == len(told)
    assert states_told(portfolio) == [State.SENT, *told]


def test_a_stop_that_cancels_notes_all_of_it_in_one_commit(portfolio: RecordedPortfolio) -> None:
    """The routers hear of it, the engine hears when it is durable, and asking again changes nothing."""
    working(portfolio)
    for noted in (1, 0):
        portfolio.receiveMsg_CancelOpenIntents(CancelOpenIntents(reason="Ctrl-C"), "engine")
        portfolio.commit()
        assert portfolio.to("engine", OpenIntentsCanceled)[-1].noted == noted
    assert states_told(portfolio) == [State.SENT, State.CANCELING]


def test_a_part_that_narrows_trading_cancels_what_buys(portfolio: RecordedPortfolio) -> None:
    """Whoever it was that narrowed it."""
    working(portfolio)
    concern = Concern(code="BALANCE_DRIFT", text="a test")
    portfolio.receiveMsg_TightenTrading(
        TightenTrading(state=TradingState.REDUCING, concern=concern, by="reconciler"), "reconciler"
    )
    portfolio.commit()
    assert states_told(portfolio) == [State.SENT, State.CANCELING]


ACCOUNT = "0123456789ab"


def arm(portfolio: RecordedPortfolio, asked_ns: int, for_s: float = 3_600) -> ArmingSet:
    wish = ArmTrading(request_id="r", account=ACCOUNT, for_ns=int(for_s * NS_PER_S), reason="a test", asked_ns=asked_ns)
    portfolio.receiveMsg_ArmTrading(wish, "engine")
    portfolio.commit()
    answer: ArmingSet = portfolio.to("engine", ArmingSet)[-1]
    return answer


def looks(portfolio: RecordedPortfolio) -> list[tuple[int, Tick]]:
    return [(delay_ns, payload) for delay_ns, payload in portfolio.woken if isinstance(payload, Tick)]


def alerts(portfolio: RecordedPortfolio) -> list[str]:
    portfolio.commit()
    with portfolio.store.snapshot() as view:
        return [event.code for _, event in view.events() if isinstance(event, AlertFired)]


def test_an_arming_is_answered_when_it_is_durable(portfolio: RecordedPortfolio) -> None:
    """Like everything that somebody relies on."""
    asked_ns = time.time_ns()
    wish = ArmTrading(request_id="r", account=ACCOUNT, for_ns=NS_PER_S, reason="a test", asked_ns=asked_ns)
    portfolio.receiveMsg_ArmTrading(wish, "engine")
    assert portfolio.to("engine") == []
    portfolio.commit()
    (answer,) = portfolio.to("engine", ArmingSet)
    with portfolio.store.snapshot() as view:
        assert answer.arming == view.arming()
    assert (answer.arming.account, answer.arming.until_ns) == (ACCOUNT, asked_ns + NS_PER_S)


def test_an_arming_that_comes_late_does_not_undo_a_disarming(portfolio: RecordedPortfolio) -> None:
    """It is refused, and whoever waits for it is told why."""
    asked_ns = time.time_ns()
    portfolio.receiveMsg_DisarmTrading(
        DisarmTrading(request_id="d", reason="enough", asked_ns=time.time_ns()), "engine"
    )
    late = arm(portfolio, asked_ns)
    assert late.refusal is not None
    assert (late.refusal.code, late.arming) == ("ARMING_OVERTAKEN", None)


def test_the_end_of_an_arming_is_told_when_it_comes(portfolio: RecordedPortfolio) -> None:
    """Once, by the look that is for it; one that comes too early looks again."""
    arm(portfolio, time.time_ns() - 30 * NS_PER_S, for_s=60)
    ((delay_ns, early),) = looks(portfolio)
    assert delay_ns <= 30 * NS_PER_S
    portfolio.on_timer(early)
    (_, (_, again)) = looks(portfolio)
    assert alerts(portfolio) == []
    with portfolio.store.transaction() as unit:
        record = unit.arming()
        assert record is not None
        unit.put_arming(replace(record, until_ns=time.time_ns()))
    for tick in (early, again, again):
        portfolio.on_timer(tick)
    assert alerts(portfolio) == ["ARMING_EXPIRED"]
    assert len(looks(portfolio)) == 2


def test_an_arming_that_ended_while_nobody_lived_is_told_by_the_next(
    portfolio: RecordedPortfolio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts on the book looks when it is to be over, or whether it was told."""
    with portfolio.store.transaction() as unit:
        arming.arm(unit, ACCOUNT, NS_PER_S, "a test", "operator", 1, 1)
    monkeypatch.setattr(portfolio, "open_book_to_write", lambda: portfolio.store)
    portfolio.on_start(
        ConfigureChild(
            settings=portfolio.settings, state_root=str(tmp_path), session_id="s", portfolio=None, routers={}
        )
    )
    ((delay_ns, look),) = looks(portfolio)
    assert delay_ns == 0
    portfolio.on_timer(look)
    assert alerts(portfolio) == ["ARMING_EXPIRED"]


def test_looks_for_the_end_are_not_far_between(portfolio: RecordedPortfolio) -> None:
    """A clock that is set must not hide it; and those for an arming that was replaced are over."""
    arm(portfolio, time.time_ns())
    arm(portfolio, time.time_ns())
    (first_ns, stale), _ = looks(portfolio)
    assert first_ns <= 60 * NS_PER_S
    portfolio.on_timer(stale)
    assert len(looks(portfolio)) == 2


def test_a_day_that_has_lost_too_much_narrows_trading_until_an_operator_has_seen_it(
    portfolio: RecordedPortfolio,
) -> None:
    """The price falls; the next wish is refused by name, trading is REDUCING, and resume measures anew."""
    first = opened(portfolio).result.attempt
    assert first is not None
    bought = trade("t1", str(first.qty), "50000")
    portfolio.receiveMsg_ApplyReport(ApplyReport(report=snapshot(first, OrderStatus.FILLED, [bought])), "gateway")
    low = quote("30000", "30010")
    cheap = request(qty=Decimal("0.001"), limit_price="30010", key="cheap")
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=opening(cheap, top=low)), "router")
    portfolio.commit()
    refused = portfolio.to("router", IntentOpened)[-1].result.refusal
    assert refused.code == "RISK_MAX_DAILY_DRAWDOWN_PCT"
    with portfolio.store.snapshot() as view:
        standing = trading.standing(view)
    assert (standing.state, standing.by, "DAILY_DRAWDOWN" in standing.reason) == (
        TradingState.REDUCING,
        "portfolio",
        True,
    )
    set_trading(portfolio, TradingState.ACTIVE)
    later = opening(replace(cheap, key="again"), top=low)
    portfolio.receiveMsg_OpenIntent(OpenIntent(opening=later), "router")
    portfolio.commit()
    assert portfolio.to("router", IntentOpened)[-1].result.outcome is OpeningOutcome.ACCEPTED
