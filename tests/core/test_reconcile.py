"""Book versus venue, and the health of a budget: pure comparisons."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import reconcile
from core.budget import Budget, budget_of
from core.ids import ExchangeOrderId
from core.intent import IntentRequest
from core.lifecycle import State
from core.records import AttemptRecord, Balance, IntentRecord, Reservation
from core.reports import OrderStatus, Trade
from tests.builders import SECOND, T0, Desk, dec, in_state, request, sell, snapshot, trade

amounts = st.decimals(min_value=0, max_value=10**6, places=8, allow_nan=False)


def ended(desk: Desk, qty: str = "0.01") -> tuple[IntentRecord, AttemptRecord, Trade]:
    """An intent that filled `qty` in one trade of order X1."""
    attempt = desk.accept()
    done = desk.trade(qty)
    status = OrderStatus.FILLED if qty == "0.01" else OrderStatus.CANCELED
    record = desk.apply(snapshot(attempt, status, [done], order_id="X1"))
    return record, desk.attempt(attempt.intent_id), done


# ── trades ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_book_that_agrees_is_reconciled() -> None:
    """C6: no delta, nothing missing, and the venue's own quantity, notional and fees."""
    desk = Desk()
    record, attempt, done = ended(desk)
    found = reconcile.compare(record, [attempt], [done])
    assert (found.qty_delta, found.missing, found.venue_qty, found.venue_notional) == (0, (), dec("0.01"), dec(500))
    assert reconcile.result_event(record, found, T0).code == "RECONCILED"


def test_trades_of_other_orders_are_left_out() -> None:
    """C4: what others trade on the account plays no part."""
    desk = Desk()
    record, attempt, done = ended(desk)
    other = trade("t999", "5", exchange_order_id=ExchangeOrderId("X2"))
    assert reconcile.compare(record, [attempt], [done]) == reconcile.compare(record, [attempt], [other, done])


def test_a_missing_trade_comes_as_an_ordinary_report() -> None:
    """What the book lacks is booked through the ordinary path; afterwards book and venue agree."""
    desk = Desk()
    record, attempt, done = ended(desk, "0.004")
    late = trade("t777", "0.006")
    found = reconcile.compare(record, [attempt], [done, late])
    assert found.qty_delta == dec("0.006")
    (report,) = found.missing
    after = desk.apply(report)
    assert (after.state, after.filled_qty) == (State.FILLED, dec("0.01"))
    again = reconcile.compare(after, [desk.attempt(attempt.intent_id)], [done, late])
    assert (again.qty_delta, again.missing) == (0, ())


def test_a_shortfall_of_the_venue_is_a_mismatch() -> None:
    """The venue shows less than was booked: nothing to book, and the code says so."""
    desk = Desk()
    record, attempt, _ = ended(desk)
    found = reconcile.compare(record, [attempt], [])
    assert (found.qty_delta, found.missing) == (dec("-0.01"), ())
    assert reconcile.result_event(record, found, T0).code == "MISMATCH"


def test_an_attempt_that_was_never_placed_has_no_trades() -> None:
    """Without an order at the venue there is nothing to compare."""
    desk = Desk()
    attempt = in_state(desk, State.REJECTED)
    found = reconcile.compare(desk.record(attempt.intent_id), [attempt], [trade("t1", "1")])
    assert (found.qty_delta, found.missing, found.venue_qty) == (0, (), 0)


def test_fees_are_summed_by_currency() -> None:
    """Each currency's fees stand for themselves."""
    desk = Desk()
    record, attempt, _ = ended(desk)
    trades = [
        trade("t1", "0.004", fee="1", fee_currency="BNB"),
        trade("t2", "0.003", fee="2", fee_currency="BNB"),
        trade("t3", "0.003", fee="0.5"),
    ]
    assert reconcile.compare(record, [attempt], trades).venue_fees == {"BNB": dec(3), "USDT": dec("0.5")}


# ── balances ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("book", "venue", "drift"),
    [
        ({}, {}, {}),
        ({"BTC": "1"}, {"BTC": "1.0"}, {}),
        ({"BTC": "1"}, {"BTC": "0.9"}, {"BTC": "-0.1"}),
        ({"BTC": "0"}, {}, {}),
        ({"BTC": "1"}, {}, {"BTC": "-1"}),
        ({}, {"ETH": "2"}, {"ETH": "2"}),
    ],
)
def test_drift_is_venue_minus_book(book: dict[str, str], venue: dict[str, str], drift: dict[str, str]) -> None:
    """Only what differs is named; a currency that one side lacks is zero there."""

    def plain(amounts: dict[str, str]) -> dict[str, Decimal]:
        return {currency: dec(amount) for currency, amount in amounts.items()}

    assert plain(drift) == reconcile.balance_drift(plain(book), plain(venue))


