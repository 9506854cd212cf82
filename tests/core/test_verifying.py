"""Everything compared on demand: each kind of difference has its name, and what is gone at the second look is none."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from core import verdict as module
from core.ids import ClientOrderId
from core.inquiry import AskBalances, AskOpenOrders, AskOrders, AskTrades
from core.lifecycle import State
from core.records import AttemptStatus, LedgerTransaction, Posting, Reservation
from core.reports import OrderStatus
from core.verdict import Verdict
from core.verifying import LOOKS_MAX
from tests.builders import SECOND, SYMBOL, T0, dec, fill, not_placed, rules
from tests.core.office import Office

STRAY = "in" + "a" * 16


@pytest.fixture
def office() -> Office:
    """One whose start is over, with one filled intent; the regular checks are off, so that nothing is mended."""
    made = Office(order_interval=0, trades_interval=0, open_orders_interval=0, in_flight_interval=0, balance_interval=0)
    made.done()
    made.start()
    return made


def kinds(found: Verdict) -> list[str]:
    return [each.kind for each in found.differences]


# ── no difference ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_agrees_has_no_difference_and_says_how_much_was_compared(office: Office) -> None:
    """One look is enough then."""
    office.working()
    office.venue.fill(office.venue.outside("web-1"), "0.001")
    found = office.verify()
    assert (found.differences, found.not_compared, found.unresolved) == ((), (), 0)
    assert (found.fills, found.orders, found.balances) == (2, 1, 2)
    assert [order.client_order_id for order in found.external] == ["web-1"]
    assert len(office.asked_of(AskBalances)) == 2  # the start's, and this one


def test_nothing_is_changed_by_it(office: Office) -> None:
    """What the book lacks is named, and left to the regular checks."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.venue.fill(office.venue.outside("web-1"), "0.001")
    events = len(list(office.book.events()))
    assert "fill_missing" in kinds(office.verify())
    assert len(list(office.book.events())) == events
    assert office.desk.record(attempt.intent_id).filled_qty == 0


# ── every kind ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fill_missing(office: Office) -> str:
    _, order = office.working()
    return office.venue.fill(order, "0.004", ends=False).trade_id


def _fill_unknown(office: Office) -> str:
    with office.book.transaction() as unit:
        unit.put_fill(fill("9999"))
    return "9999"


def _fill_differs(office: Office) -> str:
    (known,) = office.venue.trades[SYMBOL]
    office.venue.trades[SYMBOL] = [replace(known, fee=dec("0.5"))]
    return known.trade_id


def _order_open(office: Office) -> str:
    attempt = office.accept("o")
    office.desk.apply(not_placed(attempt))
    office.venue.place(attempt)
    return attempt.client_order_id


def _order_missing(office: Office) -> str:
    attempt, order = office.working()
    order.status = OrderStatus.CANCELED
    return attempt.client_order_id


def _order_stray(office: Office) -> str:
    office.venue.outside(STRAY)
    return STRAY


def _order_nameless(office: Office) -> str:
    order = office.venue.outside("web-1")
    office.venue.names_hidden.add(order.order_id)
    office.venue.fill(order, "0.001")
    return order.order_id


def _balance(office: Office) -> str:
    office.venue.move("USDT", "-5")
    return "USDT"


def _ledger(office: Office) -> str:
    with office.book.transaction() as unit:
        posting = Posting("Equity:Opening", "USDT", dec(1))
        unit.append_ledger(LedgerTransaction(at_ns=T0, kind="fill", text="", postings=(posting,)))
    return "the ledger does not balance in USDT"


def _reservation(office: Office) -> str:
    with office.book.transaction() as unit:
        unit.put_reservation(Reservation(intent_id="gone", currency="USDT", amount=dec(0), created_ns=T0))  # type: ignore[arg-type]
    return "reservation without an open intent"


def _unresolved(office: Office) -> str:
    return office.lost("u").intent_id


SPOILED = {
    "fill_missing": _fill_missing,
    "fill_unknown": _fill_unknown,
    "fill_differs": _fill_differs,
    "order_open": _order_open,
    "order_missing": _order_missing,
    "order_stray": _order_stray,
    "order_nameless": _order_nameless,
    "balance": _balance,
    "ledger": _ledger,
    "reservation": _reservation,
    "unresolved": _unresolved,
}


