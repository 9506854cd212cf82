"""Balances count when it was quiet; what nothing explains narrows trading, then stops it (C5)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.balances import LEDGER_ROWS_MAX, SWEEPS_MAX, contradictions, suspects
from core.events import AlertFired, BalancesCompared, TradingStateChanged
from core.inquiry import AskBalances, AskTrades
from core.reconciling import BALANCES, IN_FLIGHT
from core.records import LedgerTransaction, Posting, TradingState
from core.reports import QueryFailed
from tests.builders import SYMBOL, T0, dec
from tests.core.office import Office


@pytest.fixture
def office() -> Office:
    """One whose start is over and whose book knows a market; a test asks for each look itself."""
    made = Office(balance_interval=0, trades_interval=0, order_interval=0)
    made.done()
    made.start()
    made.tick(BALANCES)
    return made


def look(office: Office, times: int = 1) -> None:
    """Each is followed by as much time as the venue's reads may lag."""
    for _ in range(times):
        office.tick(BALANCES)
        office.wait(office.read_lag_s + 1)


def alerts(office: Office) -> list[str]:
    return [event.code for event in office.events(AlertFired)]


# ── the same difference, seen again ───────────────────────────────────────────────────────────────────────────────────


def test_balances_that_agree_are_noted(office: Office) -> None:
    """And nothing else happens, however often."""
    look(office, 10)
    assert {tuple(event.drift) for event in office.events(BalancesCompared)} == {()}
    assert (office.trading_state, alerts(office)) == (TradingState.ACTIVE, [])


def test_a_difference_that_is_seen_once_is_nothing(office: Office) -> None:
    """It may be a fill on its way; the trades that could explain it are read."""
    office.venue.move("USDT", "-5")
    office.asked.clear()
    look(office)
    assert [question.symbol for question in office.asked_of(AskTrades)] == [SYMBOL]
    office.venue.move("USDT", "5")
    look(office, 5)
    assert (office.trading_state, alerts(office)) == (TradingState.ACTIVE, [])


def test_a_difference_that_is_seen_twice_narrows_trading(office: Office) -> None:
    """C5: REDUCING, with an alert that says by how much."""
    office.venue.move("USDT", "-5")
    look(office, 2)
    assert office.trading_state is TradingState.REDUCING
    (alert,) = office.events(AlertFired)
    assert (alert.code, "-5 USDT" in alert.text, "REDUCING" in alert.text) == ("BALANCE_DRIFT", True, True)


def test_a_difference_that_stays_halts_trading(office: Office) -> None:
    """C5: after `reconciler.drift_looks_max` looks; two alerts in all, however long it stays."""
    office.venue.move("USDT", "-5")
    looks_max = office.settings.reconciler.drift_looks_max
    look(office, looks_max - 1)
    assert office.trading_state is TradingState.REDUCING
    look(office)
    assert office.trading_state is TradingState.HALTED
    look(office, 10)
    assert alerts(office) == ["BALANCE_DRIFT"] * 2
    assert [event.to_state for event in office.events(TradingStateChanged)] == [
        TradingState.REDUCING,
        TradingState.HALTED,
    ]


def test_a_difference_that_changes_begins_anew(office: Office) -> None:
    """Another amount is another difference."""
    for _ in range(5):
        office.venue.move("USDT", "-5")
        look(office)
    assert office.trading_state is TradingState.ACTIVE


def test_a_currency_that_the_book_does_not_know_is_a_difference(office: Office) -> None:
    """Whatever the account holds counts."""
    office.venue.move("DOGE", "7")
    look(office, 2)
    assert office.trading_state is TradingState.REDUCING


# ── what explains it ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_others_trades_explain_it(office: Office) -> None:
    """C4: they are found by the difference they make, and from then on there is none."""
    office.venue.fill(office.venue.outside("web-1"), "0.02")
    look(office, 10)
    assert (office.trading_state, alerts(office)) == (TradingState.ACTIVE, [])
    assert office.brain._balances.unexplained == {}
    last = office.events(BalancesCompared)[-1]
    assert last.drift == last.external == {"BTC": dec("0.02"), "USDT": dec(-1000)}


def test_others_trades_in_a_market_that_the_book_has_never_traded_explain_it(office: Office) -> None:
    """One currency has fallen and another risen, so the pair is asked about, either way round."""
    office.venue.fill(office.venue.outside("web-1", "ETH/BTC"), "2", "0.05")
    look(office, 10)
    assert office.trading_state is TradingState.ACTIVE
    assert {"ETH/BTC", "BTC/ETH"} <= {question.symbol for question in office.asked_of(AskTrades)}


def test_a_strays_trades_explain_nothing(office: Office) -> None:
    """Nobody has said that it is somebody else's."""
    office.venue.fill(office.venue.outside("in" + "a" * 16), "0.02")
    look(office, 4)
    assert office.trading_state is TradingState.REDUCING
    assert alerts(office) == ["STRAY_ORDER", "BALANCE_DRIFT"]


def test_what_an_operator_has_looked_at_is_known(office: Office) -> None:
    """A deposit: once accepted, the same amount alarms nobody again, after a restart neither; another one does."""
    office.venue.move("USDT", "100")
    look(office, 3)
    office.resume()
    look(office, 10)
    office.restart()
    office.start()
    look(office, 10)
    assert office.trading_state is TradingState.ACTIVE
    office.venue.move("USDT", "1")
    look(office, 2)
    assert office.trading_state is TradingState.REDUCING


# ── which looks count ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_asked_while_something_is_in_flight(office: Office) -> None:
    """It could be executed between the two looks."""
    office.accept()
    office.asked.clear()
    look(office)
    assert office.asked_of(AskBalances) == []


