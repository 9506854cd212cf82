"""From which look on a difference narrows trading, what is left of it, and what an operator has accepted."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import drift, trading
from core.concern import Concern, Premise
from core.drift import Alarm
from core.events import AlertFired
from core.records import TradingState
from tests.builders import T0, Desk, dec

amounts = st.dictionaries(st.sampled_from("ABC"), st.integers(-3, 3).map(Decimal))


OFF = Concern(code="X_DRIFT", text="5 off")


def raised(looks: int, looks_max: int = 6) -> TradingState | None:
    """The state that is wanted."""
    states = [effect.state for effect in Alarm(looks_max).raised(OFF, looks)]
    return states[0] if states else None


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        (0, None),
        (1, None),
        (2, TradingState.REDUCING),
        (5, TradingState.REDUCING),
        (6, TradingState.HALTED),
        (7, TradingState.HALTED),
    ],
)
def test_a_difference_is_taken_more_seriously_the_longer_it_stays(looks: int, state: TradingState | None) -> None:
    """Once: nothing. Twice: REDUCING. To the end: HALTED. The wish is repeated, since messages are lost."""
    assert raised(looks) == state


def test_with_two_looks_at_most_the_second_one_halts() -> None:
    """The strictest setting; a single look never stops trading."""
    assert raised(1, 2) is None
    assert raised(2, 2) == raised(2, 1) == TradingState.HALTED


# ── in the book ───────────────────────────────────────────────────────────────────────────────────────────────────────


def act_on(desk: Desk, concern: Concern, state: TradingState = TradingState.REDUCING) -> None:
    with desk.book.transaction() as unit:
        drift.act_on(unit, concern, state, "reconciler", T0)


def alerts(desk: Desk) -> list[str]:
    return [event.text for event in desk.events(AlertFired)]


def test_an_alert_is_told_with_each_change_and_once() -> None:
    """However often the wish is repeated."""
    desk = Desk()
    for state in (TradingState.REDUCING,) * 3 + (TradingState.HALTED,) * 3:
        act_on(desk, OFF, state)
    assert alerts(desk) == ["5 off; trading is REDUCING", "5 off; trading is HALTED"]


def test_another_amount_is_told_though_trading_is_stopped_already() -> None:
    """Somebody who looks at the alerts sees how it went on."""
    desk = Desk()
    for amount in (5, 5, 6):
        act_on(desk, Concern(code="X_DRIFT", text=f"{amount} off", drift={"USDT": dec(amount)}), TradingState.HALTED)
    assert alerts(desk) == ["5 off; trading is HALTED", "6 off; trading is HALTED"]


def test_what_an_operator_has_accepted_stops_nothing_though_it_was_told_before() -> None:
    """A wish that was on its way when trading was resumed, or comes a second time, is about what is known."""
    desk = Desk()
    told = Concern(code="X_DRIFT", text="5 off", drift={"USDT": dec(5)})
    act_on(desk, told, TradingState.HALTED)
    with desk.book.transaction() as unit:
        trading.put(unit, TradingState.ACTIVE, "the transfer was mine", "operator", T0)
        drift.accept(unit)
    act_on(desk, told, TradingState.HALTED)
    assert trading.standing(desk.book).state is TradingState.ACTIVE
    act_on(desk, Concern(code="X_DRIFT", text="6 off", drift={"USDT": dec(6)}))
    assert trading.standing(desk.book).state is TradingState.REDUCING


def test_a_concern_about_money_that_has_moved_since_stops_nothing() -> None:
    """The book may have learned meanwhile what explains it; it is looked at anew."""
    desk = Desk()
    sequence = desk.book.last_sequence("ledger")
    desk.filled()
    act_on(desk, Concern(code="X_DRIFT", text="5 off", premise=Premise(ledger=sequence)))
    assert (alerts(desk), trading.standing(desk.book).state) == ([], TradingState.ACTIVE)
    act_on(desk, Concern(code="X_DRIFT", text="5 off", premise=Premise(ledger=desk.book.last_sequence("ledger"))))
    assert trading.standing(desk.book).state is TradingState.REDUCING


def test_a_concern_about_an_intent_that_was_filled_since_stops_nothing() -> None:
    """What the book lacked when it was looked at has been booked."""
    desk = Desk()
    filled = desk.filled()
    lacked = Premise(intent_id=filled.intent.intent_id, filled_qty=filled.filled_qty - dec("0.001"))
    act_on(desk, Concern(code="X", text="fills differ", premise=lacked))
    assert trading.standing(desk.book).state is TradingState.ACTIVE


@given(amounts, amounts)
def test_what_is_left_and_what_explains_it_add_up(seen: dict[str, Decimal], due: dict[str, Decimal]) -> None:
    """Without anything known: left + external = drift, in every currency, and nothing that is left is zero."""
    left = drift.unexplained(seen, due, {})
    for currency in "ABC":
        assert left.get(currency, 0) + due.get(currency, 0) == seen.get(currency, 0)
    assert all(left.values())


def test_only_the_very_amount_is_known() -> None:
    """A difference that has grown is told in full."""
    known = {"USDT": dec(5)}
    assert drift.unexplained({"USDT": dec(5)}, {}, known) == {}
    assert drift.unexplained({"USDT": dec(6)}, {}, known) == {"USDT": dec(6)}


def test_accepting_makes_known_what_alarmed_and_keeps_what_was_known() -> None:
    """An operator has looked at all of it; accepting nothing changes nothing."""
    desk = Desk()
    with desk.book.transaction() as unit:
        drift.accept(unit)
        assert drift.known(unit) == {}
        for amounts_seen in ({"USDT": dec(5)}, {"BTC": dec(1)}):
            seen = Concern(code="X_DRIFT", text="off", drift=amounts_seen)
            drift.act_on(unit, seen, TradingState.REDUCING, "reconciler", T0)
            drift.act_on(unit, OFF, TradingState.REDUCING, "reconciler", T0)  # this one is not about balances
            drift.accept(unit)
            drift.accept(unit)
    assert drift.known(desk.book) == {"USDT": dec(5), "BTC": dec(1)}
