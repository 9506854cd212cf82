"""Sell-only with real processes: the account's endpoint fails, everything else of the venue works."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from typing import Any

from tests.system.harness import Daemon, until

SETTINGS = '[reconciler]\nprivate_data_max_age = "3s"\n[risk]\nmax_trades_per_day = 0\n'


def private_data(daemon: Daemon) -> dict[str, Any]:
    shown: dict[str, Any] = daemon.ask("status")["private_data"]
    return shown


def buy(daemon: Daemon, key: str) -> dict[str, Any]:
    return daemon.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key=key, wait=True)


def test_without_private_data_nothing_is_bought_and_sells_go_on(daemon: Daemon) -> None:
    """E5: refused with its code, sold as ever, a working buy stays, and it ends by itself without any drift."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text(SETTINGS)
    daemon.start("--config", str(config))
    assert buy(daemon, "b1")["state"] == "FILLED"
    resting = daemon.submit(symbol="SOL/USDT", side="buy", qty="1", limit="100", tif="GTC", key="r")["intent_id"]
    until(lambda: daemon.ask("show", resting)["state"] == "SENT", "an order rests")
    assert private_data(daemon)["state"] == "ok"
    daemon.venue("faults", "PUT", {"server_error": {"on": ["account"], "point": "before"}})
    gone = until(lambda: (now := private_data(daemon))["state"] == "gone" and now, "the account cannot be read")
    assert gone["reason"]
    assert gone["since"]
    refused = buy(daemon, "b2")
    assert refused["refusal"]["code"] == "PRIVATE_DATA_GONE"
    sold = daemon.submit(symbol="BTC/USDT", side="sell", qty="0.0002", market=True, key="s1", wait=True)
    assert (sold["state"], Decimal(sold["filled_qty"])) == ("FILLED", Decimal("0.0002"))
    assert daemon.ask("show", resting)["state"] == "SENT"
    gateway = next(part for part in daemon.ask("status")["engine"]["children"] if part["name"] == "gateway")
    os.kill(gateway["pid"], signal.SIGKILL)  # its successor must not wait for the account
    again = daemon.submit(symbol="BTC/USDT", side="sell", qty="0.0002", market=True, key="s2", wait=True)
    assert again["state"] == "FILLED"
    assert private_data(daemon)["state"] == "gone"
    assert "gone since" in daemon.ctl("status").stdout
    daemon.venue("faults", "DELETE")
    until(lambda: private_data(daemon)["state"] == "ok", "it can be read again")
    assert buy(daemon, "b2")["state"] == "FILLED"
    assert daemon.ask("verify")["agrees"]
    assert daemon.ask("status")["book"]["trading"]["state"] == "ACTIVE"
    assert daemon.stop() == 0
    audit = (daemon.state / "logs" / "audit" / "order_audit.jsonl").read_text()
    assert [audit.count(f'"{code}"') for code in ("PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK")] == [1, 1]
    assert audit.count('"private_data_changed"') == 2
