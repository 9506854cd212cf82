"""The promise itself: whatever is killed, wherever, and whatever the venue does, book and venue agree afterwards."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.system.harness import Marked, until

CHAOS_TIMEOUT_S = 400
CRASHPOINTS_TIMEOUT_S = 1_800
CLEAN = {
    "lost_intents": 0,
    "duplicate_orders_at_venue": 0,
    "unbooked_fills": 0,
    "double_booked_fills": 0,
    "reservations_left": 0,
    "trail_gaps": 0,
}


def run(processes: Marked, timeout_s: float, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and errors of `intentd ARGUMENTS --json`."""
    process = processes.start("run.py", *arguments, "--json")
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, json.loads(out) if out else {}, err


@pytest.mark.timeout(CHAOS_TIMEOUT_S)
def test_chaos_leaves_book_and_venue_equal(processes: Marked) -> None:
    """14 kills of random processes, the launcher among them, under load and with every fault of the venue.

    In the middle of it an operator halts trading; until he resumes no order comes to the venue, whatever dies.
    """
    size = ("--intents", "60", "--kills", "14", "--faults", "all", "--seed", "5", "--halt-at", "20")
    code, figures, errors = run(processes, CHAOS_TIMEOUT_S, "chaos", *size)
    assert code == 0, errors
    assert {name: figures[name] for name in CLEAN} == CLEAN
    assert (figures["intents"], figures["terminal"], figures["kills"]) == (60, 60, 14)
    assert (figures["orders_after_halt"], figures["halt"]["is_over"]) == (0, True)
    assert set(figures["balance_drift"].values()) == {"0"}
    assert figures["restarts"] > 0
    assert processes.alive() == []


@pytest.mark.timeout(CRASHPOINTS_TIMEOUT_S)
def test_every_crash_point_is_visited_and_none_violated(processes: Marked) -> None:
    """A real process dies at each of them; nobody comes short of one."""
    code, figures, errors = run(processes, CRASHPOINTS_TIMEOUT_S, "crashpoints", "--run")
    assert (figures.get("missed"), figures.get("violated")) == ([], {}), errors
    assert code == 0
    assert figures["visited"] == figures["points"] > 80
    assert processes.alive() == []


@pytest.mark.parametrize("arguments", [("chaos", "--intents", "1000"), ("crashpoints", "--run")])
def test_a_trial_can_be_interrupted(processes: Marked, arguments: tuple[str, ...]) -> None:
    """Ctrl-C ends it with what it had started, within seconds."""
    process = processes.start("run.py", *arguments)
    until(lambda: len(processes.alive()) > 8, "the daemon is there")
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: not processes.alive(), "nothing is left")


def test_a_fault_that_does_not_exist_is_refused(processes: Marked) -> None:
    """Before anything is started, with the nearest name."""
    done = processes.run("run.py", "chaos", "--faults", "outrage")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean outage?" in done.stderr
