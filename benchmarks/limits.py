"""What the figures should be, and how bad they may be before `--check` fails.

The target is what we want. The limit is about half as good as what was measured, because a shared machine is not
quiet: half the speed, or twice the slowdown beyond the baseline. A figure in plain milliseconds says more about the
machine than about us; it has a target and no limit. Promised seconds are the exception: they must hold everywhere, as
promised; whether they became worse is told by the ratio beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from benchmarks.table import Table


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    benchmark: str
    figure: str
    """Its name in the JSON."""
    of_run: tuple[tuple[str, int], ...] = ()
    """Which of the `runs` it is in; empty: at the top."""
    at_most: bool = True
    """Less is better."""
    target: float
    loose: float | None
    """None: shown, never checked."""

    @property
    def name(self) -> str:
        where = ", ".join(f"{field} {value}" for field, value in self.of_run)
        return f"{self.figure} ({where})" if where else self.figure

    def holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


AT_20_MS = (("latency_ms", 20), ("symbols", 1))
AT_0_MS = (("latency_ms", 0), ("symbols", 1))

LIMITS = (
    Limit(benchmark="hops", figure="hop_ratio_p50", target=0.4, loose=0.4),
    Limit(benchmark="hops", figure="throughput_ratio_w100", at_most=False, target=6, loose=10),
    Limit(benchmark="orders", figure="ratio_p50", of_run=AT_20_MS, target=1.10, loose=1.50),
    Limit(benchmark="orders", figure="overhead_p50_ms", of_run=AT_0_MS, target=2, loose=None),
    Limit(benchmark="orders", figure="overhead_p99_ms", of_run=AT_0_MS, target=6, loose=None),
    Limit(benchmark="throughput", figure="ratio", at_most=False, target=0.35, loose=0.16),
    Limit(benchmark="recovery", figure="ratio", target=2, loose=2),
    Limit(benchmark="growth", figure="cost_ratio", target=1.15, loose=1.30),
    Limit(benchmark="growth", figure="pss_per_symbol_mb", target=15, loose=15),
    Limit(benchmark="resilience", figure="kill_worst_s", target=2, loose=2),
    Limit(benchmark="resilience", figure="ready_100_open_s", target=5, loose=5),
    Limit(benchmark="resilience", figure="ready_ratio", target=2, loose=2),
)


def value_of(limit: Limit, figures: Mapping[str, Any]) -> float:
    """The figure that a limit is about. Raises `KeyError` when it was not measured."""
    if not limit.of_run:
        return float(figures[limit.figure])
    wanted = dict(limit.of_run)
    for run in figures["runs"]:
        if wanted.items() <= run.items():
            return float(run[limit.figure])
    raise KeyError(limit.name)


def broken(benchmark: str, figures: Mapping[str, Any]) -> list[str]:
    """One line for each limit that does not hold."""
    found = []
    for limit in _of(benchmark):
        value = value_of(limit, figures)
        if limit.loose is not None and not limit.holds(value, limit.loose):
            side = "at most" if limit.at_most else "at least"
            found.append(
                f"{benchmark}: {limit.name} is {value:g}, it must be {side} {limit.loose:g} (target {limit.target:g})"
            )
    return found


def verdicts(benchmark: str, figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every target of a benchmark, what was measured, and whether it holds: for the JSON."""
    measured = {limit: value_of(limit, figures) for limit in _of(benchmark)}
    return {
        limit.name: {"limit": limit.target, "measured": value, "holds": limit.holds(value, limit.target)}
        for limit, value in measured.items()
    }


def table(benchmark: str, figures: Mapping[str, Any]) -> Table:
    """Every target of a benchmark with what was measured."""
    rows = [
        (
            limit.name,
            f"{'≤' if limit.at_most else '≥'} {limit.target:g}",
            value := value_of(limit, figures),
            limit.holds(value, limit.target),
        )
        for limit in _of(benchmark)
    ]
    return Table("Targets", ("figure", "target", "measured", "met"), rows)


def _of(benchmark: str) -> list[Limit]:
    return [limit for limit in LIMITS if limit.benchmark == benchmark]
