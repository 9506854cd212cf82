"""What every book must do, in memory and in LMDB: the core's rules rely on nothing else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import events, ids
from core.ids import ClientOrderId, ExchangeOrderId, IdempotencyKey, IntentId, TradeId
from core.lifecycle import State
from core.records import (
    Arming,
    AttemptStatus,
    Balance,
    BreakerRecord,
    BreakerState,
    ClockSpan,
    Drift,
    ExternalOrder,
    ExternalTotal,
    ExternalTrade,
    IdempotencyRecord,
    LedgerTransaction,
    Leftover,
    OrderRecord,
    Position,
    Posting,
    PrivateData,
    PrivateDataState,
    Quarantine,
    QuoteFigures,
    Reservation,
    RiskFigures,
    TradeCursor,
)
from tests import builders
from tests.builders import SYMBOL, T0, dec
from tests.storage.records import Book, attempt_record, intent_record


class Broken(Exception):
    """Ends a transaction early."""


def write_and_break(book: Book) -> None:
    """Write into several tables, then raise inside the transaction."""
    with book.transaction() as unit:
        unit.put_balance(Balance(currency="BTC", total=dec(2)))
        unit.put_intent(intent_record())
        unit.put_attempt(attempt_record())
        unit.put_quarantine(Quarantine(SYMBOL, "late fill", T0))
        unit.append_ledger(LedgerTransaction(at_ns=T0, kind="fill", text="", postings=()))
        unit.append_event(events.AlertFired(at_ns=T0, code="INSIDE", text=""))
        raise Broken


def test_nothing_is_found_under_an_unknown_key(book: Book) -> None:
    """A look-up of what was never written is None, for every table."""
    with book.snapshot() as view:
        found = [
            view.intent(IntentId("i")),
            view.idempotency(IdempotencyKey("k")),
            view.attempt(IntentId("i"), 1),
            view.attempt_by_client_id(ClientOrderId("c")),
            view.order(SYMBOL, ExchangeOrderId("o")),
            view.fill(SYMBOL, TradeId("t")),
            view.reservation(IntentId("i")),
            view.position(SYMBOL),
            view.balance("BTC"),
            view.market(SYMBOL),
            view.quarantine(SYMBOL),
            view.breaker(),
            view.arming(),
            view.private_data(),
            view.last_event(events.AlertFired),
        ]
    assert found == [None] * 15


def test_an_empty_book_lists_nothing(book: Book) -> None:
    """Every list of a new book is empty."""
    with book.snapshot() as view:
        lists = [
            list(view.open_intents()),
            list(view.open_intents(SYMBOL)),
            list(view.balances()),
            list(view.positions()),
            list(view.reservations()),
            list(view.ledger()),
            list(view.events()),
        ]
    assert lists == [[]] * 7


def test_every_record_comes_back_as_it_was_written(book: Book) -> None:
    """What is read under a key equals what was put there, Decimal digits, dictionaries and enumerations included."""
    record, attempt = intent_record(), attempt_record()
    key = IdempotencyRecord(IdempotencyKey("k"), ids.payload_hash(("x",)), IntentId("i1"), T0)
    order = OrderRecord(exchange_order_id=ExchangeOrderId("X1"), symbol=SYMBOL, intent_id=attempt.intent_id, attempt=1)
    fill = builders.fill(fee="0.000010", fee_currency="BTC")
    held = Reservation(intent_id=IntentId("i1"), currency="USDT", amount=dec("500.500"), created_ns=T0)
    position = Position(symbol=SYMBOL, qty=dec("0.01"), cost=dec("500"), fees={"BNB": dec("0.001")})
    balance = Balance(currency="USDT", total=dec("1E+4"), reserved=dec("500.5"))
    rules, stop = builders.rules(), Quarantine(SYMBOL, "late fill", T0)
    with book.transaction() as unit:
        unit.put_intent(record)
        unit.put_attempt(attempt)
        unit.put_idempotency(key)
        unit.put_order(order)
        unit.put_fill(fill)
        unit.put_reservation(held)
        unit.put_position(position)
        unit.put_balance(balance)
        unit.put_market(rules)
        unit.put_quarantine(stop)
    with book.snapshot() as view:
        assert record == view.intent(record.intent.intent_id)
        assert attempt == view.attempt(attempt.intent_id, 1)
        assert attempt == view.attempt_by_client_id(attempt.client_order_id)
        assert key == view.idempotency(key.key)
        assert order == view.order(SYMBOL, order.exchange_order_id)
        assert fill == view.fill(SYMBOL, fill.trade_id)
        assert held == view.reservation(held.intent_id)
        assert position == view.position(SYMBOL)
        assert balance == view.balance("USDT")
        assert rules == view.market(SYMBOL)
        assert stop == view.quarantine(SYMBOL)


def test_a_unit_of_work_reads_its_own_writes(book: Book) -> None:
    """What was written in a transaction is seen later in the same transaction, lists and indexes included."""
    record = intent_record()
    with book.transaction() as unit:
        unit.put_balance(Balance(currency="BTC", total=dec(1)))
        unit.put_balance(Balance(currency="BTC", total=dec(2)))
        unit.put_intent(record)
        assert Balance(currency="BTC", total=dec(2)) == unit.balance("BTC")
        assert [Balance(currency="BTC", total=dec(2))] == list(unit.balances())
        assert [record] == list(unit.open_intents())


def test_a_list_inside_a_unit_of_work_is_as_new_as_the_last_write(book: Book) -> None:
    """A list that is asked for between writes has what was written before it, and nothing that was taken away."""
    record = intent_record()
    with book.transaction() as unit:
        unit.put_reservation(Reservation(intent_id=IntentId("i1"), currency="USDT", amount=dec(5), created_ns=T0))
        unit.put_intent(record)
        assert len(list(unit.reservations())) == 1
        unit.delete_reservation(IntentId("i1"))
        unit.put_intent(replace(record, state=State.FILLED))
        assert list(unit.reservations()) == []
        assert unit.reservation(IntentId("i1")) is None
        assert list(unit.open_intents()) == []
    with book.snapshot() as view:
        assert list(view.reservations()) == []
        assert view.intent(record.intent.intent_id) == replace(record, state=State.FILLED)


def test_a_snapshot_does_not_see_an_open_transaction(book: Book) -> None:
    """Readers see what was committed before they began, whatever a writer does meanwhile."""
    with book.transaction() as unit:
        unit.put_balance(Balance(currency="BTC", total=dec(1)))
    with book.snapshot() as view:
        with book.transaction() as unit:
            unit.put_balance(Balance(currency="BTC", total=dec(2)))
        assert Balance(currency="BTC", total=dec(1)) == view.balance("BTC")


def test_an_exception_throws_the_whole_transaction_away(book: Book) -> None:
    """After a rollback every table, list and sequence is what it was before."""
    with book.transaction() as unit:
        unit.put_balance(Balance(currency="BTC", total=dec(1)))
        unit.append_event(events.AlertFired(at_ns=T0, code="BEFORE", text=""))
    with pytest.raises(Broken):
        write_and_break(book)
    with book.transaction() as unit:
        unit.append_event(events.AlertFired(at_ns=T0, code="AFTER", text=""))
    with book.snapshot() as view:
        assert Balance(currency="BTC", total=dec(1)) == view.balance("BTC")
        assert list(view.open_intents()) == []
        assert view.attempt(IntentId("i1"), 1) is None
        assert view.quarantine(SYMBOL) is None
        assert list(view.ledger()) == []
        assert [(number, event.code) for number, event in view.events()] == [(1, "BEFORE"), (2, "AFTER")]


@pytest.mark.parametrize("state", list(State))
def test_open_intents_are_those_that_are_not_terminal(book: Book, state: State) -> None:
    """Writing an intent puts it into the index of open ones, or takes it out, by its state alone."""
    record = intent_record()
    with book.transaction() as unit:
        unit.put_intent(record)
    with book.transaction() as unit:
        unit.put_intent(replace(record, state=state))
    terminal = state in {"FILLED", "PARTIAL_SUCCESS", "CANCELED", "REJECTED", "EXPIRED", "FAILED_FINAL"}
    with book.snapshot() as view:
        assert ([] if terminal else [state]) == [found.state for found in view.open_intents()]


def test_a_terminal_intent_stays_readable(book: Book) -> None:
    """An ended intent leaves the index, never the book."""
    record = intent_record(state=State.FILLED)
    with book.transaction() as unit:
        unit.put_intent(record)
    with book.snapshot() as view:
        assert record == view.intent(record.intent.intent_id)
        assert [record] == list(view.intents())


def test_open_intents_come_oldest_first_per_symbol(book: Book) -> None:
    """The order of writing plays no part; a symbol is not mixed up with one that it begins."""
    records = [
        intent_record(number, symbol)
        for number, symbol in [(3, "BTC/USDT"), (1, "BTC/USDT"), (4, "BTC/USD"), (2, "ETH/USDT"), (5, "BTC/USDT")]
    ]
    with book.transaction() as unit:
        for record in records:
            unit.put_intent(record)
    with book.snapshot() as view:
        by_symbol = {
            symbol: [found.intent.idempotency_key for found in view.open_intents(symbol)]
            for symbol in ("BTC/USDT", "BTC/USD", "ETH/USDT", "BTC", "XRP/USDT")
        }
        everything = [found.intent.idempotency_key for found in view.open_intents()]
    expected = {"BTC/USDT": ["k1", "k3", "k5"], "BTC/USD": ["k4"], "ETH/USDT": ["k2"], "BTC": [], "XRP/USDT": []}
    assert expected == by_symbol
    assert everything == ["k4", "k1", "k3", "k5", "k2"]


def test_open_intents_are_counted_as_they_come_and_go(book: Book) -> None:
    """Inside a unit of work and outside, however often each is written."""
    with book.transaction() as unit:
        for number in (1, 2, 3, 1):
            unit.put_intent(intent_record(number))
        unit.put_intent(intent_record(2, state=State.FILLED))
        assert unit.open_count() == 2
    with book.transaction() as unit:
        unit.put_intent(intent_record(3, state=State.CANCELED))
        unit.put_intent(intent_record(3, state=State.FILLED))
        assert unit.open_count() == 1
    with book.snapshot() as view:
        assert view.open_count() == 1


def test_risk_figures_come_back(book: Book) -> None:
    """None before the first; then what was put last."""
    figures = RiskFigures(
        day=3, trades=2, holding=1, buying={SYMBOL: 1}, quotes={"USDT": QuoteFigures(positions_value=dec("1.5"))}
    )
    with book.transaction() as unit:
        assert unit.risk_figures() is None
        unit.put_risk_figures(RiskFigures())
        unit.put_risk_figures(figures)
    with book.snapshot() as view:
        assert view.risk_figures() == figures


def test_all_intents_come_by_time(book: Book) -> None:
    """Newest first, or oldest first when asked."""
    with book.transaction() as unit:
        for number in (2, 1, 3):
            unit.put_intent(intent_record(number))
    with book.snapshot() as view:
        assert [found.intent.idempotency_key for found in view.intents()] == ["k3", "k2", "k1"]
        assert [found.intent.idempotency_key for found in view.intents(newest_first=False)] == ["k1", "k2", "k3"]


def test_attempts_of_an_intent_come_by_number(book: Book) -> None:
    """Attempt 10 follows attempt 9, and another intent's attempts are left out."""
    with book.transaction() as unit:
        for number in (10, 9, 1):
            unit.put_attempt(attempt_record("i1", number))
        unit.put_attempt(attempt_record("i11", 1))
    with book.snapshot() as view:
        assert [found.attempt for found in view.attempts(IntentId("i1"))] == [1, 9, 10]


