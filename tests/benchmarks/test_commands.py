"""The command line, with real processes: that it measures what it says, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import Marked, marked, until

pytestmark = pytest.mark.timeout(300)
RUN_FIELDS = {
    "latency_ms",
    "symbols",
    "bare_p50_ms",
    "bare_p99_ms",
    "engine_p50_ms",
    "engine_p99_ms",
    "overhead_p50_ms",
    "overhead_p99_ms",
    "ratio_p50",
}
KILLED = ("portfolio", "gateway", "reconciler", "scribe", "router")


@pytest.fixture
def processes() -> Iterator[Marked]:
    with marked() as started:
        yield started


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder of this test for the benchmark's own, with a short path: Unix sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="b-"))
    yield path
    shutil.rmtree(path)


def test_orders_measures_all_four_runs(processes: Marked, temporary: Path) -> None:
    """Latencies of both sides at both latencies of the venue, with one symbol and with many; as one JSON object."""
    done = processes.run(
        "-m", "benchmarks", "orders", "--quick", "--orders", "6", "--json", extra={"TMPDIR": str(temporary)}
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["benchmark"], figures["orders"], figures["quick"]) == ("orders", 6, True)
    assert [(run["latency_ms"], run["symbols"]) for run in figures["runs"]] == [(0, 1), (0, 20), (20, 1), (20, 20)]
    for run in figures["runs"]:
        assert set(run) == RUN_FIELDS
        assert min(run["engine_p50_ms"], run["bare_p50_ms"]) > run["latency_ms"]
    # over all of them: six orders a side may find the machine busier than the six of the other
    assert sum(run["overhead_p50_ms"] for run in figures["runs"]) > 0
    assert processes.alive() == []
    assert list(temporary.iterdir()) == []


def test_resilience_kills_every_part_and_starts_with_open_intents(processes: Marked, temporary: Path) -> None:
    """Trading goes on each time, and nothing is left behind; how fast is judged by the gate, with nothing beside it."""
    done = processes.run(
        "-m", "benchmarks", "resilience", "--quick", "--starts", "1", "--json", extra={"TMPDIR": str(temporary)}
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {kind: row["n"] for kind, row in figures["kills"].items()} == dict.fromkeys(KILLED, 1)
    assert min(row["worst_s"] for row in figures["kills"].values()) > 0
    assert figures["baseline"]["n"] == len(KILLED)
    assert set(figures["limits"]) == {"kill_worst_s", "ready_100_open_s", "ready_ratio"}
    assert processes.alive() == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_nothing(processes: Marked, temporary: Path, stop_signal: signal.Signals) -> None:
    """No process and no file, and the exit code of somebody who was stopped."""
    running = processes.start("-m", "benchmarks", "orders", extra={"TMPDIR": str(temporary)})
    until(lambda: len(processes.alive()) > 5, "the engine and the venue run")
    running.send_signal(stop_signal)
    try:
        _, said = running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        pytest.fail("it does not stop")
    assert running.returncode == 130, said
    assert processes.alive() == []
    assert list(temporary.iterdir()) == []


def test_a_wrong_option_is_told(processes: Marked) -> None:
    """In one line, with the remedy, before anything is measured."""
    done = processes.run("-m", "benchmarks", "recovery", "--sizes", "100,10")
    assert done.returncode == 2
    assert "rising, like 0,10000,100000" in done.stderr
