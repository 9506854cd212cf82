"""The verdict can fail: each kind of disagreement between book and venue is named."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tools.verdict import problems

SOUND: dict[str, Any] = {
    "intents": 3,
    "terminal": 3,
    "duplicate_orders_at_venue": 0,
    "reservations_left": 0,
    "ledger_balanced": True,
    "fills_venue": 5,
    "fills_booked": 5,
    "fills_differ": 0,
    "balance_drift": {"USDT": Decimal(0), "BTC": Decimal("0.00")},
    "book_violations": [],
}


def test_a_sound_result_has_no_problem() -> None:
    """Equal books pass, whatever the number of digits in a zero."""
    assert problems(SOUND) == []


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"terminal": 2}, "1 intents are not terminal"),
        ({"duplicate_orders_at_venue": 1}, "duplicate"),
        ({"reservations_left": 2}, "reservations"),
        ({"ledger_balanced": False}, "ledger"),
        ({"fills_booked": 4}, "fills"),
        ({"fills_differ": 2}, "fills"),
        ({"balance_drift": {"USDT": Decimal("-0.00000001")}}, "balances"),
        ({"book_violations": ["reservation without an open intent: x"]}, "reservation without"),
    ],
)
def test_each_disagreement_is_a_problem(wrong: dict[str, Any], word: str) -> None:
    """One wrong figure is one line that names it."""
    (line,) = problems(SOUND | wrong)
    assert word in line
