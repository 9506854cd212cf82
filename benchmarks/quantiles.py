"""Order statistics of measured durations: a figure is a duration that was seen, or lies between two that were.

A mean hides what a trader feels, and one bad second on a shared machine decides it; so nothing here is a mean of all.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from core.ids import NS_PER_MS, NS_PER_S

NS_PER_US = 1_000
SIGNIFICANT_DECIMALS = 3


def median(values: Sequence[float]) -> float:
    """Raises `ValueError` when there are none."""
    if not values:
        raise ValueError("there is no median of nothing")
    return float(statistics.median(values))


def quantile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of all do not exceed (nearest rank). Raises `ValueError`."""
    if not values or not 0 < share <= 1:
        raise ValueError(f"there is no quantile {share} of {len(values)} values")
    rank = -int(-share * len(values) // 1)  # rounded up
    return sorted(values)[rank - 1]


def p50(values: Sequence[int]) -> int:
    return quantile(values, 0.50)


def p99(values: Sequence[int]) -> int:
    return quantile(values, 0.99)


def ratio(ours: float, baseline: float) -> float:
    """Raises `ValueError` for a baseline of nothing: it was not measured."""
    if baseline <= 0:
        raise ValueError(f"a baseline of {baseline} was not measured")
    return rounded(ours / baseline)


def milliseconds(duration_ns: float) -> float:
    return rounded(duration_ns / NS_PER_MS)


def microseconds(duration_ns: float) -> float:
    return round(duration_ns / NS_PER_US, 1)


def per_second(count: int, elapsed_ns: int) -> float:
    return round(count * NS_PER_S / elapsed_ns, 1)


def rounded(value: float) -> float:
    return round(value, SIGNIFICANT_DECIMALS)
