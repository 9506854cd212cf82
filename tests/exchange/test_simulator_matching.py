"""The matching engine, purely: what trades, at which price, in which order, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
import pytest

from exchange.simulator.account import FeePlan
from exchange.simulator.book import TICK_NS
from exchange.simulator.errors import VenueError
from exchange.simulator.matching import MatchingEngine, OrderKey, Record
from exchange.simulator.opening import carry_on, open_market
from exchange.simulator.orders import NewOrder, OrderType, Side, Status, TimeInForce

T0 = 1_700_000_000_000_000_000
BTC = "BTCUSDT"
D = Decimal


def market(
    *, seed: int = 7, fees: FeePlan = FeePlan.BASE, balances: Mapping[str, Decimal] | None = None
) -> MatchingEngine:
    return open_market(seed=seed, now_ns=T0, fees=fees, balances=balances)


def limit(side: Side, qty: str, price: str | Decimal, tif: TimeInForce = TimeInForce.GTC, name: str = "") -> NewOrder:
    return NewOrder(
        symbol=BTC,
        side=side,
        type=OrderType.LIMIT,
        time_in_force=tif,
        price=D(price),
        qty=D(qty),
        client_order_id=name,
    )


def free(engine: MatchingEngine, asset: str, now_ns: int = T0) -> Decimal:
    return next(balance.free for balance in engine.balances(now_ns) if balance.asset == asset)


def locked(engine: MatchingEngine, asset: str, now_ns: int = T0) -> Decimal:
    return next(balance.locked for balance in engine.balances(now_ns) if balance.asset == asset)


def refusal(engine: MatchingEngine, order: NewOrder) -> str:
    with pytest.raises(VenueError) as caught:
        engine.place(T0, order)
    return str(caught.value)


# ── aggressive orders ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_buy_walks_the_asks_from_the_best_on() -> None:
    """Each trade is at its level's price, better prices first, and levels are emptied in between."""
    engine = market()
    asks = list(engine.book(T0, BTC).levels(Side.SELL))[:3]
    wanted = asks[0].qty + asks[1].qty + D("0.00001")
    order, trades = engine.place(T0, limit(Side.BUY, str(wanted), asks[2].price, TimeInForce.IOC))
    expected = [(asks[0].price, asks[0].qty), (asks[1].price, asks[1].qty), (asks[2].price, D("0.00001"))]
    assert [(trade.price, trade.qty) for trade in trades] == expected
    assert order.status is Status.FILLED
    assert order.executed_quote == sum(trade.quote_qty for trade in trades)


def test_an_immediate_or_cancel_order_never_trades_beyond_its_limit() -> None:
    """What the limit does not reach expires unfilled."""
    engine = market()
    best = next(engine.book(T0, BTC).levels(Side.SELL))
    order, trades = engine.place(T0, limit(Side.BUY, str(best.qty * 2), best.price, TimeInForce.IOC))
    assert order.status is Status.EXPIRED
    assert order.executed == best.qty
    assert {trade.price for trade in trades} == {best.price}
    assert locked(engine, "USDT") == 0


def test_a_level_is_taken_only_once_within_a_tick() -> None:
    """The next order finds what the first one left, and a full book at the next tick."""
    engine = market()
    best = next(engine.book(T0, BTC).levels(Side.SELL))
    engine.place(T0, limit(Side.BUY, str(best.qty), best.price, TimeInForce.IOC))
    _, trades = engine.place(T0, limit(Side.BUY, str(best.qty), best.price, TimeInForce.IOC))
    assert trades == []
    assert engine.book(T0, BTC).best_ask > best.price
    assert next(engine.book(T0 + TICK_NS, BTC).levels(Side.SELL)).depth == 0


def test_fill_or_kill_is_all_or_nothing() -> None:
    """What cannot be filled whole leaves no trade; what can is filled."""
    engine = market()
    best = next(engine.book(T0, BTC).levels(Side.SELL))
    killed, trades = engine.place(T0, limit(Side.BUY, str(best.qty * 2), best.price, TimeInForce.FOK))
    assert (killed.status, trades) == (Status.EXPIRED, [])
    filled, _ = engine.place(T0, limit(Side.BUY, str(best.qty), best.price, TimeInForce.FOK))
    assert filled.status is Status.FILLED


def test_a_market_order_for_a_quantity_takes_what_there_is() -> None:
    """It is filled from the best level on."""
    engine = market()
    bids = list(engine.book(T0, BTC).levels(Side.BUY))
    order, trades = engine.place(
        T0, NewOrder(symbol=BTC, side=Side.SELL, type=OrderType.MARKET, qty=bids[0].qty + D("0.00001"))
    )
    assert order.status is Status.FILLED
    assert [trade.price for trade in trades] == [bids[0].price, bids[1].price]


