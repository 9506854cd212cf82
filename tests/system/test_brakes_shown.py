"""The commands that show the brakes: each holds in a small run, explains itself, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.system.brakes_runs import run_brake
from tests.system.harness import Marked, until

CANCEL_WITHIN_MS = 5_000
"""Half a window. The second that is promised is for a machine that does nothing else."""
COMMANDS = ("limits", "rates", "breaker", "stream")


def test_cancels_go_out_while_the_venue_lets_few_orders_through(processes: Marked) -> None:
    """More than one window of orders in a queue: no answer 418, at most one 429, and no cancel waits for a window."""
    figures = run_brake(
        processes, "rates", "--intents", "100", "--order-limit", "50", "--cancels", "10", "--seed", "3",
        "--cancel-within-ms", str(CANCEL_WITHIN_MS),
    )  # fmt: skip
    assert (figures["intents"], figures["terminal"]) == (110, 110)
    assert (figures["status_418"], figures["duplicate_orders_at_venue"]) == (0, 0)
    assert figures["status_429"] <= 1
    assert figures["engine"]["placements_held"] > 0, "the queue was never held back, so this shows nothing"
    assert (figures["cancels"], figures["cancels_missing"]) == (10, 0)
    assert figures["cancel_ms_max"] <= CANCEL_WITHIN_MS


def test_the_breaker_opens_probes_and_closes(processes: Marked) -> None:
    """Four in five requests fail for some seconds; afterwards every intent has ended, and nothing is doubled."""
    figures = run_brake(
        processes, "breaker", "--failing-s", "8", "--cool-off-s", "1", "--per-second", "8", "--seed", "3"
    )
    assert min(figures["opens"], figures["probes"], figures["closes"]) >= 1
    assert figures["failures_at_venue"] >= figures["status_while_open"]["at_last_change"]["failures"] > 0
    assert (figures["duplicate_orders_at_venue"], figures["orders_while_open"], figures["drift"]) == (0, 0, {})
    assert figures["intents"] == figures["terminal"]
    assert (figures["status_while_open"]["state"], figures["status_after"]["state"]) == ("open", "closed")


def test_fills_by_three_ways_are_booked_once(processes: Marked) -> None:
    """The stream is cut again and again; placements, the stream and questions all tell of fills."""
    figures = run_brake(processes, "stream", "--seeds", "1", "--seed", "3", "--fire-s", "8")
    assert figures["fills_booked"] == figures["fills_venue"] == sum(figures["by_source"].values())
    assert (figures["doubles"], figures["violations"]) == (0, [])
    assert min(figures["by_way"].values()) > 0
    assert figures["subscriptions"] > 1, "the stream was never cut, so this shows nothing"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_can_be_interrupted(processes: Marked, name: str) -> None:
    """Ctrl-C ends it with what it had started, within seconds."""
    process = processes.start("-m", "tests.system.brakes", name)
    until(lambda: len(processes.alive()) > 8, "the daemon is there")
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: not processes.alive(), "nothing is left")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself(processes: Marked, name: str) -> None:
    """What it does, what it promises, and every option with its default."""
    done = processes.run("-m", "tests.system.brakes", name, "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--seed", "--json", "--state", "default"))


def test_a_folder_with_a_book_is_refused(processes: Marked, tmp_path: Path) -> None:
    """A run never mixes with anything."""
    (tmp_path / "state" / "book").mkdir(parents=True)
    done = processes.run("-m", "tests.system.brakes", "stream", "--seeds", "1", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert "holds a book already" in done.stderr
    assert "Traceback" not in done.stderr
