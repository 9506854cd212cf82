"""Rate limits and the circuit breaker with real processes, as an operator sees them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.system.harness import Daemon, until

ORDERS = 20
"""In ten seconds: a limit that is reached on a machine that is slow, too."""


def statuses(daemon: Daemon) -> Counter[int]:
    """Of every HTTP answer of the venue; the log tells of the user stream, too."""
    lines = (daemon.state / "logs" / "tracer" / "exchange.jsonl").read_text().splitlines()
    return Counter(told["status"] for told in map(json.loads, lines) if "method" in told)


def test_more_orders_than_the_venue_allows(daemon: Daemon) -> None:
    """They wait for their turn with the reason shown, come back once as a rule, and are all filled; the venue refuses
    nothing."""
    wanted = 2 * ORDERS + 5  # so some wait for a whole window, whenever it began
    venue = daemon.processes.start("-m", "exchange.simulator", "--order-limit", str(ORDERS), "--json")
    assert venue.stdout is not None
    url = f"http://127.0.0.1:{json.loads(venue.stdout.readline())['port']}"
    config = daemon.state.parent / "intentd.toml"
    config.write_text(f"[risk]\nmax_trades_per_day = 0\n[exchange]\nbase_url = '{url}'\n")
    daemon.start("--config", str(config))
    client = daemon.processes.start("-m", "tests.system.storm_client", str(daemon.state), str(wanted), "many")
    waiting = until(
        lambda: [row for row in daemon.ask("intents", "--open") if row["reason"].startswith("RATE_LIMITED")],
        "an intent waits for room",
    )
    assert {row["state"] for row in waiting} == {"RETRY"}
    answers: list[dict[str, Any]] = json.loads(client.communicate(timeout=100)[0])
    assert Counter(answer["intent"]["state"] for answer in answers) == {"FILLED": wanted}
    assert sum(answer["intent"]["attempts"] for answer in answers) <= 2 * wanted
    shown = until(lambda: _used_today(daemon, wanted), "all orders are in the figures, which are a second old at most")
    assert shown["limits"]["orders_10s"]["limit"] == ORDERS
    assert (shown["refused_by_venue"], shown["placements_held"] > 0, shown["stopped"]) == (0, True, {})
    assert set(statuses(daemon)) == {200}
    assert daemon.stop() == 0


def test_an_open_breaker_is_shown_and_outlives_a_restart(daemon: Daemon) -> None:
    """Ten orders end in server errors, and the next one waits; the book says so without an engine, and to the next."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text("[breaker]\ncool_off = '1h'\n")
    daemon.start("--config", str(config))
    daemon.venue("faults", "PUT", {"server_error": {"probability": 1, "on": ["place"], "point": "before"}})
    client = daemon.processes.start("-m", "tests.system.storm_client", str(daemon.state), "30", "sick")
    breaker = until(lambda: _open(daemon), "the breaker is open")
    assert (breaker["opens_total"], breaker["at_last_change"]["failures"] >= 10) == (1, True)
    reasons = [row["reason"] for row in daemon.ask("intents", "--open") if row["state"] == "RETRY"]
    assert any(reason.startswith("BREAKER_OPEN: ") for reason in reasons)
    assert statuses(daemon)[503] < 30 + 10
    client.kill()
    client.communicate()
    assert daemon.stop() == 0
    assert daemon.ask("status")["breaker"]["since_ns"] == breaker["since_ns"]
    daemon.start("--config", str(config))
    assert daemon.ask("status")["breaker"]["opens_total"] == 1
    assert daemon.stop() == 0


def _used_today(daemon: Daemon, orders: int) -> dict[str, Any] | None:
    shown: dict[str, Any] = daemon.ask("status")["rate_limits"]
    return shown if shown["limits"]["orders_1d"]["used"] == orders else None


def _open(daemon: Daemon) -> dict[str, Any] | None:
    shown: dict[str, Any] = daemon.ask("status")["breaker"]
    return shown if shown["state"] == "open" else None