def test_a_changed_attempt_is_found_by_its_client_id(book: Book) -> None:
    """The client order id leads to the attempt as it stands now."""
    attempt = attempt_record()
    with book.transaction() as unit:
        unit.put_attempt(attempt)
        unit.put_attempt(replace(attempt, status=AttemptStatus.CLOSED))
    with book.snapshot() as view:
        found = view.attempt_by_client_id(attempt.client_order_id)
    assert replace(attempt, status=AttemptStatus.CLOSED) == found


def test_trade_ids_belong_to_a_symbol(book: Book) -> None:
    """The same trade id of two symbols names two fills, and fills are listed by intent."""
    one = builders.fill("7", qty="0.01")
    other = builders.fill("7", qty="0.02", symbol="ETH/USDT", intent_id=IntentId("i2"))
    with book.transaction() as unit:
        unit.put_fill(one)
        unit.put_fill(other)
    with book.snapshot() as view:
        assert (one, other) == (view.fill(SYMBOL, TradeId("7")), view.fill("ETH/USDT", TradeId("7")))
        assert [one] == list(view.fills(IntentId("i1")))
        assert [one, other] == list(view.fills())


def test_a_deleted_reservation_and_quarantine_are_gone(book: Book) -> None:
    """Deleting removes the row; deleting what is not there changes nothing."""
    with book.transaction() as unit:
        unit.put_reservation(Reservation(intent_id=IntentId("i1"), currency="BTC", amount=dec(1), created_ns=T0))
        unit.put_quarantine(Quarantine(SYMBOL, "late fill", T0))
    with book.transaction() as unit:
        unit.delete_reservation(IntentId("i1"))
        unit.delete_reservation(IntentId("i2"))
        unit.delete_quarantine(SYMBOL)
        unit.delete_quarantine("ETH/USDT")
    with book.snapshot() as view:
        assert list(view.reservations()) == []
        assert view.quarantine(SYMBOL) is None


