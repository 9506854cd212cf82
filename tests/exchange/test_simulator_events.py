"""What the venue tells of an order, event by event, adds up to what it answers when it is asked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.reports import OrderSnapshot
from exchange.simulator import wire
from exchange.simulator.account import Balance, FeePlan
from exchange.simulator.announcer import Announcer
from exchange.simulator.matching import MatchingEngine, OrderKey
from exchange.simulator.opening import open_market
from exchange.simulator.orders import NewOrder, OrderType, Side, TimeInForce
from exchange.simulator.plan import LateFill
from exchange.simulator.reads import HiddenFills, cancel_with_late_fill
from exchange.stream_events import OrderEvent, parse
from tests.exchange.test_simulator_properties import OPENING, SYMBOLS, T0, Step, carry_out, runs

NS_PER_S = 1_000_000_000
A_DAY_NS = 86_400 * NS_PER_S
FIELDS_OF_REPORTS = set("eEsScoqpPFgCfxXrilzLnNTtIwmMOZYQWV")
OrderName = tuple[str, int]


class Told:
    """A venue without a wire, and everything it has told."""

    def __init__(self, fees: FeePlan = FeePlan.MIXED, seed: int = 1) -> None:
        self.engine = open_market(seed=seed, now_ns=T0, fees=fees, balances=OPENING)
        self.hidden: HiddenFills = {}
        self.events: list[dict[str, Any]] = []
        self._announcer = Announcer(self.engine, self.hidden)

    def listen(self, now_ns: int) -> None:
        """As `Passage.save` does it after each step."""
        shown = self._announcer.shown_balances(now_ns)
        happened, changes = self.engine.happenings(), self.engine.changes()
        balances = [record for record in changes if isinstance(record, Balance)]
        self.events += self._announcer.events(happened, balances, shown, now_ns)

    @property
    def reports(self) -> dict[OrderName, list[dict[str, Any]]]:
        """By symbol and order id."""
        found = defaultdict(list)
        for event in self.events:
            if event["e"] == "executionReport":
                found[event["s"], event["i"]].append(event)
        return found

    @property
    def brief(self) -> list[str]:
        """Execution types and statuses, with the kinds of the other events."""
        return [
            f"{event['x']} {event['X']}" if event["e"] == "executionReport" else event["e"] for event in self.events
        ]


def limit(side: Side, price: Decimal, qty: str = "0.01", **changes: Any) -> NewOrder:
    fields: dict[str, Any] = {"symbol": "BTCUSDT", "side": side, "type": OrderType.LIMIT, "client_order_id": "mine"}
    return NewOrder(**(fields | {"price": price, "qty": Decimal(qty)} | changes))


# ── all together ──────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=100)
@given(runs, st.sampled_from(FeePlan), st.integers(0, 5), st.booleans())
def test_the_events_of_an_order_are_its_record(steps: list[Step], fees: FeePlan, seed: int, at_once: bool) -> None:
    """For random orders, cancels, races and moves: events, `order` and `myTrades` agree."""
    told, now_ns = Told(fees, seed), T0
    for step in steps:
        now_ns = carry_out(told.engine, told.hidden, step, now_ns)
        if at_once:
            told.listen(now_ns)
    now_ns += A_DAY_NS  # everything is shown by then
    told.engine.advance(now_ns)
    told.listen(now_ns)
    told.listen(now_ns)
    check_orders(told, now_ns)
    check_trades(told, now_ns)
    check_balances(told, now_ns)


def check_orders(told: Told, now_ns: int) -> None:
    orders = {(o.symbol, o.id): wire.queried(o) for s in SYMBOLS for o in told.engine.orders(now_ns, s)}
    assert told.reports.keys() == orders.keys()
    for name, reports in told.reports.items():
        assert [report["x"] for report in reports].count("NEW") == 1
        assert reports[0]["x"] == "NEW"
        assert agrees(reports[-1], orders[name])
        assert last_of(reports) == orders[name]["executedQty"]


def agrees(report: Mapping[str, Any], order: Mapping[str, Any]) -> bool:
    """The last event of an order, and its record."""
    of_event = (report["X"], report["z"], report["Z"], report["q"], report["p"], report["O"], report["w"])
    is_open = order["status"] in {"NEW", "PARTIALLY_FILLED"}
    return of_event == (
        order["status"], order["executedQty"], order["cummulativeQuoteQty"], order["origQty"], order["price"],
        order["time"], is_open,
    )  # fmt: skip


def last_of(reports: list[dict[str, Any]]) -> str:
    """What is filled, added up; each event says so, too."""
    total = Decimal(0)
    for report in reports:
        total += Decimal(report["l"])
        assert Decimal(report["z"]) == total
    return wire.amount(total)


def check_trades(told: Told, now_ns: int) -> None:
    """Through the client's own eyes."""
    known = {(t.symbol, str(t.id)): wire.traded(t) for s in SYMBOLS for t in told.engine.trades(now_ns, s)}
    heard = {}
    for event in told.events:
        message = parse(json.dumps({"event": event}), str, str)
        if isinstance(message, OrderEvent):
            check_name(event, message.report)
            for trade in message.report.trades:
                assert (message.symbol, trade.trade_id) not in heard
                heard[message.symbol, trade.trade_id] = trade
    assert heard.keys() == known.keys()
    for name, trade in heard.items():
        row = known[name]
        assert trade.exchange_order_id == str(row["orderId"])
        assert (trade.qty, trade.price, trade.quote_qty) == tuple(Decimal(row[k]) for k in ("qty", "price", "quoteQty"))
        assert (trade.fee, trade.fee_currency) == (Decimal(row["commission"]), row["commissionAsset"])
        assert (trade.maker, trade.venue_ns) == (row["isMaker"], row["time"] * 1_000_000)
        assert trade.side == ("buy" if row["isBuyer"] else "sell")


