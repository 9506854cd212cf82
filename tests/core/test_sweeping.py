"""Nothing that the venue has executed for us stays out of the book, and nothing gets in twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import wants
from core.events import AlertFired, ExternalOrderSeen, ReconciliationResult
from core.inquiry import AskBalances, AskOpenOrders, AskOrder, AskOrders, AskTrades, Question
from core.lifecycle import State
from core.reconciling import BALANCES, ENDED, ORDERS, TRADES
from core.records import TradingState
from core.reports import OrderStatus, QueryFailed
from tests.builders import SECOND, SYMBOL, dec, rules, snapshot
from tests.core.office import Office

ETH = "ETH/USDT"


@pytest.fixture
def office() -> Office:
    """One whose start is over."""
    made = Office()
    made.start()
    return made


def cursor_of(office: Office, symbol: str = SYMBOL) -> str | None:
    found = office.book.trade_cursor(symbol)
    return None if found is None else found.trade_id


# ── what the book lacks ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fill_that_nobody_told_of_is_booked(office: Office) -> None:
    """C2: an order rests, is executed, and no answer says so; the sweep does."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.tick(TRADES)
    assert office.desk.record(attempt.intent_id).filled_qty == dec("0.004")
    assert office.desk.state(attempt) is State.PARTIAL


def test_a_fill_is_booked_once_however_many_tell_of_it(office: Office) -> None:
    """Sweep, look-up, comparison, a second sweep and the placement's own late answer: one fill."""
    attempt = office.lost(filled=True)
    office.answers_itself = False
    office.resolve(attempt)
    office.tick(TRADES)
    office.tick(BALANCES)
    for question in list(office.waiting):
        for _ in range(2):
            office.answer(question)
    office.answers_itself = True
    office.desk.apply(snapshot(attempt, OrderStatus.FILLED, office.venue.trades[SYMBOL], order_id="1001"))
    office.wait(60)
    assert len(list(office.book.fills())) == 1
    assert office.desk.record(attempt.intent_id).filled_qty == dec("0.01")
    assert office.brain._balances.unexplained == {}


def test_a_late_fill_of_an_ended_intent_is_booked_and_told_once(office: Office) -> None:
    """F4, C6: the venue reports it after the cancel; two sweeps that run together find it, and one result says so."""
    attempt, order = office.working()
    late = office.venue.fill(order, "0.004", ends=False)
    office.venue.hidden.add(late.trade_id)
    order.status = OrderStatus.CANCELED
    office.see(attempt)
    office.wait(10)
    assert [event.code for event in office.events(ReconciliationResult)] == ["RECONCILED"]
    office.venue.hidden.clear()
    office.answers_itself, office.writes_at_once = False, False
    office.tick(BALANCES)
    office.answer(office.asked_of(AskBalances)[-1])  # the balances differ, so a sweep begins when reads have caught up
    office.desk.later(office.read_lag_s + 1)
    office.tick()
    office.tick(TRADES)
    for question in [question for question in office.waiting if isinstance(question, AskTrades)]:
        office.answer(question)
    assert sum(isinstance(effect, wants.Apply) for effect in office.unwritten) == 2
    office.write()
    assert office.desk.state(attempt) is State.PARTIAL_SUCCESS
    assert [event.qty_delta for event in office.events(ReconciliationResult)] == [0, dec("0.004")]
    assert "LATE_FILL" in {event.code for event in office.events(AlertFired)}


def test_what_was_handed_over_and_not_booked_is_handed_over_again(office: Office) -> None:
    """A message may be lost; the trade is not."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.writes_at_once = False
    office.tick(TRADES)
    office.unwritten.clear()
    office.writes_at_once = True
    office.tick(TRADES)
    assert office.desk.record(attempt.intent_id).filled_qty == dec("0.004")


def test_an_unknown_order_is_found_by_its_trade(office: Office) -> None:
    """The trade's order has a name that the book knows, though nobody has told of the order."""
    office.venue.broken.add(AskOrder)
    attempt = office.lost(filled=True)
    office.tick(TRADES)
    assert office.desk.state(attempt) is State.FILLED