def test_leftovers_are_kept_until_they_are_deleted(book: Book) -> None:
    """By name, and all of them; what else stands in the book does not show among them."""
    one, other = (
        Leftover(client_order_id=ClientOrderId(name), symbol=SYMBOL, since_ns=T0, is_told=told)
        for name, told in (("in1", True), ("in2", False))
    )
    opened = BreakerRecord(state=BreakerState.OPEN, revision=3, cool_off_ns=5)
    armed = Arming(account="f", since_ns=T0, until_ns=T0 + 5, by="operator", reason="a test", asked_ns=T0 - 1)
    gone = PrivateData(state=PrivateDataState.GONE, since_ns=T0, reason="502", revision=1)
    span = ClockSpan(ahead_ns=20, behind_ns=7)
    with book.transaction() as unit:
        unit.put_leftover(one)
        unit.put_leftover(other)
        unit.put_drift(Drift(known={"BTC": dec(1)}))
        unit.put_breaker(opened)
        unit.put_arming(armed)
        unit.put_private_data(gone)
        unit.put_clock_span(span)
    with book.snapshot() as view:
        assert (view.breaker(), view.drift(), view.arming()) == (opened, Drift(known={"BTC": dec(1)}), armed)
        assert (view.private_data(), view.clock_span()) == (gone, span)
        assert [one, other] == list(view.leftovers())
    with book.transaction() as unit:
        unit.delete_leftover(one.client_order_id)
    with book.snapshot() as view:
        assert [other] == list(view.leftovers())
        assert (view.leftover(one.client_order_id), view.leftover(other.client_order_id)) == (None, other)


