"""Whose is each trade, and up to where are all of them accounted for?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import AlertFired, ExternalOrderSeen
from core.ids import ClientOrderId, ExchangeOrderId, TradeId
from core.intent import Side
from core.lifecycle import State
from core.records import ExternalOrder, TradeCursor
from core.reports import OpenOrder, OrderStatus, Trade
from core.settling import Settlement, Sorted, external_trade, settle, sort_out
from tests.builders import SECOND, SYMBOL, T0, Desk, dec, in_state, request, snapshot, trade

STRAY = "in" + "a" * 16
"""A name as ours are."""


@pytest.fixture
def desk() -> Desk:
    return Desk()


def look(desk: Desk, *trades: Trade, orders: tuple[OpenOrder, ...] = (), old_before_ns: int = T0 + SECOND) -> Sorted:
    named = {order.exchange_order_id: order for order in orders}
    return sort_out(desk.book, SYMBOL, trades, named, settled_before_ns=old_before_ns, now_ns=desk.now_ns)


def carry_out(desk: Desk, found: Sorted) -> None:
    """As the reconciler does, in its order."""
    for report in found.missing:
        desk.apply(report)
    put(desk, found.settlement)


def put(desk: Desk, settlement: Settlement) -> None:
    with desk.book.transaction() as unit:
        settle(unit, settlement, desk.now_ns)


def line(order_id: str, name: str, **changes: Any) -> OpenOrder:
    return OpenOrder(
        client_order_id=ClientOrderId(name), exchange_order_id=ExchangeOrderId(order_id), symbol=SYMBOL, **changes
    )


def of(order_id: str, trade_id: str, qty: str = "0.01", **changes: Any) -> Trade:
    return trade(trade_id, qty, exchange_order_id=ExchangeOrderId(order_id), side=Side.BUY, **changes)


def cursor_of(desk: Desk) -> str | None:
    found = desk.book.trade_cursor(SYMBOL)
    return None if found is None else found.trade_id


def filled(desk: Desk, trade_id: str = "t1") -> Trade:
    """A trade that the book has."""
    attempt = desk.accept(request(key=trade_id))
    done = of(f"X-{attempt.client_order_id}", trade_id)
    desk.apply(snapshot(attempt, OrderStatus.FILLED, [done]))
    return done


# ── whose it is ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_booked_trade_is_accounted_for(desk: Desk) -> None:
    """Nothing is missing, and the cursor passes it."""
    found = look(desk, filled(desk))
    assert (found.missing, found.nameless) == ((), ())
    carry_out(desk, found)
    assert cursor_of(desk) == "t1"


def test_a_trade_of_a_known_order_is_missing(desk: Desk) -> None:
    """It comes as an ordinary report, and when it is booked the next look moves the cursor over it."""
    attempt = in_state(desk, State.SENT)
    assert attempt.exchange_order_id is not None
    late = of(attempt.exchange_order_id, "t9", "0.004")
    found = look(desk, late)
    (report,) = found.missing
    assert (report.client_order_id, report.trades, report.source) == (attempt.client_order_id, (late,), "trades")
    assert (report.status, report.filled_qty) == (OrderStatus.OPEN, dec("0.004"))
    carry_out(desk, found)
    assert desk.record(attempt.intent_id).filled_qty == dec("0.004")
    assert cursor_of(desk) is None
    carry_out(desk, look(desk, late))
    assert cursor_of(desk) == "t9"


def test_a_trade_of_an_unknown_order_is_nameless_until_the_order_is_named(desk: Desk) -> None:
    """It may be of an order of ours whose placement is unknown, so it is neither ours nor external yet."""
    attempt = in_state(desk, State.UNKNOWN)
    done = of("X7", "t9")
    found = look(desk, done)
    assert (found.nameless, found.missing) == (("X7",), ())
    assert found.settlement.is_empty
    named = look(
        desk, done, orders=(line("X7", attempt.client_order_id, status=OrderStatus.FILLED, filled_qty=dec("0.01")),)
    )
    assert named.settlement.external_orders == ()
    carry_out(desk, named)
    assert desk.state(attempt) is State.FILLED


def test_a_trade_of_an_order_named_otherwise_is_external(desk: Desk) -> None:
    """C4: noted with what it did to the balances, told once, and no balance or order of the book is touched."""
    before = list(desk.book.balances())
    for _ in range(2):
        carry_out(desk, look(desk, of("X7", "t9", fee="1"), orders=(line("X7", "web-1"),)))
    assert [event.client_order_id for event in desk.events(ExternalOrderSeen)] == ["web-1"]
    assert {total.currency: total.amount for total in desk.book.external_totals()} == {
        "BTC": dec("0.01"),
        "USDT": dec("-501"),
    }
    assert list(desk.book.balances()) == before
    assert list(desk.book.fills()) == []
    assert cursor_of(desk) == "t9"


def test_a_known_external_order_needs_no_name_again(desk: Desk) -> None:
    """Its later trades are external, too."""
    carry_out(desk, look(desk, of("X7", "t8"), orders=(line("X7", "web-1"),)))
    found = look(desk, of("X7", "t8"), of("X7", "t9"))
    assert found.nameless == ()
    carry_out(desk, found)
    total = desk.book.external_total("BTC")
    assert total is not None
    assert total.amount == dec("0.02")


def test_what_was_before_the_book_is_in_its_opening_balances(desk: Desk) -> None:
    """Such a trade is noted and explains nothing."""
    carry_out(desk, look(desk, of("X7", "t9", venue_ns=T0 - 1), orders=(line("X7", "web-1"),)))
    assert list(desk.book.external_totals()) == []
    assert desk.book.external_trade(SYMBOL, TradeId("t9")) is not None


def test_a_stray_is_external_explains_nothing_and_is_told(desk: Desk) -> None:
    """It is named as ours are and the book does not have it: another intentd, or an older copy of the book."""
    for _ in range(2):
        carry_out(desk, look(desk, of("X7", "t9"), orders=(line("X7", STRAY),)))
    (alert,) = desk.events(AlertFired)
    assert alert.code == "STRAY_ORDER"
    assert list(desk.book.external_totals()) == []
    assert cursor_of(desk) == "t9"


def test_an_order_without_a_name_stays_nameless(desk: Desk) -> None:
    """The venue lists it and does not say what it is called."""
    found = look(desk, of("X7", "t9"), orders=(line("X7", ""),))
    assert found.nameless == ("X7",)


def test_what_is_ours_is_never_noted_as_external(desk: Desk) -> None:
    """The book looks itself, in its own transaction, whatever a settlement says."""
    attempt = in_state(desk, State.SENT)
    assert attempt.exchange_order_id is not None
    for order_id, name in ((attempt.exchange_order_id, "web-1"), (ExchangeOrderId("X9"), attempt.client_order_id)):
        order = ExternalOrder(
            symbol=SYMBOL, exchange_order_id=order_id, client_order_id=ClientOrderId(name), seen_ns=T0
        )
        theirs = external_trade(SYMBOL, of(order_id, "t9"), None, counts=True)
        put(desk, Settlement(symbol=SYMBOL, external_orders=(order,), external_trades=(theirs,)))
    assert list(desk.book.external_orders()) == []
    assert list(desk.book.external_totals()) == []


def test_an_external_sale_is_counted_the_other_way_round() -> None:
    """Base leaves, quote comes, and the fee goes in its own currency, whatever the book knows of the market."""
    sold = trade("t1", "0.5", "100", side=Side.SELL, fee="0.01", fee_currency="BNB")
    assert external_trade("ETH/EUR", sold, None, counts=True).changes == {
        "ETH": dec("-0.5"),
        "EUR": dec(50),
        "BNB": dec("-0.01"),
    }


# ── the cursor ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cursor_waits_for_trades_that_come_late(desk: Desk) -> None:
    """It passes nothing that is younger than venues report late."""
    done = filled(desk)
    carry_out(desk, look(desk, done, old_before_ns=done.venue_ns - 1))
    assert cursor_of(desk) is None
    carry_out(desk, look(desk, done, old_before_ns=done.venue_ns))
    assert cursor_of(desk) == "t1"


@pytest.mark.parametrize("in_between", ["missing", "nameless"])
def test_the_cursor_stops_before_a_trade_that_is_not_accounted_for(desk: Desk, in_between: str) -> None:
    """Whatever lies behind it."""
    attempt = in_state(desk, State.SENT)
    order_id = str(attempt.exchange_order_id) if in_between == "missing" else "X7"
    carry_out(desk, look(desk, filled(desk, "t1"), of(order_id, "t2"), filled(desk, "t3")))
    assert cursor_of(desk) == "t1"


def test_the_cursor_is_not_moved_over_what_the_book_does_not_have(desk: Desk) -> None:
    """The settlement was made on an older view, or a report was lost: the transaction looks for every trade."""
    done = filled(desk)
    cursor = TradeCursor(symbol=SYMBOL, trade_id=TradeId("t2"), venue_ns=T0)
    put(desk, Settlement(symbol=SYMBOL, passed=(done.trade_id, TradeId("t2")), cursor=cursor))
    assert cursor_of(desk) is None


def test_the_cursor_does_not_go_back(desk: Desk) -> None:
    """An older settlement that comes late changes nothing."""
    first, second = filled(desk, "t1"), filled(desk, "t2")
    late = look(desk, first)
    later = Settlement(
        symbol=SYMBOL,
        passed=("t1", "t2"),  # type: ignore[arg-type]
        cursor=TradeCursor(symbol=SYMBOL, trade_id=second.trade_id, venue_ns=T0 + 1),
    )
    put(desk, later)
    put(desk, late.settlement)
    assert cursor_of(desk) == "t2"


def test_a_cursor_at_its_place_is_not_written_again(desk: Desk) -> None:
    """A look that brings nothing new settles nothing."""
    done = filled(desk)
    carry_out(desk, look(desk, done))
    assert look(desk, done).settlement.is_empty


kinds = st.lists(st.sampled_from(["booked", "missing", "external", "stray", "nameless", "young"]), max_size=8)


@given(kinds, st.data())
def test_the_cursor_passes_only_what_is_accounted_for(drawn: list[str], data: st.DataObject) -> None:
    """Any mixture of trades, looked at in any pieces, any number of times: nothing before the cursor is missing in
    the book, every trade of ours is booked once, and every other one counted once."""
    desk = Desk(USDT="1000000", BTC="1")
    orders, trades, young = [], [], set()
    for number, kind in enumerate(drawn):
        trade_id, order_id = f"t{number:02d}", f"Y{number}"
        if kind in {"booked", "young"}:
            trades.append(filled(desk, trade_id))
        elif kind == "missing":
            attempt = desk.accept(request(key=trade_id))
            desk.apply(snapshot(attempt, order_id=order_id))
            trades.append(of(order_id, trade_id))
        else:
            name = {"external": f"web-{number}", "stray": STRAY, "nameless": ""}[kind]
            orders.append(line(order_id, name))
            trades.append(of(order_id, trade_id))
        if kind == "young":
            young.add(trade_id)
    first_young = min((number for number, kind in enumerate(drawn) if kind == "young"), default=len(drawn))
    timed = [
        trade(each.trade_id, "0.01", exchange_order_id=each.exchange_order_id, side=Side.BUY, venue_ns=T0 + number)
        for number, each in enumerate(trades)
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        shown = data.draw(st.integers(0, len(timed)))
        found = look(desk, *timed[:shown], orders=tuple(orders), old_before_ns=T0 + first_young - 1)
        for _ in range(data.draw(st.integers(1, 2))):  # every message may come twice
            carry_out(desk, found)
        at = cursor_of(desk)
        before = drawn[: 0 if at is None else int(at[1:]) + 1]
        assert not {"nameless", "young"} & set(before)
        for each in timed[: len(before)]:
            kept = desk.book.fill(SYMBOL, each.trade_id), desk.book.external_trade(SYMBOL, each.trade_id)
            assert sum(found is not None for found in kept) == 1
    seen = {row.trade_id for row in desk.book._tables["external_trades"].values()}
    counted = [kind for number, kind in enumerate(drawn) if kind == "external" and f"t{number:02d}" in seen]
    total = desk.book.external_total("BTC")
    assert (total.amount if total is not None else 0) == dec("0.01") * len(counted)
    booked = [fill.trade_id for fill in desk.book.fills()]
    assert len(booked) == len(set(booked))
