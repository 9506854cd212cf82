"""Faults of reads: what is shown is old, incomplete, repeated or out of order; what is true is not touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from exchange.simulator.account import Balance
from exchange.simulator.book import TICK_NS
from exchange.simulator.disorder import disordered
from exchange.simulator.errors import VenueError
from exchange.simulator.matching import MatchingEngine, OrderKey
from exchange.simulator.opening import open_market
from exchange.simulator.orders import NewOrder, OrderType, Side, Status
from exchange.simulator.plan import LateFill, Plan
from exchange.simulator.reads import HiddenFills, Reads, cancel_with_late_fill
from tests.exchange.conftest import Venue

T0 = 1_700_000_000_000_000_000
NS_PER_MS = 1_000_000
BTC = "BTCUSDT"
LONG_MS = 600_000
D = Decimal


@pytest.fixture(autouse=True)
def tidy(venue: Venue) -> Iterator[None]:
    """No order of one test rests in the next."""
    yield
    venue.ask("DELETE", "/_sim/faults")
    for order in venue.read("openOrders"):
        venue.cancel(order["clientOrderId"])


def bought(venue: Venue, name: str, count: int = 1) -> int:
    """Orders that fill at once. Returns the number of trades: the market may have an order's quantity in two lots."""
    answers = [
        venue.place(f"{name}-{number}", price="90000", timeInForce="IOC", quantity="0.0005") for number in range(count)
    ]
    assert {answer.body["status"] for answer in answers} == {"FILLED"}
    return sum(len(answer.body["fills"]) for answer in answers)


# ── lagging ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lagging_look_up_does_not_know_a_new_order(venue: Venue) -> None:
    """-2013 although it rests; the next look-up finds it."""
    assert venue.place("fresh").status == 200
    venue.set_faults({"lagging_reads": {"ms": LONG_MS, "on": ["order"], "nth": [1]}})
    assert venue.look_up("fresh").body == {"code": -2013, "msg": "Order does not exist."}
    assert venue.look_up("fresh").body["status"] == "NEW"
    assert venue.order("fresh") is not None


@pytest.mark.parametrize("path", ["openOrders", "allOrders", "myTrades"])
def test_a_lagging_list_does_not_show_what_is_new(venue: Venue, path: str) -> None:
    """The list is that of before the venue opened, which is empty; without the fault it is not."""
    bought(venue, f"listed-{path}")
    venue.place(f"rests-{path}")
    venue.set_faults({"lagging_reads": LONG_MS})
    assert venue.read(path) == []
    venue.ask("DELETE", "/_sim/faults")
    assert venue.read(path) != []


def test_a_lagging_account_has_not_paid_yet(venue: Venue) -> None:
    """The balances are those of the opening, with nothing locked, while `/_sim/` tells the true ones."""
    bought(venue, "paid")
    venue.place("locks")
    truth = venue.balances()
    venue.set_faults({"lagging_reads": LONG_MS})
    shown = {row["asset"]: row for row in venue.read("account")["balances"]}
    assert (D(shown["USDT"]["free"]), D(shown["USDT"]["locked"])) == (100_000, 0)
    assert D(truth["USDT"]["free"]) < 100_000
    assert D(truth["USDT"]["locked"]) > 0
    assert venue.balances() == truth
    venue.ask("DELETE", "/_sim/faults")
    again = {row["asset"]: row for row in venue.read("account")["balances"]}
    assert again["USDT"]["free"] == truth["USDT"]["free"]


def test_a_canceled_order_is_still_open_to_a_lagging_read() -> None:
    """As of the time between its fill and its cancel it is open and partly filled; before the fill it is new."""
    engine = open_market(seed=7, now_ns=T0)
    order = resting(engine, T0)
    key = OrderKey(BTC, order)
    engine.fill(T0 + 100 * NS_PER_MS, key, D("0.25"))
    engine.cancel(T0 + 200 * NS_PER_MS, key)

    def shown(lag_ms: int) -> tuple[str, Decimal, int]:
        reads = Reads(engine, {}, T0 + 300 * NS_PER_MS, lag_ms)
        found = reads.order(key)
        return found.status, found.executed, len(reads.open_orders())

    assert [shown(lag_ms) for lag_ms in (0, 100, 101, 200, 201)] == [
        (Status.CANCELED, D("0.25"), 0),
        (Status.CANCELED, D("0.25"), 0),
        (Status.PARTIALLY_FILLED, D("0.25"), 1),
        (Status.PARTIALLY_FILLED, D("0.25"), 1),
        (Status.NEW, D(0), 1),
    ]


def test_a_client_id_names_the_order_of_the_time() -> None:
    """An id that is used again names the older order for as long as the newer one does not show."""
    engine = open_market(seed=7, now_ns=T0)
    first = resting(engine, T0, "again")
    engine.cancel(T0, OrderKey(BTC, first))
    second = resting(engine, T0 + TICK_NS, "again")
    key = OrderKey(BTC, None, "again")
    assert Reads(engine, {}, T0 + TICK_NS).order(key).id == second
    assert Reads(engine, {}, T0 + TICK_NS, 1).order(key).id == first


