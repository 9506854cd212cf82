"""The gateway's shell: an order leaves once, and never in a mode or at a moment that forbids it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace

from actors.gateway import HEALTH_TICK
from core import arming, book, breaker, fencing, private_data, trading
from core.account import Account
from core.evidence import SENT_WITHIN_NS
from core.ids import NS_PER_S, ClientOrderId
from core.intent import Side
from core.meter import Earlier
from core.outcomes import apply_report
from core.predecessor import Left
from core.rates import Lane, Stop
from core.records import AttemptRecord, BreakerState, PrivateData, PrivateDataState, TradingState
from core.reports import NotPlaced, OutcomeUnknown, Report
from core.settings import UNLIMITED, RouterSettings
from exchange import stream
from messages.book import (
    ApplyReport,
    OpeningBalancesRecorded,
    RecordBreaker,
    RecordEvents,
    RecordOpeningBalances,
)
from messages.lifecycle import ConfigureChild, Rewire
from messages.venue import (
    AwaitQuiet,
    CancelOrder,
    EndPlacing,
    GatewayHealth,
    GatewayReady,
    PlaceOrder,
    WireQuiet,
)
from storage.book_store import BookStore
from tests import builders
from tests.actors.recorded_gateway import BOOK, ROUTER, RecordedGateway, answers

OURS = "0123456789ab"
READY = GatewayReady(markets={}, totals={}, account=Account(fingerprint=OURS, address="http://127.0.0.1:1"))
ENGINE = "engine"


def test_a_placement_that_is_delivered_twice_is_sent_once(store: BookStore, attempt: AttemptRecord) -> None:
    """The venue would execute the second one: its ids are unique among open orders only."""
    gateway = RecordedGateway(store)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert gateway.left == [attempt.client_order_id]
    assert answers(gateway) == []


@pytest.mark.parametrize(("mode", "code"), [("observe", "OBSERVE_MODE"), ("live", "ORDER_BLOCKED_LIVE_TRADING")])
def test_modes_that_do_not_send_do_not_send(store: BookStore, attempt: AttemptRecord, mode: str, code: str) -> None:
    """The order is answered as definitely not placed, and no request is begun."""
    gateway = RecordedGateway(store, mode)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.left) == (code, False, [])


def arm_for(store: BookStore, account: str, ago_s: int, for_s: int) -> None:
    asked_ns = time.time_ns() - ago_s * NS_PER_S
    with store.transaction() as unit:
        arming.arm(unit, account, for_s * NS_PER_S, "a test", "operator", asked_ns, asked_ns)


@pytest.mark.parametrize(
    ("account", "ago_s", "for_s", "leaves"),
    [(OURS, 5, 3_600, True), (OURS, 5, 4, False), (OURS, -5, 3_600, False), ("ba9876543210", 5, 3_600, False)],
    ids=["armed", "over", "not begun", "of another account"],
)
def test_live_sends_what_is_armed_now_for_its_account(
    store: BookStore, attempt: AttemptRecord, account: str, ago_s: int, for_s: int, leaves: bool
) -> None:
    """The gateway looks into the book in the last moment, and at the account that its own key opens."""
    gateway = RecordedGateway(store, "live")
    gateway.ready = READY
    arm_for(store, account, ago_s, for_s)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert gateway.left == ([attempt.client_order_id] if leaves else [])
    assert [report.code for report in answers(gateway)] == ([] if leaves else ["ORDER_BLOCKED_LIVE_TRADING"])


def test_nothing_leaves_after_a_disarming(store: BookStore, attempt: AttemptRecord) -> None:
    """Not even what was accepted, and handed over, before it."""
    gateway = RecordedGateway(store, "live")
    gateway.ready = READY
    arm_for(store, OURS, 5, 3_600)
    with store.transaction() as unit:
        arming.disarm(unit, "enough", "operator", time.time_ns(), time.time_ns())
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.left) == ("ORDER_BLOCKED_LIVE_TRADING", False, [])


def test_a_gateway_that_knows_no_account_yet_sends_nothing_live(store: BookStore, attempt: AttemptRecord) -> None:
    """Whatever is armed."""
    gateway = RecordedGateway(store, "live")
    arm_for(store, OURS, 5, 3_600)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert gateway.left == []


@pytest.mark.parametrize("mode", ["observe", "live"])
def test_cancels_leave_in_every_mode(store: BookStore, attempt: AttemptRecord, mode: str) -> None:
    """An order that works is canceled whether anything is armed or not."""
    gateway = RecordedGateway(store, mode)
    gateway.receiveMsg_CancelOrder(CancelOrder(attempt=attempt), ROUTER)
    assert gateway.venue_client.canceled == [attempt.client_order_id]


def test_an_order_that_waited_too_long_is_not_sent(store: BookStore, attempt: AttemptRecord) -> None:
    """Its price was made for another moment; nothing has left, so it may be tried again."""
    gateway = RecordedGateway(store)
    old = replace(attempt, created_ns=time.time_ns() - SENT_WITHIN_NS - 1)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=old), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.left) == ("STALE", True, [])


def test_nothing_is_sent_any_more_when_the_engine_stops(store: BookStore, attempt: AttemptRecord) -> None:
    """After the gateway has said that it is prepared, an order is refused with proof."""
    gateway = RecordedGateway(store)
    assert gateway.on_prepare_stop()
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.never_left, gateway.left) == ("STOPPING", True, [])


def test_nothing_is_sent_any_more_when_questions_get_the_room_of_placements(
    store: BookStore, attempt: AttemptRecord
) -> None:
    """The comparison of a stop has begun: what comes late waits for the next start."""
    gateway = RecordedGateway(store)
    gateway.receiveMsg_EndPlacing(EndPlacing(wait_max_ns=7), "reconciler")
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.never_left, gateway.left) == ("STOPPING", True, [])
    assert gateway.venue_client.waits_ns == [7]


def test_an_order_of_an_older_epoch_is_not_sent(store: BookStore, attempt: AttemptRecord) -> None:
    """A newer engine has begun on the book: what this one still has in its hands must not leave."""
    gateway = RecordedGateway(store)
    with store.transaction() as unit:
        fencing.begin(unit, 2)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.left) == ("FENCED", True, [])


def test_nothing_leaves_while_trading_is_halted(store: BookStore, attempt: AttemptRecord) -> None:
    """Not even what was durable before the halt: the gateway looks in the last moment."""
    gateway = RecordedGateway(store)
    with store.transaction() as unit:
        trading.tighten(unit, TradingState.HALTED, "a test", "test", 2)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.left) == ("TRADING_HALTED", False, [])


def test_the_wire_is_quiet_when_every_order_is_answered(store: BookStore, attempt: AttemptRecord) -> None:
    """An order whose answer was lost may still reach the venue; one that was answered, or never sent, may not."""
    gateway = RecordedGateway(store)
    lost_answer, gateway.venue_client.answer = gateway.venue_client.answer, builders.snapshot
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    gateway.receiveMsg_AwaitQuiet(AwaitQuiet(request_id="answered"), ENGINE)
    gateway.venue_client.answer = lost_answer
    lost = replace(attempt, client_order_id="lost")
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=lost), ROUTER)
    gateway.receiveMsg_AwaitQuiet(AwaitQuiet(request_id="lost"), ENGINE)
    assert [message.request_id for message in gateway.to(ENGINE, WireQuiet)] == ["answered"]
    assert gateway.left == [attempt.client_order_id, "lost"]


def test_a_result_goes_to_the_portfolio_of_the_moment(store: BookStore, attempt: AttemptRecord) -> None:
    """While the venue was thinking, the portfolio was replaced; the old one would not hear it."""
    gateway = RecordedGateway(store)
    moved = Rewire(replaced="portfolio", portfolio="the new one", gateway="g", reconciler="r", routers={})
    gateway.receiveMsg_Rewire(moved, "engine")
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    assert [type(message.report) for message in gateway.to("the new one", ApplyReport)] == [OutcomeUnknown]


def rewired(gateway: RecordedGateway, portfolio: str) -> None:
    wired = Rewire(replaced="portfolio", portfolio=portfolio, gateway="self", reconciler=None, routers={})
    gateway.receiveMsg_Rewire(wired, "engine")


def test_a_gateway_introduces_itself_until_it_is_answered(store: BookStore) -> None:
    """To each portfolio: the first word may be lost, or come before the engine's."""
    gateway = RecordedGateway(store)
    gateway.deliver(None, READY)
    for _ in range(2):
        gateway.on_timer(gateway.woken.pop()[1])
    assert len(gateway.to(BOOK, RecordOpeningBalances)) == 3
    gateway.receiveMsg_OpeningBalancesRecorded(OpeningBalancesRecorded(first=True), BOOK)
    gateway.on_timer(gateway.woken.pop()[1])
    assert (len(gateway.to(BOOK, RecordOpeningBalances)), gateway.woken) == (3, [])
    rewired(gateway, "next")
    gateway.on_timer(gateway.woken.pop()[1])
    assert len(gateway.to("next", RecordOpeningBalances)) == 2