def test_every_kind_of_the_table_is_tried_here() -> None:
    """And every kind that is tried stands in the table."""
    assert set(re.findall(r"^\| `(\w+)` \|", module.__doc__ or "", re.MULTILINE)) == set(SPOILED)


@pytest.mark.parametrize("kind", SPOILED)
def test_each_kind_of_difference_is_told_by_its_name(office: Office, kind: str) -> None:
    """With what it is about."""
    subject = SPOILED[kind](office)
    told = {each.kind: each.subject for each in office.verify().differences}
    assert told.get(kind) == subject


def test_differences_are_told_with_both_sides(office: Office) -> None:
    """The figures stand there, so that nobody has to look them up."""
    trade_id = _fill_differs(office)
    _balance(office)
    found = {each.kind: each for each in office.verify().differences}
    differing, balance = found["fill_differs"], found["balance"]
    assert (differing.subject, "fee 0 USDT" in differing.book, "fee 0.5 USDT" in differing.venue) == (
        trade_id,
        True,
        True,
    )
    assert (balance.book, balance.amount, "unexplained -5" in balance.venue) == ("9500", dec(-5), True)


def test_an_order_that_is_closed_in_the_book_and_open_at_the_venue_is_told(office: Office) -> None:
    """Not only one that was proven absent."""
    attempt, order = office.working()
    order.status = OrderStatus.CANCELED
    office.see(attempt)
    assert office.desk.attempt(attempt.intent_id).status is AttemptStatus.CLOSED
    order.status = OrderStatus.OPEN
    assert kinds(office.verify()) == ["order_open"]


# ── two looks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_gone_at_the_second_look_is_not_told(office: Office) -> None:
    """A fill that was on its way into the book."""
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.do(lambda at: office.brain.verify("v1", at))
    assert office.verified == []
    office.see(attempt)
    office.wait(office.read_lag_s + 1)
    assert office.verified[0].verdict.differences == ()


def test_what_comes_at_the_second_look_is_not_told(office: Office) -> None:
    """It was seen once only."""
    office.venue.move("USDT", "-5")
    office.do(lambda at: office.brain.verify("v1", at))
    office.venue.move("USDT", "5")
    attempt, order = office.working()
    office.venue.fill(order, "0.004", ends=False)
    office.wait(office.read_lag_s + 1)
    assert office.verified[0].verdict.differences == ()
    office.see(attempt)


def test_a_lasting_difference_is_told_though_trading_moves_the_totals(office: Office) -> None:
    """Five are missing at both looks; how much there is in all has changed meanwhile."""
    office.venue.move("USDT", "-5")
    office.do(lambda at: office.brain.verify("v1", at))
    office.done("n")
    office.wait(office.read_lag_s + 1)
    (found,) = office.verified[0].verdict.differences
    assert (found.kind, found.subject, found.amount) == ("balance", "USDT", dec(-5))


def test_a_working_order_that_fills_on_stays_missing(office: Office) -> None:
    """The same order, another figure: it is the same difference."""
    attempt, order = office.working()
    office.venue.names_hidden.add(order.order_id)
    office.do(lambda at: office.brain.verify("v1", at))
    office.venue.fill(order, "0.004", ends=False)
    office.see(attempt)
    office.wait(office.read_lag_s + 1)
    assert kinds(office.verified[0].verdict) == ["order_missing"]


@pytest.mark.parametrize("kind", [AskTrades, AskOpenOrders, AskBalances, AskOrders])
def test_what_is_not_answered_is_not_called_equal(office: Office, kind: type) -> None:
    """G3: after a second try it is named as not compared."""
    office.venue.fill(office.venue.outside("web-1"), "0.001")
    office.venue.broken.add(kind)
    found = office.verify()
    assert found.not_compared
    assert all("502" in reason for reason in found.not_compared)


def test_a_question_that_fails_once_is_asked_again(office: Office) -> None:
    """A passing misfortune is no result."""
    office.venue.broken.add(AskBalances)
    office.do(lambda at: office.brain.verify("v1", at))
    office.venue.broken.clear()
    office.wait(office.read_lag_s + 1)
    assert (office.verified[0].verdict.not_compared, office.verified[0].verdict.balances) == ((), 2)


