"""Book against venue by the operator's hand: what agrees, what is somebody else's, and what nothing explains."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import time
from typing import Any
from urllib import request
from urllib.parse import urlencode

import psutil

from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from tests.system.harness import Daemon, until

OFTEN = """
[engine]
restarts_max = 1000

[exchange]
read_lag = "500ms"

[reconciler]
order_interval = "2s"
trades_interval = "2s"
open_orders_interval = "4s"
balance_interval = "700ms"
drift_looks_max = 4
"""
"""As often as the venue's usual limits allow."""


def often(daemon: Daemon) -> None:
    config = daemon.state.parent / "intentd.toml"
    config.write_text(OFTEN)
    daemon.start("--config", str(config))


def by_hand(daemon: Daemon, **params: str) -> dict[str, Any]:
    """Somebody else places an order on the same account."""
    text = urlencode({"timestamp": time.time_ns() // 1_000_000, **params})
    text += "&signature=" + hmac.new(SIM_API_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    url = f"{daemon.engine_file['venue_url']}/api/v3/order"
    call = request.Request(url, data=text.encode(), method="POST", headers={"X-MBX-APIKEY": SIM_API_KEY})  # noqa: S310
    with request.urlopen(call, timeout=60) as answer:  # noqa: S310
        placed: dict[str, Any] = json.loads(answer.read())
    return placed


def buy(daemon: Daemon, key: str) -> dict[str, Any]:
    return daemon.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key=key, wait=True)


def is_filled(daemon: Daemon, key: str) -> bool:
    """Asked for once more; whoever is being replaced does not answer."""
    done = daemon.ctl(
        "submit", "--symbol", "BTC/USDT", "--side", "buy", "--quote", "20", "--market", "--key", key, "--wait", "--json"
    )
    return done.returncode == 0 and json.loads(done.stdout)["state"] == "FILLED"


def parts(daemon: Daemon) -> dict[str, int]:
    """Name → process id of those that are ready."""
    return {child["name"]: child["pid"] for child in daemon.ask("status")["engine"]["children"] if child["pid"]}


def trading(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.ask("status")["book"]["trading"]
    return found


def test_what_agrees_is_said_to_agree(daemon: Daemon) -> None:
    """Filled and resting orders of ours, exit code 0, and the figures of what was compared."""
    daemon.start()
    buy(daemon, "one")
    daemon.submit(symbol="ETH/USDT", side="sell", qty="0.02", limit="9000", tif="GTC", key="two")
    until(lambda: [one for one in daemon.ask("intents") if one["state"] == "SENT"], "it rests")
    done = daemon.ctl("verify", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["agrees"], found["differences"], found["external"]) == (0, True, [], [])
    assert (found["fills"], found["orders"]) == (1, 1)
    assert found["balances"] > 20
    assert daemon.ctl("verify").stdout.startswith("no difference: 1 fills, 1 open orders")


def test_orders_of_others_are_listed_and_never_touched(daemon: Daemon) -> None:
    """They rest where they are, what they trade explains the balances, and trading goes on."""
    often(daemon)
    buy(daemon, "ours")
    resting = by_hand(
        daemon, symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.001", price="30000",
        newClientOrderId="by-hand-1",
    )  # fmt: skip
    by_hand(daemon, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002", newClientOrderId="by-hand-2")
    until(lambda: daemon.ask("status")["book"]["external_orders"] == 2, "both are listed")
    found = daemon.ask("verify")
    assert (found["agrees"], found["differences"]) == (True, [])
    assert {order["client_order_id"] for order in found["external"]} == {"by-hand-1", "by-hand-2"}
    assert buy(daemon, "ours-again")["state"] == "FILLED"
    (left,) = [order for order in daemon.venue("orders") if order["orderId"] == resting["orderId"]]
    assert (left["status"], trading(daemon)["state"]) == ("NEW", "ACTIVE")


def test_money_that_is_gone_stops_trading_until_somebody_says_why(daemon: Daemon) -> None:
    """A withdrawal is told by verify, halts trading through a restart, and is known once an operator resumes."""
    often(daemon)
    buy(daemon, "before")
    daemon.venue("transfer", "PUT", {"asset": "USDT", "amount": "-100"})
    until(lambda: trading(daemon)["state"] == "HALTED", "trading is halted")
    halted = trading(daemon)
    assert (halted["by"], "-100 USDT" in halted["reason"]) == ("reconciler", True)
    assert buy(daemon, "refused")["refusal"]["code"] == "TRADING_HALTED"
    done = daemon.ctl("verify", "--json")
    (difference,) = json.loads(done.stdout)["differences"]
    assert (done.returncode, difference["kind"], difference["subject"]) == (1, "balance", "USDT")
    assert daemon.stop() == 4  # the stop compares, too
    often(daemon)
    assert trading(daemon) == halted
    assert daemon.ask("resume", "--reason", "withdrew 100 USDT")["state"] == "ACTIVE"
    assert buy(daemon, "after")["state"] == "FILLED"
    assert daemon.ask("verify")["agrees"]
    assert trading(daemon) == {**trading(daemon), "state": "ACTIVE", "by": "operator", "reason": "withdrew 100 USDT"}


def test_what_an_operator_stops_stays_stopped(daemon: Daemon) -> None:
    """Through the death of every process; queries and cancels go on."""
    daemon.start()
    daemon.submit(symbol="ETH/USDT", side="sell", qty="0.02", limit="9000", tif="GTC", key="resting")
    assert daemon.ask("halt", "--reason", "odd fills")["state"] == "HALTED"
    assert daemon.process is not None
    for process in daemon.processes.alive():
        os.kill(process.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.start()
    assert trading(daemon) == {**trading(daemon), "state": "HALTED", "reason": "odd fills", "by": "operator"}
    assert buy(daemon, "no")["refusal"]["code"] == "TRADING_HALTED"
    (open_intent,) = daemon.ask("intents")
    assert daemon.ask("cancel", open_intent["intent_id"])
    until(lambda: daemon.ask("intents")[0]["state"] == "CANCELED", "it is canceled")
    assert daemon.ask("reduce", "--reason", "sell only")["state"] == "REDUCING"
    assert buy(daemon, "still-no")["refusal"]["code"] == "TRADING_REDUCING"
    assert daemon.ask("resume", "--reason", "all is well")["state"] == "ACTIVE"
    assert buy(daemon, "yes")["state"] == "FILLED"


def test_every_process_is_killed_in_turn_and_nothing_differs(daemon: Daemon) -> None:
    """Under a stream of intents, the launcher last; then up again, and verify finds no difference."""
    often(daemon)
    keys = (f"stream-{number}" for number in range(1_000))
    buy(daemon, next(keys))
    for name in parts(daemon):
        pid = until(lambda: parts(daemon).get(name), f"{name} is there")  # noqa: B023
        daemon.submit(symbol="ETH/USDT", side="buy", quote="20", market=True, key=next(keys))
        os.kill(pid, signal.SIGKILL)
        until(lambda: is_filled(daemon, f"after-{pid}"), f"trading goes on after {name} died")  # noqa: B023
    daemon.submit(symbol="ETH/USDT", side="buy", quote="20", market=True, key=next(keys))
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    daemon.start("--config", str(daemon.state.parent / "intentd.toml"))
    until(lambda: not daemon.ask("intents", "--open"), "everything has ended")
    found = daemon.ask("verify")
    assert (found["agrees"], found["differences"]) == (True, [])
    names = [order["clientOrderId"] for order in daemon.venue("orders")]
    # A name that was noted and never sent, because its process died in between, stays in the book as not placed.
    at_venue = [order["client_order_id"] for order in daemon.ask("orders") if order["status"] != "not_placed"]
    assert sorted(names) == sorted(at_venue)
    assert len(names) == len(set(names))
    assert psutil.pid_exists(daemon.engine_file["pid"])


def test_without_an_engine_nothing_is_verified(daemon: Daemon) -> None:
    """Exit code 3 and one line that says so."""
    daemon.start()
    assert daemon.stop() == 0
    done = daemon.ctl("verify")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (3, 1)


def test_a_halt_needs_a_reason(daemon: Daemon) -> None:
    """It stands in the audit trail for ever, so it must say something."""
    daemon.start()
    assert daemon.ctl("halt").returncode == 2
    refused = daemon.ctl("halt", "--reason", " ")
    assert (refused.returncode, "reason" in refused.stderr) == (1, True)
    assert trading(daemon)["state"] == "ACTIVE"