def check_name(event: Mapping[str, Any], report: OrderSnapshot) -> None:
    assert report.client_order_id == (event["C"] if event["x"] == "CANCELED" else event["c"])
    assert report.source == "stream"


def check_balances(told: Told, now_ns: int) -> None:
    """The last word on each asset is how it stands; on those of which there was no word nothing has changed."""
    heard = {
        row["a"]: (row["f"], row["l"])
        for event in told.events
        if event["e"] == "outboundAccountPosition"
        for row in event["B"]
    }
    fresh = {row.asset: row for row in open_market(seed=1, now_ns=T0, balances=OPENING).balances(T0)}
    for row in told.engine.balances(now_ns):
        unchanged = fresh[row.asset].free, fresh[row.asset].locked
        assert heard.get(row.asset, tuple(map(wire.amount, unchanged))) == (
            wire.amount(row.free), wire.amount(row.locked),
        )  # fmt: skip


# ── one by one ────────────────────────────────────────────────────────────────────────────────────────────────────────


def best(engine: MatchingEngine) -> tuple[Decimal, Decimal]:
    book = engine.book(T0, "BTCUSDT")
    return book.best_bid, book.best_ask


def test_a_market_order_is_new_and_then_each_of_its_trades() -> None:
    """One TRADE for each level, with what is filled so far; then the balances, once."""
    told = Told()
    told.engine.place(T0, NewOrder(symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.2")))
    told.listen(T0)
    trades = len(told.engine.trades(T0, "BTCUSDT"))
    assert trades > 1
    partial = ["TRADE PARTIALLY_FILLED"] * (trades - 1)
    assert told.brief == ["NEW NEW", *partial, "TRADE FILLED", "outboundAccountPosition"]
    assert all(report.keys() == FIELDS_OF_REPORTS for report in told.events[:-1])
    assert not any(report["m"] for report in told.events[:-1])


def test_a_resting_order_that_a_price_move_fills_is_its_maker() -> None:
    """Its trades come when the market does, and say so."""
    told, bid = Told(), best(Told().engine)[0]
    told.engine.place(T0, limit(Side.BUY, bid - 10))
    told.listen(T0)
    assert told.brief == ["NEW NEW", "outboundAccountPosition"]
    told.engine.set_mid(T0, "BTCUSDT", bid - 600)
    told.engine.advance(T0 + 60 * NS_PER_S)
    told.listen(T0 + 60 * NS_PER_S)
    last = told.events[-2]
    assert (last["x"], last["X"], last["m"], last["w"]) == ("TRADE", "FILLED", True, False)


def test_a_cancel_has_a_name_of_its_own() -> None:
    """`c` names the cancel and `C` the order; what was filled before stands in it."""
    told, bid = Told(), best(Told().engine)[0]
    order, _ = told.engine.place(T0, limit(Side.BUY, bid - 10))
    told.engine.fill(T0, OrderKey("BTCUSDT", order.id), Decimal("0.5"))
    told.engine.cancel(T0, OrderKey("BTCUSDT", order.id), "stop-it")
    told.listen(T0)
    assert told.brief[:3] == ["NEW NEW", "TRADE PARTIALLY_FILLED", "CANCELED CANCELED"]
    assert [(event["c"], event["C"]) for event in told.events[:3]] == [("mine", ""), ("mine", ""), ("stop-it", "mine")]
    assert (told.events[2]["z"], told.events[2]["l"], told.events[2]["t"]) == ("0.00500000", "0.00000000", -1)


def test_what_may_not_rest_expires() -> None:
    """IOC and FOK orders that find nothing are NEW and EXPIRED; one that finds a part has its trades in between."""
    told, (bid, ask) = Told(), best(Told().engine)
    told.engine.place(T0, limit(Side.BUY, bid - 100, time_in_force=TimeInForce.IOC))
    told.engine.place(T0, limit(Side.BUY, ask, "0.3", time_in_force=TimeInForce.FOK))
    told.engine.place(T0, limit(Side.BUY, ask, "0.001", time_in_force=TimeInForce.IOC), Decimal("0.5"))
    told.listen(T0)
    reports = list(told.reports.values())
    assert [[report["x"] for report in life] for life in reports[:2]] == [["NEW", "EXPIRED"]] * 2
    assert [reports[2][0]["x"], reports[2][1]["x"], reports[2][-1]["x"]] == ["NEW", "TRADE", "EXPIRED"]


def test_an_own_order_in_the_way_expires_without_a_trade() -> None:
    """Binance calls it TRADE_PREVENTION."""
    told, (bid, _) = Told(), best(Told().engine)
    told.engine.place(T0, limit(Side.BUY, bid, type=OrderType.LIMIT_MAKER))
    told.engine.place(T0, limit(Side.SELL, bid, "0.3", client_order_id="taker"))
    told.listen(T0)
    assert [report["x"] for report in told.reports["BTCUSDT", 1]] == ["NEW", "TRADE_PREVENTION"]
    assert told.reports["BTCUSDT", 1][-1]["X"] == "EXPIRED_IN_MATCH"


def test_a_hidden_fill_is_told_when_it_shows() -> None:
    """The cancel is told without it; then comes the trade, and the order is as it turned out."""
    for share, status in ((Decimal("0.5"), "CANCELED"), (Decimal(1), "FILLED")):
        told, bid = Told(), best(Told().engine)[0]
        order, _ = told.engine.place(T0, limit(Side.BUY, bid - 10))
        told.listen(T0)
        key, late = OrderKey("BTCUSDT", order.id), LateFill(share, 1_000)
        cancel_with_late_fill(told.engine, told.hidden, T0, key, late, "stop-it")
        told.listen(T0)
        assert told.brief == ["NEW NEW", "outboundAccountPosition", "CANCELED CANCELED", "outboundAccountPosition"]
        assert (told.events[2]["z"], told.events[2]["c"]) == ("0.00000000", "stop-it")
        told.listen(T0 + NS_PER_S)
        assert told.brief[4:] == [f"TRADE {status}", "outboundAccountPosition"]
        assert Decimal(told.events[4]["z"]) == told.engine.order(T0, key).executed


def test_a_transfer_is_told() -> None:
    """Its amount, with its sign, and what is there now; what is refused, orders too, is not told."""
    told = Told()
    assert told.engine.transfer("USDT", Decimal(-5))
    assert not told.engine.transfer("USDT", Decimal(-(10**9)))
    told.listen(T0)
    assert told.brief == ["balanceUpdate", "outboundAccountPosition"]
    assert (told.events[0]["a"], told.events[0]["d"]) == ("USDT", "-5.00000000")
    assert told.events[1]["B"] == [{"a": "USDT", "f": "19995.00000000", "l": "0.00000000"}]
