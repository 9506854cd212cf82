"""Risk limits under concurrency: far more is wanted at once than they allow, and at no moment is there more."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from tests.system.harness import Daemon, until

WANTED = 500
EXPOSURE_PCT = Decimal("0.1")
"""Of 100 000 USDT: a hundred buys of 100."""
OPEN_ORDERS = 60
POSITIONS = 15
CONFIG = f"""
[risk]
max_exposure_pct = "{EXPOSURE_PCT}"
max_open_orders = {OPEN_ORDERS}
max_positions = {POSITIONS}
max_trades_per_day = 0
"""
REFUSALS = {"RISK_MAX_EXPOSURE_PCT", "RISK_MAX_OPEN_ORDERS", "RISK_MAX_POSITIONS"}


class Account:
    """What the streams say, event by event: money held, bought and open. Knows nothing of the book."""

    def __init__(self, opening: Decimal) -> None:
        self.cash = opening
        self.held: dict[str, Decimal] = {}
        self.symbols: dict[str, str] = {}
        self.qty: Counter[str] = Counter()
        self.price: dict[str, Decimal] = {}
        self.most = Counter[str]()

    def take_in(self, event: dict[str, Any]) -> None:
        intent_id = event["order_req_id"]
        match event["event"]:
            case "order_intent":
                self.held[intent_id] = Decimal(event["reserved_amount"])
                self.symbols[intent_id] = event["intent"]["symbol"]
                self.price[event["intent"]["symbol"]] = Decimal(event["intent"]["market_snapshot"]["bid"])
                self.look()
            case "order_fill":
                spent = Decimal(event["quote_qty"])
                fee = Decimal(event["fee"]) if event["fee_currency"] == "USDT" else Decimal(0)
                self.cash -= spent + fee
                self.held[intent_id] -= spent + fee
                self.qty[event["symbol"]] += Decimal(event["qty"])  # type: ignore[assignment]
                self.price[event["symbol"]] = Decimal(event["price"])
            case "order_done":
                self.held.pop(intent_id)
            case _:
                pass

    def look(self) -> None:
        """At the moment in which a wish was accepted."""
        worth = sum(qty * self.price[symbol] for symbol, qty in self.qty.items())
        exposed = (worth + sum(self.held.values())) / (self.cash + worth)
        buying = {self.symbols[intent_id] for intent_id in self.held}
        for name, value in (
            ("exposure", exposed),
            ("open", len(self.held)),
            ("positions", len(buying | {symbol for symbol, qty in self.qty.items() if qty})),
        ):
            self.most[name] = max(self.most[name], value)  # type: ignore[type-var, assignment]


def streams(daemon: Daemon) -> list[dict[str, Any]]:
    """Every event of both streams, in the order in which they were committed."""
    files = (daemon.state / "logs" / "orders" / "order.jsonl", daemon.state / "logs" / "audit" / "order_audit.jsonl")
    events = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted(events, key=lambda event: event["seq"])


def test_five_hundred_buys_at_once_exceed_no_limit(daemon: Daemon) -> None:
    """A budget for a hundred, 20 symbols: each refusal names its limit, and the streams show no moment beyond one."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text(CONFIG)
    daemon.start("--config", str(config))
    client = daemon.processes.start("-m", "tests.system.limits_client", str(daemon.state), str(WANTED))
    told = json.loads(client.communicate(timeout=90)[0])
    answers = told["answers"]
    accepted = answers.pop("accepted")
    assert told["unanswered"] == 0
    assert accepted + sum(answers.values()) == WANTED
    assert answers.keys() <= REFUSALS
    assert "RISK_MAX_OPEN_ORDERS" in answers
    for code, reason in told["reasons"].items():
        assert f"risk limit {code.removeprefix('RISK_').lower()}: " in reason
    assert daemon.ask("halt", "--reason", "enough", "--cancel-open")["canceling"] > 0
    until(lambda: not daemon.ask("intents", "--open"), "what rests is canceled")
    assert daemon.ask("verify")["agrees"]
    assert daemon.stop() == 0
    events = streams(daemon)
    (opening,) = [event for event in events if event["event"] == "ledger_entry" and event["kind"] == "opening"]
    cash = sum(Decimal(line["amount"]) for line in opening["postings"] if line["account"] == "Assets:Venue:USDT")
    account = Account(Decimal(cash))
    for event in events:
        account.take_in(event)
    assert account.most["open"] == OPEN_ORDERS
    assert account.most["positions"] <= POSITIONS
    assert account.most["exposure"] <= EXPOSURE_PCT
    assert not account.held
    checks = [event for event in events if event["event"] == "risk_limits_eval"]
    assert len(checks) == WANTED
    blocked = [event for event in checks if any(check["hit"] for check in event["checks"])]
    assert len(blocked) == sum(answers.values())
