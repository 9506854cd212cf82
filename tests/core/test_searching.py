"""What became of an order whose outcome is unknown: found by any sighting, absent only by proof, and never given up."""

from __future__ import annotations

import pytest

from core.events import AbsenceProven, AlertFired
from core.evidence import SENT_WITHIN_NS
from core.inquiry import AskOpenOrders, AskOrder, AskOrders, AskTrades
from core.lifecycle import State
from core.reports import NotPlaced, OrderSnapshot, OrderStatus, OutcomeUnknown
from core.searching import LISTS_INSTEAD_OF
from tests.builders import SECOND, SYMBOL, snapshot
from tests.core.office import Office

PROVEN_S = SENT_WITHIN_NS // SECOND + 5 + 10
"""From the acceptance on: until it has left at the latest, recvWindow, read lag."""
LISTS = (AskOpenOrders, AskOrders, AskTrades)


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    assert made.brain._start.is_over
    return made


# ── found ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_is_there_is_found_at_once(office: Office) -> None:
    """C3: found by client id → whoever waits is told, and its trades are booked."""
    attempt = office.lost(filled=True)
    office.resolve(attempt)
    (told,) = office.told
    assert isinstance(told.report, OrderSnapshot)
    assert (told.client_order_id, told.symbol) == (attempt.client_order_id, SYMBOL)
    assert office.desk.state(attempt) is State.FILLED


def test_what_no_router_asks_for_is_found_all_the_same(office: Office) -> None:
    """The book has it as unknown; that is enough. The portfolio is told, since no router waits."""
    attempt = office.lost(filled=True)
    office.wait(6)
    assert office.told == []
    assert office.desk.state(attempt) is State.FILLED


def test_an_order_that_shows_late_is_found_late(office: Office) -> None:
    """Reads lag: absent at first, there some seconds later."""
    attempt = office.lost(filled=True)
    order = office.venue.orders[0]
    office.venue.hidden.add(order.order_id)
    office.resolve(attempt)
    office.wait(8)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.venue.hidden.clear()
    office.wait(8)
    assert office.desk.state(attempt) is State.FILLED
    assert office.events(AbsenceProven) == []


def test_an_order_that_only_a_list_shows_is_found(office: Office) -> None:
    """A look-up that fails for ever does not hide it."""
    attempt = office.lost(filled=True)
    office.venue.broken.add(AskOrder)
    office.resolve(attempt)
    office.wait(PROVEN_S + 1)
    assert office.desk.state(attempt) is State.FILLED


def test_a_sighting_that_nobody_waits_for_any_more_counts(office: Office) -> None:
    """A look-up of a round that was given up arrives: it is a fact, whenever."""
    attempt = office.lost(placed=True)
    office.answers_itself = False
    office.resolve(attempt)
    (question,) = office.asked_of(AskOrder)
    office.wait(40)
    office.waiting.clear()
    office.hand_in(question, office.venue.look_up(attempt.client_order_id))
    assert office.desk.state(attempt) is State.SENT


def test_a_late_look_up_with_news_is_booked_though_nobody_searches(office: Office) -> None:
    """An order that was seen open is canceled: told once, the second time is no news."""
    attempt, order = office.working()
    question = office.brain._inquiries.begin(office.moment(), lambda *_: []).ask_order(attempt)
    order.status = OrderStatus.CANCELED
    told = [office.hand_in(question, office.venue.look_up(attempt.client_order_id)) for _ in range(2)]
    assert [len(effects) for effects in told] == [1, 0]
    assert office.desk.state(attempt) is State.CANCELED


