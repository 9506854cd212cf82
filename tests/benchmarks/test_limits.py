"""What `--check` lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import limits
from benchmarks.__main__ import BENCHMARKS, judge


def figures(ratio: float) -> dict[str, Any]:
    def run(latency_ms: int, symbols: int, ratio_p50: float) -> dict[str, Any]:
        return {
            "latency_ms": latency_ms,
            "symbols": symbols,
            "ratio_p50": ratio_p50,
            "overhead_p50_ms": 99,
            "overhead_p99_ms": 99,
        }

    return {"runs": [run(0, 1, 9), run(20, 1, ratio), run(20, 20, 9)]}


def test_a_limit_is_about_its_own_run() -> None:
    """Slow runs that no limit names, and plain milliseconds, break nothing."""
    assert limits.broken("orders", figures(1.5)) == []


def test_a_broken_limit_is_named_with_value_limit_and_target() -> None:
    """The line tells which figure, how bad, and what is wanted."""
    assert limits.broken("orders", figures(1.51)) == [
        "orders: ratio_p50 (latency_ms 20, symbols 1) is 1.51, it must be at most 1.5 (target 1.1)"
    ]


def test_speed_has_a_lower_limit() -> None:
    """More is better for a rate."""
    assert limits.broken("throughput", {"ratio": 0.16}) == []
    assert limits.broken("throughput", {"ratio": 0.15}) == [
        "throughput: ratio is 0.15, it must be at least 0.16 (target 0.35)"
    ]


def test_the_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    """1 and a line on standard error for a broken limit, else 0 and silence."""
    assert judge({"recovery": {"ratio": 1.9}}) == 0
    assert not capsys.readouterr().err
    assert judge({"recovery": {"ratio": 3.1}}) == 1
    assert "FAILED: recovery: ratio" in capsys.readouterr().err


def test_what_was_not_measured_is_not_passed_over() -> None:
    """A figure that is missing raises, it does not pass."""
    with pytest.raises(KeyError):
        limits.broken("hops", {})


def test_every_benchmark_has_a_limit() -> None:
    """What is not checked gets worse."""
    assert {limit.benchmark for limit in limits.LIMITS} <= set(BENCHMARKS)
    assert {limit.benchmark for limit in limits.LIMITS if limit.loose is not None} == set(BENCHMARKS)


def test_promised_seconds_are_checked_as_promised() -> None:
    """Neither more, which would be about the machine, nor less."""
    promised = {limit.figure: (limit.loose, limit.target) for limit in limits.LIMITS if limit.figure.endswith("_s")}
    assert promised == {"kill_worst_s": (2, 2), "ready_100_open_s": (5, 5)}


def test_the_table_says_which_targets_are_met() -> None:
    """Beside the value that was measured."""
    assert limits.table("throughput", {"ratio": 0.4}).rows == [("ratio", "≥ 0.35", 0.4, True)]
