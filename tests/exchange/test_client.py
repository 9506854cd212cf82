"""The venue's client over real HTTP: every answer is a type that says what to do, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from core.errors import StartupFailed, VenueSilent
from core.ids import ClientOrderId, ExchangeOrderId, IntentId, TradeId
from core.intent import Side, TimeInForce
from core.market import Quote
from core.predecessor import Left
from core.records import AttemptRecord, AttemptStatus
from core.reports import NotPlaced, OrderAbsent, OrderSnapshot, OrderStatus, OutcomeUnknown, QueryFailed
from core.settings import from_mapping
from exchange.client import VenueClient
from tests.exchange.conftest import Venue

TIMEOUT_MS = 30_000
IMPATIENT_MS = 1_000
LATE_MS = 60_000
"""Later than an impatient client waits, however slow the machine."""
Work = Callable[[VenueClient], Awaitable[Any]]


def attempt(number: int, **changes: Any) -> AttemptRecord:
    """An order for 0.001 BTC that would trade at once; `number` makes its id."""
    fields: dict[str, Any] = {
        "intent_id": IntentId(f"intent-{number}"),
        "attempt": 1,
        "client_order_id": ClientOrderId(f"inclient{number:010d}"),
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "qty": Decimal("0.001"),
        "price": Decimal(70_000),
        "tif": TimeInForce.IOC,
        "status": AttemptStatus.SENDING,
        "created_ns": 0,
    }
    return AttemptRecord(**(fields | changes))


def resting(number: int) -> AttemptRecord:
    return attempt(number, price=Decimal(50_000), tif=TimeInForce.GTC)


def nothing() -> NotPlaced | None:
    """Nothing stands in the way of the send."""
    return None


def ask(venue: Venue, work: Work, lines: list[str] | None = None, **router: Any) -> Any:
    """What `work` returns, done with a client of its own."""
    settings = from_mapping({"exchange": {"base_url": venue.base_url, "timeout_ms": TIMEOUT_MS}, "router": router})

    async def with_client() -> Any:
        trace = (lines if lines is not None else []).append
        client = VenueClient(settings, {}, trace, time.time_ns)
        try:
            await client.start()
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(with_client())


def test_a_start_brings_markets_and_balances(venue: Venue) -> None:
    """Grids and minimums are the venue's own, balances are totals of free and locked, all exact."""

    async def start_again(client: VenueClient) -> Any:
        return await client.start()

    account = ask(venue, start_again)
    rules = account.markets["BTC/USDT"]
    assert (rules.base, rules.quote, rules.tick, rules.step) == ("BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
    assert (rules.min_notional, rules.taker_fee) == (Decimal(5), Decimal("0.001"))
    at_venue = venue.balances()["USDT"]
    assert account.totals["USDT"] == Decimal(at_venue["free"]) + Decimal(at_venue["locked"])


def test_a_start_without_the_account_needs_a_known_fee(venue: Venue) -> None:
    """While it is known to be unreadable a start takes the fee as it was; else it waits for the account."""

    async def start_again(client: VenueClient) -> Any:
        venue.set_faults({"server_error": {"on": ["account"], "point": "before"}})
        with pytest.raises(VenueSilent):
            await client.start()
        return await client.start(Decimal("0.002"))

    account = ask(venue, start_again)
    assert (account.totals, account.markets["BTC/USDT"].taker_fee) == ({}, Decimal("0.002"))


def test_a_placed_order_carries_its_trades(venue: Venue) -> None:
    """The placement's own answer names the order, our id, and every trade with its fee."""
    report = ask(venue, lambda client: client.place(attempt(1), nothing))
    assert isinstance(report, OrderSnapshot)
    assert (report.status, report.filled_qty) == (OrderStatus.FILLED, Decimal("0.001"))
    assert sum(trade.qty for trade in report.trades) == Decimal("0.001")
    truth = {(row["id"], row["commission"], row["commissionAsset"], row["quoteQty"]) for row in venue.trades()}
    for trade in report.trades:
        told = {(str(i), Decimal(fee), asset, Decimal(quote)) for i, fee, asset, quote in truth}
        assert (trade.trade_id, trade.fee, trade.fee_currency, trade.quote_qty) in told


def test_a_look_up_finds_the_same_trades(venue: Venue) -> None:
    """An order that is looked up by our id tells the same trades as its placement did."""

    async def place_and_look(client: VenueClient) -> Any:
        return await client.place(attempt(2), nothing), await client.look_up(attempt(2))

    placed, found = ask(venue, place_and_look)
    assert [trade.trade_id for trade in placed.trades] == [trade.trade_id for trade in found.trades]
    assert [(t.qty, t.price, t.quote_qty, t.fee) for t in placed.trades] == [
        (t.qty, t.price, t.quote_qty, t.fee) for t in found.trades
    ]


def test_a_resting_order_is_listed_canceled_and_found_canceled(venue: Venue) -> None:
    """Open orders name ours by its client id; after the cancel the look-up says so."""

    async def rest(client: VenueClient) -> Any:
        placed = await client.place(resting(3), nothing)
        listed = await client.open_orders("BTC/USDT")
        note = await client.cancel(resting(3))
        again = await client.cancel(resting(3))
        return placed, listed, note, again, await client.look_up(resting(3))

    placed, listed, note, again, found = ask(venue, rest)
    assert placed.status is OrderStatus.OPEN
    assert [order.client_order_id for order in listed] == [resting(3).client_order_id]
    assert note == "accepted"
    assert "Unknown order sent" in again
    assert (found.status, found.filled_qty) == (OrderStatus.CANCELED, Decimal(0))


def test_lists_of_orders_begin_where_they_are_asked_to(venue: Venue) -> None:
    """By id inclusive, by time not before; whatever became of an order, it is listed with what it has filled."""

    async def read(client: VenueClient) -> Any:
        first = await client.place(attempt(40), nothing)
        last = await client.place(resting(41), nothing)
        assert isinstance(first, OrderSnapshot)
        assert isinstance(last, OrderSnapshot)
        by_id = await client.orders("BTC/USDT", first.exchange_order_id, 0)
        from_last = await client.orders("BTC/USDT", last.exchange_order_id, 0)
        in_future = await client.orders("BTC/USDT", None, time.time_ns() + 3_600 * 10**9)
        everywhere = await client.open_orders(None)
        await client.cancel(resting(41))
        return by_id, from_last, in_future, everywhere

    by_id, from_last, in_future, everywhere = ask(venue, read)
    assert all(page.complete for page in (by_id, from_last, in_future))
    assert [(order.client_order_id, order.status, order.filled_qty) for order in by_id.orders] == [
        (attempt(40).client_order_id, OrderStatus.FILLED, Decimal("0.001")),
        (resting(41).client_order_id, OrderStatus.OPEN, Decimal(0)),
    ]
    assert [order.client_order_id for order in from_last.orders] == [resting(41).client_order_id]
    assert in_future.orders == ()
    assert resting(41).client_order_id in {order.client_order_id for order in everywhere}
    assert {order.symbol for order in everywhere} == {"BTC/USDT"}


def test_about_what_is_no_market_nothing_is_answered(venue: Venue) -> None:
    """G3: a question that was not asked is no empty answer; it is told apart, since the reconciler guesses pairs."""
    page = ask(venue, lambda client: client.trades("USDT/BTC", None, 0))
    assert isinstance(page.trades, QueryFailed)
    assert (page.trades.is_no_market, page.complete) == (True, False)
    assert "USDT/BTC" in page.trades.reason


def test_post_only_is_refused_when_it_would_take(venue: Venue) -> None:
    """A post-only order through the market is definitely not placed, and not worth a retry."""
    report = ask(venue, lambda client: client.place(attempt(4, tif=TimeInForce.PO), nothing))
    assert isinstance(report, NotPlaced)
    assert (report.code, report.retryable) == ("OrderImmediatelyFillable", False)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"reject": {"codes": [-2010]}}, NotPlaced),
        ({"reject": {"codes": [-1013]}}, NotPlaced),
        ({"late_answer": {"on": ["place"], "ms": LATE_MS}}, OutcomeUnknown),
        ({"latency_ms": {"on": ["place"], "ms": LATE_MS}}, OutcomeUnknown),
        ({"close_connection": {"on": ["place"], "point": "after"}}, OutcomeUnknown),
        ({"close_connection": {"on": ["place"], "point": "before"}}, OutcomeUnknown),
        ({"server_error": {"on": ["place"], "point": "after", "status": 503}}, OutcomeUnknown),
        ({"server_error": {"on": ["place"], "point": "before", "status": 500}}, OutcomeUnknown),
        ({"backend_timeout": {"on": ["place"], "point": "after"}}, OutcomeUnknown),
        ({"truncated_body": {"on": ["place"]}}, OutcomeUnknown),
        ({"garbled_body": {"on": ["place"], "shapes": ["amounts"]}}, OutcomeUnknown),
        ({"garbled_body": {"on": ["place"], "shapes": ["null"]}}, OutcomeUnknown),
    ],
)
def test_each_misfortune_of_a_placement_has_its_class(venue: Venue, fault: dict[str, Any], kind: type) -> None:
    """Refusals are definite; whatever hides the outcome is unknown; and one request was sent."""
    assert venue.set_faults(fault).status == 200
    path = "POST /api/v3/order"
    before = venue.ask("GET", "/_sim/stats").body["requests"].get(path, 0)

    async def place(client: VenueClient) -> Any:
        if LATE_MS in (rule.get("ms") for rule in fault.values()):
            client._ccxt.timeout = IMPATIENT_MS
        return await client.place(attempt(100 + before), nothing)

    report = ask(venue, place)
    assert isinstance(report, kind), report
    assert venue.ask("GET", "/_sim/stats").body["requests"][path] == before + 1