def lose_private_data(store: BookStore) -> None:
    with store.transaction() as unit:
        private_data.note(unit, PrivateData(state=PrivateDataState.GONE, reason="502", revision=1), 2)


def test_a_buy_does_not_leave_while_private_data_is_gone(store: BookStore, attempt: AttemptRecord) -> None:
    """Not even what was durable before; it waits, and is told when to come."""
    gateway = RecordedGateway(store)
    lose_private_data(store)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=attempt), ROUTER)
    (report,) = answers(gateway)
    assert (report.code, report.retryable, gateway.left) == ("PRIVATE_DATA_GONE", True, [])
    assert report.retry_after_ns == private_data.LOOK_AGAIN_NS
    assert (gateway.permits, gateway.breaker.figures(1).samples) == ({}, 0)


def test_a_sell_leaves_while_private_data_is_gone(store: BookStore, attempt: AttemptRecord) -> None:
    """Only buys wait."""
    gateway = RecordedGateway(store)
    lose_private_data(store)
    gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=replace(attempt, side=Side.SELL)), ROUTER)
    assert gateway.left == [attempt.client_order_id]


# ── the breaker and the budget ────────────────────────────────────────────────────────────────────────────────────────


def place_many(gateway: RecordedGateway, attempt: AttemptRecord, count: int) -> None:
    for _ in range(count):
        name = ClientOrderId(f"order{len(gateway.handed)}")
        gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=replace(attempt, client_order_id=name)), ROUTER)


