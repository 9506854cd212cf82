"""When the account's data is gone, when it is back, and how often it is asked for meanwhile."""

from __future__ import annotations

import pytest

from core import private_data, wants
from core.events import AlertFired
from core.inquiry import AskBalances
from core.private_data import LOOK_AGAIN_NS
from core.reports import QueryFailed
from tests.builders import SECOND
from tests.core.office import Office

MAX_AGE_S = 60


def opened(**own: int) -> Office:
    """An office whose start is over, so the account was just read."""
    office = Office(**own)
    office.start()
    return office


@pytest.fixture
def office() -> Office:
    return opened()


def is_gone(office: Office) -> bool:
    return private_data.standing(office.book).is_gone


def alerts(office: Office) -> list[str]:
    return [alert.code for alert in office.events(AlertFired)]


def unheard(office: Office) -> list[wants.NotePrivateData]:
    """What the book was told and has not come to."""
    return [effect for effect in office.unwritten if isinstance(effect, wants.NotePrivateData)]


@pytest.mark.parametrize("how", ["broken", "silent"])
def test_it_is_gone_when_it_could_not_be_read_for_its_longest_age(office: Office, how: str) -> None:
    """Not a second earlier, whether the venue fails or says nothing; with cause and time of the last reading."""
    last_ns = office.desk.now_ns
    getattr(office.venue, how).add(AskBalances)
    office.wait(MAX_AGE_S)
    assert not is_gone(office)
    office.wait(2)
    assert is_gone(office)
    record = private_data.standing(office.book)
    assert abs(record.since_ns - last_ns) <= SECOND
    assert record.reason == ("502" if how == "broken" else "no answer")


def test_it_ends_by_itself_with_the_first_answer(office: Office) -> None:
    """Nobody has to do anything; both changes were told once."""
    office.venue.broken.add(AskBalances)
    office.wait(3 * MAX_AGE_S)
    office.venue.broken.clear()
    office.wait(LOOK_AGAIN_NS / SECOND + 1)
    assert not is_gone(office)
    office.wait(3 * MAX_AGE_S)
    assert alerts(office) == ["PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK"]


def test_while_it_fails_it_is_asked_for_every_few_seconds_one_at_a_time(office: Office) -> None:
    """So that it is back soon, and the venue is not flooded."""
    office.venue.broken.add(AskBalances)
    office.wait(2 * MAX_AGE_S)
    office.asked.clear()
    office.wait(60)
    assert 10 <= len(office.asked_of(AskBalances)) <= 12 + 2  # the look at the balances asks, too
    office.venue.broken.clear()
    office.venue.silent.add(AskBalances)
    office.asked.clear()
    office.wait(25)
    assert len(office.asked_of(AskBalances)) <= 2


@pytest.mark.parametrize("max_age_s", [1, 3, 10])
def test_a_short_age_costs_no_flood(max_age_s: int) -> None:
    """Once a second at most, while it is well and while it is not."""
    office = opened(private_data_max_age=max_age_s * SECOND, balance_interval=0)
    office.wait(5)
    office.asked.clear()
    office.wait(30)
    assert not is_gone(office)
    office.venue.broken.add(AskBalances)
    office.wait(30)
    assert is_gone(office)
    assert len(office.asked_of(AskBalances)) <= 60 + 2


def test_where_balances_are_never_compared_the_account_is_looked_at_all_the_same() -> None:
    """`balance_interval = 0`: seldom while it answers, and gone when it does not."""
    office = opened(balance_interval=0)
    office.asked.clear()
    office.wait(600)
    assert 10 <= len(office.asked_of(AskBalances)) <= 20
    assert not is_gone(office)
    office.venue.broken.add(AskBalances)
    office.wait(MAX_AGE_S + 2)
    assert is_gone(office)