def test_not_there_and_not_answered_are_different(venue: Venue) -> None:
    """An order the venue does not know is absent; a question that fails is no answer."""

    async def look(client: VenueClient) -> Any:
        absent = await client.look_up(attempt(5))
        venue.set_faults({"server_error": {"on": ["order"], "point": "before", "status": 502}})
        return absent, await client.look_up(attempt(5))

    absent, failed = ask(venue, look)
    assert absent == OrderAbsent(client_order_id=attempt(5).client_order_id)
    assert isinstance(failed, QueryFailed)


def test_reads_that_fail_are_no_empty_answers(venue: Venue) -> None:
    """No list, no balance and no price comes out of a failed question."""

    async def read(client: VenueClient) -> Any:
        venue.set_faults({"server_error": {"point": "before", "status": 502}})
        trades = await client.trades("BTC/USDT", TradeId("0"), 0)
        return [
            await client.quote("BTC/USDT"),
            await client.open_orders("BTC/USDT"),
            await client.balances(),
            await client.all_orders("BTC/USDT", 0),
            trades.trades,
        ]

    assert [type(answer) for answer in ask(venue, read)] == [QueryFailed] * 5


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        ({"server_error": {"point": "before", "status": 503}}, True),
        ({"server_error": {"point": "before", "status": 502}}, True),
        ({"garbled_body": {"shapes": ["container"]}}, False),
    ],
)
def test_a_start_that_may_succeed_later_is_told_from_one_that_will_not(
    venue: Venue, fault: dict[str, Any], passes: bool
) -> None:
    """The first is tried again, the second is for somebody to look at."""
    venue.set_faults(fault)
    with pytest.raises(StartupFailed) as error:
        ask(venue, lambda client: client.balances())
    assert isinstance(error.value, VenueSilent) is passes
    assert ("keys" in str(error.value)) is not passes