# ── what is read ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_symbols_in_which_something_goes_on_are_asked_about(office: Office) -> None:
    """Open intents, and ended ones until their trades cannot come late any more."""
    assert office.tick(TRADES) == []
    office.done()
    office.tick(ENDED)
    for _ in range(2):
        office.asked.clear()
        office.tick(TRADES)
        assert [question.symbol for question in office.asked_of(AskTrades)] == [SYMBOL]
    office.wait(200)
    assert office.tick(TRADES) == []


def test_a_quiet_symbols_cursor_is_at_its_last_trade(office: Office) -> None:
    """It is left alone when everything is accounted for, and not before."""
    office.done()
    office.wait(200)
    assert cursor_of(office) == office.venue.trades[SYMBOL][-1].trade_id


def test_the_next_sweep_reads_from_the_cursor_on(office: Office) -> None:
    """Not everything again; after a restart neither."""
    office.done("a")
    office.wait(200)
    before = cursor_of(office)
    office.restart()
    office.start()
    office.done("b")
    office.tick(ENDED)
    office.asked.clear()
    office.tick(TRADES)
    assert [question.from_trade_id for question in office.asked_of(AskTrades)] == [before]


def test_a_failed_question_moves_nothing(office: Office) -> None:
    """It is said, and asked again at the next interval; the other symbol is read all the same."""
    office.done()
    office.desk.market = rules(symbol=ETH, base="ETH")
    office.done("e", symbol=ETH)
    office.answers_itself = False
    office.wait(150)
    office.tick(TRADES)
    office.waiting = [question for question in office.waiting if isinstance(question, AskTrades)]
    office.venue.broken.clear()
    for question in list(office.waiting):
        if question.symbol == SYMBOL:
            office.venue.broken.add(AskTrades)
        office.answer(question)
        office.venue.broken.clear()
    assert cursor_of(office) is None
    assert cursor_of(office, ETH) is not None
    assert "trades_not_read" in {said.event for said in office.said}
    office.answers_itself = True
    office.wait(40)
    assert cursor_of(office) is not None


def test_thousands_of_fills_are_read_in_pages(office: Office) -> None:
    """Each page's end is the next one's beginning; all of them are booked, once."""
    attempt, order = office.working(qty="0.15")
    office.venue.page = 100
    for _ in range(1000):
        office.venue.fill(order, "0.0001", ends=False)
    office.tick(TRADES)
    assert office.desk.record(attempt.intent_id).filled_qty == dec("0.1")
    assert len(list(office.book.fills())) == 1000
    assert len(office.asked_of(AskTrades)) >= 10


# ── others' orders ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_external_order_is_named_once_and_never_touched(office: Office) -> None:
    """C4: told once, however often its trades are read, and after a restart."""
    attempt, _ = office.working()
    stranger = office.venue.outside("web-1")
    for _ in range(3):
        office.venue.fill(stranger, "0.001", ends=False)
        office.tick(TRADES)
        office.wait(30)
    office.restart()
    office.start()
    office.wait(60)
    assert [event.client_order_id for event in office.events(ExternalOrderSeen)] == ["web-1"]
    assert list(office.book.fills()) == []
    assert office.desk.state(attempt) is State.SENT
    asked = {type(question) for question in office.asked}
    assert asked <= {AskOrder, AskOpenOrders, AskOrders, AskTrades, AskBalances}


def test_the_names_of_many_orders_come_in_few_questions(office: Office) -> None:
    """One list from the oldest on tells all of them."""
    office.working()
    for number in range(30):
        office.venue.fill(office.venue.outside(f"web-{number}"), "0.001")
    office.tick(TRADES)
    assert len(office.events(ExternalOrderSeen)) == 30
    assert len(office.asked_of(AskOrders)) == 1


def test_an_order_that_the_venue_does_not_name_holds_the_cursor(office: Office) -> None:
    """The sweep ends, says so, and asks again; nothing is guessed."""
    office.done()
    stranger = office.venue.outside("web-1")
    office.venue.names_hidden.add(stranger.order_id)
    office.venue.fill(stranger, "0.001")
    office.wait(200)
    assert cursor_of(office) == office.venue.trades[SYMBOL][0].trade_id
    assert office.events(ExternalOrderSeen) == []
    assert "no name" in str(office.said[-1].fields)
    office.venue.names_hidden.clear()
    office.wait(100)
    assert cursor_of(office) == office.venue.trades[SYMBOL][1].trade_id