@pytest.mark.parametrize("side", list(Side))
def test_a_market_order_for_an_amount_of_quote_stays_within_it(side: Side) -> None:
    """It spends or brings at most that much, and less than one more step's worth below it."""
    engine = market()
    order, _ = engine.place(T0, NewOrder(symbol=BTC, side=side, type=OrderType.MARKET, quote_qty=D(1000)))
    assert D(1000) - order.executed_quote < D("0.00001") * 61_000
    assert order.executed_quote <= D(1000)
    assert order.status is Status.FILLED
    assert order.qty == order.executed


def test_a_share_limits_what_an_aggressive_order_fills() -> None:
    """Half a fill leaves the other half unfilled."""
    engine = market()
    best = next(engine.book(T0, BTC).levels(Side.SELL))
    order, _ = engine.place(T0, limit(Side.BUY, "0.001", best.price, TimeInForce.IOC), D("0.5"))
    assert order.executed == D("0.0005")
    assert order.status is Status.EXPIRED


# ── resting orders ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_resting_order_trades_as_maker_at_its_own_price() -> None:
    """When the market comes to it, it is filled at its price, later, in one or more trades."""
    engine = market()
    order, trades = engine.place(T0, limit(Side.BUY, "0.01", "59000"))
    assert (order.status, trades) == (Status.NEW, [])
    engine.set_mid(T0, BTC, D(58_900))
    now_ns = T0 + 60 * TICK_NS
    fills = engine.trades(now_ns, BTC)
    assert order.status is Status.FILLED
    assert sum(fill.qty for fill in fills) == D("0.01")
    assert {(fill.price, fill.maker) for fill in fills} == {(D(59_000), True)}
    assert all(T0 < fill.time_ns <= now_ns for fill in fills)


def test_resting_orders_are_often_filled_in_parts() -> None:
    """Of twenty seeds, several fill one order in more than one trade."""
    parts = 0
    for seed in range(20):
        engine = market(seed=seed)
        engine.place(T0, limit(Side.BUY, "0.01", "59000"))
        engine.set_mid(T0, BTC, D(58_900))
        parts += len(engine.trades(T0 + 60 * TICK_NS, BTC)) > 1
    assert 4 <= parts <= 18


def test_the_better_price_is_filled_first_then_the_older_order() -> None:
    """Price before time among resting orders that the market crosses in the same tick."""
    engine = market()
    for name, price in (("worse", "59000"), ("better", "59010"), ("younger", "59010")):
        engine.place(T0, limit(Side.BUY, "0.0002", price, name=name))
    engine.set_mid(T0, BTC, D(58_000))
    names = {order.id: order.client_order_id for order in engine.orders(T0 + TICK_NS, BTC)}
    first_trades = list(dict.fromkeys(names[trade.order_id] for trade in engine.trades(T0 + TICK_NS, BTC)))
    assert first_trades == ["better", "younger", "worse"]


def test_what_a_good_till_canceled_order_cannot_take_rests() -> None:
    """It is partially filled, open, and holds the money for the rest."""
    engine = market()
    best = next(engine.book(T0, BTC).levels(Side.SELL))
    order, _ = engine.place(T0, limit(Side.BUY, str(best.qty + D("0.01")), best.price))
    assert order.status is Status.PARTIALLY_FILLED
    assert locked(engine, "USDT") == best.price * D("0.01")
    assert engine.open_orders(T0) == [order]


def test_a_cancel_gives_back_what_was_locked() -> None:
    """Balances are as before, and a second cancel is refused."""
    engine = market()
    before = free(engine, "BTC")
    order, _ = engine.place(T0, limit(Side.SELL, "0.1", "65000"))
    assert (free(engine, "BTC"), locked(engine, "BTC")) == (before - D("0.1"), D("0.1"))
    assert engine.cancel(T0, OrderKey(BTC, order.id)).status is Status.CANCELED
    assert (free(engine, "BTC"), locked(engine, "BTC")) == (before, D(0))
    with pytest.raises(VenueError, match=r"-2011 Unknown order sent\."):
        engine.cancel(T0, OrderKey(BTC, order.id))


def test_a_post_only_order_is_refused_when_it_would_take() -> None:
    """At the best ask a post-only buy is refused, below it rests."""
    engine = market()
    ask = engine.book(T0, BTC).best_ask
    post_only = msgspec.structs.replace(limit(Side.BUY, "0.001", ask), type=OrderType.LIMIT_MAKER)
    assert refusal(engine, post_only) == "-2010 Order would immediately match and take."
    order, _ = engine.place(T0, msgspec.structs.replace(post_only, price=ask - D("0.01")))
    assert order.status is Status.NEW


