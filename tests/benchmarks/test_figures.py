"""What the benchmarks make of what they measured."""

from __future__ import annotations

import pytest

from benchmarks import growth, orders, recovery, symbols
from benchmarks.errors import BenchmarkFailed
from benchmarks.machine import describe, line
from benchmarks.venue import orders as some_orders

MS = 1_000_000


def test_overhead_is_the_engine_minus_bare() -> None:
    """And the ratio is that of the medians that are shown."""
    found = orders.compare([2 * MS, 2 * MS, 4 * MS], [3 * MS, 5 * MS, 9 * MS])
    assert (found["overhead_p50_ms"], found["overhead_p99_ms"], found["ratio_p50"]) == (3.0, 5.0, 2.5)


def test_recovery_compares_the_largest_book_with_the_first() -> None:
    """By the medians of their starts."""
    found = recovery.figures_of({0: [1.0, 9.0, 1.2], 10: [2.0, 2.4, 2.2]})
    assert found["ratio"] == round(2.2 / 1.2, 3)
    assert [size["ready_s"] for size in found["sizes"]] == [1.2, 2.2]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(1_000, [1_000]), (5_000, [1_000, 5_000]), (100_000, [1_000, 10_000, 100_000])],
)
def test_sizes_of_the_growing_book(largest: int, expected: list[int]) -> None:
    """Tenfold steps, and the largest."""
    assert growth.sizes(largest) == expected


def test_memory_per_symbol_is_the_slope() -> None:
    """What the engine takes without symbols is not part of it."""
    assert symbols.steps(200) == [1, 50, 100, 150, 200]
    assert symbols.per_symbol_mb([{"symbols": 1, "pss_mb": 100.0}, {"symbols": 11, "pss_mb": 150.0}]) == 5.0
    with pytest.raises(BenchmarkFailed):
        symbols.per_symbol_mb([{"symbols": 1, "pss_mb": 100.0}])


def test_orders_go_round_the_symbols() -> None:
    """Each symbol once before the first comes again."""
    assert [order.symbol for order in some_orders(2, 3)] == ["BTC/USDT", "ETH/USDT", "BTC/USDT"]


def test_the_machine_is_named_without_its_name() -> None:
    """Processor, kernel and versions, but neither host nor path."""
    text = line(describe())
    assert "Python 3." in text
    assert "/" not in text
