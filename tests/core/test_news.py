"""What the user stream tells goes into the book when it is news, and once as a rule."""

from __future__ import annotations

import pytest

from core.news import HELD_NS, News, merged, says_nothing_new
from core.records import AttemptRecord
from core.reports import OrderSnapshot, OrderStatus
from tests.builders import T0, Desk, not_placed, snapshot, trade, unknown


@pytest.fixture
def attempt() -> AttemptRecord:
    return Desk().accept()


def event(attempt: AttemptRecord, status: OrderStatus, *numbers: int) -> OrderSnapshot:
    """The stream's word; each trade is of 0.001."""
    trades = [trade(f"t{number}", "0.001") for number in numbers]
    return snapshot(attempt, status, trades, source="stream")


def test_what_is_told_of_a_resting_order_goes_on_at_once(attempt: AttemptRecord) -> None:
    """Nobody else tells of it."""
    heard = event(attempt, OrderStatus.OPEN, 1)
    assert News().told(heard, T0) == [heard]


def test_what_the_answer_tells_does_not_go_on(attempt: AttemptRecord) -> None:
    """Each trade of it, and that it is over."""
    news = News()
    news.leaves(attempt.client_order_id)
    assert news.told(event(attempt, OrderStatus.OPEN), T0) == []
    assert news.told(event(attempt, OrderStatus.FILLED, 1, 2), T0) == []
    assert news.answered(snapshot(attempt, OrderStatus.FILLED, [trade("t1", "0.001"), trade("t2", "0.001")])) == []
    later = event(attempt, OrderStatus.FILLED, 1, 2)
    assert news.told(later, T0) == [later]


@pytest.mark.parametrize(
    "answer",
    [
        snapshot,
        lambda attempt: snapshot(attempt, OrderStatus.OPEN, [trade("t1", "0.001")]),
        unknown,
        not_placed,
    ],
)
def test_what_goes_beyond_the_answer_follows_it(attempt: AttemptRecord, answer: object) -> None:
    """All that was told, in one report."""
    news = News()
    news.leaves(attempt.client_order_id)
    news.told(event(attempt, OrderStatus.OPEN, 1), T0)
    news.told(event(attempt, OrderStatus.FILLED, 2), T0)
    (follows,) = news.answered(answer(attempt))  # type: ignore[operator]
    assert (follows.status, [one.trade_id for one in follows.trades]) == (OrderStatus.FILLED, ["t1", "t2"])


def test_an_answer_that_takes_long_is_not_waited_for(attempt: AttemptRecord) -> None:
    """From then on everything goes on at once, and the late answer brings nothing twice."""
    news = News()
    news.leaves(attempt.client_order_id)
    heard = event(attempt, OrderStatus.OPEN, 1)
    news.told(heard, T0)
    assert news.overdue(T0 + HELD_NS - 1) == []
    assert news.overdue(T0 + HELD_NS) == [heard]
    assert news.overdue(T0 + HELD_NS) == []
    more = event(attempt, OrderStatus.FILLED, 2)
    assert news.told(more, T0 + HELD_NS) == [more]
    assert news.answered(unknown(attempt)) == []


@pytest.mark.parametrize("turn", [1, -1])
def test_an_order_that_is_over_stays_over_whatever_is_told_later(attempt: AttemptRecord, turn: int) -> None:
    """Events may overtake each other."""
    first, second = (event(attempt, OrderStatus.OPEN, 1), event(attempt, OrderStatus.CANCELED, 2))[::turn]
    both = merged(first, second)
    assert (both.status, sorted(one.trade_id for one in both.trades)) == (OrderStatus.CANCELED, ["t1", "t2"])


def test_news_is_what_the_book_does_not_know(attempt: AttemptRecord) -> None:
    """A fill, an end, or that there is an order at all."""
    desk = Desk()
    own = desk.accept()
    resting = snapshot(own)
    assert not says_nothing_new(own, resting)
    desk.apply(resting)
    known = desk.attempt(own.intent_id)
    assert says_nothing_new(known, resting)
    assert not says_nothing_new(known, snapshot(own, OrderStatus.CANCELED))
    assert not says_nothing_new(known, snapshot(own, trades=[trade("t1", "0.001")]))
