"""The heartbeat with real processes: what it shows is what the venue has."""

from __future__ import annotations

import json
import os
import signal
from decimal import Decimal
from typing import Any

from tests.system.harness import Daemon, until

FAST = '[engine]\nheartbeat = "1s"\n[reconciler]\nbalance_interval = "1s"\n'
B7 = {
    "currency", "my_budget", "reserved_budget", "verified_budget", "reserved_quote_total", "reserved_base_total",
    "expected_available", "actual_available", "budget_drift", "drift_pct", "active_reservations_count",
    "old_reservations", "health",
}  # fmt: skip


def start(daemon: Daemon, settings: str = FAST) -> None:
    config = daemon.state.parent / "intentd.toml"
    config.write_text(settings)
    daemon.start("--config", str(config))


def health(daemon: Daemon) -> dict[str, Any]:
    shown: dict[str, Any] = daemon.ask("status")["health"]
    return shown


def lines(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    written = (daemon.state / "logs" / "health" / "health.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, written) if line["event"] == event]


def account(daemon: Daemon, currency: str) -> tuple[Decimal, Decimal]:
    """Total and free, by the simulator's own books."""
    row = daemon.venue("balances")[currency]
    return Decimal(row["free"]) + Decimal(row["locked"]), Decimal(row["free"])


def plain(value: Any) -> Any:
    """Amounts as numbers: the stream has them as the book does, `status` without zeros at the end."""
    return Decimal(value) if isinstance(value, str) and value[0].isdigit() else value


def test_the_heartbeat_agrees_with_the_venue(daemon: Daemon) -> None:
    """B7 with a resting order: every figure against the account's truth, in the stream, in `status` and in `budget`."""
    start(daemon)
    assert health(daemon)["engine"]["state"] == "running"
    daemon.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key="filled", wait=True)
    resting = daemon.submit(symbol="SOL/USDT", side="buy", qty="1", limit="100", tif="GTC", key="r")["intent_id"]
    until(lambda: daemon.ask("show", resting)["state"] == "SENT", "the order rests")

    def settled() -> dict[str, Any] | None:
        shown = health(daemon)
        compared_last = shown["balances_compared_age_s"] is not None and shown["balances_compared_age_s"] < 3
        return shown if shown["open_intents"] == {"SENT": 1} and compared_last else None

    shown = until(settled, "a beat after the order rested and the balances were compared")
    own = shown["budgets"]["USDT"]
    assert own.keys() == B7
    total, free = account(daemon, "USDT")
    held = Decimal(own["reserved_budget"])
    assert (Decimal(own["my_budget"]), Decimal(own["verified_budget"])) == (total, total)
    assert Decimal(own["expected_available"]) == Decimal(own["actual_available"]) == total - held
    assert held == Decimal(own["reserved_quote_total"]) == Decimal(100) * Decimal("1.001")  # with room for the fee
    assert free == total - 100
    assert (own["active_reservations_count"], own["old_reservations"], own["health"]) == (1, 0, "HEALTHY")
    assert (Decimal(own["budget_drift"]), Decimal(own["drift_pct"]), Decimal(own["reserved_base_total"])) == (0, 0, 0)
    assert (shown["active_reservations_count"], shown["unknown"], shown["private_data"]["state"]) == (1, 0, "ok")
    assert shown["engine"]["parts"]["gateway"] == "ready"
    assert shown["rate_limits"]["limits"]
    assert [row for row in daemon.ask("budget") if row["currency"] == "USDT"] == [own]
    told = [line for line in lines(daemon, "BUDGET_HEALTH_CHECK") if line["currency"] == "USDT"]
    assert {name: plain(told[-1][name]) for name in B7} == {name: plain(value) for name, value in own.items()}
    beats = lines(daemon, "heartbeat")
    assert len(beats) >= 2
    assert beats[-1]["engine"]["parts"].keys() >= {"engine", "portfolio", "gateway", "reconciler", "scribe"}
    assert "Last heartbeat" in daemon.ctl("status").stdout
    assert daemon.stop() == 0
    down = daemon.ask("status")
    assert down["engine"]["state"] == "not running"
    assert (down["health"]["engine"]["state"], down["health"]["budgets"]["USDT"]) == ("stopped", own)
    assert (down["health"]["engine"]["parts"]["engine"], down["engine"]["children"]) == ("stopped", [])
    assert "engine stopped" in daemon.ctl("status").stdout
    assert down["health"]["age_s"] > 0


def test_a_dead_scribe_stops_no_trading_and_the_next_one_beats_on(daemon: Daemon) -> None:
    """What it did not write it writes; orders go their way meanwhile."""
    start(daemon)
    scribe = next(part for part in daemon.ask("status")["engine"]["children"] if part["name"] == "scribe")
    os.kill(scribe["pid"], signal.SIGKILL)
    done = daemon.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key="b", wait=True)
    assert done["state"] == "FILLED"
    beaten = health(daemon)["at_ns"]
    until(lambda: health(daemon)["at_ns"] > beaten and health(daemon)["engine"]["restarts"] == 1, "it beats again")
    assert daemon.stop() == 0


def test_stale_intents_are_cleaned_up_by_the_heartbeat(daemon: Daemon) -> None:
    """B8: with the reconciler's own sweep as good as off, what never left ends, its money is free, and it is told."""
    settings = FAST.replace(
        "[reconciler]", '[router]\nintent_stale_threshold = "4s"\n[reconciler]\nin_flight_interval = "1h"'
    )
    start(daemon, settings + '[breaker]\nmin_samples = 1\ncool_off = "60s"\n')
    daemon.venue("faults", "PUT", {"server_error": {"on": ["place"], "point": "before"}})
    daemon.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key="opens-the-breaker")
    until(lambda: daemon.ask("status")["breaker"]["state"] == "open", "the breaker is open")
    waits = daemon.submit(symbol="BTC/USDT", side="buy", quote="60", market=True, key="waits")["intent_id"]
    until(lambda: daemon.ask("show", waits)["state"] == "EXPIRED", "it is cleaned up")
    (told,) = until(lambda: lines(daemon, "STALE_INTENT_CLEANUP"), "it is told")
    assert (told["order_req_id"], told["currency"], told["attempts"]) == (waits, "USDT", 1)
    assert Decimal(told["released"]) > 59
    until(lambda: any(waits in beat["cleaned"] for beat in lines(daemon, "heartbeat")), "the beat after it names it")
    assert daemon.stop() == 0