def test_the_account_does_not_trade_with_itself() -> None:
    """An own resting order in the way expires in the match, and its hold is released."""
    engine = market()
    ask = engine.book(T0, BTC).best_ask
    resting, _ = engine.place(T0, limit(Side.SELL, "0.001", ask))
    engine.place(T0, limit(Side.BUY, "0.001", ask, TimeInForce.IOC))
    assert resting.status is Status.EXPIRED_IN_MATCH
    assert locked(engine, "BTC") == 0


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_id_is_unique_among_open_orders_only() -> None:
    """A second open order of the same id is refused; a finished one does not stand in the way."""
    engine = market()
    first, _ = engine.place(T0, limit(Side.BUY, "0.001", "59000", name="same"))
    assert refusal(engine, limit(Side.BUY, "0.001", "59000", name="same")) == "-2010 Duplicate order sent."
    engine.cancel(T0, OrderKey(BTC, client_order_id="same"))
    second, _ = engine.place(T0, limit(Side.BUY, "0.001", "59000", name="same"))
    assert second.id != first.id
    assert engine.order(T0, OrderKey(BTC, client_order_id="same")) is second


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (limit(Side.BUY, "0.001", "60000.001"), "-1013 Filter failure: PRICE_FILTER"),
        (limit(Side.BUY, "0.001", "2000000"), "-1013 Filter failure: PRICE_FILTER"),
        (limit(Side.BUY, "0.001", "400000"), "-1013 Filter failure: PERCENT_PRICE_BY_SIDE"),
        (limit(Side.BUY, "0.000015", "60000"), "-1013 Filter failure: LOT_SIZE"),
        (limit(Side.BUY, "9001", "60000"), "-1013 Filter failure: LOT_SIZE"),
        (limit(Side.BUY, "0.00008", "60000"), "-1013 Filter failure: NOTIONAL"),
        (limit(Side.BUY, "200", "60000"), "-1013 Filter failure: NOTIONAL"),
        (limit(Side.BUY, "0.000000001", "60000"), "-1111 Parameter 'quantity' has too much precision."),
        (limit(Side.BUY, "2", "60000"), "-2010 Account has insufficient balance for requested action."),
        (limit(Side.SELL, "2", "60000"), "-2010 Account has insufficient balance for requested action."),
        (
            NewOrder(symbol=BTC, side=Side.SELL, type=OrderType.MARKET, qty=D(2)),
            "-2010 Account has insufficient balance for requested action.",
        ),
        (
            NewOrder(symbol=BTC, side=Side.SELL, type=OrderType.MARKET, qty=D(91)),
            "-1013 Filter failure: MARKET_LOT_SIZE",
        ),
        (NewOrder(symbol="NOPE", side=Side.BUY, type=OrderType.MARKET, qty=D(1)), "-1121 Invalid symbol."),
    ],
)
def test_a_refused_order_changes_nothing(order: NewOrder, expected: str) -> None:
    """Every refusal has Binance's words, and the state is as before."""
    engine = market()
    before = msgspec.json.encode(engine.records())
    assert refusal(engine, order) == expected
    assert msgspec.json.encode(engine.records()) == before


def test_a_symbol_takes_only_so_many_open_orders() -> None:
    """The one beyond MAX_NUM_ORDERS is refused."""
    engine = market()
    for _ in range(200):
        engine.place(T0, limit(Side.BUY, "0.001", "50000"))
    assert refusal(engine, limit(Side.BUY, "0.001", "50000")) == "-1013 Filter failure: MAX_NUM_ORDERS"


# ── fees ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fees", "side", "asset"),
    [
        (FeePlan.BASE, Side.BUY, "BTC"),
        (FeePlan.BASE, Side.SELL, "USDT"),
        (FeePlan.QUOTE, Side.BUY, "USDT"),
        (FeePlan.QUOTE, Side.SELL, "USDT"),
        (FeePlan.BNB, Side.BUY, "BNB"),
        (FeePlan.BNB, Side.SELL, "BNB"),
    ],
)
def test_a_fee_is_charged_in_its_own_currency(fees: FeePlan, side: Side, asset: str) -> None:
    """A tenth of a percent, with a quarter off in BNB, and balances move by exactly the trade and its fee."""
    engine = market(fees=fees)
    before = {balance.asset: balance.free for balance in engine.balances(T0)}
    price = engine.book(T0, BTC).best_ask if side is Side.BUY else engine.book(T0, BTC).best_bid
    _, (trade,) = engine.place(T0, limit(side, "0.0012", price, TimeInForce.IOC))
    fee = {
        "BTC": trade.qty * D("0.001"),
        "USDT": trade.quote_qty * D("0.001"),
        "BNB": trade.quote_qty * D("0.001") * D("0.75") / 600,
    }[asset].quantize(D("1e-8"), rounding="ROUND_DOWN")
    sign = 1 if side is Side.BUY else -1
    expected = {**before}
    expected["BTC"] += sign * trade.qty
    expected["USDT"] -= sign * trade.quote_qty
    expected[asset] -= fee
    assert (trade.commission, trade.commission_asset) == (fee, asset)
    assert {balance.asset: balance.free for balance in engine.balances(T0)} == expected