def test_trades_that_were_only_announced_are_news(office: Office) -> None:
    """The book knows that something is filled, and not yet by which trades."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.desk.apply(snapshot(attempt, filled="0.004", order_id=order.order_id))
    question = office.brain._inquiries.begin(office.moment(), lambda *_: []).ask_order(attempt)
    office.hand_in(question, office.venue.look_up(attempt.client_order_id))
    assert office.desk.record(attempt.intent_id).filled_qty == office.venue.trades[SYMBOL][0].qty


def test_two_orders_of_one_name_are_both_booked(office: Office) -> None:
    """The venue has executed it twice: both are in the book, and somebody is told."""
    attempt = office.lost()
    for _ in range(2):
        office.venue.fill(office.venue.place(attempt), "0.01")
    office.venue.broken.add(AskOrder)
    office.resolve(attempt)
    office.wait(PROVEN_S + 1)
    assert len(list(office.book.fills(attempt.intent_id))) == 2
    assert "DUPLICATE_AT_VENUE" in {event.code for event in office.events(AlertFired)}


# ── proven absent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_never_arrived_is_proven_absent(office: Office) -> None:
    """Not before everything that could show it has been asked late enough, and not much later."""
    attempt = office.lost()
    office.resolve(attempt)
    office.wait(PROVEN_S - 1)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.wait(2)
    (told,) = office.told
    assert isinstance(told.report, NotPlaced)
    assert office.desk.state(attempt) is State.RETRY
    (proven,) = office.events(AbsenceProven)
    assert min(proven.proof.asked.values()) >= proven.proof.not_before_ns
    assert max(proven.proof.asked.values()) <= proven.at_ns


@pytest.mark.parametrize("kind", [AskOrder, *LISTS])
@pytest.mark.parametrize("how", ["broken", "silent"])
def test_while_one_question_fails_nothing_is_proven(office: Office, kind: type, how: str) -> None:
    """G3: four witnesses or none, for as long as it takes; afterwards the proof comes."""
    attempt = office.lost()
    getattr(office.venue, how).add(kind)
    office.resolve(attempt)
    office.wait(300)
    assert office.desk.state(attempt) is State.UNKNOWN
    getattr(office.venue, how).clear()
    office.wait(45)
    assert office.desk.state(attempt) is State.RETRY


def test_a_venue_that_hides_a_working_order_proves_nothing(office: Office) -> None:
    """Its lists are empty where they must not be."""
    _, order = office.working()
    office.wait(20)
    attempt = office.lost()
    office.venue.names_hidden.add(order.order_id)
    office.resolve(attempt)
    office.wait(100)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.venue.names_hidden.clear()
    office.wait(20)
    assert office.desk.state(attempt) is State.RETRY


def test_a_list_of_trades_that_does_not_begin_with_the_cursors_proves_nothing(office: Office) -> None:
    """What is accounted for must be there still."""
    office.done()
    office.wait(120)
    cursor = office.book.trade_cursor(SYMBOL)
    assert cursor is not None
    attempt = office.lost()
    office.venue.hidden.add(cursor.trade_id)
    office.resolve(attempt)
    office.wait(100)
    assert office.desk.state(attempt) is State.UNKNOWN


def test_a_strangers_trade_holds_the_proof_up_until_its_order_has_a_name(office: Office) -> None:
    """It may be ours, as long as nobody has said whose it is; the sweep asks."""
    stranger = office.venue.outside("web-1")
    office.venue.names_hidden.add(stranger.order_id)
    attempt = office.lost()
    office.venue.fill(stranger)
    office.resolve(attempt)
    office.wait(PROVEN_S + 60)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.venue.names_hidden.clear()
    office.wait(60)
    assert office.desk.state(attempt) is State.RETRY


def test_seen_by_somebody_else_meanwhile_is_not_absent(office: Office) -> None:
    """A list that another part asked for shows it while the round's own answers do not."""
    attempt = office.lost(placed=True)
    order = office.venue.orders[0]
    office.venue.hidden.add(order.order_id)
    office.wait(PROVEN_S - 1)
    office.answers_itself = False
    office.wait(10)
    questions = list(office.waiting)
    other = office.brain._inquiries.begin(office.moment(), lambda *_: []).ask_open_orders(None)
    for question in questions:
        office.answer(question)
        office.hand_in(other, (order.line,))
    assert office.desk.state(attempt) is State.UNKNOWN
    assert office.events(AbsenceProven) == []


# ── many, and ends ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_unknown_orders_are_found_in_lists(office: Office) -> None:
    """After a restart: three questions tell of all that are there, and only the others are looked up."""
    there = [office.lost(f"t{number}", filled=True) for number in range(LISTS_INSTEAD_OF + 5)]
    away = [office.lost(f"a{number}") for number in range(3)]
    office.wait(PROVEN_S + 10)
    assert {office.desk.state(attempt) for attempt in there} == {State.FILLED}
    assert {office.desk.state(attempt) for attempt in away} == {State.RETRY}
    assert len(office.events(AbsenceProven)) == len(away)
    assert {question.attempt.client_order_id for question in office.asked_of(AskOrder)} == {
        attempt.client_order_id for attempt in away
    }


@pytest.mark.parametrize("kind", [AskOrders, AskTrades])
def test_many_unknown_orders_are_found_though_a_list_fails(office: Office, kind: type) -> None:
    """Then each is looked up."""
    office.venue.broken.add(kind)
    there = [office.lost(f"t{number}", filled=True) for number in range(LISTS_INSTEAD_OF + 5)]
    away = office.lost("away")
    office.wait(PROVEN_S + 10)
    assert not {office.desk.state(attempt) for attempt in there} & {State.UNKNOWN, State.RETRY}
    assert office.desk.state(away) is State.UNKNOWN


def test_what_the_book_has_learned_by_itself_is_searched_no_more(office: Office) -> None:
    """The placement's answer came late: the router is told that the book knows, and nothing is asked any more."""
    attempt = office.lost(placed=True)
    office.venue.broken.update({AskOrder, *LISTS})
    office.resolve(attempt)
    office.see(attempt)
    office.wait(20)
    (told,) = office.told
    assert isinstance(told.report, OutcomeUnknown)
    assert office.desk.state(attempt) is State.SENT
    asked = len(office.asked_of(AskOrder))
    office.wait(30)
    assert len(office.asked_of(AskOrder)) == asked
    assert len(office.brain._searches) == 0


def test_a_question_about_what_is_known_is_answered_at_once(office: Office) -> None:
    """The router is behind the book."""
    attempt = office.lost(placed=True)
    office.see(attempt)
    office.resolve(attempt)
    assert [told.client_order_id for told in office.told] == [attempt.client_order_id]
    assert office.asked_of(AskOrder) == []


def test_a_search_grows_patient(office: Office) -> None:
    """The wait doubles up to sixteen times the first; an outage is not answered with a flood."""
    attempt = office.lost()
    office.venue.broken.add(AskOrder)
    office.resolve(attempt)
    office.wait(120)
    before = len(office.asked_of(AskOrder))
    office.wait(80)
    assert 9 <= len(office.asked_of(AskOrder)) - before <= 11


def test_a_restart_begins_anew_from_the_book(office: Office) -> None:
    """Nothing of a search is kept elsewhere, and the proof waits anew from then on."""
    attempt = office.lost()
    office.resolve(attempt)
    office.wait(PROVEN_S - 1)
    office.restart()
    office.start()
    office.wait(10)
    assert office.desk.state(attempt) is State.UNKNOWN
    office.wait(10)
    assert office.desk.state(attempt) is State.RETRY
