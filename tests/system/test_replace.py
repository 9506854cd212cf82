"""`intentctl replace` against real processes: the order at the venue gets the new terms, and there is only ever one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.system.harness import Daemon, until

FAR = {"symbol": "SOL/USDT", "side": "buy", "qty": "1", "limit": "100", "tif": "GTC"}
"""Rests far below the market."""


def orders_of(daemon: Daemon, intent_id: str) -> list[dict[str, Any]]:
    """At the venue, oldest first."""
    names = [order["client_order_id"] for order in daemon.ask("show", intent_id)["orders"]]
    at_venue = {order["clientOrderId"]: order for order in daemon.venue("orders")}
    return [at_venue[name] for name in names if name in at_venue]


def resting(daemon: Daemon, key: str) -> str:
    intent_id = str(daemon.submit(**FAR, key=key)["intent_id"])
    until(lambda: daemon.ask("show", intent_id)["state"] == "SENT", "the order rests")
    return intent_id


def test_a_resting_order_gets_another_price_and_quantity(running: Daemon) -> None:
    """The old order is canceled, then the new one rests at the new terms; `show` tells both, the budget holds one."""
    intent_id = resting(running, "replace-1")
    answer = running.ask("replace", intent_id, "--price", "110.004", "--qty", "2")
    assert (answer["state"], answer["replacing"]) == ("CANCELING", {"qty": "2", "price": "110"})
    until(lambda: running.ask("show", intent_id)["state"] == "SENT", "the new order rests")
    shown = running.ask("show", intent_id)
    assert (shown["qty"], shown["worst_price"], shown["replaced"], shown["replacing"]) == ("2", "110", 1, None)
    old, new = orders_of(running, intent_id)
    assert (old["status"], new["status"]) == ("CANCELED", "NEW")
    assert (Decimal(new["price"]), Decimal(new["origQty"])) == (Decimal(110), Decimal(2))
    reserved = next(each for each in running.ask("budget") if each["currency"] == "USDT")["reserved_quote_total"]
    assert Decimal(reserved) == Decimal(220) * Decimal("1.001")
    assert running.ctl("cancel", intent_id).returncode == 0
    until(lambda: running.ask("show", intent_id)["state"] == "CANCELED", "it is canceled")


def test_a_replacement_may_fill_at_once(running: Daemon) -> None:
    """A price at the market: what was resting is bought, once, for the new quantity."""
    intent_id = resting(running, "replace-2")
    touch = running.submit(symbol="SOL/USDT", side="buy", qty="0.5", market=True, key="touch", wait=True)["avg_price"]
    dearer = str((Decimal(touch) * Decimal("1.01")).quantize(Decimal("0.01")))
    assert running.ctl("replace", intent_id, "--price", dearer, "--qty", "1.5").returncode == 0
    until(lambda: running.ask("show", intent_id)["state"] == "FILLED", "it is filled")
    assert [Decimal(order["executedQty"]) for order in orders_of(running, intent_id)] == [0, Decimal("1.5")]
    assert running.ask("verify")["differences"] == []


def test_what_cannot_be_replaced_is_one_line(running: Daemon) -> None:
    """The reason and exit code 1; without price and quantity 2; nothing changes."""
    done = running.submit(symbol="SOL/USDT", side="buy", qty="0.5", market=True, key="replace-3", wait=True)
    refused = running.ctl("replace", done["intent_id"], "--price", "100")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: NOT_WORKING")
    assert running.ctl("replace", done["intent_id"]).returncode == 2
    assert running.ctl("replace", "nobody", "--price", "1").returncode == 1
    assert json.loads(running.ctl("show", done["intent_id"], "--json").stdout)["replaced"] == 0