def test_an_answer_counts_only_if_nothing_was_booked_meanwhile(office: Office) -> None:
    """The venue's amount may be of before or after it."""
    office.venue.move("USDT", "-5")
    office.answers_itself = False
    compared = len(office.events(BalancesCompared))
    for number in range(3):
        look(office)
        office.done(f"n{number}")
        office.answer_all()
    assert len(office.events(BalancesCompared)) == compared
    assert office.trading_state is TradingState.ACTIVE


def test_no_answer_is_not_an_empty_account(office: Office) -> None:
    """G3: a failed question is said, and compared with nothing."""
    office.venue.broken.add(AskBalances)
    look(office, 5)
    assert "balances_not_fetched" in {said.event for said in office.said}
    assert office.trading_state is TradingState.ACTIVE


def test_while_trades_cannot_be_read_a_difference_is_not_called_unexplained(office: Office) -> None:
    """A trade may explain it. But what can never be read keeps nobody from being told."""
    office.venue.move("USDT", "-5")
    office.venue.broken.add(AskTrades)
    look(office, SWEEPS_MAX)
    assert office.trading_state is TradingState.ACTIVE
    look(office)
    assert office.trading_state is TradingState.REDUCING
    assert "502" in office.events(AlertFired)[-1].text


def test_what_was_not_asked_for_says_nothing(office: Office) -> None:
    """While the account's budget has no room for the trades, a difference is not called unexplained, however long."""
    office.venue.move("USDT", "-5")
    office.venue.unasked.add(AskTrades)
    look(office, SWEEPS_MAX + 5)
    assert office.trading_state is TradingState.ACTIVE
    office.venue.unasked.clear()
    look(office, 3)
    assert office.trading_state is TradingState.REDUCING


def test_a_guessed_pair_that_is_no_market_keeps_nobody_from_being_told(office: Office) -> None:
    """What was never a market has no trades: everything was read that could explain the difference."""
    office.venue.no_markets = {"USDT/BTC"}
    office.venue.move("USDT", "-5")
    office.venue.move("BTC", "1")
    look(office, 2)
    assert "USDT/BTC" in {question.symbol for question in office.asked_of(AskTrades)}
    assert office.trading_state is TradingState.REDUCING
    assert "could be read" not in office.events(AlertFired)[-1].text


def test_a_market_of_the_book_that_is_none_any_more_is_not_read(office: Office) -> None:
    """G3: what we have traded there may explain the difference, and nobody can ask; it is told with that, later."""
    office.done()
    office.wait(130)
    office.venue.no_markets = {SYMBOL}
    office.venue.move("USDT", "-5")
    look(office, SWEEPS_MAX)
    assert office.trading_state is TradingState.ACTIVE
    look(office)
    assert office.trading_state is TradingState.REDUCING
    assert f"trades {SYMBOL}: {SYMBOL} is no market" in office.events(AlertFired)[-1].text


def test_one_look_at_a_time(office: Office) -> None:
    """The next one begins when the last one is answered, or given up."""
    office.answers_itself = False
    office.asked.clear()
    look(office, 3)
    (question,) = office.asked_of(AskBalances)
    office.hand_in(question, QueryFailed(reason="502"))
    look(office)
    assert len(office.asked_of(AskBalances)) == 2 + 1  # and once to know whether the account can be read at all


def test_the_suspects_are_bounded(office: Office) -> None:
    """Many currencies make many pairs."""
    drift = {f"C{number:02d}": dec(number % 2 * 2 - 1) for number in range(40)}
    assert len(suspects(office.book, drift)) <= 31


# ── the ledger ────────────────────────────────────────────────────────────────────────────────────────────────────────


def spoil(office: Office, account: str = "Assets:Exchange", amount: str = "1") -> None:
    """A ledger row that balances nothing."""
    with office.book.transaction() as unit:
        posting = Posting(account, "USDT", dec(amount))
        unit.append_ledger(LedgerTransaction(at_ns=T0, kind="fill", text="", postings=(posting,)))


def test_a_sound_ledger_is_read_on_and_says_nothing(office: Office) -> None:
    """However it grows, a bounded part in one go."""
    for number in range(3):
        office.done(f"l{number}")
        office.tick(IN_FLIGHT)
    assert office.brain._ledger._read == office.book.last_sequence("ledger") < LEDGER_ROWS_MAX
    assert alerts(office) == []


def test_a_ledger_that_does_not_balance_stops_trading(office: Office) -> None:
    """C5: at the second look narrowed, at the last one halted."""
    spoil(office)
    office.tick(IN_FLIGHT)
    assert office.trading_state is TradingState.ACTIVE
    office.tick(IN_FLIGHT)
    assert office.trading_state is TradingState.REDUCING
    for _ in range(4):
        office.tick(IN_FLIGHT)
    assert office.trading_state is TradingState.HALTED
    assert set(alerts(office)) == {"LEDGER_DRIFT"}


def test_contradictions_are_named(office: Office) -> None:
    """A balance that the ledger does not explain, and a reservation that nobody holds."""
    with office.book.transaction() as unit:
        balance = unit.balance("BTC")
        assert balance is not None
        unit.put_balance(replace(balance, total=dec(9), reserved=dec(1)))
    lines = "\n".join(contradictions(office.book, {}, {"BTC": dec("1.01"), "USDT": dec(9500)}))
    assert "the book has 9 BTC, its ledger 1.01" in lines
    assert "BTC: reserved 1, reservations sum to 0" in lines
    assert "USDT" not in lines
