"""The trading state is durable, tells its reason, and stops exactly what it says."""

from __future__ import annotations

import pytest

from core import trading
from core.book import OpeningOutcome
from core.events import TradingStateChanged
from core.lifecycle import State
from core.records import TradingState
from tests.builders import T0, Desk, not_placed, request, sell

REASON = "a test"


def put(desk: Desk, state: TradingState, *, tighten: bool = False) -> None:
    with desk.book.transaction() as unit:
        if tighten:
            trading.tighten(unit, state, REASON, "test", T0)
        else:
            trading.put(unit, state, REASON, "operator", T0)


def state_of(desk: Desk) -> TradingState:
    return trading.standing(desk.book).state


def test_a_new_book_trades() -> None:
    """ACTIVE is what nobody has ever changed."""
    assert state_of(Desk()) is TradingState.ACTIVE


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_a_buy_is_refused_with_the_state_and_its_reason(state: TradingState) -> None:
    """The refusal says what is in force, why, and what lifts it."""
    desk = Desk()
    put(desk, state)
    result = desk.submit(request())
    assert result.outcome is OpeningOutcome.REFUSED
    assert result.refusal is not None
    assert (result.refusal.code, REASON in result.refusal.reason) == (f"TRADING_{state}", True)


def test_reducing_lets_out_what_was_bought_and_no_more() -> None:
    """A sell of the position is accepted, one of inventory that intentd has not bought is refused."""
    desk = Desk(USDT="100000", BTC="1")
    put(desk, TradingState.REDUCING)
    result = desk.submit(sell())
    assert result.outcome is OpeningOutcome.REFUSED
    assert result.refusal is not None
    assert result.refusal.code == "REDUCE_ONLY"


def test_parts_can_only_make_it_stricter() -> None:
    """What an operator or another part has stopped stays stopped."""
    desk = Desk()
    put(desk, TradingState.HALTED, tighten=True)
    put(desk, TradingState.REDUCING, tighten=True)
    assert state_of(desk) is TradingState.HALTED


def test_an_operator_can_allow_it_again() -> None:
    """Each change is told once, with who and why."""
    desk = Desk()
    put(desk, TradingState.HALTED, tighten=True)
    put(desk, TradingState.HALTED)
    put(desk, TradingState.ACTIVE)
    told = [(event.from_state, event.to_state, event.by) for event in desk.events(TradingStateChanged)]
    assert told == [
        (TradingState.ACTIVE, TradingState.HALTED, "test"),
        (TradingState.HALTED, TradingState.HALTED, "operator"),
        (TradingState.HALTED, TradingState.ACTIVE, "operator"),
    ]


def test_an_operators_words_stand_though_trading_was_stopped_already() -> None:
    """It is he who holds it now; the same words again change nothing, and no part takes it over."""
    desk = Desk()
    put(desk, TradingState.HALTED, tighten=True)
    for words in ("stop it all", "stop it all", "and leave it so"):
        with desk.book.transaction() as unit:
            trading.put(unit, TradingState.HALTED, words, "operator", T0)
    put(desk, TradingState.HALTED, tighten=True)
    held = trading.standing(desk.book)
    assert (held.state, held.reason, held.by) == (TradingState.HALTED, "and leave it so", "operator")
    told = [(event.by, event.reason) for event in desk.events(TradingStateChanged)]
    assert told == [("test", REASON), ("operator", "stop it all"), ("operator", "and leave it so")]


def test_no_further_attempt_is_begun_while_halted() -> None:
    """An intent that waits for its next attempt ends by what it has, and its money is free again."""
    desk = Desk()
    attempt = desk.accept()
    assert desk.apply(not_placed(attempt, retryable=True)).state is State.RETRY
    put(desk, TradingState.HALTED)
    desk.begin(attempt.intent_id)
    ended = desk.record(attempt.intent_id)
    assert ended.state is State.CANCELED
    assert ended.end_reason == f"TRADING_HALTED: trading is HALTED ({REASON}); see `intentctl resume`"
    assert list(desk.book.reservations()) == []


@pytest.mark.parametrize(("state", "before", "overtaken"), [
    (TradingState.ACTIVE, True, True),
    (TradingState.ACTIVE, False, False),
    (TradingState.REDUCING, True, True),
    (TradingState.HALTED, True, False),
])  # fmt: skip
def test_what_was_asked_before_does_not_loosen_what_is_in_force(
    state: TradingState, before: bool, overtaken: bool
) -> None:
    """A message that comes late, or twice, lifts no halt that was told since; a stricter one is always heard."""
    desk = Desk()
    put(desk, TradingState.HALTED)
    assert trading.is_overtaken(desk.book, state, T0 - 1 if before else T0, T0) is overtaken
    assert not trading.is_overtaken(desk.book, state, 0, T0)


@pytest.mark.parametrize(("asked_ns", "overtaken"), [(T0 - 3, True), (T0 - 1, False)])
def test_what_was_asked_for_last_counts_however_late_it_comes(asked_ns: int, overtaken: bool) -> None:
    """A halt and the resume after it both come late: the halt came about after both were asked, and is lifted."""
    desk = Desk()
    with desk.book.transaction() as unit:
        trading.put(unit, TradingState.HALTED, REASON, "operator", T0, asked_ns=T0 - 2)
    assert trading.is_overtaken(desk.book, TradingState.ACTIVE, asked_ns, T0) is overtaken


def test_a_halt_that_is_asked_for_again_is_as_new_as_that() -> None:
    """The same words once more: a resume from before them lifts nothing."""
    desk = Desk()
    with desk.book.transaction() as unit:
        trading.put(unit, TradingState.HALTED, REASON, "operator", T0, asked_ns=T0 - 9)
        trading.put(unit, TradingState.HALTED, REASON, "operator", T0, asked_ns=T0 - 1)
    assert trading.is_overtaken(desk.book, TradingState.ACTIVE, T0 - 2, T0)
    assert len(desk.events(TradingStateChanged)) == 1


@pytest.mark.parametrize("by_part", [False, True])
def test_an_older_halt_that_is_asked_for_again_makes_a_newer_one_no_older(by_part: bool) -> None:
    """Two have halted, one of them insists; a resume that was asked for between the two lifts neither."""
    desk = Desk()
    with desk.book.transaction() as unit:
        trading.put(unit, TradingState.HALTED, "odd fills", "operator", T0, asked_ns=T0 - 9)
        if by_part:
            trading.put(unit, TradingState.ACTIVE, "seen", "operator", T0 - 2, asked_ns=T0 - 8)
            trading.tighten(unit, TradingState.REDUCING, "drift", "reconciler", T0 - 1)
        else:
            trading.put(unit, TradingState.HALTED, "feed lost", "operator", T0, asked_ns=T0 - 1)
        trading.put(unit, TradingState.HALTED, "odd fills", "operator", T0, asked_ns=T0 - 9)
    assert trading.standing(desk.book).reason == "odd fills"
    assert trading.is_overtaken(desk.book, TradingState.ACTIVE, T0 - 5, T0)
    assert not trading.is_overtaken(desk.book, TradingState.ACTIVE, T0, T0)