@given(st.dictionaries(st.sampled_from("ABCD"), amounts), st.dictionaries(st.sampled_from("ABCD"), amounts))
def test_drift_explains_the_difference(book: dict[str, Decimal], venue: dict[str, Decimal]) -> None:
    """Book plus drift is the venue, in every currency, and no drift is zero."""
    drift = reconcile.balance_drift(book, venue)
    for currency in book.keys() | venue.keys():
        assert book.get(currency, Decimal(0)) + drift.get(currency, Decimal(0)) == venue.get(currency, Decimal(0))
    assert all(drift.values())


# ── budget ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def budget(
    currency: str, total: str, *wishes: IntentRequest, drift: dict[str, str] | None = None, age_s: int = 0
) -> Budget:
    """Of a currency with this total, after some wishes were accepted `age_s` ago."""
    desk = Desk(**({"USDT": "10000", "BTC": "1"} | {currency: total}))
    for wish in wishes:
        desk.accept(wish)
    held: list[tuple[Reservation, IntentRecord]] = [
        (reservation, desk.record(reservation.intent_id))
        for reservation in desk.book.reservations()
        if reservation.currency == currency
    ]
    compared = None if drift is None else {name: dec(amount) for name, amount in drift.items()}
    balance = desk.book.balance(currency)
    assert balance is not None
    return budget_of(balance, held, compared, T0 + age_s * SECOND)


def test_a_quiet_budget_is_healthy() -> None:
    """Nothing held, nothing drifting: everything is available."""
    found = budget("USDT", "10000", drift={})
    assert (found.my_budget, found.expected_available, found.actual_available) == (dec(10_000),) * 3
    assert (found.health, found.active_reservations_count, found.drift_pct) == ("HEALTHY", 0, 0)


def test_before_the_first_comparison_nothing_is_verified() -> None:
    """Unknown is not zero: the venue's figures are None, and nobody can call that healthy."""
    found = budget("USDT", "10000")
    assert (found.verified_budget, found.actual_available, found.health) == (None, None, "WARNING")
    assert (found.budget_drift, found.drift_pct) == (None, None)


def test_reservations_are_told_by_side() -> None:
    """Quote held by buys and base held by sells, each in its own currency."""
    bought = budget("USDT", "10000", request(key="a"), request(key="b"))
    sold = budget("BTC", "1", sell(key="a"))
    assert (bought.reserved_quote_total, bought.reserved_base_total) == (dec(1001), 0)
    assert (sold.reserved_quote_total, sold.reserved_base_total) == (0, dec("0.01"))
    assert (bought.active_reservations_count, bought.expected_available) == (2, dec(8999))


@pytest.mark.parametrize(
    ("drift", "health"), [("99.99", "HEALTHY"), ("-99.99", "HEALTHY"), ("100", "WARNING"), ("-100", "WARNING")]
)
def test_a_drift_of_a_percent_is_a_warning(drift: str, health: str) -> None:
    """B7: below 1 % is healthy, in either direction."""
    assert health == budget("USDT", "10000", drift={"USDT": drift}).health


@pytest.mark.parametrize(("age_s", "old", "health"), [(300, 0, "HEALTHY"), (301, 1, "WARNING")])
def test_an_old_reservation_is_a_warning(age_s: int, old: int, health: str) -> None:
    """B7: what is held for more than five minutes wants a look."""
    found = budget("USDT", "10000", request(), drift={}, age_s=age_s)
    assert (found.old_reservations, found.health) == (old, health)


def test_drift_of_a_currency_that_the_book_lacks_is_a_warning() -> None:
    """Money where the book has none is a hundred percent off."""
    found = budget_of(Balance(currency="ETH", total=dec(0)), [], {"ETH": dec(1)}, T0)
    assert (found.drift_pct, found.health) == (dec(100), "WARNING")


def test_drift_of_a_negative_total_is_a_warning() -> None:
    """A fee in a currency that the account lacked makes the total negative; drift there is not healthy."""
    found = budget_of(Balance(currency="BNB", total=dec("-0.001")), [], {"BNB": dec("0.001")}, T0)
    assert found.health == "WARNING"
