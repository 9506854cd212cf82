"""A disk that is full stops the book with one clear line, loses nothing that was acknowledged, and heals."""

from __future__ import annotations

import contextlib
import json
import time
from decimal import Decimal
from typing import Any

import psutil

from core.intent import IntentRequest, Kind, Side
from storage.layout import StateFolder
from tests.system.harness import Daemon, until
from tools.trial.strategy import Strategy

WISHES = 300
STEP_S = 0.05
UNLIMITED = (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)


def parts(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """By name; empty while the engine does not answer."""
    return {part["name"]: part for part in daemon.ask("status")["engine"].get("children", [])}


def limit(daemon: Daemon, bytes_max: tuple[int, int]) -> None:
    """No file of the portfolio, or of one that takes its place, may grow beyond this: to it the disk is full."""
    found = parts(daemon)
    for name in ("engine", "portfolio"):
        with contextlib.suppress(KeyError, psutil.NoSuchProcess):
            if found[name]["pid"]:
                psutil.Process(found[name]["pid"]).rlimit(psutil.RLIMIT_FSIZE, bytes_max)


def test_a_full_disk_is_named_and_nothing_acknowledged_is_lost(daemon: Daemon) -> None:
    """The portfolio is down with the reason; when there is room again it goes on, and every wish is one order."""
    daemon.start()
    strategy = Strategy(StateFolder(daemon.state))
    with contextlib.closing(strategy):
        size = (daemon.state / "book" / "data.mdb").stat().st_size
        limit(daemon, (size, psutil.RLIM_INFINITY))
        for number in range(WISHES):
            strategy.add(
                IntentRequest(
                    symbol="BTC/USDT", side=Side.BUY, kind=Kind.MARKET, quote_budget=Decimal(10), key=f"k{number}"
                )
            )

        def down() -> str:
            strategy.step(STEP_S)
            state: str = parts(daemon).get("portfolio", {}).get("state", "")
            return state if state.startswith("down") else ""

        assert "free space, then start again" in until(down, "the portfolio is down", 60)
        acknowledged = {wish.intent_id for wish in strategy.wishes.values() if wish.intent_id is not None}
        held = {intent["intent_id"] for intent in daemon.ask("intents", "--limit", str(WISHES))}
        assert acknowledged <= held
        limit(daemon, UNLIMITED)
        deadline = time.monotonic() + 90
        while strategy.open and time.monotonic() < deadline:
            strategy.step(STEP_S)
        assert strategy.open == []
        assert strategy.contradictions == []
    ids = [order["clientOrderId"] for order in daemon.venue("orders")]
    assert len(ids) == len(set(ids)) >= len(acknowledged)
    assert daemon.stop() == 0
    assert json.loads((daemon.state / "logs" / "orders" / "order.jsonl").read_text().splitlines()[-1])
