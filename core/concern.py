"""Why trading is narrowed or stopped by a part of the engine, and what of the book that rests on."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.ids import IntentId
from core.money import ZERO
from core.unit_of_work import BookReader


class Premise(msgspec.Struct, frozen=True, kw_only=True):
    """The book as it was when somebody became concerned. Messages take time: what has moved since is looked at anew."""

    ledger: int | None = None
    """Its last transaction; None: it does not matter."""
    intent_id: IntentId | None = None
    """The intent that it is about, if it is about one."""
    filled_qty: Decimal = ZERO
    """Of that intent, base."""

    def holds(self, book: BookReader) -> bool:
        if self.ledger is not None and book.last_sequence("ledger") != self.ledger:
            return False
        record = book.intent(self.intent_id) if self.intent_id is not None else None
        return record is None or record.filled_qty == self.filled_qty


ANYHOW = Premise()
"""It rests on nothing that could change."""


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    """Of its alert, like `BALANCE_DRIFT`."""
    text: str
    drift: dict[str, Decimal] = {}
    """Unexplained amounts by currency, venue minus book, where it is one of balances."""
    fills: dict[IntentId, str] = {}
    """The figures that differ, by ended intent, where it is one of fills."""
    premise: Premise = ANYHOW

    @property
    def reason(self) -> str:
        return f"{self.code}: {self.text}"