def test_without_bnb_the_fee_is_taken_from_what_is_received() -> None:
    """Too little BNB for the fee means none is used."""
    engine = market(fees=FeePlan.BNB, balances={"BNB": D("0.00001")})
    _, (trade,) = engine.place(T0, limit(Side.BUY, "0.001", "60100", TimeInForce.IOC))
    assert trade.commission_asset == "BTC"


def test_mixed_fees_have_all_three_kinds() -> None:
    """Over the usual symbols each kind occurs, and always the same one for the same symbol."""
    kinds = [FeePlan.MIXED.of(symbol) for symbol in market().markets]
    assert set(kinds) == {FeePlan.BASE, FeePlan.QUOTE, FeePlan.BNB}
    assert kinds == [FeePlan.MIXED.of(symbol) for symbol in market().markets]


def test_all_the_money_can_be_spent_with_a_fee_on_top() -> None:
    """An order holds its fee where it is charged in quote, so that the last cent is never missing."""
    engine = market(fees=FeePlan.QUOTE, balances={"USDT": D("60.06006")})
    order, _ = engine.place(T0, limit(Side.BUY, "0.001", "60000", name="fits"))
    assert order.locked == D("60.06000000")
    assert refusal(engine, limit(Side.BUY, "0.001", "60000")).startswith("-2010")


# ── time, seeds and records ───────────────────────────────────────────────────────────────────────────────────────────


def script(engine: MatchingEngine, *, from_step: int = 0, to_step: int = 40) -> bytes:
    """A busy little run, one step every three ticks; returns the whole state."""
    for step in range(from_step, to_step):
        now_ns = T0 + step * 3 * TICK_NS
        side = Side.BUY if step % 3 else Side.SELL
        touch = engine.book(now_ns, BTC).best_ask if side is Side.SELL else engine.book(now_ns, BTC).best_bid
        engine.place(now_ns, limit(side, "0.02", touch, name=f"s{step}"))
        if step % 4 == 3:
            for order in engine.open_orders(now_ns)[:1]:
                engine.cancel(now_ns, OrderKey(BTC, order.id))
    return msgspec.json.encode(engine.records())


def test_the_same_seed_and_calls_give_identical_results() -> None:
    """Two runs agree to the last digit, and another seed gives another run."""
    assert script(market(seed=3)) == script(market(seed=3))
    assert script(market(seed=3)) != script(market(seed=4))


def test_looking_more_often_changes_nothing() -> None:
    """A market that is advanced tick by tick ends where one that is asked at the end does."""
    often, once = market(), market()
    for engine in (often, once):
        engine.place(T0, limit(Side.BUY, "0.05", "59990"))
        engine.place(T0, limit(Side.SELL, "0.05", "60010"))
    for tick in range(500):
        often.advance(T0 + tick * TICK_NS)
    assert once.balances(T0 + 499 * TICK_NS) == often.balances(T0 + 499 * TICK_NS)
    assert once.trades(T0 + 499 * TICK_NS, BTC) == often.trades(T0 + 499 * TICK_NS, BTC) != []


def test_a_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    """Records through JSON, a new engine, and the rest of the run: the same result."""
    half = market(seed=5)
    saved = msgspec.json.decode(script(half, to_step=20), type=list[Record])
    resumed = carry_on(saved, seed=5, now_ns=T0, symbols=24, fees=FeePlan.BASE, balances={})
    assert script(resumed, from_step=20) == script(market(seed=5))


def test_changes_are_told_once() -> None:
    """The records that a call changed come with the next `changes`, and not again."""
    engine = market()
    engine.changes()
    order, _ = engine.place(T0, limit(Side.BUY, "0.001", "59000"))
    kinds = {type(record).__name__ for record in engine.changes()}
    assert kinds == {"WalkRecord", "Balance", "Order"}
    assert engine.changes() == []
    engine.cancel(T0, OrderKey(BTC, order.id))
    assert {type(record).__name__ for record in engine.changes()} == {"Balance", "Order"}


def test_time_never_runs_backwards() -> None:
    """A call with an earlier time is treated as one at the latest time."""
    engine = market()
    engine.advance(T0)
    first, _ = engine.place(T0 + 10 * TICK_NS, limit(Side.BUY, "0.001", "50000"))
    second, _ = engine.place(T0, limit(Side.BUY, "0.001", "50000"))
    assert second.created_ns == first.created_ns
    assert engine.book(T0, BTC).tick == 10