@pytest.mark.parametrize("was_reached", [False, True])
def test_an_address_at_which_the_venue_has_answered_once_is_not_wrong(was_reached: bool) -> None:
    """Where nobody listens the first start is refused for somebody to look at; a later one waits for the venue."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    settings = from_mapping({"exchange": {"base_url": base_url, "timeout_ms": TIMEOUT_MS}})

    async def start() -> None:
        client = VenueClient(settings, {}, lambda _: None, time.time_ns)
        client.go_on_with(Left(None, ()), was_reached=was_reached)
        try:
            await client.start()
        finally:
            await client.close()

    with pytest.raises(StartupFailed) as error:
        asyncio.run(start())
    assert isinstance(error.value, VenueSilent) is was_reached


@pytest.mark.parametrize("shape", ["container", "fields", "amounts", "null"])
@pytest.mark.parametrize("kind", ["market", "account"])
def test_a_start_on_garbled_answers_fails_with_a_reason(venue: Venue, kind: str, shape: str) -> None:
    """A daemon that knows no market, or half of one, would refuse everything or send what the venue cannot take."""
    venue.set_faults({"garbled_body": {"on": [kind], "shapes": [shape]}})
    with pytest.raises(StartupFailed, match="the venue"):
        ask(venue, lambda client: client.balances())


@pytest.mark.parametrize(
    "fault",
    [
        {"garbled_body": {"shapes": ["container"]}},
        {"garbled_body": {"shapes": ["amounts"]}},
        {"garbled_body": {"shapes": ["null"]}},
        {"empty_body": {}},
        {"html_body": {}},
        {"truncated_body": {}},
    ],
)
def test_garbled_answers_are_no_answers(venue: Venue, fault: dict[str, Any]) -> None:
    """`NaN` is a Decimal, an empty body is no empty list: nothing of it may get into the book or prove an absence."""

    async def read(client: VenueClient) -> list[Any]:
        await client.place(resting(30), nothing)
        await client.place(attempt(31), nothing)
        venue.set_faults(fault)
        trades = await client.trades("BTC/USDT", TradeId("0"), 0)
        answers = [
            await client.look_up(attempt(31)),
            await client.open_orders("BTC/USDT"),
            (await client.orders("BTC/USDT", ExchangeOrderId("0"), 0)).orders,
            await client.balances(),
            trades.trades,
        ]
        venue.set_faults({})
        await client.cancel(resting(30))
        return answers

    assert [type(answer) for answer in ask(venue, read)] == [QueryFailed] * 5


def test_what_an_answer_does_not_tell_is_not_taken_for_nothing(venue: Venue) -> None:
    """A record without its filled quantity, or without our id, is no answer, whichever fields are missing."""

    async def read(client: VenueClient) -> list[Any]:
        await client.place(attempt(32), nothing)
        answers: list[Any] = []
        for seed in range(12):
            venue.set_faults({"seed": seed, "garbled_body": {"on": ["order", "all_orders"], "shapes": ["fields"]}})
            page = await client.orders("BTC/USDT", ExchangeOrderId("0"), 0)
            answers += [await client.look_up(attempt(32)), page.orders]
        return answers

    for answer in ask(venue, read):
        if isinstance(answer, OrderSnapshot):
            assert answer.filled_qty == Decimal("0.001")
        elif not isinstance(answer, QueryFailed):
            assert attempt(32).client_order_id in {order.client_order_id for order in answer}


def test_a_quote_is_the_touch(venue: Venue) -> None:
    """Bid below ask, both above zero, with the time of its arrival."""
    quote = ask(venue, lambda client: client.quote("BTC/USDT"))
    assert isinstance(quote, Quote)
    assert 0 < quote.bid < quote.ask
    assert quote.observed_ns > 0


def test_fetch_order_on_fill_asks_once_more(venue: Venue) -> None:
    """With `router.fetch_order_on_fill` the report comes from a look-up after the placement."""
    report = ask(venue, lambda client: client.place(attempt(6), nothing), fetch_order_on_fill=True)
    assert report.source == "lookup"
    assert report.filled_qty == Decimal("0.001")


def test_the_trace_of_a_request_holds_no_secret(venue: Venue) -> None:
    """Each request is a line with latency, status and weight, and without key and signature."""
    lines: list[str] = []
    ask(venue, lambda client: client.place(attempt(7), nothing), lines)
    placement = next(line for line in lines if '"POST"' in line)
    assert all(name in placement for name in ("latency_ns", '"status":200', "used_weight"))
    assert not any(word in "".join(lines) for word in ("sim-key-intentd", "sim-secret-intentd", "signature"))


@pytest.mark.parametrize("status", [429, 418])
def test_a_start_that_is_told_of_too_many_requests_asks_no_more(venue: Venue, status: int) -> None:
    """Whoever insists during a ban is banned for longer; and the next start is to know of it."""
    settings = from_mapping(
        {"exchange": {"base_url": venue.base_url, "timeout_ms": TIMEOUT_MS}, "engine": {"request_timeout": "100ms"}}
    )
    lines: list[str] = []
    hits: list[int] = []

    async def start_thrice() -> None:
        client = VenueClient(settings, {}, lines.append, time.time_ns)
        client.on_rate_limit_hit = lambda told, _stop: hits.append(told)
        try:
            for _ in range(3):
                with pytest.raises(VenueSilent):
                    await client.start()
        finally:
            await client.close()

    venue.set_faults({"rate_limited": {"status": status, "retry_after_s": 60, "on": ["market"]}})
    asyncio.run(start_thrice())
    assert (len(lines), hits) == (1, [status])
