"""The last comparison before a stop: what two looks find is a difference, and what is not answered is told as that."""

from __future__ import annotations

import pytest

from core.inquiry import AskBalances, AskOpenOrders, AskTrades
from core.reports import OrderStatus
from core.stopping import Compared
from tests.builders import SECOND, unknown
from tests.core.office import Office

WITHIN_S = 9


@pytest.fixture
def office() -> Office:
    """One whose start is over, with one filled intent; the regular checks are off, so that they mend nothing."""
    made = Office(order_interval=0, trades_interval=0, open_orders_interval=0, in_flight_interval=0, balance_interval=0)
    made.done()
    made.start()
    return made


def kinds(found: Compared) -> list[str]:
    return [each.kind for each in found.differences]


def test_what_agrees_is_told_at_once(office: Office) -> None:
    """One look is enough, and it says how much was compared."""
    office.working()
    asked = len(office.asked_of(AskBalances))
    found = office.close(0)
    assert (found.agrees, found.orders, found.trades, found.balances) == (True, 1, 1, 2)
    assert len(office.asked_of(AskBalances)) == asked + 1


def test_a_difference_is_one_when_two_looks_have_found_it(office: Office) -> None:
    """Money has gone by another way; it is looked for again until the time is over."""
    office.venue.move("USDT", "-5")
    found = office.close(WITHIN_S)
    assert (kinds(found), found.not_compared) == (["balance"], ())
    assert found.differences[0].subject == "USDT"


def test_what_one_look_alone_has_found_is_no_difference(office: Office) -> None:
    """There was no time for another, so it may only have been on its way; the sentence says so."""
    office.venue.move("USDT", "-5")
    found = office.close(0.5)
    assert found.differences == ()
    assert "balance USDT: it was seen by one look alone" in found.not_compared[0]


def test_what_is_gone_at_the_second_look_is_no_difference(office: Office) -> None:
    """The venue's reads lag."""
    office.venue.move("USDT", "-5")
    office.do(lambda at: office.brain.close(WITHIN_S * SECOND, at))
    office.venue.move("USDT", "5")
    office.wait(2)
    assert [told.compared.agrees for told in office.closed] == [True]


def test_a_fill_that_the_book_lacks_is_booked_and_then_all_agrees(office: Office) -> None:
    """It came too late for its router; nothing differs when it stands in the book."""
    attempt, order = office.working()
    office.venue.fill(order, str(attempt.qty))
    found = office.close(WITHIN_S)
    assert (kinds(found), found.not_compared) == ([], ())
    assert office.desk.record(attempt.intent_id).filled_qty == attempt.qty


def test_an_order_that_is_gone_at_the_venue_is_a_difference(office: Office) -> None:
    """Somebody has canceled it there, and its router does not ask any more."""
    _, order = office.working()
    order.status = OrderStatus.CANCELED
    assert kinds(office.close(WITHIN_S)) == ["order_missing"]


def test_an_order_that_is_open_there_and_over_here_is_a_difference(office: Office) -> None:
    """It works without anybody who knows."""
    attempt, order = office.working()
    office.venue.cancel(attempt.client_order_id)
    office.see(attempt)
    order.status = OrderStatus.OPEN
    assert kinds(office.close(WITHIN_S)) == ["order_open"]


def test_balances_are_not_compared_while_an_outcome_is_unknown(office: Office) -> None:
    """Its money may be here or there; nobody guesses, and nobody waits for it either."""
    attempt = office.accept()
    office.desk.apply(unknown(attempt))
    found = office.close(0)
    assert found.differences == ()
    assert found.not_compared == (f"balances: {attempt.intent_id} is UNKNOWN",)


@pytest.mark.parametrize(
    ("silent", "told"),
    [
        (AskBalances, "balances: no answer"),
        (AskTrades, "trades: no answer"),
        (AskOpenOrders, "open orders of the account: no answer"),
    ],
)
def test_what_is_not_answered_in_time_is_told(office: Office, silent: type, told: str) -> None:
    """The rest is not waited for longer than there is time, and an answer that comes later is nobody's."""
    office.working()
    office.venue.silent.add(silent)
    found = office.close(WITHIN_S)
    assert told in found.not_compared
    office.venue.silent.clear()
    office.answer_all()
    office.wait(40)
    assert len(office.closed) == 1


@pytest.mark.parametrize(
    ("silent", "compared"), [(AskBalances, (1, 1, 0)), (AskTrades, (1, 0, 2)), (AskOpenOrders, (0, 1, 2))]
)
def test_what_was_answered_in_time_is_compared(office: Office, silent: type, compared: tuple[int, int, int]) -> None:
    """Whatever else was not: open orders, trades, currencies."""
    office.working()
    office.venue.silent.add(silent)
    found = office.close(WITHIN_S)
    assert (found.orders, found.trades, found.balances) == compared
    assert len(found.not_compared) == 1


def test_a_difference_in_what_was_answered_in_time_is_told(office: Office) -> None:
    """One look alone has found it, and that is how it is told; as are trades that could not be read."""
    office.working()
    office.venue.move("USDT", "-5")
    office.venue.silent.add(AskOpenOrders)
    office.venue.broken.add(AskTrades)
    orders, trades, balance = office.close(WITHIN_S).not_compared
    assert (orders, trades) == ("open orders of the account: no answer", "trades BTC/USDT: 502")
    assert "balance USDT: it was seen by one look alone" in balance


def test_what_had_no_room_in_the_budget_is_told_as_that(office: Office) -> None:
    """The venue was not asked; what it could be asked is compared."""
    office.working()
    office.venue.unasked |= {AskBalances, AskTrades}
    found = office.close(WITHIN_S)
    assert set(found.not_compared) == {"balances: no room", "trades BTC/USDT: no room"}
    assert found.orders == 1


def test_a_venue_that_says_that_it_cannot_is_asked_three_times(office: Office) -> None:
    """It answers, so there is no use in waiting until the time is over."""
    office.venue.broken |= {AskBalances, AskOpenOrders}
    before = len(office.asked_of(AskOpenOrders))  # balances are asked for by others, too
    found = office.close(WITHIN_S)
    assert set(found.not_compared) == {"balances: 502", "open orders of the account: 502"}
    assert len(office.asked_of(AskOpenOrders)) == before + 3


def test_asked_twice_it_answers_once(office: Office) -> None:
    """The road may deliver twice."""
    office.venue.silent.add(AskBalances)
    for _ in range(2):
        office.do(lambda at: office.brain.close(WITHIN_S * SECOND, at))
    office.wait(WITHIN_S + 1)
    assert len(office.closed) == 1
