"""An inquiry keeps three things apart: an answer, an empty answer, and no answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import ExchangeOrderId, TradeId
from core.inquiry import (
    BY_TIME_MAX_NS,
    PAGES_MAX,
    AskOrders,
    AskTrades,
    Inquiries,
    Inquiry,
    Moment,
    Question,
    name_of,
)
from core.reports import OpenOrder, OrderAbsent, QueryFailed, Trade
from tests.builders import SECOND, SYMBOL, T0, Desk, dec, request, trade
from tests.core.office import Office

PATIENCE_NS = 30 * SECOND
NO_ANSWER = QueryFailed(reason="502")


class Asker:
    """Somebody who asks and is told when it is over."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.now_ns = T0
        self.inquiries = Inquiries(PATIENCE_NS)
        self.over: list[Inquiry] = []
        self.inquiry = self.inquiries.begin(self.at, self.is_over)

    @property
    def at(self) -> Moment:
        return Moment(self.desk.book, self.now_ns)

    def is_over(self, inquiry: Inquiry, _at: Moment) -> list[Any]:
        self.over.append(inquiry)
        return []

    def answer(self, question: Question, answer: Any, *, complete: bool = True) -> list[Any]:
        return self.inquiries.answered(question.purpose, answer, self.at, complete=complete)


@pytest.fixture
def asker() -> Asker:
    return Asker()


def trades(*numbers: int, at_ns: int = T0) -> tuple[Trade, ...]:
    return tuple(trade(str(number), "0.001", venue_ns=at_ns) for number in numbers)


def order_line(order_id: int) -> OpenOrder:
    known_as = ExchangeOrderId(str(order_id))
    return OpenOrder(client_order_id=f"web-{order_id}", exchange_order_id=known_as, symbol=SYMBOL)  # type: ignore[arg-type]


def ids_of(inquiry: Inquiry) -> list[str]:
    return [each.trade_id for each in inquiry.trades_of(SYMBOL)]


# ── an answer, an empty answer, no answer ─────────────────────────────────────────────────────────────────────────────


def test_an_empty_list_is_an_answer(asker: Asker) -> None:
    """The venue says that there is nothing."""
    question = asker.inquiry.ask_trades(SYMBOL, None, T0)
    asker.answer(question, ())
    assert asker.inquiry.has_trades(SYMBOL)
    assert asker.inquiry.trades_of(SYMBOL) == []


def test_a_question_that_failed_is_no_empty_list(asker: Asker) -> None:
    """G3: nothing is known, and the reason is."""
    asked = [asker.inquiry.ask_trades(SYMBOL, None, T0), asker.inquiry.ask_orders(SYMBOL, None, T0)]
    asked += [asker.inquiry.ask_open_orders(None), asker.inquiry.ask_balances()]
    for question in asked:
        asker.answer(question, NO_ANSWER)
    (inquiry,) = asker.over
    assert not inquiry.has_trades(SYMBOL)
    assert not inquiry.has_orders(SYMBOL)
    assert inquiry.open_orders == {}
    assert inquiry.balances is None
    assert inquiry.failed == {name_of(question): "502" for question in asked}


def test_a_failed_look_up_is_not_an_absent_order(asker: Asker) -> None:
    """ "I know no such order" is an answer; an error is none."""
    first, second = (asker.desk.accept(request(key=key)) for key in "ab")
    absent, failed = asker.inquiry.ask_order(first), asker.inquiry.ask_order(second)
    asker.answer(absent, OrderAbsent(client_order_id=first.client_order_id))
    asker.answer(failed, NO_ANSWER)
    assert list(asker.inquiry.reports) == [first.client_order_id]
    assert list(asker.inquiry.failed) == [f"order {second.client_order_id}"]


def test_a_list_that_does_not_begin_where_it_must_is_no_answer(asker: Asker) -> None:
    """What is known to be there is not shown: nothing of the list is believed."""
    question = asker.inquiry.ask_trades(SYMBOL, TradeId("7"), T0)
    assert asker.answer(question, trades(8, 9)) == []
    assert not asker.inquiry.has_trades(SYMBOL)
    assert "7" in asker.inquiry.failed[f"trades {SYMBOL}"]