def test_a_sweep_of_nothing_is_over_at_once_and_once(office: Office) -> None:
    """It leaves no inquiry behind that would tell again."""
    told = []
    office.do(lambda at: office.brain._sweeps.begin((), at, lambda swept, _at: told.append(swept) or []))
    office.wait(60)
    assert len(told) == 1


# ── anything, in any order ────────────────────────────────────────────────────────────────────────────────────────────


class Weather:
    """An order of ours and one of somebody else's, both executed bit by bit, and everything that may happen then."""

    def __init__(self) -> None:
        self.office = Office()
        self.office.start()
        self.attempt, self.order = self.office.working(qty="0.1")
        self.stranger = self.office.venue.outside("web-1")
        self.office.answers_itself = self.office.writes_at_once = False
        self.steps: dict[str, Callable[[int], object]] = {
            "fill": lambda _: self.office.venue.fill(self.order, "0.001", ends=False),
            "outside": lambda _: self.office.venue.fill(self.stranger, "0.001", ends=False),
            "sweep": lambda _: self.office.tick(TRADES),
            "look": lambda _: self.office.tick(ORDERS),
            "compare": lambda _: self.office.tick(ENDED),
            "balances": lambda _: self.office.tick(BALANCES),
            "answer": lambda number: self.answer(self.office.waiting, number),
            "answer again": lambda number: self.answer(self.office.asked, number),
            "fail": self.fail,
            "write": lambda _: self.office.write(),
            "write twice": self.write_twice,
            "lose": self.lose,
            "time": self.time,
            "restart": self.restart,
        }

    def answer(self, questions: list[Question], number: int) -> None:
        if questions:
            self.office.answer(questions[number % len(questions)])

    def fail(self, number: int) -> None:
        if self.office.waiting:
            question = self.office.waiting[number % len(self.office.waiting)]
            self.office.waiting.remove(question)
            self.office.hand_in(question, QueryFailed(reason="502"), complete=False)

    def write_twice(self, number: int) -> None:
        if self.office.unwritten:
            self.office.write_one(self.office.unwritten[number % len(self.office.unwritten)])

    def lose(self, number: int) -> None:
        if self.office.unwritten:
            self.office.unwritten.pop(number % len(self.office.unwritten))

    def time(self, seconds: int) -> None:
        self.office.desk.now_ns += seconds * SECOND

    def restart(self, _number: int) -> None:
        self.office.restart()
        self.office.start()

    def clear_up(self) -> None:
        """Everybody answers again, and time passes."""
        self.office.answers_itself = self.office.writes_at_once = True
        self.office.write()
        self.office.answer_all()
        self.office.wait(240)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(list(Weather().steps)), st.integers(0, 50)), max_size=40))
def test_in_any_order_every_fill_is_booked_once_and_the_cursor_passes_none_that_is_not(
    steps: list[tuple[str, int]],
) -> None:
    """Answers late, twice, failed or from before a restart; messages to the book late, twice or lost: at any moment the
    book holds no fill that the venue does not have, none twice, and everything before the cursor; in the end, all."""
    weather = Weather()
    office, order = weather.office, weather.order
    for step, number in steps:
        weather.steps[step](number)
        sound(office)
    weather.clear_up()
    sound(office)
    assert sorted(fill.trade_id for fill in office.book.fills()) == [
        trade.trade_id for trade in office.venue.trades_of(order)
    ]
    assert office.desk.record(weather.attempt.intent_id).filled_qty == order.filled
    last = office.venue.trades[SYMBOL][-1:]
    assert cursor_of(office) == (last[0].trade_id if last else None)
    assert office.brain._balances.unexplained == {}
    assert office.trading_state is TradingState.ACTIVE


def sound(office: Office) -> None:
    """What holds at any moment."""
    trades = office.venue.trades[SYMBOL]
    ours = {trade.trade_id for trade in trades if trade.exchange_order_id == office.venue.orders[0].order_id}
    assert {fill.trade_id for fill in office.book.fills()} <= ours
    booked = sum((fill.qty for fill in office.book.fills()), dec(0))
    assert {record.filled_qty for record in office.book.intents()} == {booked}
    at = cursor_of(office)
    for trade in trades if at is not None else ():
        if int(trade.trade_id) <= int(at):
            is_booked = office.book.fill(SYMBOL, trade.trade_id) is not None
            assert is_booked or office.book.external_trade(SYMBOL, trade.trade_id) is not None
