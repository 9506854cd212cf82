"""Every intent that ends is compared with the venue's trades, told once, and not forgotten by a restart."""

from __future__ import annotations

import pytest

from core.comparing import LOOKS_BEFORE_MISMATCH
from core.events import AlertFired, ReconciliationResult
from core.inquiry import AskTrades
from core.lifecycle import State
from core.reconciling import ENDED
from core.records import TradingState
from core.reports import OrderStatus, QueryFailed
from tests.builders import SYMBOL, dec, not_placed, replace, snapshot
from tests.core.office import Office


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    return made


def codes(office: Office) -> list[str]:
    return [event.code for event in office.events(ReconciliationResult)]


def look(office: Office, times: int) -> None:
    """So often, each time a while later: the venue's reads catch up meanwhile."""
    for _ in range(times):
        office.desk.later(5)
        office.tick(ENDED)


# ── results ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_ended_is_compared_in_one_question_and_told_in_one_message(office: Office) -> None:
    """C6: each ended intent gets its result, from its own trades alone: quantity, notional, fees, state."""
    records = [office.done(f"d{number}") for number in range(3)]
    office.venue.fill(office.venue.outside("web-1"), "0.02")
    office.writes_at_once = False
    office.tick(ENDED)
    assert len(office.asked_of(AskTrades)) == 1
    (message,) = [effect for effect in office.unwritten if getattr(effect, "events", ())]
    assert [event.intent_id for event in message.events] == [record.intent.intent_id for record in records]
    for result in message.events:
        assert (result.code, result.qty_delta, result.notional) == ("RECONCILED", 0, dec(500))
        assert (result.fees, result.state) == ({"USDT": dec(0)}, State.FILLED)


def test_a_result_is_told_once(office: Office) -> None:
    """However often it is looked at afterwards."""
    office.done()
    office.wait(200)
    assert codes(office) == ["RECONCILED"]


def test_a_result_that_was_lost_is_told_again(office: Office) -> None:
    """Until it stands in the outbox."""
    office.done()
    office.writes_at_once = False
    office.tick(ENDED)
    office.unwritten.clear()
    office.writes_at_once = True
    office.wait(40)
    assert codes(office) == ["RECONCILED"]


def test_an_intent_that_was_never_placed_agrees(office: Office) -> None:
    """Nothing there, nothing here."""
    attempt = office.accept()
    office.desk.apply(not_placed(attempt))
    office.tick(ENDED)
    assert codes(office) == ["RECONCILED"]


def test_a_missing_trade_is_booked_and_told(office: Office) -> None:
    """The intent ended with less than the venue has executed."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    order.status = OrderStatus.CANCELED
    office.desk.apply(snapshot(attempt, OrderStatus.CANCELED, order_id=order.order_id))
    office.tick(ENDED)
    (result,) = office.events(ReconciliationResult)
    assert (result.code, result.qty_delta) == ("RECONCILED", dec("0.004"))
    assert office.desk.record(attempt.intent_id).filled_qty == dec("0.004")


def test_an_order_that_the_venue_executed_twice_is_compared_with_both(office: Office) -> None:
    """It was told as a duplicate; book and venue agree about it all the same."""
    attempt = office.accept()
    for _ in range(2):
        order = office.venue.place(attempt)
        trade = office.venue.fill(order)
        office.desk.apply(snapshot(attempt, OrderStatus.FILLED, [trade], order_id=order.order_id))
    office.wait(60)
    assert codes(office) == ["RECONCILED"]
    assert office.trading_state is TradingState.ACTIVE


def test_an_old_order_is_compared_from_the_last_trade_before_it(office: Office) -> None:
    """The venue answers by time for a day at most; reading all that the account ever did may never end."""
    office.done("first", qty="0.001")
    office.wait(60)
    before = office.done("second", qty="0.001")
    office.wait(60)
    attempt, order = office.working()
    office.desk.later(21 * 3_600)
    office.venue.fill(order)
    office.see(attempt)
    office.asked.clear()
    office.tick(ENDED)
    (question,) = office.asked_of(AskTrades)
    (last,) = office.book.fills(before.intent.intent_id)
    assert question.from_trade_id == last.trade_id
    assert set(codes(office)) == {"RECONCILED"}


# ── mismatch ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_shortfall_is_looked_at_again_before_it_is_called_one(office: Office) -> None:
    """Reads lag; the trade shows at the last look."""
    office.done()
    office.venue.hidden.add(office.venue.trades[SYMBOL][0].trade_id)
    for _ in range(LOOKS_BEFORE_MISMATCH - 1):
        office.tick(ENDED)
    assert codes(office) == []
    office.venue.hidden.clear()
    office.tick(ENDED)
    assert codes(office) == ["RECONCILED"]
    assert office.trading_state is TradingState.ACTIVE


def test_a_shortfall_that_lasts_narrows_trading_and_then_stops_it(office: Office) -> None:
    """C5: told as MISMATCH, once, with an alert for each step; then it is not looked at any more."""
    office.done()
    office.venue.hidden.add(office.venue.trades[SYMBOL][0].trade_id)
    look(office, LOOKS_BEFORE_MISMATCH)
    assert (codes(office), office.trading_state) == (["MISMATCH"], TradingState.REDUCING)
    for _ in range(20):
        office.tick(ENDED)
    assert (codes(office), office.trading_state) == (["MISMATCH"], TradingState.HALTED)
    assert [event.code for event in office.events(AlertFired)] == ["FILL_MISMATCH"] * 2
    assert len(office.asked_of(AskTrades)) < 20


def test_what_an_operator_has_looked_at_stops_trading_once(office: Office) -> None:
    """The same figures alarm nobody again, after a restart neither; others do, and other intents'."""
    office.done()
    office.venue.hidden.add(office.venue.trades[SYMBOL][0].trade_id)
    look(office, LOOKS_BEFORE_MISMATCH)
    assert office.trading_state is TradingState.REDUCING
    office.resume()
    look(office, 20)
    office.restart()
    office.start()
    look(office, 20)
    assert (office.trading_state, len(office.events(AlertFired))) == (TradingState.ACTIVE, 1)
    office.done("other")
    trade = office.venue.trades[SYMBOL][1]
    office.venue.trades[SYMBOL][1] = replace(trade, fee=dec("0.5"))
    look(office, LOOKS_BEFORE_MISMATCH)
    assert office.trading_state is TradingState.REDUCING