def test_what_is_not_answered_in_time_has_failed(asker: Asker) -> None:
    """The inquiry ends then, and says so; what was answered stays."""
    asker.answer(asker.inquiry.ask_balances(), {"USDT": dec(1)})
    asker.over.clear()
    asker.inquiry = asker.inquiries.begin(asker.at, asker.is_over)
    kept, lost = asker.inquiry.ask_balances(), asker.inquiry.ask_trades(SYMBOL, None, T0)
    asker.answer(kept, {"USDT": dec(1)})
    asker.now_ns = asker.inquiry.due_ns - 1
    assert asker.inquiries.overdue(asker.at) == []
    assert asker.over == []
    asker.now_ns += 1
    asker.inquiries.overdue(asker.at)
    (inquiry,) = asker.over
    assert (inquiry.balances, inquiry.failed) == ({"USDT": dec(1)}, {name_of(lost): "no answer"})


def test_an_answer_puts_the_end_off(asker: Asker) -> None:
    """A venue that is slow and talks is no venue that is silent."""
    asked = [asker.inquiry.ask_order(asker.desk.accept(request(key=key))) for key in "abc"]
    for question in asked[:2]:
        asker.now_ns += PATIENCE_NS - 1
        asker.inquiries.overdue(asker.at)
        asker.answer(question, NO_ANSWER)
    assert asker.over == []
    asker.now_ns += PATIENCE_NS
    asker.inquiries.overdue(asker.at)
    assert asker.over == [asker.inquiry]


# ── whose answer it is ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_counts_once(asker: Asker) -> None:
    """The second one, other than the first, changes nothing."""
    question = asker.inquiry.ask_balances()
    asker.answer(question, {"USDT": dec(1)})
    asker.answer(question, {"USDT": dec(2)})
    assert [inquiry.balances for inquiry in asker.over] == [{"USDT": dec(1)}]


def test_an_answer_that_is_too_late_is_nobodys(asker: Asker) -> None:
    """Whoever asked has gone on without it."""
    question = asker.inquiry.ask_balances()
    asker.now_ns += PATIENCE_NS
    asker.inquiries.overdue(asker.at)
    assert asker.answer(question, {"USDT": dec(1)}) == []
    assert [inquiry.balances for inquiry in asker.over] == [None]


def test_an_answer_to_an_earlier_self_is_nobodys(asker: Asker) -> None:
    """After a restart everything is counted anew; the answers of before must not fit."""
    before = asker.inquiry.ask_trades(SYMBOL, None, T0)
    asker.inquiries = Inquiries(PATIENCE_NS)
    asker.now_ns += SECOND
    asker.inquiry = asker.inquiries.begin(asker.at, asker.is_over)
    asker.inquiry.ask_trades("ETH/USDT", None, T0)
    assert asker.answer(before, trades(1)) == []
    assert asker.over == []
    assert asker.inquiry.trades_of("ETH/USDT") == []


def test_two_inquiries_do_not_mix(asker: Asker) -> None:
    """Each gets its own answers, in whatever order they come."""
    other = asker.inquiries.begin(asker.at, asker.is_over)
    first, second = asker.inquiry.ask_balances(), other.ask_balances()
    asker.answer(second, {"USDT": dec(2)})
    asker.answer(first, {"USDT": dec(1)})
    assert [inquiry.balances for inquiry in asker.over] == [{"USDT": dec(2)}, {"USDT": dec(1)}]


def test_whoever_was_replaced_is_asked_again(asker: Asker) -> None:
    """Only what waits, once, with all the time there is; an answer to the first asking still counts."""
    answered, waiting = asker.inquiry.ask_balances(), asker.inquiry.ask_trades(SYMBOL, None, T0)
    asker.answer(answered, {})
    asker.now_ns += PATIENCE_NS - 1
    assert asker.inquiries.again(asker.at) == [waiting]
    asker.now_ns += PATIENCE_NS - 1
    assert asker.inquiries.overdue(asker.at) == []
    asker.answer(waiting, trades(1))
    assert asker.over == [asker.inquiry]
    assert asker.inquiries.again(asker.at) == []


def test_whoever_is_told_may_ask_on(asker: Asker) -> None:
    """The inquiry goes on, and is over when that is answered."""

    def ask_on(inquiry: Inquiry, at: Moment) -> list[Any]:
        asker.over.append(inquiry)
        return [inquiry.ask_trades(SYMBOL, None, T0)] if len(asker.over) == 1 else []

    inquiry = asker.inquiries.begin(asker.at, ask_on)
    (following,) = asker.answer(inquiry.ask_balances(), {})
    assert asker.answer(following, trades(1)) == []
    assert asker.over == [inquiry, inquiry]
    assert ids_of(inquiry) == ["1"]


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_is_read_page_by_page(asker: Asker) -> None:
    """Each page begins with the last of the page before, which shows that nothing lies between."""
    question = asker.inquiry.ask_trades(SYMBOL, None, T0)
    (second,) = asker.answer(question, trades(1, 2, 3), complete=False)
    assert isinstance(second, AskTrades)
    assert second.from_trade_id == "3"
    (third,) = asker.answer(second, trades(3, 4, 5), complete=False)
    asker.answer(third, trades(5))
    assert ids_of(asker.over[0]) == ["1", "2", "3", "4", "5"]
    assert asker.over[0].has_trades(SYMBOL)


