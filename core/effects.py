"""What a router wants done. The brain returns these; the actor's shell carries them out and says nothing itself."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from core.book import Opening, OpeningOutcome
from core.ids import IdempotencyKey, IntentId
from core.planning import OrderPlan, Refusal
from core.records import AttemptRecord, IntentRecord
from core.replacing import NewTerms, ReplaceResult
from core.reports import Report


class SubmitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client hears about its wish."""

    outcome: OpeningOutcome
    record: IntentRecord | None = None
    """The intent, new or existing; None for a refusal."""
    refusal: Refusal | None = None


class TimerKind(StrEnum):
    RETRY = "retry"
    FOLLOW = "follow"


class Timer(msgspec.Struct, frozen=True):
    """Comes back when it is due. It names what it was set for, so that a stale one is recognised and does nothing."""

    kind: TimerKind
    intent_id: IntentId | None = None
    attempt: int = 0
    """Which attempt a RETRY timer waits after."""
    round: int = 0
    """Which round a FOLLOW timer begins."""


class AskQuote(msgspec.Struct, frozen=True):
    """Gateway: the top of the book."""


class Open(msgspec.Struct, frozen=True):
    """Portfolio: accept this."""

    opening: Opening


class Begin(msgspec.Struct, frozen=True):
    """Portfolio: write the next attempt."""

    intent_id: IntentId
    attempt: int
    plan: OrderPlan


class GiveUp(msgspec.Struct, frozen=True):
    """Portfolio: end an intent whose remainder cannot be ordered."""

    intent_id: IntentId
    refusal: Refusal
    amendments: int
    """How often its terms had been replaced when that was found."""


class Apply(msgspec.Struct, frozen=True):
    """Portfolio: book these facts."""

    report: Report


class NoteRefusal(msgspec.Struct, frozen=True):
    """Portfolio: record a refusal."""

    symbol: str
    key: IdempotencyKey | None
    refusal: Refusal


class NoteRepeat(msgspec.Struct, frozen=True):
    """Portfolio: record that the same wish came again and was answered with the existing intent."""

    intent_id: IntentId
    key: IdempotencyKey


class NoteCancel(msgspec.Struct, frozen=True):
    """Portfolio: somebody wants this intent gone."""

    intent_id: IntentId
    reason: str


class NoteReplace(msgspec.Struct, frozen=True):
    """Portfolio: somebody wants other terms for this intent."""

    request_id: str
    intent_id: IntentId
    terms: NewTerms


class Place(msgspec.Struct, frozen=True):
    """This order is on its way, once: the portfolio hands it to the gateway in the moment it is durable.

    The router awaits what becomes of it. Emitted once per attempt.
    """

    attempt: AttemptRecord


class Cancel(msgspec.Struct, frozen=True):
    """Gateway: cancel this order."""

    attempt: AttemptRecord


class LookUp(msgspec.Struct, frozen=True):
    """Gateway: how does this order stand?"""

    attempt: AttemptRecord


class ListOpenOrders(msgspec.Struct, frozen=True):
    """Gateway: which orders of the symbol are open?"""


class Resolve(msgspec.Struct, frozen=True):
    """Reconciler: find out what became of this attempt."""

    attempt: AttemptRecord


class Answer(msgspec.Struct, frozen=True):
    """Client: this is what became of the request."""

    request_id: str
    answer: SubmitAnswer


class Done(msgspec.Struct, frozen=True):
    """Client that waits: the intent is terminal."""

    request_id: str
    record: IntentRecord


class CancelAnswer(msgspec.Struct, frozen=True):
    """Client: the cancel is noted, or there is no such intent."""

    request_id: str
    record: IntentRecord | None
    refusal: Refusal | None = None


class ReplaceAnswer(msgspec.Struct, frozen=True):
    """Client: the new terms are noted, or refused."""

    request_id: str
    result: ReplaceResult


class WakeAt(msgspec.Struct, frozen=True):
    """Give the timer back at this time, ns UTC."""

    at_ns: int
    timer: Timer


Effect = (
    AskQuote
    | Open
    | Begin
    | GiveUp
    | Apply
    | NoteRefusal
    | NoteRepeat
    | NoteCancel
    | NoteReplace
    | Place
    | Cancel
    | LookUp
    | ListOpenOrders
    | Resolve
    | Answer
    | Done
    | CancelAnswer
    | ReplaceAnswer
    | WakeAt
)
