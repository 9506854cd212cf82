"""What the streams say, event by event: money held, bought and open. Knows nothing of the book.

Limits on what may be open are looked at after every event; the exposure at every acceptance, since it moves by itself
with the market.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

QUOTE = "USDT"


class Account:
    """The most of each thing that there was at any one moment."""

    def __init__(self, opening: Decimal) -> None:
        """`opening` is the quote money."""
        self.exposure_pct = Decimal(0)
        self.reserved = Decimal(0)
        self.open_orders = 0
        self.positions = 0
        self.looks = 0
        """Moments that were looked at."""
        self.least_held = Decimal(0)
        """Of one intent's reservation; below zero more was spent than was held."""
        self.held: dict[str, Decimal] = {}
        self._cash = opening
        self._symbols: dict[str, str] = {}
        self._qty: dict[str, Decimal] = {}
        self._price: dict[str, Decimal] = {}

    def take_in(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            match event["event"]:
                case "order_intent":
                    self._accepted(event["order_req_id"], event)
                case "order_fill":
                    self._filled(event["order_req_id"], event)
                case "order_done":
                    self.held.pop(event["order_req_id"])
                case _:
                    continue
            self._look()

    def _accepted(self, intent_id: str, event: Mapping[str, Any]) -> None:
        symbol = event["intent"]["symbol"]
        self.held[intent_id] = Decimal(event["reserved_amount"])
        self._symbols[intent_id] = symbol
        self._price[symbol] = Decimal(event["intent"]["market_snapshot"]["bid"])
        worth = self._worth()
        exposed = (worth + sum(self.held.values())) / (self._cash + worth)
        self.exposure_pct = max(self.exposure_pct, exposed)

    def _filled(self, intent_id: str, event: Mapping[str, Any]) -> None:
        fee = Decimal(event["fee"]) if event["fee_currency"] == QUOTE else Decimal(0)
        spent = Decimal(event["quote_qty"]) + fee
        symbol = event["symbol"]
        self._cash -= spent
        self.held[intent_id] -= spent
        self._qty[symbol] = self._qty.get(symbol, Decimal(0)) + Decimal(event["qty"])
        self._price[symbol] = Decimal(event["price"])

    def _worth(self) -> Decimal:
        return sum((qty * self._price[symbol] for symbol, qty in self._qty.items()), Decimal(0))

    def _look(self) -> None:
        buying = {self._symbols[intent_id] for intent_id in self.held}
        bought = {symbol for symbol, qty in self._qty.items() if qty}
        self.looks += 1
        self.reserved = max(self.reserved, sum(self.held.values(), Decimal(0)))
        self.open_orders = max(self.open_orders, len(self.held))
        self.positions = max(self.positions, len(buying | bought))
        self.least_held = min(self.least_held, *self.held.values(), Decimal(0))


def opening_of(events: Iterable[Mapping[str, Any]]) -> Decimal:
    """The quote money that the book began with."""
    (opening,) = (event for event in events if event["event"] == "ledger_entry" and event["kind"] == "opening")
    held = (line["amount"] for line in opening["postings"] if line["account"] == f"Assets:Venue:{QUOTE}")
    return sum(map(Decimal, held), Decimal(0))
