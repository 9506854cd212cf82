"""The accepting transaction: keys, refusals, reservations, opening balances."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core import book as rules_of_book
from core import events
from core.book import OpeningOutcome
from core.holdings import violations
from core.intent import Kind, Side
from core.lifecycle import State
from core.planning import Refusal
from core.records import AttemptStatus, Balance, Position
from core.settings import UNLIMITED
from tests.builders import (
    SECOND,
    SYMBOL,
    T0,
    Desk,
    dec,
    opening,
    request,
    rules,
    sell,
    snapshot,
)
from tests.fakes import MemoryBook


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ── accepting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_accepted_wish_is_reserved_and_on_disk_with_its_first_order(desk: Desk) -> None:
    """B2: one transaction holds the money and writes the key, the intent in SENDING, and attempt 1 as planned."""
    result = desk.submit(request(key="k1"))
    assert (result.outcome, result.refusal) == (OpeningOutcome.ACCEPTED, None)
    record, attempt = result.record, result.attempt
    assert record is not None
    assert attempt is not None
    assert (record.state, record.attempts, record.qty, record.worst_price) == (
        State.SENDING,
        1,
        dec("0.01"),
        dec(50_000),
    )
    assert (attempt.attempt, attempt.status, attempt.qty, attempt.price) == (
        1,
        AttemptStatus.SENDING,
        dec("0.01"),
        dec(50_000),
    )
    assert desk.book.intent(record.intent.intent_id) == record
    assert desk.book.attempt_by_client_id(attempt.client_order_id) == attempt
    known = desk.book.idempotency(record.intent.idempotency_key)
    assert known is not None
    assert known.intent_id == record.intent.intent_id
    assert desk.book.market(SYMBOL) == rules()


def test_the_trail_of_an_accepted_wish(desk: Desk) -> None:
    """F6, O4: what happened in the accepting transaction stands in the outbox, in order."""
    attempt = desk.accept()
    told = list(desk.book.trail(attempt.intent_id))
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["OrderIntent", "StateChanged", "OrderAttempt", "StateChanged"]
    moves = [(event.from_state, event.to_state) for event in told if isinstance(event, events.StateChanged)]
    assert moves == [(State.NEW, State.RESERVED), (State.RESERVED, State.SENDING)]


def test_the_slippage_guard_is_told(desk: Desk) -> None:
    """R2: a capped price leaves `slippage_guard_applied` with what was asked and what it became."""
    desk.accept(request(limit_price="60000"))
    (event,) = desk.events(events.SlippageGuardApplied)
    assert (event.asked, event.capped, event.reference) == (dec(60_000), dec(50_100), dec(50_000))


@pytest.mark.parametrize(
    ("wish", "currency", "amount"),
    [
        (request(), "USDT", "500.5"),
        (request(limit_price="60000"), "USDT", "501.501"),
        (request(kind=Kind.MARKET, limit_price=None), "USDT", "501.501"),
        (sell(), "BTC", "0.01"),
    ],
)
def test_the_worst_case_is_reserved(desk: Desk, wish: object, currency: str, amount: str) -> None:
    """B3: a buy holds quantity × worst price × (1 + fee), a sell its base; free shrinks by as much, total stays."""
    before = desk.free(currency)
    attempt = desk.accept(wish)  # type: ignore[arg-type]
    held = desk.book.reservation(attempt.intent_id)
    assert held is not None
    assert (held.currency, held.amount) == (currency, dec(amount))
    assert desk.free(currency) == before - dec(amount)
    assert violations(desk.book) == []


def test_all_the_money_can_be_used(desk: Desk) -> None:
    """A wish whose worst case is exactly what is free is accepted; the next one is refused."""
    desk = Desk(USDT="500.5")
    desk.accept()
    assert desk.free("USDT") == 0
    assert desk.submit(request(qty="0.0001")).refusal.code == "INSUFFICIENT_FUNDS"  # type: ignore[union-attr]


# ── known keys ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_wish_again_is_a_duplicate(desk: Desk) -> None:
    """I4: nothing is sent or held, the answer is the existing intent as it stands now, and it is told."""
    attempt = desk.accept(request(key="k1"))
    desk.apply(snapshot(attempt))
    desk.later(3600)
    held = desk.free("USDT")
    result = desk.submit(request(key="k1"))
    assert (result.outcome, result.attempt) == (OpeningOutcome.DUPLICATE, None)
    assert result.record == desk.record(attempt.intent_id)
    assert result.record.state is State.SENT
    assert desk.free("USDT") == held
    assert len(desk.events(events.DuplicateOrderBlocked)) == 1


def test_a_known_key_with_another_wish_is_a_conflict(desk: Desk) -> None:
    """I4: nothing is sent or held, and the refusal says so."""
    attempt = desk.accept(request(key="k1"))
    result = desk.submit(request(key="k1", qty="0.02"))
    assert (result.outcome, result.attempt) == (OpeningOutcome.CONFLICT, None)
    assert result.refusal is not None
    assert result.refusal.code == "IdempotencyConflict"
    assert attempt.intent_id in result.refusal.reason
    assert len(list(desk.book.open_intents())) == 1
    assert len(desk.events(events.IdempotencyConflicted)) == 1


@pytest.mark.parametrize("days", [0.01, 1, 7])
def test_keys_are_remembered(desk: Desk, days: float) -> None:
    """I4: a key of a terminal intent is known for at least seven days."""
    done = desk.filled(request(key="k1"))
    desk.later(days * 86_400)
    result = desk.submit(request(key="k1"))
    assert (result.outcome, result.record) == (OpeningOutcome.DUPLICATE, done)


def test_the_same_content_within_a_minute_is_a_duplicate(desk: Desk) -> None:
    """I3: without a key the content counts, also across the edge of a bucket; a minute later it is a new wish."""
    desk.later(59)
    desk.accept()
    outcomes = []
    for at_s in (60, 61, 118.9, 119):
        desk.now_ns = T0 + int(at_s * SECOND)
        outcomes.append(desk.submit().outcome.value)
    assert outcomes == ["duplicate", "duplicate", "duplicate", "accepted"]


def test_wishes_with_keys_of_their_own_are_not_joined_by_content(desk: Desk) -> None:
    """Two keys mean two wishes, even of the same content in the same second."""
    desk.accept(request(key="k1"))
    assert desk.submit(request(key="k2")).outcome is OpeningOutcome.ACCEPTED


def test_a_refusal_does_not_use_up_the_key(desk: Desk) -> None:
    """What was refused can be asked again with the same key, and then is accepted."""
    poor = Desk(USDT="10")
    first = poor.submit(request(key="k1"))
    assert (first.outcome, poor.book.idempotency(opening(request(key="k1")).intent.idempotency_key)) == (
        OpeningOutcome.REFUSED,
        None,
    )
    with poor.book.transaction():
        balance = poor.book.balance("USDT")
        assert balance is not None
        poor.book.put_balance(replace(balance, total=dec(1000)))
    poor.later()
    assert poor.submit(request(key="k1")).outcome is OpeningOutcome.ACCEPTED


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def refusal_of(desk: Desk, wish: object) -> Refusal:
    """The refusal of a wish, which must have changed nothing but the outbox."""
    before = list(desk.book.balances()), list(desk.book.intents()), list(desk.book.reservations())
    result = desk.submit(wish)  # type: ignore[arg-type]
    assert result.outcome is OpeningOutcome.REFUSED
    assert before == (list(desk.book.balances()), list(desk.book.intents()), list(desk.book.reservations()))
    assert result.refusal is not None
    (told,) = desk.events(events.IntentRefused)
    assert (told.code, told.reason) == (result.refusal.code, result.refusal.reason)
    return result.refusal


def test_too_little_money_is_refused(desk: Desk) -> None:
    """The refusal names what is needed in the worst case and what is free."""
    refusal = refusal_of(desk, request(qty="0.2"))
    assert refusal.code == "INSUFFICIENT_FUNDS"
    assert "10010 USDT" in refusal.reason
    assert "10000 is free" in refusal.reason


def test_money_of_an_unknown_currency_is_refused() -> None:
    """A currency that the account never held has nothing free."""
    assert refusal_of(Desk(EUR="5"), sell()).code == "INSUFFICIENT_FUNDS"


def test_reserved_money_is_not_free(desk: Desk) -> None:
    """Two wishes cannot hold the same money."""
    desk.accept(request(qty="0.15"))
    assert refusal_of(desk, request(qty="0.1")).code == "INSUFFICIENT_FUNDS"


def test_reduce_only_sells_at_most_the_position(desk: Desk) -> None:
    """Without a position nothing is sold, with one at most that much, whatever the account holds."""
    assert refusal_of(desk, sell(reduce_only=True)).code == "REDUCE_ONLY"
    desk.later()  # in the same moment it would be the same asking
    desk.filled(request(qty="0.01", key="k1"))
    assert desk.submit(sell(reduce_only=True, qty="0.01001")).outcome is OpeningOutcome.REFUSED
    assert desk.submit(sell(reduce_only=True, qty="0.01")).outcome is OpeningOutcome.ACCEPTED


def test_reduce_only_counts_what_is_being_sold_already(desk: Desk) -> None:
    """Two sells that are each as large as the position would sell it twice; the second one is refused."""
    desk.filled(request(qty="0.01", key="k1"))
    desk.accept(sell(reduce_only=True, qty="0.01", key="s1"))
    assert desk.submit(sell(reduce_only=True, qty="0.01", key="s2")).outcome is OpeningOutcome.REFUSED


def test_a_quarantined_symbol_takes_no_new_intents(desk: Desk) -> None:
    """F4: until an operator lifts it, every new wish for the symbol is refused with the reason."""
    with desk.book.transaction():
        rules_of_book.quarantine(desk.book, SYMBOL, "late fill of 1", T0)
        rules_of_book.quarantine(desk.book, SYMBOL, "another reason", T0)
    refusal = refusal_of(desk, request())
    assert refusal.code == "SYMBOL_QUARANTINED"
    assert "late fill of 1" in refusal.reason
    with desk.book.transaction():
        assert rules_of_book.lift_quarantine(desk.book, SYMBOL, "looked", T0)
        assert not rules_of_book.lift_quarantine(desk.book, SYMBOL, "looked", T0)
    desk.later()
    assert desk.submit().outcome is OpeningOutcome.ACCEPTED
    assert (len(desk.events(events.SymbolQuarantined)), len(desk.events(events.QuarantineLifted))) == (1, 1)


def test_a_wish_that_was_refused_stays_refused_however_often_it_is_asked_about() -> None:
    """The first answer may be late; what is asked again is the same wish, and money that came meanwhile is for others.

    Else its client hears "no", and the order is sent all the same.
    """
    poor = Desk(USDT="10")
    first = poor.submit(request(key="k1"))
    with poor.book.transaction():
        poor.book.put_balance(Balance(currency="USDT", total=dec(1000)))
    again = poor.submit(request(key="k1"))
    assert (again.outcome, again.refusal) == (OpeningOutcome.REFUSED, first.refusal)
    (told,) = poor.events(events.IntentRefused)
    assert [told] == list(poor.book.trail(told.intent_id))
    poor.later()
    assert poor.submit(request(key="k1")).outcome is OpeningOutcome.ACCEPTED


def test_a_taken_intent_id_is_refused(desk: Desk) -> None:
    """Two wishes whose ids collide do not overwrite each other."""
    first = opening(request(key="k1"))
    with desk.book.transaction():
        rules_of_book.open_intent(desk.book, first, UNLIMITED, T0)
    other = opening(request(key="k2"))
    collided = replace(other, intent=replace(other.intent, intent_id=first.intent.intent_id))
    with desk.book.transaction():
        result = rules_of_book.open_intent(desk.book, collided, UNLIMITED, T0)
    assert result.refusal is not None
    assert result.refusal.code == "INTENT_ID_TAKEN"
    assert desk.record(first.intent.intent_id).intent == first.intent


# ── selling what fees in base have eaten ──────────────────────────────────────────────────────────────────────────────


def test_a_sell_of_what_was_bought_is_net_of_base_fees() -> None:
    """B3: after buying 0.01 with a fee of 0.00001 in base, selling 0.01 sells 0.00999."""
    desk = Desk(USDT="10000")
    desk.filled(request(key="k1"), fee="0.00001", fee_currency="BTC")
    attempt = desk.accept(sell(qty="0.01"))
    assert attempt.qty == dec("0.00999")
    assert desk.record(attempt.intent_id).qty == dec("0.00999")
    assert desk.free("BTC") == 0


def test_a_reduce_only_sell_of_what_was_bought_is_net_of_base_fees() -> None:
    """B3 holds for reduce_only too: the sell is cut to the position that fees left."""
    desk = Desk(USDT="10000")
    desk.filled(request(key="k1"), fee="0.00001", fee_currency="BTC")
    assert desk.accept(sell(qty="0.01", reduce_only=True)).qty == dec("0.00999")


def test_a_reduce_only_sell_with_inventory_is_net_of_base_fees() -> None:
    """B3: it makes no difference that the account holds other coins of the same kind."""
    desk = Desk(USDT="10000", BTC="5")
    desk.filled(request(key="k1"), fee="0.00001", fee_currency="BTC")
    assert desk.accept(sell(qty="0.01", reduce_only=True)).qty == dec("0.00999")


def test_a_sell_of_more_than_fees_explain_is_refused() -> None:
    """A shortfall beyond what fees in base ate is a mistake, not a rounding: nothing is sold."""
    desk = Desk(USDT="10000")
    desk.filled(request(key="k1"), fee="0.00001", fee_currency="BTC")
    assert refusal_of(desk, sell(qty="0.01001")).code == "INSUFFICIENT_FUNDS"


def test_what_fees_leave_may_be_dust() -> None:
    """When too little is left after fees, the sell is refused and the reason names what is left."""
    desk = Desk(market=rules(min_qty="0.01"), USDT="10000")
    desk.filled(request(key="k1"), fee="0.00001", fee_currency="BTC")
    refusal = refusal_of(desk, sell(qty="0.01"))
    assert refusal.code == "BELOW_MIN_QTY"
    assert "0.00999 BTC" in refusal.reason


# ── opening balances ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_opening_balances_are_recorded_once() -> None:
    """Only the first start takes the venue's word; later ones compare."""
    book = MemoryBook()
    with book.transaction():
        first = rules_of_book.record_opening_balances(book, {"USDT": dec(5), "BTC": dec(0)}, T0)
        second = rules_of_book.record_opening_balances(book, {"USDT": dec(7)}, T0)
    balance = book.balance("USDT")
    assert balance is not None
    assert (first, second, balance.total) == (True, False, dec(5))
    assert [entry.kind for entry in book.ledger()] == ["opening"]


def test_a_position_of_a_fresh_book_is_empty(desk: Desk) -> None:
    """Nothing was bought yet."""
    assert (desk.book.position(SYMBOL), Position(symbol=SYMBOL).average_cost) == (None, None)


def test_a_buy_side_is_a_side() -> None:
    """The two sides are what the venue calls them."""
    assert [side.value for side in Side] == ["buy", "sell"]
