"""Exact money: rounding stays on the grid and on the right side, and nothing is lost in a division."""

from __future__ import annotations

import threading
from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.money import COST_GRID, PRECISION_DIGITS, ZERO, ceil_to, floor_to, share, text
from tests.builders import dec

amounts = st.decimals(min_value=0, max_value=10**12, places=12, allow_nan=False)
grids = st.sampled_from([dec(grid) for grid in ("0.00000001", "0.00001", "0.01", "0.5", "1", "10", "3", "0.07")])


@given(amounts, grids)
def test_floor_is_the_nearest_multiple_below(value: Decimal, grid: Decimal) -> None:
    """The result is a multiple of the grid, not above the value, and less than one grid away."""
    found = floor_to(value, grid)
    assert found % grid == 0
    assert 0 <= value - found < grid


@given(amounts, grids)
def test_ceiling_is_the_nearest_multiple_above(value: Decimal, grid: Decimal) -> None:
    """The result is a multiple of the grid, not below the value, and less than one grid away."""
    found = ceil_to(value, grid)
    assert found % grid == 0
    assert 0 <= found - value < grid


@given(amounts, grids)
def test_rounding_twice_is_rounding_once(value: Decimal, grid: Decimal) -> None:
    """What is on the grid stays where it is."""
    found = floor_to(value, grid)
    assert (found, found) == (floor_to(found, grid), ceil_to(found, grid))


@given(amounts)
def test_a_grid_of_zero_rounds_nothing(value: Decimal) -> None:
    """A venue's zero switches the rule off."""
    assert (value, value) == (floor_to(value, ZERO), ceil_to(value, ZERO))


@given(amounts, amounts.filter(bool), st.data())
def test_shares_add_up_to_the_whole(total: Decimal, whole: Decimal, data: st.DataObject) -> None:
    """A part's share and the rest are the total again, and no share is outside of it."""
    part = data.draw(st.decimals(min_value=0, max_value=whole, places=12, allow_nan=False))
    taken = share(total, part, whole)
    rest = total - taken
    assert taken + rest == total
    assert 0 <= taken <= total
    assert share(total, whole, whole) == total


@given(amounts, amounts.filter(bool))
def test_a_share_is_exact_to_the_cost_grid(total: Decimal, whole: Decimal) -> None:
    """A share is off by at most half a grid from the true quotient, and on the grid."""
    part = whole / 3
    taken = share(total, part, whole)
    assert abs(taken * whole - total * part) <= COST_GRID / 2 * whole
    assert taken == taken.quantize(COST_GRID)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.0010", "0.001"),
        ("1E+4", "10000"),
        ("50000.00", "50000"),
        ("0", "0"),
        ("0E-8", "0"),
        ("-0.0", "0"),
        ("1E-8", "0.00000001"),
        ("-1.50", "-1.5"),
        ("100", "100"),
    ],
)
def test_text_is_plain_digits(value: str, expected: str) -> None:
    """No exponent, no zeros that say nothing."""
    assert expected == text(dec(value))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18, places=18))
def test_text_names_the_same_number(value: Decimal) -> None:
    """Reading the text gives the value again."""
    assert value == Decimal(text(value))


def test_money_is_as_exact_in_every_thread() -> None:
    """A thread that starts later computes with the same precision."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(getcontext().prec))
    thread.start()
    thread.join()
    assert (getcontext().prec, seen) == (PRECISION_DIGITS, [PRECISION_DIGITS])
