"""Order statistics of durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quantiles import median, milliseconds, p50, p99, per_second, quantile, ratio

durations = st.lists(st.integers(0, 10**12), min_size=1)


def test_a_quantile_is_the_nearest_rank() -> None:
    """Of 1 to 100 the median is 50 and the 99th percentile 99, whatever their order."""
    values = list(range(100, 0, -1))
    assert (p50(values), p99(values), quantile(values, 1)) == (50, 99, 100)


def test_of_few_values_the_99th_percentile_is_the_largest() -> None:
    """There is no interpolation towards something that was never seen."""
    assert p99([3, 1, 2]) == 3


@given(durations, st.floats(0.001, 1))
def test_a_quantile_was_seen_and_covers_its_share(values: list[int], share: float) -> None:
    """At least that share of all values does not exceed it."""
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_a_median_of_two_lies_between_them() -> None:
    """Two rounds are both counted."""
    assert median([1, 2]) == 1.5


@pytest.mark.parametrize(
    "nothing", [lambda: median([]), lambda: p50([]), lambda: quantile([1], 0), lambda: ratio(1, 0)]
)
def test_nothing_measured_is_no_figure(nothing: object) -> None:
    """An empty list or a baseline of zero is an error, never a good result."""
    with pytest.raises(ValueError, match=r"no|not"):
        nothing()  # type: ignore[operator]


def test_units() -> None:
    """Nanoseconds in, the unit of the name out."""
    assert (milliseconds(1_500_000), per_second(10, 5_000_000)) == (1.5, 2_000.0)