def test_a_page_that_does_not_begin_with_the_last_of_the_one_before_is_no_answer(asker: Asker) -> None:
    """Something may lie between."""
    question = asker.inquiry.ask_orders(SYMBOL, None, T0)
    (second,) = asker.answer(question, (order_line(1), order_line(2)), complete=False)
    assert isinstance(second, AskOrders)
    assert second.from_order_id == "2"
    asker.answer(second, (order_line(4),))
    assert not asker.over[0].has_orders(SYMBOL)


def test_a_page_that_fails_fails_the_list(asker: Asker) -> None:
    """Half a list is no list."""
    (second,) = asker.answer(asker.inquiry.ask_trades(SYMBOL, None, T0), trades(1, 2), complete=False)
    asker.answer(second, NO_ANSWER)
    assert not asker.over[0].has_trades(SYMBOL)


@pytest.mark.parametrize("page", [(), trades(7)])
def test_a_list_that_does_not_go_on_and_does_not_end_is_no_answer(asker: Asker, page: tuple[Trade, ...]) -> None:
    """It would be asked for ever."""
    question = asker.inquiry.ask_trades(SYMBOL, TradeId("7") if page else None, T0)
    assert asker.answer(question, page, complete=False) == []
    assert not asker.over[0].has_trades(SYMBOL)


def test_a_list_has_an_end_whatever_the_venue_says(asker: Asker) -> None:
    """So many pages, each list for itself; then it counts as not answered."""
    asker.inquiry.ask_balances()  # never answered, so the inquiry goes on
    for symbol in ("ETH/USDT", SYMBOL):
        question: Any = asker.inquiry.ask_trades(symbol, None, T0)
        pages = 0
        while question is not None:
            following = asker.answer(question, trades(pages, pages + 1), complete=False)
            question = following[0] if following else None
            pages += 1
        assert pages == PAGES_MAX + 1
    assert set(asker.inquiry.failed) == {"trades ETH/USDT", f"trades {SYMBOL}"}


def test_what_is_older_than_a_day_is_asked_for_by_ids(asker: Asker) -> None:
    """The venue answers by time for a day at most; so all is read, and what is older than was asked for left out."""
    since_ns = T0 - BY_TIME_MAX_NS - 1
    by_id = asker.inquiry.ask_trades(SYMBOL, None, since_ns)
    by_time = asker.inquiry.ask_trades("ETH/USDT", None, since_ns + 1)
    orders = asker.inquiry.ask_orders(SYMBOL, None, since_ns)
    assert isinstance(by_id, AskTrades)
    assert isinstance(by_time, AskTrades)
    assert isinstance(orders, AskOrders)
    assert (by_id.from_trade_id, by_time.from_trade_id, orders.from_order_id) == ("0", None, "0")
    (second,) = asker.answer(by_id, (*trades(1, at_ns=since_ns - 1), *trades(2, at_ns=since_ns)), complete=False)
    asker.answer(second, (*trades(2, at_ns=since_ns), *trades(3)))
    assert ids_of(asker.inquiry) == ["2", "3"]
    assert asker.inquiry.has_trades(SYMBOL)


@given(st.integers(1, 40), st.integers(2, 7), st.booleans())
def test_pages_of_any_size_make_the_whole_list(count: int, page: int, old: bool) -> None:
    """Each trade once, oldest first, none left out."""
    office = Office()
    office.venue.page = page
    order = office.venue.outside("web-1")
    if old:
        office.desk.now_ns -= BY_TIME_MAX_NS + SECOND
    since_ns = office.desk.now_ns
    all_of_them = [office.venue.fill(order, "0.001", ends=False) for _ in range(count)]
    office.desk.now_ns = T0
    asker = Asker()
    waiting = [asker.inquiry.ask_trades(SYMBOL, None, since_ns)]
    while waiting:
        answer, complete = office.venue.answer(waiting[0])
        waiting = asker.answer(waiting[0], answer, complete=complete)
    assert asker.over[0].trades_of(SYMBOL) == all_of_them
    assert asker.over[0].has_trades(SYMBOL)
