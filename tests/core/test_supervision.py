"""Restarts are immediate at first, slower for what keeps failing, and bounded for all together."""

from __future__ import annotations

import pytest

from core.supervision import DELAY_FIRST_NS, DELAY_MAX_NS, STEADY_NS, Exhausted, Restart, Supervision
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
    assert delays(supervision, times) == [0, 0, 0, 0]
    assert supervision.total == 4
