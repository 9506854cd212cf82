"""The brain as a whole: which check runs when, and what is left when everything has gone wrong at once."""

from __future__ import annotations

import pytest

from core.events import AlertFired
from core.inquiry import AskBalances, AskOpenOrders, AskOrder, AskOrders, AskTrades
from core.lifecycle import State
from core.reconciling import IN_FLIGHT, SEARCH
from core.records import TradingState
from core.settings import ReconcilerSettings, Settings
from tests.builders import SECOND, dec
from tests.core.office import Office


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    return made


def test_each_check_has_the_interval_of_its_setting() -> None:
    """C2: all on by default; 0 turns one off, except the search, whose clock always ticks."""
    assert all(Office().brain.intervals.values())
    none = dict.fromkeys(
        ("order_interval", "trades_interval", "open_orders_interval", "in_flight_interval", "balance_interval",
         "lookup_interval"), 0)  # fmt: skip
    assert {name for name, every in Office(**none).brain.intervals.items() if every} == {SEARCH}
    assert ReconcilerSettings().lookup_interval == Office().brain.intervals[SEARCH]


def test_a_stream_that_is_there_again_has_the_trades_read_anew(office: Office) -> None:
    """A sweep that runs may have asked before; so there is one more after it, and one only."""
    office.working()
    office.answers_itself = False
    office.do(office.brain.stream_live)
    before = len(office.asked_of(AskTrades))
    office.do(office.brain.stream_live)
    office.do(office.brain.stream_live)
    assert len(office.asked_of(AskTrades)) == before
    office.answers_itself = True
    office.answer_all()
    assert len(office.asked_of(AskTrades)) == before + 1


def test_an_order_in_flight_for_too_long_is_unknown_and_found_out(office: Office) -> None:
    """C2: nobody has answered, nobody asks any more; the book is told, and then the venue is asked."""
    attempt = office.accept()
    office.wait(office.settings.reconciler.in_flight_max / SECOND)
    assert office.desk.state(attempt) is State.SENDING
    office.wait(6)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.venue.fill(office.venue.place(attempt))
    office.wait(10)
    assert office.desk.state(attempt) is State.FILLED


def test_a_replaced_gateway_is_asked_whatever_waits(office: Office) -> None:
    """In the middle of an inquiry; the answers of both count once."""
    attempt = office.lost(filled=True)
    office.answers_itself = False
    office.resolve(attempt)
    before = list(office.waiting)
    office.do(office.brain.again)
    assert office.waiting == before + before
    office.answers_itself = True
    office.answer_all()
    assert office.desk.state(attempt) is State.FILLED
    assert len(list(office.book.fills())) == 1


def test_an_order_that_the_book_does_not_know_is_not_booked(office: Office) -> None:
    """Nobody can say whose it is."""
    attempt = office.accept()
    other = Office()
    order = other.venue.outside("web-1")
    report = other.venue.look_up(order.name)
    question = office.brain._inquiries.begin(office.moment(), lambda *_: []).ask_order(attempt)
    assert office.do(lambda at: office.brain.order_reported(question.purpose, order.name, report, at)) == []  # type: ignore[arg-type]


def test_a_quiet_day_costs_few_questions_and_no_memory(office: Office) -> None:
    """Nothing is open: only the account's open orders and balances are asked for."""
    office.done()
    office.wait(300)
    office.asked.clear()
    office.wait(600)
    assert {type(question) for question in office.asked} == {AskOpenOrders, AskBalances}
    assert len(office.asked) == 10 + 20
    assert office.brain._inquiries._running == []


@pytest.mark.parametrize("how", ["broken", "silent"])
def test_an_hour_of_outage_grows_nothing_loses_nothing_and_heals(office: Office, how: str) -> None:
    """Unknown, working and ended intents; afterwards each has its end, and the only alarm was that nobody can see the
    account."""
    lost = [office.lost(f"l{number}", filled=number % 2 == 0) for number in range(8)]
    resting, order = office.working(qty="0.001")
    office.done(qty="0.001")
    troubles = getattr(office.venue, how)
    troubles.update({AskOrder, AskOrders, AskOpenOrders, AskTrades, AskBalances})
    office.wait(1800)
    office.asked.clear()
    office.waiting.clear()
    office.wait(1800)
    assert len(office.asked) < 5_000
    assert len(office.brain._inquiries._running) <= 10
    office.venue.fill(order, "0.001")
    troubles.clear()
    office.wait(120)
    assert {office.desk.state(attempt) for attempt in lost} == {State.FILLED, State.RETRY}
    assert office.desk.state(resting) is State.FILLED
    assert office.desk.record(resting.intent_id).filled_qty == dec("0.001")
    assert office.trading_state is TradingState.ACTIVE
    assert [alert.code for alert in office.events(AlertFired)] == ["PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK"]
    assert office.brain._inquiries._running == []


def test_a_ledger_is_looked_at_though_the_venue_is_silent(office: Office) -> None:
    """The book with itself needs nobody's answer."""
    office.venue.silent.update({AskOrder, AskOrders, AskOpenOrders, AskTrades, AskBalances})
    office.done()
    office.tick(IN_FLIGHT)
    assert office.brain._ledger._read == office.book.last_sequence("ledger")


def test_an_old_intent_that_is_proven_absent_ends() -> None:
    """I6: not before its outcome is proven, and then without another attempt."""
    office = Office(settings=Settings())
    office.start()
    attempt = office.lost()
    office.wait(office.settings.router.intent_stale_threshold / SECOND + 10)
    assert office.desk.state(attempt) is State.EXPIRED
    assert office.book.reservation(attempt.intent_id) is None
    assert office.desk.record(attempt.intent_id).attempts == 1
