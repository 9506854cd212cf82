"""What `resilience` makes of kills and starts."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks import kills, limits, resilience
from benchmarks.errors import BenchmarkFailed
from benchmarks.kills import Kill, Outage
from benchmarks.processes import Processes
from benchmarks.resting import Starts, requests
from benchmarks.stream import Asked
from benchmarks.venue import Arrived
from core.ids import NS_PER_MS, NS_PER_S, IntentId, client_order_id
from tests.builders import T0, request

MONOTONIC = 7 * NS_PER_S
ETH = "ETH/USDT"


def asked(number: int, after_ms: int, **wish: Any) -> Asked:
    """Accepted so long after the kill."""
    return Asked(
        request=request(**wish),
        submitted_ns=MONOTONIC,
        due_ns=0,
        accepted_ns=MONOTONIC + after_ms * NS_PER_MS,
        intent_id=IntentId(f"intent-{number}"),
    )


def order(number: int, after_ms: int, attempt: int = 1) -> Arrived:
    """At the venue so long after the kill."""
    name = client_order_id(IntentId(f"intent-{number}"), attempt)
    return Arrived(client_order_id=name, symbol="BTCUSDT", status="FILLED", at_ms=T0 // NS_PER_MS + after_ms)


def kill(*intents: Asked, kind: str = "gateway", symbol: str | None = None) -> Kill:
    return Kill(kind=kind, symbol=symbol, at_ns=MONOTONIC, at_wall_ns=T0, intents=intents)


def outage(kind: str, answered_ms: int, at_venue_ms: int) -> Outage:
    return Outage(kind=kind, answered_ns=answered_ms * NS_PER_MS, at_venue_ns=at_venue_ms * NS_PER_MS)


def test_orders_of_earlier_intents_prove_nothing() -> None:
    """What was on its way at the kill comes first; what was submitted after it counts, a millisecond late at most."""
    found = kills.outages([kill(asked(2, 3), asked(3, 4))], [order(1, 1), order(3, 50), order(2, 60)])
    assert found == [outage("gateway", 3, 51)]


def test_a_later_attempt_counts_if_the_first_never_came() -> None:
    """It is an order of the intent, too."""
    assert kills.outages([kill(asked(1, 3))], [order(1, 70, attempt=2)]) == [outage("gateway", 3, 71)]


def test_a_router_is_back_with_an_order_of_its_own_symbol() -> None:
    """The others go on all the while."""
    watched = kill(asked(1, 90), asked(2, 3, symbol=ETH), kind="router", symbol=request().symbol)
    assert kills.outages([watched], [order(2, 5), order(1, 99)]) == [outage("router", 90, 100)]


def test_without_an_order_nothing_was_measured() -> None:
    """That is no figure."""
    with pytest.raises(BenchmarkFailed, match="after the kill of the gateway"):
        kills.outages([kill(asked(1, 3))], [order(2, 5)])


def figures() -> dict[str, Any]:
    each = [outage(kind, 10, 20) for kind in kills.KINDS for _ in range(3)]
    rest = [outage("gateway", 5, 2_100), outage(kills.NOBODY, 2, 4)]
    starts = Starts(empty_ns=[NS_PER_S, 9 * NS_PER_S, NS_PER_S], open_ns=[3 * NS_PER_S])
    return resilience.figures_of([*each, *rest], starts)


def test_trading_goes_on_when_both_are_there() -> None:
    """The answer and the order; the median of the kills, and the worst."""
    row = figures()["kills"]["gateway"]
    assert (row["n"], row["median_s"], row["worst_s"]) == (4, 0.02, 2.1)
    assert (row["answered_worst_s"], row["at_venue_median_s"]) == (0.01, 0.02)


def test_every_part_is_reported_and_no_kill_beside_them() -> None:
    """The baseline is of the same run."""
    found = figures()
    assert set(found["kills"]) == {"portfolio", "gateway", "reconciler", "scribe", "router"}
    assert found["baseline_s"] == 0.004


def test_the_limits_say_what_holds() -> None:
    """The worst kill of all parts counts, and the median of the starts."""
    found = figures()["limits"]
    assert found["kill_worst_s"] == {"limit": 2, "measured": 2.1, "holds": False}
    assert found["ready_100_open_s"] == {"limit": 5, "measured": 3.0, "holds": True}
    assert found["ready_ratio"]["measured"] == 3.0


def test_the_check_names_a_broken_promise() -> None:
    """As for every benchmark."""
    assert any("kill_worst_s is 2.1" in line for line in limits.broken("resilience", figures()))


def test_open_intents_differ() -> None:
    """So that there are as many orders as intents, in all of the symbols."""
    wishes = requests(100)
    assert len({wish.key for wish in wishes}) == 100
    assert len({wish.symbol for wish in wishes}) == 20


def test_only_processes_of_the_benchmark_are_killed() -> None:
    """Neither this one, nor one that is not there."""
    for pid in (os.getpid(), 0):
        with pytest.raises(BenchmarkFailed, match="none of this benchmark"):
            Processes().ours(pid)
