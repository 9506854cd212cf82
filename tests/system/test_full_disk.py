"""A disk that is full stops the book with one clear line, loses nothing that was acknowledged, and heals."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.intent import IntentRequest, Kind, Side
from storage.layout import StateFolder
from tests.system.harness import Daemon, until
from tools.trial.strategy import Strategy
from tools.trial.venue import Venue

WISHES = 300
STEP_S = 0.05
DISK_BYTES = 16 << 20
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
        deadline = time.monotonic() + 150
        while strategy.open and time.monotonic() < deadline:
            strategy.step(STEP_S)
        assert strategy.open == []
        assert strategy.contradictions == []
    ids = [order["clientOrderId"] for order in daemon.venue("orders")]
    assert len(ids) == len(set(ids)) >= len(acknowledged)
    assert daemon.stop() == 0
    assert json.loads((daemon.state / "logs" / "orders" / "order.jsonl").read_text().splitlines()[-1])


@pytest.fixture
def small_disk(daemon: Daemon) -> Iterator[Path]:
    """The state folder on a file system of its own. Needs the right to mount one."""
    mounted = daemon.state.parent / "disk"
    mounted.mkdir()
    mount, unmount = (shutil.which(name) for name in ("mount", "umount"))
    words = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mounted)]
    if mount is None or unmount is None or subprocess.run([mount, *words], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system, and not in every container")
    daemon.state = mounted / "state"
    try:
        yield mounted
    finally:
        daemon.processes.end_all()
        subprocess.run([unmount, "--lazy", str(mounted)], check=False)


def fill(disk: Path) -> Path:
    """Write until nothing more finds room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while handle.write(b"x" * 4096):
            pass
    return filler


def test_a_disk_with_no_room_at_all_stops_trading_and_heals(daemon: Daemon, small_disk: Path) -> None:
    """Books, streams and logs find no room; nobody dies of the log, and everything acknowledged is executed once."""
    with Venue(seed=1) as venue:
        config = daemon.state.parent.parent / "intentd.toml"
        config.write_text(f'[exchange]\nbase_url = "{venue.base_url}"\n')
        daemon.start("--config", str(config))
        engine = parts(daemon)["engine"]["pid"]
        strategy = Strategy(StateFolder(daemon.state))
        with contextlib.closing(strategy):
            filler = fill(small_disk)
            for number in range(WISHES):
                strategy.add(
                    IntentRequest(
                        symbol="BTC/USDT", side=Side.BUY, kind=Kind.MARKET, quote_budget=Decimal(10), key=f"k{number}"
                    )
                )

            def down() -> str:
                strategy.step(STEP_S)
                fill(small_disk)
                told = [part["state"] for part in parts(daemon).values()]
                return next((state for state in told if state.startswith("down")), "")

            assert "free space" in until(down, "somebody says that the disk is full", 60)
            acknowledged = {wish.intent_id for wish in strategy.wishes.values() if wish.intent_id is not None}
            filler.unlink()
            deadline = time.monotonic() + 150
            while strategy.open and time.monotonic() < deadline:
                strategy.step(STEP_S)
            assert strategy.open == []
            assert strategy.contradictions == []
        assert acknowledged <= {intent["intent_id"] for intent in daemon.ask("intents", "--limit", str(WISHES))}
        status = daemon.ask("status")
        assert (status["book"]["trading"]["state"], parts(daemon)["engine"]["pid"]) == ("ACTIVE", engine)
        ids = venue.truth().client_ids
        assert len(ids) == len(set(ids)) >= len(acknowledged)
        assert daemon.stop() == 0
    events = [json.loads(line)["event"] for line in (daemon.state / "logs" / "intentd.jsonl").read_text().splitlines()]
    assert "child_replaced" in events
