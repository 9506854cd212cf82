"""The venue's clock jumps under a running engine: no order is placed twice, and none fails for it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.system.harness import Daemon, until


def buy(daemon: Daemon, key: str) -> dict[str, Any]:
    return daemon.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key=key, wait=True)


@pytest.mark.parametrize("skew_ms", [20_000, -20_000])
def test_a_clock_jump_costs_no_intent(daemon: Daemon, skew_ms: int) -> None:
    """There and back: each intent is filled, by one order, with all its retries left; trading goes on as it was."""
    daemon.start()
    assert buy(daemon, "before")["state"] == "FILLED"
    daemon.venue("faults", "PUT", {"clock_skew": {"ms": skew_ms}})
    during = buy(daemon, "during")
    assert during["state"] == "FILLED"
    gateway = next(part for part in daemon.ask("status")["engine"]["children"] if part["name"] == "gateway")
    os.kill(gateway["pid"], signal.SIGKILL)  # its successor begins with our own time
    assert buy(daemon, "successor")["state"] == "FILLED"
    daemon.venue("faults", "DELETE")
    assert buy(daemon, "after")["state"] == "FILLED"
    placed = [order for order in daemon.venue("orders") if order["clientOrderId"]]
    assert len(placed) == 4
    until(lambda: daemon.ask("verify")["agrees"], "book and venue agree")
    assert daemon.ask("status")["book"]["trading"]["state"] == "ACTIVE"
    trace = daemon.ctl("trace", during["intent_id"]).stdout
    assert "-1021" in trace
    assert daemon.stop() == 0
