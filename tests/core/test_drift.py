"""From which look on a difference narrows trading, what is left of it, and what an operator has accepted."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import drift, wants
from core.drift import Alarm, Concern
from core.records import TradingState
from tests.builders import T0, Desk, dec

amounts = st.dictionaries(st.sampled_from("ABC"), st.integers(-3, 3).map(Decimal))


def raised(looks: int, looks_max: int = 6) -> tuple[TradingState | None, bool]:
    """The state that is wanted, and whether an alert is told."""
    effects = Alarm(looks_max).raised(Concern("X_DRIFT", "5 off", {}), looks, T0)
    states = [effect.state for effect in effects if isinstance(effect, wants.Tighten)]
    return (states[0] if states else None), any(isinstance(effect, wants.Record) for effect in effects)


@pytest.mark.parametrize(
    ("looks", "state", "is_told"),
    [
        (0, None, False),
        (1, None, False),
        (2, TradingState.REDUCING, True),
        (3, TradingState.REDUCING, False),
        (5, TradingState.REDUCING, False),
        (6, TradingState.HALTED, True),
        (7, TradingState.HALTED, False),
    ],
)
def test_a_difference_is_taken_more_seriously_the_longer_it_stays(
    looks: int, state: TradingState | None, is_told: bool
) -> None:
    """Once: nothing. Twice: REDUCING. To the end: HALTED. The wish is repeated, since messages are lost; alerts not."""
    assert raised(looks) == (state, is_told)


def test_with_two_looks_at_most_the_second_one_halts() -> None:
    """The strictest setting; a single look never stops trading."""
    assert raised(1, 2) == (None, False)
    assert raised(2, 2) == raised(2, 1) == (TradingState.HALTED, True)


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
            drift.alarmed(unit, amounts_seen)
            drift.alarmed(unit, {})  # another concern that is not about balances
            drift.accept(unit)
            drift.accept(unit)
    assert drift.known(desk.book) == {"USDT": dec(5), "BTC": dec(1)}
