"""What the reconciler wants done, besides asking the venue (`core/inquiry.py`). Its shell carries it out."""

from __future__ import annotations

from typing import Any

import msgspec

from core.concern import Concern
from core.events import AnyEvent, StartReconciled
from core.ids import ClientOrderId, IntentId
from core.records import AttemptRecord, PrivateData, TradingState
from core.reports import Report
from core.settling import Settlement
from core.stopping import Compared
from core.verdict import Verdict


class Apply(msgspec.Struct, frozen=True):
    """Portfolio: book these facts."""

    report: Report


class Cancel(msgspec.Struct, frozen=True):
    """Gateway: cancel this order. Its answer proves nothing; the order is looked up."""

    attempt: AttemptRecord


class Expire(msgspec.Struct, frozen=True):
    """Portfolio: end this intent, which is too old and was never at the venue."""

    intent_id: IntentId


class TellRouter(msgspec.Struct, frozen=True):
    """The router of the symbol, which waits for it: this became of the attempt. Without one, the portfolio."""

    symbol: str
    client_order_id: ClientOrderId
    report: Report


class Settle(msgspec.Struct, frozen=True):
    """Portfolio: note what is external, and move the cursor of a symbol's trades."""

    settlement: Settlement


class Record(msgspec.Struct, frozen=True):
    """Portfolio: write events; every intent that ended up to `compared` was compared, if it is given."""

    events: tuple[AnyEvent, ...]
    compared: int | None = None


class Tighten(msgspec.Struct, frozen=True):
    """Portfolio: narrow or stop trading, if what it rests on is still so."""

    state: TradingState
    concern: Concern


class NotePrivateData(msgspec.Struct, frozen=True):
    """Portfolio: the account's data cannot be read any more, or can be again. Until the book shows it."""

    record: PrivateData


class Started(msgspec.Struct, frozen=True):
    """Engine: the comparison at the start is over."""

    found: StartReconciled


class Verified(msgspec.Struct, frozen=True):
    """Those who asked: this is how book and venue compare."""

    request_ids: tuple[str, ...]
    verdict: Verdict


class Closed(msgspec.Struct, frozen=True):
    """Engine, which stops: this is how book and venue compare."""

    compared: Compared


class Say(msgspec.Struct, frozen=True):
    """The log: an event's name and its fields."""

    event: str
    fields: dict[str, Any]