def test_an_account_that_is_always_busy_is_read_all_the_same(office: Office) -> None:
    """Balances are not compared while an order is in flight; whether they can be read does not depend on that."""
    office.venue.silent.update({type(question) for question in office.asked} - {AskBalances})
    office.lost()
    office.asked.clear()
    office.wait(300)
    assert len(office.asked_of(AskBalances)) >= 5
    assert not is_gone(office)


def test_the_book_is_told_until_it_shows_it(office: Office) -> None:
    """The message may be lost, or come twice: there is one change."""
    office.venue.broken.add(AskBalances)
    office.writes_at_once = False
    office.wait(MAX_AGE_S + 5)
    assert len(unheard(office)) > 2
    office.unwritten = unheard(office)[-2:]
    office.write()
    assert (is_gone(office), alerts(office)) == (True, ["PRIVATE_DATA_GONE"])
    office.wait(10)
    assert unheard(office) == []


def test_a_message_that_comes_late_narrows_nothing_any_more(office: Office) -> None:
    """It was overtaken by the one that says that the data is back."""
    office.venue.broken.add(AskBalances)
    office.writes_at_once = False
    office.wait(MAX_AGE_S + 2)
    late = unheard(office)[-1]
    office.write()
    office.writes_at_once = True
    office.venue.broken.clear()
    office.wait(10)
    office.unwritten = [late]
    office.write()
    assert not is_gone(office)


def test_a_reconciler_that_starts_takes_up_what_the_book_says(office: Office) -> None:
    """Gone stays gone until it was read, and is asked for at once; nothing is told twice."""
    office.venue.broken.add(AskBalances)
    office.wait(MAX_AGE_S + 2)
    office.restart()
    office.asked.clear()
    office.wait(1)
    assert office.asked_of(AskBalances)
    office.wait(MAX_AGE_S)
    assert (is_gone(office), alerts(office)) == (True, ["PRIVATE_DATA_GONE"])
    office.venue.broken.clear()
    office.wait(LOOK_AGAIN_NS / SECOND + 1)
    assert not is_gone(office)


def test_a_reconciler_that_starts_gives_the_venue_its_time(office: Office) -> None:
    """It does not know when the account was read last; a restart is no reason to stop buying."""
    office.wait(20)
    office.venue.broken.add(AskBalances)
    office.restart()
    office.wait(MAX_AGE_S - 1)
    assert not is_gone(office)
    office.wait(5)
    assert is_gone(office)


@pytest.mark.parametrize("jump_s", [3_600, -3_600])
def test_who_has_slept_or_whose_clock_was_moved_asks_first(office: Office, jump_s: int) -> None:
    """Nobody could have read anything in that time, so nothing was asked in vain; and afterwards it works as before."""
    office.wait(10)
    office.desk.now_ns += jump_s * SECOND
    office.due_ns = dict.fromkeys(office.due_ns, office.desk.now_ns)
    office.wait(90)
    assert alerts(office) == []
    office.venue.broken.add(AskBalances)
    office.wait(MAX_AGE_S + 45)
    assert is_gone(office)


def test_an_answer_that_nobody_waits_for_proves_nothing(office: Office) -> None:
    """One of a reconciler before, or the same once more: it tells of an account that was read long ago."""
    office.answers_itself = False
    office.wait(MAX_AGE_S - 10)
    question = office.waiting[0]
    office.answer(question)
    office.waiting.clear()
    office.wait(MAX_AGE_S + 30)
    assert is_gone(office)
    office.hand_in(question, {"USDT": 1})
    assert is_gone(office)


def test_a_failure_of_whoever_asks_counts(office: Office) -> None:
    """The look at the balances fails first; from then on it is asked for every few seconds."""
    office.answers_itself = False
    office.wait(31)
    (question,) = office.asked_of(AskBalances)[-1:]
    office.hand_in(question, QueryFailed(reason="-1000"))
    before = len(office.asked_of(AskBalances))
    office.wait(1)
    assert len(office.asked_of(AskBalances)) == before + 1
