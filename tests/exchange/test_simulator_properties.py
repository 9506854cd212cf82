"""The engine's promises, whatever is asked of it: nothing is created, nothing is lost, nothing is negative."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.simulator import wire
from exchange.simulator.account import FeePlan
from exchange.simulator.book import TICK_NS
from exchange.simulator.errors import VenueError
from exchange.simulator.matching import MatchingEngine, OrderKey, Record
from exchange.simulator.opening import carry_on, open_market
from exchange.simulator.orders import NewOrder, Order, OrderType, Side, Status, TimeInForce, Trade
from exchange.simulator.plan import LateFill
from exchange.simulator.reads import HiddenFills, Reads, cancel_with_late_fill

T0 = 1_700_000_000_000_000_000
SYMBOLS = ("BTCUSDT", "XRPUSDT", "BNBUSDT")
NS_PER_MS = 1_000_000
NO_ORDER = OrderKey(SYMBOLS[0], 999_999)
OPENING = {"USDT": Decimal(20_000), "BNB": Decimal("0.5")}


class Place(msgspec.Struct, frozen=True):
    symbol: str
    side: Side
    kind: OrderType
    tif: TimeInForce
    notional: int
    away_bps: int
    share: Decimal | None
    wait_ticks: int


class Cancel(msgspec.Struct, frozen=True):
    which: int
    wait_ticks: int


class Race(msgspec.Struct, frozen=True):
    """A cancel and a fill at the same moment; the fill is hidden for a while, or is the first."""

    which: int
    share: Decimal
    hidden_ms: int | None


class Move(msgspec.Struct, frozen=True):
    symbol: str
    away_bps: int


places = st.builds(
    Place,
    symbol=st.sampled_from(SYMBOLS),
    side=st.sampled_from(Side),
    kind=st.sampled_from([OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.MARKET]),
    tif=st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
    notional=st.integers(20, 6_000),
    away_bps=st.integers(-60, 60),
    share=st.sampled_from([None, None, Decimal(0), Decimal("0.3"), Decimal(1)]),
    wait_ticks=st.integers(0, 20),
)
cancels = st.builds(Cancel, which=st.integers(0, 50), wait_ticks=st.integers(0, 20))
races = st.builds(
    Race,
    which=st.integers(0, 50),
    share=st.sampled_from([Decimal("0.000001"), Decimal("0.4"), Decimal(1)]),
    hidden_ms=st.sampled_from([None, 0, 300, 3_000]),
)
moves = st.builds(Move, symbol=st.sampled_from(SYMBOLS), away_bps=st.integers(-100, 100))


Step = Place | Cancel | Race | Move
runs = st.lists(places | places | cancels | races | moves, min_size=10, max_size=40)


@settings(max_examples=100)
@given(runs, st.sampled_from(FeePlan), st.integers(0, 3))
def test_balances_move_by_trades_and_fees_only(steps: list[Step], fees: FeePlan, seed: int) -> None:
    """After every run: balances are the opening ones plus trades and fees, and what is locked is what orders hold."""
    engine = open_market(seed=seed, now_ns=T0, fees=fees, balances=OPENING)
    opening = {balance.asset: balance.free for balance in engine.balances(T0)}
    now_ns = T0
    for step in steps:
        now_ns = carry_out(engine, {}, step, now_ns)
    engine.advance(now_ns)
    records = engine.records()
    orders = [record for record in records if isinstance(record, Order)]
    trades = [record for record in records if isinstance(record, Trade)]
    assert totals(engine, now_ns) == after(opening, trades, engine)
    check_holds(engine, orders, now_ns)
    check_orders(orders, trades)
    check_journal(engine, fees)


@settings(max_examples=60)
@given(runs, st.sampled_from(FeePlan), st.integers(0, 3))
def test_a_lagging_read_shows_what_was(steps: list[Step], fees: FeePlan, seed: int) -> None:
    """Orders, trades and balances as of any earlier time are those that were read at that time."""
    engine, hidden = open_market(seed=seed, now_ns=T0, fees=fees, balances=OPENING), HiddenFills()
    now_ns, seen = T0, []
    for step in steps:
        now_ns = carry_out(engine, hidden, step, now_ns)
        seen.append((now_ns, shown(Reads(engine, hidden, now_ns))))
        now_ns += NS_PER_MS  # each look has a time of its own
    for then_ns, expected in seen:
        assert shown(Reads(engine, hidden, now_ns, (now_ns - then_ns) // NS_PER_MS)) == expected


def shown(reads: Reads) -> list[Any]:
    return [
        wire.account(reads.balances(), 0, omit_zero=True),
        [wire.queried(order) for order in reads.open_orders()],
        [wire.queried(order) for symbol in SYMBOLS for order in reads.orders(symbol)],
        [wire.traded(trade) for symbol in SYMBOLS for trade in reads.trades(symbol)],
    ]


def carry_out(engine: MatchingEngine, hidden: HiddenFills, step: Step, now_ns: int) -> int:
    """Refusals are fine. Returns the time afterwards."""
    if isinstance(step, Place | Cancel):
        now_ns += step.wait_ticks * TICK_NS
    try:
        match step:
            case Place():
                engine.place(now_ns, new_order(engine, step, now_ns), step.share)
            case Cancel():
                engine.cancel(now_ns, open_order(engine, step.which, now_ns))
            case Race(hidden_ms=None):
                key = open_order(engine, step.which, now_ns)
                engine.fill(now_ns, key, step.share)
                engine.cancel(now_ns, key)
            case Race(hidden_ms=hidden_ms):
                key = open_order(engine, step.which, now_ns)
                cancel_with_late_fill(engine, hidden, now_ns, key, LateFill(step.share, hidden_ms))
            case Move():
                mid = engine.book(now_ns, step.symbol).mid
                engine.set_mid(now_ns, step.symbol, mid * (10_000 + step.away_bps) / 10_000)
    except VenueError:
        pass
    return now_ns


def open_order(engine: MatchingEngine, which: int, now_ns: int) -> OrderKey:
    """One of the open orders; one that there is not if there is none."""
    orders = engine.open_orders(now_ns)
    return OrderKey(orders[which % len(orders)].symbol, orders[which % len(orders)].id) if orders else NO_ORDER


def new_order(engine: MatchingEngine, step: Place, now_ns: int) -> NewOrder:
    market, book = engine.market(step.symbol), engine.book(now_ns, step.symbol)
    price = book.mid * (10_000 + step.away_bps) / 10_000
    is_market = step.kind is OrderType.MARKET
    return NewOrder(
        symbol=step.symbol,
        side=step.side,
        type=step.kind,
        time_in_force=step.tif if step.kind is OrderType.LIMIT else TimeInForce.GTC,
        price=Decimal(0) if is_market else price // market.tick * market.tick,
        qty=step.notional / price // market.step * market.step,
    )


def totals(engine: MatchingEngine, now_ns: int) -> dict[str, Decimal]:
    balances = engine.balances(now_ns)
    assert all(balance.free >= 0 and balance.locked >= 0 for balance in balances)
    return {balance.asset: balance.free + balance.locked for balance in balances}


def after(opening: dict[str, Decimal], trades: list[Trade], engine: MatchingEngine) -> dict[str, Decimal]:
    expected = dict(opening)
    for trade in trades:
        market, sign = engine.market(trade.symbol), 1 if trade.side is Side.BUY else -1
        expected[market.base] += sign * trade.qty
        expected[market.quote] -= sign * trade.quote_qty
        expected[trade.commission_asset] -= trade.commission
    return expected


def check_holds(engine: MatchingEngine, orders: list[Order], now_ns: int) -> None:
    held: dict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        market = engine.market(order.symbol)
        held[market.quote if order.side is Side.BUY else market.base] += order.locked
        assert order.is_open or order.locked == 0
    assert {balance.asset: balance.locked for balance in engine.balances(now_ns) if balance.locked} == {
        asset: amount for asset, amount in held.items() if amount
    }


def check_orders(orders: list[Order], trades: list[Trade]) -> None:
    for order in orders:
        of_order = [trade for trade in trades if (trade.symbol, trade.order_id) == (order.symbol, order.id)]
        assert order.executed == sum(trade.qty for trade in of_order) <= order.qty
        assert order.executed_quote == sum(trade.quote_qty for trade in of_order)
        assert (order.status is Status.FILLED) == (order.executed == order.qty > 0)
        if order.type is not OrderType.MARKET:
            worst = max if order.side is Side.BUY else min
            assert worst([order.price, *(trade.price for trade in of_order)]) == order.price


def check_journal(engine: MatchingEngine, fees: FeePlan) -> None:
    """The state survives being written and read."""
    content = msgspec.json.encode(engine.records())
    saved = msgspec.json.decode(content, type=list[Record])
    again = carry_on(saved, seed=None, now_ns=T0, symbols=24, fees=fees, balances={})
    assert msgspec.json.encode(again.records()) == content