def test_a_venue_that_fails_gets_no_new_orders(store: BookStore, attempt: AttemptRecord) -> None:
    """After ten unknown outcomes the eleventh order waits, and the book is told once of the change."""
    gateway = RecordedGateway(store)
    place_many(gateway, attempt, 12)
    assert len(gateway.left) == 10
    held = answers(gateway)
    assert [(report.code, report.retryable) for report in held] == [("BREAKER_OPEN", True)] * 2
    assert all(0 < report.retry_after_ns <= gateway.settings.breaker.cool_off for report in held)
    (told,) = gateway.to(BOOK, RecordBreaker)
    assert (told.breaker.state, told.breaker.opens_total) == (BreakerState.OPEN, 1)


def test_a_venue_that_refuses_is_not_sick(store: BookStore, attempt: AttemptRecord) -> None:
    """Not enough money, a filter: it works, and says no."""
    gateway = RecordedGateway(store)
    gateway.venue_client.answer = lambda about: NotPlaced(
        client_order_id=about.client_order_id, code="InsufficientFunds", reason="", retryable=False
    )
    place_many(gateway, attempt, 50)
    assert (len(gateway.left), gateway.breaker.record.state) == (50, BreakerState.CLOSED)


def test_an_open_breaker_is_taken_up_from_the_book(store: BookStore, attempt: AttemptRecord) -> None:
    """Another gateway, the same cool-off; and no permit is left of orders that are over."""
    first = RecordedGateway(store)
    place_many(first, attempt, 10)
    (told,) = first.to(BOOK, RecordBreaker)
    with store.transaction() as unit:
        breaker.note(unit, told.breaker, 5)
    second = RecordedGateway(store)
    place_many(second, attempt, 1)
    assert ([report.code for report in answers(second)], second.left) == (["BREAKER_OPEN"], [])
    assert first.permits == {}


def test_the_book_is_told_of_the_breaker_until_it_shows_it(store: BookStore, attempt: AttemptRecord) -> None:
    """The road may lose the word; each second the gateway looks."""
    gateway = RecordedGateway(store)
    place_many(gateway, attempt, 10)
    gateway.on_timer(HEALTH_TICK)
    first, again = gateway.to(BOOK, RecordBreaker)
    assert first == again
    with store.transaction() as unit:
        breaker.note(unit, again.breaker, 5)
    gateway.on_timer(HEALTH_TICK)
    assert len(gateway.to(BOOK, RecordBreaker)) == 2


def test_the_engine_hears_of_what_has_changed(store: BookStore, attempt: AttemptRecord) -> None:
    """Figures of budget and breaker, once; nothing new is not told."""
    gateway = RecordedGateway(store)
    gateway.engine = "engine"
    for _ in range(3):
        gateway.on_timer(HEALTH_TICK)
    place_many(gateway, attempt, 1)
    gateway.on_timer(HEALTH_TICK)
    told = gateway.to("engine", GatewayHealth)
    assert [health.breaker.samples for health in told] == [0, 1]
    assert all(payload == HEALTH_TICK for _, payload in gateway.woken)
    assert len(gateway.woken) == 4