# ── a fill that comes after its cancel ────────────────────────────────────────────────────────────────────────────────


def resting(engine: MatchingEngine, now_ns: int, name: str = "") -> int:
    """A buy of 1 BTC far below the market. Its id."""
    new = NewOrder(symbol=BTC, side=Side.BUY, type=OrderType.LIMIT, price=D(50_000), qty=D(1), client_order_id=name)
    return engine.place(now_ns, new)[0].id


def amounts(balances: list[Balance]) -> list[tuple[str, Decimal, Decimal]]:
    """As they are now: the engine's own balances move on."""
    return [(balance.asset, balance.free, balance.locked) for balance in balances]


def test_a_late_fill_shows_when_its_time_has_come() -> None:
    """Until then order, trades and balances are those of a cancel without it; the engine has had it all along."""
    engine, hidden = open_market(seed=7, now_ns=T0), HiddenFills()
    opening = amounts(Reads(engine, hidden, T0).balances())
    key = OrderKey(BTC, resting(engine, T0))
    told = cancel_with_late_fill(engine, hidden, T0, key, LateFill(D("0.3"), 500))
    assert (told.status, told.executed) == (Status.CANCELED, 0)
    due_ns = T0 + 500 * NS_PER_MS
    before, after = Reads(engine, hidden, due_ns - 1), Reads(engine, hidden, due_ns)
    assert (before.order(key), before.trades(BTC), amounts(before.balances())) == (told, [], opening)
    assert (after.order(key).status, after.order(key).executed) == (Status.CANCELED, D("0.3"))
    assert after.trades(BTC) == engine.trades(due_ns, BTC) != []
    assert amounts(after.balances()) == amounts(engine.balances(due_ns)) != opening


def test_a_late_fill_may_take_the_whole_order() -> None:
    """Then an order that was canceled to all appearances turns out to be filled."""
    engine, hidden = open_market(seed=7, now_ns=T0), HiddenFills()
    key = OrderKey(BTC, resting(engine, T0))
    cancel_with_late_fill(engine, hidden, T0, key, LateFill(D(1), 500))
    assert Reads(engine, hidden, T0).order(key).status is Status.CANCELED
    assert Reads(engine, hidden, T0 + 500 * NS_PER_MS).order(key).status is Status.FILLED


def test_a_lag_delays_a_late_fill_further() -> None:
    """A read as of a time at which the fill was hidden does not show it."""
    engine, hidden = open_market(seed=7, now_ns=T0), HiddenFills()
    key = OrderKey(BTC, resting(engine, T0))
    cancel_with_late_fill(engine, hidden, T0 + NS_PER_MS, key, LateFill(D("0.3"), 500))
    now_ns = T0 + 600 * NS_PER_MS
    assert Reads(engine, hidden, now_ns, 99).order(key).executed == D("0.3")
    assert Reads(engine, hidden, now_ns, 100).order(key).executed == 0
    assert Reads(engine, hidden, now_ns, 600).order(key).status is Status.NEW


def test_a_late_fill_does_not_hide_a_later_one() -> None:
    """The page that begins with the later trade's id has it, though an earlier id is missing."""
    engine, hidden = open_market(seed=7, now_ns=T0), HiddenFills()
    cancel_with_late_fill(engine, hidden, T0, OrderKey(BTC, resting(engine, T0)), LateFill(D("0.3"), 500))
    engine.fill(T0, OrderKey(BTC, resting(engine, T0)), D(1))
    assert [trade.id for trade in Reads(engine, hidden, T0).trades(BTC)] == [2]


def test_a_cancel_that_was_overtaken_does_not_say_so(venue: Venue) -> None:
    """Answer and reads know nothing of the fill that `/_sim/` tells; the end of the fault shows it."""
    venue.place("overtaken")
    known = len(venue.read("myTrades"))
    venue.set_faults({"fill_after_cancel": {"share": 0.4, "ms": LONG_MS}})
    answer = venue.cancel("overtaken").body
    assert (answer["status"], answer["executedQty"]) == ("CANCELED", "0.00000000")
    assert venue.look_up("overtaken").body["executedQty"] == "0.00000000"
    assert len(venue.read("myTrades")) == known
    trades = bought(venue, "following")
    last = venue.read("myTrades")[-1]["id"]
    assert [row["id"] for row in venue.read("myTrades", fromId=last)] == [last]
    truth = venue.order("overtaken")
    assert truth is not None
    assert (truth["status"], truth["executedQty"]) == ("CANCELED", "0.00040000")
    venue.ask("DELETE", "/_sim/faults")
    assert venue.look_up("overtaken").body["executedQty"] == "0.00040000"
    assert len(venue.read("myTrades")) == known + 1 + trades


# ── a cancel that crosses a fill ──────────────────────────────────────────────────────────────────────────────────────


