"""Before trading the venue is compared with the book (C1), in bounded time, and what was not compared is said."""

from __future__ import annotations

import pytest

from core.events import ExternalOrderSeen, StartReconciled
from core.inquiry import AskBalances, AskOpenOrders, AskOrder, AskOrders, AskTrades
from core.lifecycle import State
from core.reconciling import TRADES
from core.records import TradingState
from core.reports import OrderStatus
from core.settings import ReconcilerSettings
from tests.builders import SECOND, SYMBOL, dec
from tests.core.office import Office

TIMEOUT_S = ReconcilerSettings().start_timeout // SECOND
EVERYTHING = (AskBalances, AskOpenOrders, AskOrder, AskOrders, AskTrades)


@pytest.fixture
def office() -> Office:
    return Office()


def found(office: Office) -> StartReconciled:
    """The one result, which is in the book, too."""
    (told,) = office.started
    assert office.events(StartReconciled)[-1] == told
    return told


def test_a_fresh_book_starts_at_once(office: Office) -> None:
    """Nothing to resolve, balances agree."""
    office.start()
    told = found(office)
    assert (told.symbols, told.trades, told.unresolved, told.not_compared, told.drift) == ((), 0, 0, (), {})


def test_everything_is_compared_and_counted(office: Office) -> None:
    """C1: open orders, trades, balances; what the book lacks is booked, what is not ours is noted."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.venue.outside("web-1")
    lost = office.lost(filled=True)
    office.start()
    office.wait(3)
    told = found(office)
    assert (told.symbols, told.open_orders, told.external_orders, told.resolved) == ((SYMBOL,), 2, 1, 1)
    assert (told.unresolved, told.not_compared, told.drift) == (0, (), {})
    assert office.desk.record(attempt.intent_id).filled_qty == dec("0.004")
    assert office.desk.state(lost) is State.FILLED
    assert len(office.events(ExternalOrderSeen)) == 1


def test_an_order_that_ended_while_nobody_looked_is_ended(office: Office) -> None:
    """It works in the book; the venue has canceled it. It is looked up at once."""
    attempt, order = office.working()
    order.status = OrderStatus.CANCELED
    office.start()
    assert office.desk.state(attempt) is State.CANCELED
    assert found(office).not_compared == ()


def test_what_is_found_is_booked_before_balances_are_compared(office: Office) -> None:
    """The portfolio comes to it a little later; then balances are asked for again rather than left out."""
    _, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.answers_itself = office.writes_at_once = False
    office.start()
    while any(not isinstance(question, AskBalances) for question in office.waiting):
        office.answer(next(question for question in office.waiting if not isinstance(question, AskBalances)))
    office.writes_at_once = office.answers_itself = True
    office.write()
    office.answer_all()
    assert office.started == []
    office.wait(2)
    assert (found(office).not_compared, found(office).drift) == ((), {})


def test_an_unknown_outcome_keeps_nobody_from_trading(office: Office) -> None:
    """It is looked for once, and told; proving it absent takes longer than a start may."""
    office.lost()
    office.start()
    told = found(office)
    assert (told.unresolved, told.elapsed_ns) == (1, 0)
    assert "UNKNOWN" in told.not_compared[0]
    office.wait(30)
    assert len(office.started) == 1


@pytest.mark.parametrize("how", ["silent", "broken"])
@pytest.mark.parametrize("kinds", [EVERYTHING, *((kind,) for kind in EVERYTHING)])
def test_a_start_is_over_in_bounded_time(office: Office, how: str, kinds: tuple[type, ...]) -> None:
    """Even if the venue answers nothing, or fails for ever; and it says what was not compared."""
    _, order = office.working()
    order.status = OrderStatus.CANCELED
    office.lost()
    getattr(office.venue, how).update(kinds)
    office.start()
    office.wait(TIMEOUT_S)
    told = found(office)
    assert told.elapsed_ns <= TIMEOUT_S * SECOND
    assert told.not_compared
    if AskOpenOrders in kinds:
        assert "open orders" in told.not_compared[0]
    if AskTrades in kinds:
        assert any("trades" in reason for reason in told.not_compared)


def test_a_start_is_over_in_bounded_time_without_look_ups() -> None:
    """An interval of nothing, or of an hour, does not stop the clock."""
    for interval in (0, 3_600 * SECOND):
        office = Office(lookup_interval=interval)
        office.venue.silent.update(EVERYTHING)
        office.start()
        office.wait(TIMEOUT_S)
        assert len(office.started) == 1


def test_what_was_not_compared_is_while_trading(office: Office) -> None:
    """The checks take it up, so a start that was over too early hides nothing."""
    attempt, order = office.working()
    office.venue.fill(order)
    office.venue.broken.update(EVERYTHING)
    office.start()
    office.wait(TIMEOUT_S + 1)
    assert office.desk.state(attempt) is State.SENT
    office.venue.broken.clear()
    office.wait(31)
    assert office.desk.state(attempt) is State.FILLED


def test_a_question_that_fails_is_put_again(office: Office) -> None:
    """A passing misfortune costs a second, not the comparison."""
    office.working()
    office.venue.broken.update(EVERYTHING)
    office.start()
    office.venue.broken.clear()
    office.wait(1)
    office.wait(1)
    told = found(office)
    assert (told.not_compared, told.open_orders) == ((), 1)


def test_the_start_does_not_end_while_a_second_asking_is_on_its_way(office: Office) -> None:
    """What was asked again may be answered yet."""
    office.working()
    office.venue.broken.add(AskTrades)
    office.start()
    office.venue.broken.clear()
    office.venue.silent.add(AskTrades)
    office.wait(2)
    assert office.started == []
    office.venue.silent.clear()
    office.answer_all()
    assert found(office).not_compared == ()


def test_no_check_runs_before_the_start_is_over(office: Office) -> None:
    """Two looks at the same would book the same twice over, in vain."""
    office.working()
    office.venue.silent.update(EVERYTHING)
    office.start()
    asked = len(office.asked)
    for name in office.brain.intervals:
        if name != "search":
            assert office.tick(name) == []
    assert len(office.asked) == asked


def test_a_difference_at_the_start_is_seen_once(office: Office) -> None:
    """It is told with the start; the checks look again before anything is narrowed."""
    office.done()
    office.venue.move("USDT", "-5")
    office.start()
    assert found(office).drift == {"USDT": dec(-5)}
    assert office.trading_state is TradingState.ACTIVE
    office.wait(31)
    assert office.trading_state is TradingState.REDUCING


def test_a_reconciler_that_is_restarted_alone_starts_while_others_trade(office: Office) -> None:
    """Intents open, fill and end meanwhile; the start is over all the same, and nothing is lost."""
    office.start()
    for number in range(3):
        office.working(f"w{number}", qty="0.001")
    office.restart()
    office.answers_itself = False
    office.start()
    for number, question in enumerate(list(office.waiting)):
        office.done(f"d{number}", qty="0.001")
        office.answer(question)
    office.accept("flying", qty="0.001")
    office.answers_itself = True
    office.answer_all()
    office.wait(TIMEOUT_S)
    assert len(office.started) == 2
    office.tick(TRADES)
    venue = {trade.trade_id for trade in office.venue.trades[SYMBOL]}
    assert {fill.trade_id for fill in office.book.fills()} == venue