def test_a_look_that_failed_hides_nothing(office: Office) -> None:
    """What is missing is seen at the second look only, since the first was not answered; so there is a third."""
    office.venue.move("USDT", "-5")
    office.venue.broken.add(AskBalances)
    office.do(lambda at: office.brain.verify("v1", at))
    office.venue.broken.clear()
    office.wait(office.read_lag_s + 1)
    assert office.verified == []
    office.wait(office.read_lag_s + 1)
    assert [(each.kind, each.amount) for each in office.verified[0].verdict.differences] == [("balance", dec(-5))]


def test_looks_that_fail_in_turn_come_to_an_end(office: Office) -> None:
    """Each second one is not answered; in the end it is said that not everything was compared, and not "agrees"."""
    office.venue.move("USDT", "-5")
    for number in range(LOOKS_MAX):
        office.venue.broken = {AskBalances} if number % 2 == 0 else set()
        if number == 0:
            office.do(lambda at: office.brain.verify("v1", at))
        else:
            office.wait(office.read_lag_s + 1)
    assert office.verified[0].verdict.differences == ()
    assert office.verified[0].verdict.not_compared


def test_a_venue_that_says_nothing_gets_an_answer_out_all_the_same(office: Office) -> None:
    """Whoever asked hears in bounded time that nothing was compared."""
    office.venue.silent.update({AskTrades, AskOpenOrders, AskBalances})
    office.verify()
    office.wait(2 * 2 * office.settings.engine.request_timeout // SECOND + 5)
    (told,) = office.verified
    assert len(told.verdict.not_compared) == 3


# ── who asks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_asks_meanwhile_gets_the_same_answer(office: Office) -> None:
    """One comparison at a time; nobody is told twice."""
    office.answers_itself = False
    for name in ("v1", "v2", "v1"):
        office.do(lambda at, name=name: office.brain.verify(name, at))
    office.answers_itself = True
    office.answer_all()
    office.wait(10)
    assert [told.request_ids for told in office.verified] == [("v1", "v2")]


def test_every_symbol_is_compared(office: Office) -> None:
    """Those that the book has ever traded, one after the other."""
    office.desk.market = rules(symbol="ETH/USDT", base="ETH")
    office.done("e", symbol="ETH/USDT")
    trade = office.venue.trades["ETH/USDT"][0]
    office.venue.trades["ETH/USDT"] = [replace(trade, qty=dec("0.02"))]
    (found,) = office.verify().differences
    assert (found.kind, found.symbol) == ("fill_differs", "ETH/USDT")


def test_an_unknown_outcome_is_counted_while_it_is_looked_for(office: Office) -> None:
    """It is told, and when it is found out it is a difference no more."""
    attempt = office.lost("u", filled=True)
    office.venue.hidden.add(office.venue.orders[-1].order_id)
    office.venue.hidden.update(trade.trade_id for trade in office.venue.trades[SYMBOL][1:])
    found = office.verify()
    assert (found.unresolved, "unresolved" in kinds(found)) == (1, True)
    office.venue.hidden.clear()
    office.resolve(attempt)
    assert office.desk.state(attempt) is State.FILLED
    found = office.verify("v2")
    assert (found.unresolved, found.differences) == (0, ())


def test_thousands_of_trades_of_others_are_named_in_few_questions(office: Office) -> None:
    """And counted against the balances, without being written down."""
    office.venue.page = 200
    for number in range(1000):
        office.venue.fill(office.venue.outside(ClientOrderId(f"web-{number}")), "0.0001", ends=True)
    office.asked.clear()
    found = office.verify()
    assert (found.differences, found.fills, len(found.external)) == ((), 1001, 1000)
    assert len(office.asked_of(AskOrders)) < 20
    assert list(office.book.external_totals()) == []


def test_its_questions_wait_behind_those_of_the_regular_checks(office: Office) -> None:
    """Somebody may want it as often as he likes; the regular look at the balances gets its turn all the same."""
    regular = [getattr(question, "on_demand", False) for question in office.asked]
    office.asked.clear()
    office.venue.outside("web-1")
    office.verify()
    assert not any(regular)
    assert {type(question) for question in office.asked} >= {AskTrades, AskOpenOrders, AskBalances}
    assert all(question.on_demand for question in office.asked)
