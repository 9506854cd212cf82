"""Restarts are immediate at first, slower for what keeps failing, and bounded for all together."""

from __future__ import annotations

import pytest

from core.settings import EngineSettings
from core.supervision import (
    DELAY_FIRST_NS,
    DELAY_MAX_NS,
    READY_ENOUGH_NS,
    STEADY_NS,
    Exhausted,
    Restart,
    Supervision,
)
from tests.builders import SECOND, T0

WINDOW_NS = 60 * SECOND


def delays(supervision: Supervision, times_ns: list[int], name: str = "gateway") -> list[int]:
    decisions = [supervision.died(name, at_ns) for at_ns in times_ns]
    return [decision.after_ns for decision in decisions if isinstance(decision, Restart)]


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer() -> None:
    """A part that dies again and again costs less and less."""
    found = delays(Supervision(100, WINDOW_NS), [T0 + number for number in range(12)])
    assert found[:4] == [0, DELAY_FIRST_NS, 2 * DELAY_FIRST_NS, 4 * DELAY_FIRST_NS]
    assert found[-1] == DELAY_MAX_NS


def test_a_part_that_lived_for_a_while_starts_at_once_again() -> None:
    """What happened long ago says nothing about it."""
    assert delays(Supervision(100, WINDOW_NS), [T0, T0 + 1, T0 + 1 + STEADY_NS]) == [0, DELAY_FIRST_NS, 0]


def test_each_part_has_its_own_delay() -> None:
    """The scribe does not wait because the gateway dies."""
    supervision = Supervision(100, WINDOW_NS)
    delays(supervision, [T0, T0 + 1, T0 + 2])
    assert delays(supervision, [T0 + 3], "scribe") == [0]


@pytest.mark.parametrize("names", [["gateway"] * 4, ["gateway", "scribe", "portfolio", "router BTC/USDT"]])
def test_too_many_within_the_window_is_enough(names: list[str]) -> None:
    """They are counted together, and the reason names who died last and the limit."""
    supervision = Supervision(3, WINDOW_NS)
    decisions = [supervision.died(name, T0 + number) for number, name in enumerate(names)]
    assert [type(decision) for decision in decisions] == [Restart, Restart, Restart, Exhausted]
    assert isinstance(decisions[-1], Exhausted)
    assert decisions[-1].reason == f"{names[-1]} died; parts were restarted 3 times within 60 s, which is the limit"


def test_what_is_older_than_the_window_does_not_count() -> None:
    """A restart an hour ago is no storm."""
    supervision = Supervision(2, WINDOW_NS)
    times = [T0, T0 + WINDOW_NS + 1, T0 + 2 * WINDOW_NS + 2, T0 + 3 * WINDOW_NS + 3]
    for at_ns in times:
        assert delays(supervision, [at_ns]) == [0]
        supervision.ready("gateway", at_ns + 1)
    assert supervision.total == 4


def crash_loop(supervision: Supervision, *, ready_ns: int, times: int, passing: bool = False) -> int | None:
    """Let a part die again and again, each time after having been ready for so long; which death was enough."""
    now_ns = T0
    for number in range(1, times + 1):
        decision = supervision.died("portfolio", now_ns, passing=passing)
        if isinstance(decision, Exhausted):
            return number
        now_ns += decision.after_ns + SECOND // 50
        supervision.ready("portfolio", now_ns)
        now_ns += ready_ns
    return None


@pytest.mark.parametrize("ready_ns", [0, SECOND, READY_ENOUGH_NS - 1])
def test_a_crash_loop_ends_although_its_delays_keep_it_below_the_limit(ready_ns: int) -> None:
    """One part alone, with the shipped limits, halts trading after as many deaths as there may be restarts."""
    shipped = EngineSettings()
    supervision = Supervision(shipped.restarts_max, shipped.restart_window)
    assert crash_loop(supervision, ready_ns=ready_ns, times=1_000) == shipped.restarts_max + 1


def test_the_reason_of_a_crash_loop_names_the_part_and_the_limit() -> None:
    """It is what an operator reads."""
    supervision = Supervision(2, 1)
    supervision.died("gateway", T0)
    supervision.died("gateway", T0 + SECOND)
    decision = supervision.died("gateway", T0 + 2 * SECOND)
    assert isinstance(decision, Exhausted)
    assert decision.reason == "gateway died 3 times in a row, never ready for 5 s; 2 restarts are the limit"


def test_kills_of_a_part_that_works_are_no_crash_loop() -> None:
    """It was ready for long enough each time, so only the limit of all restarts counts."""
    assert crash_loop(Supervision(20, 60 * SECOND), ready_ns=READY_ENOUGH_NS, times=1_000) is None


def test_a_part_that_ends_over_what_can_pass_is_tried_for_as_long_as_it_takes() -> None:
    """A disk that is full is mended by somebody, and then everything goes on by itself."""
    assert crash_loop(Supervision(20, 60 * SECOND), ready_ns=0, times=1_000, passing=True) is None


def test_a_full_disk_that_stops_many_parts_uses_up_no_restarts() -> None:
    """Together they die far more often than the limit, and each of them rests longer and longer."""
    shipped = EngineSettings()
    supervision = Supervision(shipped.restarts_max, shipped.restart_window)
    names = ["portfolio", "scribe", "router BTC/USDT", "router ETH/USDT"]
    due_ns, waits = dict.fromkeys(names, T0), dict[str, list[int]]()
    while min(due_ns.values()) < T0 + WINDOW_NS:
        name = min(names, key=lambda each: due_ns[each])
        decision = supervision.died(name, due_ns[name], passing=True)
        assert isinstance(decision, Restart)
        waits.setdefault(name, []).append(decision.after_ns)
        due_ns[name] += decision.after_ns + SECOND // 50
        supervision.ready(name, due_ns[name])
    assert supervision.total > 2 * shipped.restarts_max
    assert all(found == sorted(found) and found[-1] == DELAY_MAX_NS for found in waits.values())


def test_a_storm_of_deaths_is_enough_whatever_else_will_pass() -> None:
    """A part that ends over a full disk neither brings the limit nearer nor moves it away."""
    supervision = Supervision(3, WINDOW_NS)
    for number in range(3):
        assert isinstance(supervision.died("portfolio", T0 + number, passing=True), Restart)
        assert isinstance(supervision.died("gateway", T0 + number), Restart)
    assert isinstance(supervision.died("portfolio", T0 + 3, passing=True), Restart)
    assert isinstance(supervision.died("scribe", T0 + 4), Exhausted)