def test_ledger_transactions_come_back_in_order(book: Book) -> None:
    """The ledger is read as it was written."""
    entries = [
        LedgerTransaction(at_ns=T0, kind="fill", text=str(number), postings=(Posting("A", "BTC", dec("0.10")),))
        for number in range(3)
    ]
    for entry in entries:
        with book.transaction() as unit:
            unit.append_ledger(entry)
    with book.snapshot() as view:
        assert entries == list(view.ledger())


def test_what_the_reconciler_keeps_comes_back(book: Book) -> None:
    """Cursors by symbol, how far was compared, what is external, and the drift that people have looked at."""
    cursors = [TradeCursor(symbol=symbol, trade_id=TradeId("7"), venue_ns=T0) for symbol in (SYMBOL, "ETH/USDT")]
    order = ExternalOrder(
        symbol=SYMBOL, exchange_order_id=ExchangeOrderId("X9"), client_order_id=ClientOrderId("web-1"), seen_ns=T0
    )
    trade = ExternalTrade(
        symbol=SYMBOL, trade_id=TradeId("8"), exchange_order_id=ExchangeOrderId("X9"), changes={"BTC": dec("-0.1")}
    )
    total = ExternalTotal(currency="BTC", amount=dec("-0.1"))
    drift = Drift(alarmed={"USDT": dec(-5)}, known={"BNB": dec("0.1")})
    with book.transaction() as unit:
        for cursor in cursors:
            unit.put_trade_cursor(cursor)
        unit.put_compared(7)
        unit.put_compared(300)
        unit.put_external_order(order)
        unit.put_external_trade(trade)
        unit.put_external_total(total)
        unit.put_drift(drift)
    with book.snapshot() as view:
        assert [view.trade_cursor(cursor.symbol) for cursor in cursors] == cursors
        assert view.compared() == 300
        assert view.external_order(SYMBOL, order.exchange_order_id) == order
        assert view.external_order("ETH/USDT", order.exchange_order_id) is None
        assert list(view.external_orders()) == [order]
        assert view.external_trade(SYMBOL, TradeId("8")) == trade
        assert view.external_total("BTC") == total
        assert list(view.external_totals()) == [total]
        assert view.drift() == drift


def test_an_empty_book_has_nothing_of_the_reconcilers(book: Book) -> None:
    """None, not zero."""
    with book.snapshot() as view:
        assert (view.trade_cursor(SYMBOL), view.compared(), view.drift(), view.external_total("BTC")) == (None,) * 4
        assert list(view.external_orders()) == list(view.external_totals()) == list(view.markets()) == []


def test_fills_of_a_symbol_are_its_own(book: Book) -> None:
    """Another symbol's trade may have the same id."""
    with book.transaction() as unit:
        for symbol in (SYMBOL, "BTC/USDC", "ETH/USDT"):
            unit.put_fill(builders.fill("7", symbol=symbol))
    with book.snapshot() as view:
        assert [fill.symbol for fill in view.fills_of("BTC/USDC")] == ["BTC/USDC"]


@pytest.mark.parametrize("name", ["", "x" * 2_000, "a\0b", "\udcff"])
def test_a_name_that_cannot_be_a_key_is_unknown(book: Book, name: str) -> None:
    """Whatever a user types as an id is an id that is not there, never a failure of the store."""
    with book.transaction() as unit:
        assert unit.intent(IntentId(name)) is None
