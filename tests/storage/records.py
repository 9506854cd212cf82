"""Records as they may stand in a book, and what a book is."""

from __future__ import annotations

from core import ids
from core.ids import IntentId
from core.intent import Side, TimeInForce
from core.lifecycle import State
from core.records import (
    AttemptRecord,
    AttemptStatus,
    IntentRecord,
)
from storage.book_store import BookStore
from tests import builders
from tests.builders import SYMBOL, T0, dec
from tests.fakes import MemoryBook

Book = MemoryBook | BookStore


def intent_record(number: int = 1, symbol: str = SYMBOL, state: State = State.RESERVED) -> IntentRecord:
    wish = builders.request(symbol=symbol, key=f"k{number}")
    made = builders.intent(wish, T0 + number * ids.NS_PER_S)
    return IntentRecord(
        intent=made,
        payload_hash=ids.payload_hash(("x",)),
        state=state,
        qty=dec("0.01"),
        worst_price=dec("50000"),
        retries_max=3,
        backoff_ms=400,
        fees={"BNB": dec("0.00000001")},
        marks={"reserved": T0},
    )


def attempt_record(intent_id: str = "i1", number: int = 1) -> AttemptRecord:
    owner = IntentId(intent_id)
    return AttemptRecord(
        intent_id=owner,
        attempt=number,
        client_order_id=ids.client_order_id(owner, number),
        symbol=SYMBOL,
        side=Side.BUY,
        qty=dec("0.01"),
        price=dec("50000.10"),
        tif=TimeInForce.GTC,
        status=AttemptStatus.SENDING,
        created_ns=T0,
    )