def test_a_cancel_comes_too_late(venue: Venue) -> None:
    """-2011, since the order has just been filled."""
    venue.place("late")
    venue.set_faults({"cancel_crosses_fill": {"nth": [1]}})
    assert venue.cancel("late").body == {"code": -2011, "msg": "Unknown order sent."}
    found = venue.look_up("late").body
    assert (found["status"], found["executedQty"]) == ("FILLED", "0.00100000")


def test_a_cancel_finds_a_part_filled(venue: Venue) -> None:
    """CANCELED with the part; the next cancel, which nothing crosses, has none."""
    venue.place("part")
    venue.place("none")
    venue.set_faults({"cancel_crosses_fill": {"nth": [1], "share": 0.4}})
    answers = [venue.cancel("part").body, venue.cancel("none").body]
    assert [(answer["status"], answer["executedQty"]) for answer in answers] == [
        ("CANCELED", "0.00040000"),
        ("CANCELED", "0.00000000"),
    ]
    assert venue.look_up("part").body["executedQty"] == "0.00040000"


def test_a_cancel_of_nothing_is_refused_all_the_same(venue: Venue) -> None:
    """An order that is not open can neither be filled nor canceled."""
    venue.place("done")
    venue.cancel("done")
    for fault in ("cancel_crosses_fill", "fill_after_cancel"):
        venue.set_faults({fault: 1})
        assert venue.cancel("done").body["code"] == -2011
    assert venue.look_up("done").body["executedQty"] == "0.00000000"


def test_nothing_is_filled_below_a_step() -> None:
    """A share of less than one step fills one; an order that is not open refuses."""
    engine = open_market(seed=7, now_ns=T0)
    key = OrderKey(BTC, resting(engine, T0))
    assert engine.fill(T0, key, D("0.000001")).qty == engine.market(BTC).step
    engine.cancel(T0, key)
    with pytest.raises(VenueError, match="Unknown order sent"):
        engine.fill(T0, key, D(1))


# ── lists ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["openOrders", "allOrders"])
def test_a_list_misses_an_order_that_is_there(venue: Venue, path: str) -> None:
    """One of them is missing, which one is a matter of the seed; the next list is whole."""
    for number in range(4):
        venue.place(f"{path}-{number}")
    whole = [order["orderId"] for order in venue.read(path)]
    missing = set()
    for seed in range(20):
        venue.set_faults({"hidden_order": {"nth": [1]}, "seed": seed})
        shown = [order["orderId"] for order in venue.read(path)]
        missing |= set(whole) - set(shown)
        assert len(shown) == len(whole) - 1
        assert [order["orderId"] for order in venue.read(path)] == whole
    assert len(missing) > 1


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_a_list_of_trades_repeats_itself(venue: Venue) -> None:
    """Some trades are there twice, none is missing; the next list has each of them once."""
    bought(venue, "twice", 4)
    venue.set_faults({"duplicate_trades": {"nth": [1]}})
    repeated, whole = ids(venue.read("myTrades")), ids(venue.read("myTrades"))
    assert len(repeated) > len(whole) == len(set(whole))
    assert sorted(set(repeated)) == whole
    assert ids(venue.trades()) == whole


def test_a_list_of_trades_is_out_of_order(venue: Venue) -> None:
    """The same trades in another order; the next list is in order."""
    bought(venue, "mixed", 4)
    venue.set_faults({"reordered_trades": {"nth": [1]}})
    mixed, whole = ids(venue.read("myTrades")), ids(venue.read("myTrades"))
    assert mixed != whole == sorted(mixed)


def test_the_fills_of_a_placement_repeat_themselves(venue: Venue) -> None:
    """With `on` place the answer lists fills twice, while the executed quantity is that of the truth."""
    venue.set_faults({"duplicate_trades": {"on": ["place"], "nth": [1]}})
    order = {"price": "90000", "timeInForce": "IOC", "quantity": "0.0005"}
    repeated, whole = venue.place("fills2", **order).body, venue.place("fills1", **order).body
    for answer, most in ((repeated, 2), (whole, 1)):
        fills = {fill["tradeId"]: D(fill["qty"]) for fill in answer["fills"]}
        times = Counter(fill["tradeId"] for fill in answer["fills"])
        assert max(times.values()) == most
        assert D(answer["executedQty"]) == sum(fills.values()) == D("0.0005")


def test_without_a_fault_a_list_is_as_it_is() -> None:
    """Nothing is hidden, repeated or moved; and an empty list or a single row bears every fault."""
    assert disordered([1, 2, 3], Plan()) == [1, 2, 3]
    every = Plan(hide_row=5, repeat_rows=5, shuffle_rows=5)
    assert disordered([], every) == disordered([1], every) == []
    assert disordered([1], Plan(repeat_rows=5, shuffle_rows=5)) == [1, 1]


@pytest.mark.parametrize("drawn", range(20))
def test_a_shuffled_list_is_never_in_order(drawn: int) -> None:
    """Whatever the die says, two rows at least change places."""
    assert disordered([1, 2, 3], Plan(shuffle_rows=drawn)) in ([1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1])
