"""Many clients at once: idempotency under concurrency, over real processes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.harness import Daemon

CLIENTS = 5
EACH = 10


def test_fifty_equal_submissions_are_one_order(daemon: Daemon) -> None:
    """The same intent from 5 processes, 10 times each at once, is one order at the venue and 50 equal answers."""
    daemon.start()
    storm = [
        daemon.processes.start(
            "-m", "tests.system.storm_client", str(daemon.state), str(EACH), cwd=Path(__file__).parents[2]
        )
        for _ in range(CLIENTS)
    ]
    answers = [answer for client in storm for answer in json.loads(client.communicate(timeout=100)[0])]
    assert len(answers) == CLIENTS * EACH
    assert len({json.dumps(answer["intent"], sort_keys=True) for answer in answers}) == 1
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * (CLIENTS * EACH - 1)
    assert len(daemon.venue("orders")) == 1
    assert len(daemon.ask("orders")) == 1
    assert daemon.stop() == 0


def test_different_intents_from_many_processes_all_arrive(daemon: Daemon) -> None:
    """Without a key in common, every client's intent becomes its own order, exactly once."""
    daemon.start()
    storm = [
        daemon.processes.start("-m", "tests.system.storm_client", str(daemon.state), str(EACH), f"client-{number}")
        for number in range(CLIENTS)
    ]
    answers = [answer for client in storm for answer in json.loads(client.communicate(timeout=100)[0])]
    assert len({answer["intent"]["intent_id"] for answer in answers}) == CLIENTS * EACH
    placed = [order["clientOrderId"] for order in daemon.venue("orders")]
    assert len(placed) == len(set(placed))
    assert sorted(placed) == sorted(order["client_order_id"] for order in daemon.ask("orders"))
    assert daemon.stop() == 0