def test_a_refusal_for_too_many_requests_is_in_the_audit_trail(store: BookStore) -> None:
    """When, which lanes, until when."""
    gateway = RecordedGateway(store)
    gateway.rate_limit_hit(429, Stop((Lane.PLACE,), 1, 99, "the venue answered 429: too many orders"))
    (recorded,) = gateway.to(BOOK, RecordEvents)
    (hit,) = recorded.events
    assert (hit.status, hit.lanes, hit.until_ns) == (429, ("place",), 99)


def test_a_gateway_knows_from_the_book_what_the_one_before_has_placed(
    store: BookStore, placed: AttemptRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue's window has it, whoever sent it: the first order of the new one must not be too many."""
    taken_up: list[tuple[Left, bool]] = []

    def go_on_with(left: Left, *, was_reached: bool) -> None:
        taken_up.append((left, was_reached))

    gateway = RecordedGateway(store)
    gateway.venue_client.go_on_with = go_on_with  # type: ignore[attr-defined]
    monkeypatch.setattr(gateway, "open_book", lambda: store)
    monkeypatch.setattr(gateway, "open_venue", lambda: gateway.venue_client)
    monkeypatch.setattr(gateway, "run", lambda _receiver, _work: None)
    configuration = ConfigureChild(
        settings=gateway.settings, state_root="", session_id="s", portfolio=BOOK, venue_was_reached=True
    )
    gateway.on_start(configuration)
    gateway.loop.close()
    assert taken_up == [(Left(None, (Earlier(placed.created_ns, None),)), True)]


# ── the user stream ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def placed(store: BookStore) -> AttemptRecord:
    """An attempt that stands in the book."""
    wish = builders.opening(builders.request(qty=builders.dec("0.001")), at_ns=time.time_ns())
    with store.transaction() as unit:
        book.record_opening_balances(unit, {"USDT": builders.dec(1_000)}, 1)
        made = book.open_intent(unit, wish, UNLIMITED, wish.intent.created_ns).attempt
    assert made is not None
    return made


def told(gateway: RecordedGateway) -> list[Any]:
    return [message.report for message in gateway.to(BOOK, ApplyReport)]


def test_what_the_stream_tells_of_our_orders_goes_to_the_book(store: BookStore, placed: AttemptRecord) -> None:
    """Others' orders do not, nor what the book knows already."""
    gateway = RecordedGateway(store)
    resting = builders.snapshot(placed, source="stream")
    stranger = replace(resting, client_order_id=ClientOrderId("web-1"))
    gateway.stream_told("BTC/USDT", resting)
    gateway.stream_told("BTC/USDT", stranger)
    gateway.pump()
    assert told(gateway) == [resting]
    with store.transaction() as unit:
        apply_report(unit, resting, RouterSettings(), 2)
    gateway.stream_told("BTC/USDT", resting)
    gateway.pump()
    assert told(gateway) == [resting]


def test_the_stream_waits_for_the_answer_to_a_placement(store: BookStore, placed: AttemptRecord) -> None:
    """The answer tells all of it; where it is lost, what the stream has told follows at once."""
    for answer, follows in ((builders.snapshot(placed), False), (None, True)):
        gateway = RecordedGateway(store)
        heard = builders.snapshot(placed, source="stream")

        def answered(
            attempt: AttemptRecord, heard: Any = heard, answer: Any = answer, gateway: RecordedGateway = gateway
        ) -> Report:
            gateway.stream_told("BTC/USDT", heard)
            return answer or OutcomeUnknown(client_order_id=attempt.client_order_id, reason="lost")

        gateway.venue_client.answer = answered
        gateway.receiveMsg_PlaceOrder(PlaceOrder(attempt=placed), ROUTER)
        first, *others = told(gateway)
        assert isinstance(first, OutcomeUnknown) == follows
        assert others == ([heard] if follows else [])


def test_the_engine_hears_at_once_whether_the_stream_lives(store: BookStore) -> None:
    """Who follows orders asks the more as soon as nobody tells of them."""
    gateway = RecordedGateway(store)
    gateway.engine = ENGINE
    gateway.stream_changed(stream.Connected(5))
    gateway.stream_changed(stream.Lost(7, "cut", 6))
    states = [message.stream for message in gateway.to(ENGINE, GatewayHealth)]
    assert [(state.is_live, state.since_ns, state.because) for state in states] == [(True, 5, ""), (False, 7, "cut")]