def test_other_figures_of_the_same_intent_alarm_again(office: Office) -> None:
    """The operator has accepted a difference, not the intent."""
    office.done()
    trade = office.venue.trades[SYMBOL][0]
    office.venue.trades[SYMBOL] = [replace(trade, fee=dec("0.5"))]
    look(office, LOOKS_BEFORE_MISMATCH)
    office.resume()
    look(office, 1)
    assert office.trading_state is TradingState.ACTIVE
    office.venue.trades[SYMBOL] = [replace(trade, fee=dec("0.6"))]
    look(office, 1)
    assert office.trading_state is not TradingState.ACTIVE


def test_a_fee_that_differs_is_a_mismatch(office: Office) -> None:
    """Not only quantities are compared."""
    office.done()
    trade = office.venue.trades[SYMBOL][0]
    office.venue.trades[SYMBOL] = [replace(trade, fee=dec("0.5"))]
    look(office, LOOKS_BEFORE_MISMATCH)
    assert codes(office) == ["MISMATCH"]


def test_no_answer_is_no_shortfall(office: Office) -> None:
    """G3: failed questions do not count as looks."""
    office.done()
    office.venue.broken.add(AskTrades)
    for _ in range(50):
        office.tick(ENDED)
    assert (codes(office), office.trading_state) == ([], TradingState.ACTIVE)
    office.venue.broken.clear()
    office.tick(ENDED)
    assert codes(office) == ["RECONCILED"]


def test_a_symbol_is_asked_about_once_at_a_time(office: Office) -> None:
    """The next question follows the answer, or its failure."""
    office.answers_itself = False
    office.done()
    for _ in range(3):
        office.tick(ENDED)
    (question,) = office.asked_of(AskTrades)
    office.hand_in(question, QueryFailed(reason="502"), complete=False)
    office.tick(ENDED)
    assert len(office.asked_of(AskTrades)) == 2


# ── restarts, and memory ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restart_takes_up_what_was_not_compared(office: Office) -> None:
    """And tells nothing twice: what has its result is left alone."""
    office.done("a")
    office.tick(ENDED)
    office.done("b")
    office.restart()
    office.start()
    office.wait(30)
    results = [event.intent_id for event in office.events(ReconciliationResult)]
    assert len(results) == len(set(results)) == 2


def test_how_far_everything_is_finished_is_durable(office: Office) -> None:
    """A restart reads on from there, and an old book costs no more than a new one."""
    for number in range(5):
        office.done(f"d{number}", qty="0.001")
    assert office.book.compared() is None
    office.wait(130)
    assert office.brain._comparisons._ended == {}
    assert office.book.compared() >= office.book.last_sequence("audit") - 5
    office.restart()
    office.start()
    office.asked.clear()
    office.tick(ENDED)
    assert office.asked_of(AskTrades) == []


def test_it_does_not_move_over_what_is_not_finished(office: Office) -> None:
    """One intent's trades are not to be had; whatever ended later waits behind it."""
    office.done("a", qty="0.001")
    office.venue.broken.add(AskTrades)
    office.wait(10)
    office.done("b", qty="0.001")
    office.wait(200)
    compared = office.book.compared() or 0
    first = next(ended for ended in office.brain._comparisons._ended.values())
    assert compared < first.sequence
    office.venue.broken.clear()
    office.wait(200)
    assert (office.book.compared() or 0) > first.sequence


def test_memory_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit waits in the outbox, and its turn comes."""
    monkeypatch.setattr("core.comparing.ENDED_MAX", 3)
    for number in range(10):
        office.done(f"d{number}", qty="0.001")
    for _ in range(100):
        office.wait(10)
        assert len(office.brain._comparisons._ended) <= 3
    assert codes(office) == ["RECONCILED"] * 10
