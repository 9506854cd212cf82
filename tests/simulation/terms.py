"""What must be true of the terms of an intent: its quantity and worst price, and others that take their place.

* each attempt is for all that is wanted and not filled, and no dearer than the terms in force;
* what comes into force is what was asked for last, and an intent whose quantity was raised is not filled with less;
* whatever of the old order fills before it is replaced, enough is held for it and for what comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from core import events
from core.events import AnyEvent
from core.ids import IntentId
from core.intent import Side
from core.lifecycle import State
from core.money import ZERO, text
from core.records import IntentRecord
from storage.tables import Reader

SHARES: tuple[Decimal, ...] = (ZERO, Decimal("0.25"), Decimal("0.5"), Decimal(1))
"""So much of the old order may fill first."""


class Terms:
    """Follows them through the outbox."""

    def __init__(self, broken: Callable[[str], None]) -> None:
        self.replaced = 0
        """So often other terms came into force."""
        self._broken = broken
        self._wanted: dict[IntentId, events.OrderReplace] = {}
        """The last that were asked for and are not in force yet."""
        self._asked_ns: dict[IntentId, int] = {}

    def take_in(self, view: Reader, event: AnyEvent) -> None:
        match event:
            case events.OrderAttempt() if event.intent_id is not None:
                self._attempt(view.intent(event.intent_id), view, event)
            case events.OrderReplace() if event.intent_id is not None:
                self._asked_for(event.intent_id, event)
            case events.ReplaceLapsed() if event.intent_id is not None:
                self._lapsed(view.intent(event.intent_id), event)
            case events.OrderReplaced() if event.intent_id is not None:
                self._in_force(event.intent_id, event)

    def _attempt(self, record: IntentRecord | None, view: Reader, event: events.OrderAttempt) -> None:
        rules = view.market(event.symbol)
        assert record is not None
        assert rules is not None
        wanted = record.remaining_qty // rules.step * rules.step
        is_dearer = _is_worse(event.side, event.price, record.worst_price)
        if event.qty != wanted or is_dearer:
            self._broken(
                f"attempt {event.client_order_id} is for {text(event.qty)} at {text(event.price)}, and its intent "
                f"wants {text(wanted)} at {text(record.worst_price)}"
            )

    def _asked_for(self, intent_id: IntentId, event: events.OrderReplace) -> None:
        if event.asked_ns <= self._asked_ns.get(intent_id, 0):
            self._broken(f"{intent_id} gets terms that were asked for before those that it had got")
        self._wanted[intent_id], self._asked_ns[intent_id] = event, event.asked_ns

    def _lapsed(self, record: IntentRecord | None, event: events.ReplaceLapsed) -> None:
        assert record is not None
        self._wanted.pop(record.intent.intent_id, None)
        is_short = record.state is State.FILLED and record.filled_qty < event.qty
        if is_short and not record.cancel_requested:
            self._broken(
                f"{record.intent.intent_id} is FILLED with {text(record.filled_qty)}, and was "
                f"raised to {text(event.qty)}"
            )

    def _in_force(self, intent_id: IntentId, event: events.OrderReplaced) -> None:
        self.replaced += 1
        asked = self._wanted.pop(intent_id, None)
        if asked is None:
            self._broken(f"{intent_id} gets other terms that nobody has asked for")
        elif (event.qty, event.price) != (max(asked.qty, event.filled_qty), asked.price):
            self._broken(
                f"{intent_id} was to be {text(asked.qty)} at {text(asked.price)}, and is {text(event.qty)} at "
                f"{text(event.price)}"
            )


def _is_worse(side: Side, price: Decimal, bound: Decimal) -> bool:
    return price > bound if side is Side.BUY else price < bound


def worst_case(view: Reader, record: IntentRecord) -> Decimal:
    """What the rest of an intent may take of the currency that it holds: its order now, and what takes its place."""
    rules, later, now = view.market(record.intent.symbol), record.amendment, record.remaining_qty
    assert rules is not None
    is_buy = record.intent.side is Side.BUY
    price = record.worst_price if is_buy else Decimal(1)
    fee = 1 + rules.taker_fee if is_buy else Decimal(1)
    if later is None:
        return now * price * fee
    later_price = later.price if is_buy else Decimal(1)
    wanted = later.qty - record.filled_qty
    return max(now * share * price + max(ZERO, wanted - now * share) * later_price for share in SHARES) * fee
