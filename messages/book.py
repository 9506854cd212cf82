"""Everybody → portfolio, the book's only writer. Every answer is sent after the commit is durable."""

from __future__ import annotations

from decimal import Decimal

from core.book import Opening, OpeningResult
from core.concern import Concern
from core.events import AnyEvent
from core.ids import AskedNs, IdempotencyKey, IntentId
from core.planning import OrderPlan, Refusal
from core.records import Arming, AttemptRecord, BreakerRecord, IntentRecord, PrivateData, Standing, TradingState
from core.replacing import NewTerms, ReplaceResult
from core.reports import Report
from core.settling import Settlement
from messages import ClientRequest, Message


class OpenIntent(Message, frozen=True, kw_only=True):
    """Check, reserve and write, all in one transaction. Answer: `IntentOpened`."""

    opening: Opening


class IntentOpened(Message, frozen=True, kw_only=True):
    intent_id: IntentId
    """Of the opening that was asked for, whatever intent the result names."""
    result: OpeningResult
    """What became of the opening."""


class BeginAttempt(Message, frozen=True, kw_only=True):
    """Write the next attempt. Answer: `AttemptBegun`."""

    intent_id: IntentId
    attempt: int
    """Its number; repeating the message changes nothing."""
    plan: OrderPlan


class AttemptBegun(Message, frozen=True, kw_only=True):
    record: IntentRecord
    attempt: AttemptRecord
    """The latest attempt as it is in the book."""
    asked: int
    """Number of the attempt that was asked for; an answer that comes late is known by it."""


class ApplyReport(Message, frozen=True, kw_only=True):
    """Book facts from the venue. Answer, to the router of the intent's symbol: `ReportApplied`."""

    report: Report


class ReportApplied(Message, frozen=True, kw_only=True):
    record: IntentRecord
    attempt: AttemptRecord
    """The intent's latest attempt, which may be a later one than the report's."""


class EndIntent(Message, frozen=True, kw_only=True):
    """End an intent in RETRY whose remainder cannot be ordered. Answer: `ReportApplied`."""

    intent_id: IntentId
    refusal: Refusal
    amendments: int
    """How often its terms had been replaced when that was found; with others it may be possible."""


class ExpireIntent(Message, frozen=True, kw_only=True):
    """End an intent that is too old, if nothing of it was ever at the venue. Answer, to its router: `ReportApplied`."""

    intent_id: IntentId


class RequestCancel(Message, frozen=True, kw_only=True):
    """Note that somebody wants the intent gone. Answer: `CancelRequested`."""

    intent_id: IntentId
    reason: str


class CancelRequested(Message, frozen=True, kw_only=True):
    intent_id: IntentId
    record: IntentRecord | None
    """None: there is no such intent."""
    attempt: AttemptRecord | None


class RequestReplace(Message, frozen=True, kw_only=True):
    """Note that somebody wants other terms for an intent. Answer: `ReplaceRequested`."""

    request_id: str
    intent_id: IntentId
    terms: NewTerms
    """Repeating the message changes nothing."""


class ReplaceRequested(Message, frozen=True, kw_only=True):
    request_id: str
    result: ReplaceResult
    """What became of the wish."""
    attempt: AttemptRecord | None
    """The intent's latest; None: there is no such intent."""


class RecordRefusal(Message, frozen=True, kw_only=True):
    """Write a refusal to the audit trail. No answer."""

    symbol: str
    key: IdempotencyKey | None
    """None when the wish never got as far as having one."""
    refusal: Refusal


class RecordOpeningBalances(Message, frozen=True, kw_only=True):
    """A gateway has started and this is what the venue holds; a book's first one of all becomes its opening.

    It begins a new epoch: what an earlier gateway may still hold must not leave any more. Answer:
    `OpeningBalancesRecorded`; none while the engine has not named this gateway (`ConfigureChild`, `Rewire`).
    """

    totals: dict[str, Decimal]
    """By currency, free and locked together."""


class OpeningBalancesRecorded(Message, frozen=True, kw_only=True):
    first: bool
    """False: the book had its opening already and nothing changed."""


class RecordEvents(Message, frozen=True, kw_only=True):
    """Write events to the audit trail. No answer."""

    events: tuple[AnyEvent, ...]
    """As they shall stand in the outbox."""
    compared: int | None = None
    """Every intent that ended up to this event of the outbox was compared with the venue; None: nothing new."""


class RecordClock(Message, frozen=True, kw_only=True):
    """Requests are to claim another time than ours. From the gateway, until the book covers it. No answer."""

    correction_ns: int
    """Added to our time; the venue's minus ours."""


class RecordBreaker(Message, frozen=True, kw_only=True):
    """The circuit breaker has changed its state. From the gateway, until it reads it in the book. No answer."""

    breaker: BreakerRecord
    """Repeating it, or an older one, changes nothing."""


class RecordPrivateData(Message, frozen=True, kw_only=True):
    """The account's data cannot be read any more, or can be again. From the reconciler, until it reads it in the book.

    No answer.
    """

    private_data: PrivateData
    """Repeating it, or an older one, changes nothing."""


class SettleTrades(Message, frozen=True, kw_only=True):
    """Note what is not ours, and move the cursor over trades that are accounted for. No answer.

    The cursor stays where it is if the book lacks one of the trades; they are read again then.
    """

    settlement: Settlement
    """Repeating it changes nothing."""


class TightenTrading(Message, frozen=True, kw_only=True):
    """A part of the engine narrows or stops trading; it cannot make it looser. No answer."""

    state: TradingState
    """Wanted; one that is not stricter than the state in force changes nothing."""
    concern: Concern
    """Why; nothing happens if the book has moved away from what it rests on."""
    by: str
    """Name of the part."""


class SetTradingState(ClientRequest, frozen=True, kw_only=True):
    """An operator narrows, stops or allows trading. Answer: `TradingStateSet`."""

    state: TradingState
    """Wanted, looser ones, too."""
    reason: str
    cancel_open: bool = False
    """Cancel every working order, too."""
    asked_ns: AskedNs = 0
    """When the operator asked, ns UTC. What was asked before the state in force came about does not loosen it."""


class TradingStateSet(Message, frozen=True, kw_only=True):
    request_id: str
    standing: Standing
    """In force from now on, durable."""
    canceling: int
    """How many intents are to be canceled because of it."""
    clock_span_ns: int = 0
    """The venue may take an order that left before for so much longer (`ClockSpan.width_ns`)."""


class ArmTrading(ClientRequest, frozen=True, kw_only=True):
    """An operator lets orders leave in mode live, for a time. Answer: `ArmingSet`."""

    account: str
    """Fingerprint of the account, as the operator has confirmed it."""
    for_ns: int
    """How long, from `asked_ns` on."""
    reason: str
    asked_ns: AskedNs
    """When the operator asked, ns UTC. A wish that comes late, or that something has overtaken, arms nothing."""


class DisarmTrading(ClientRequest, frozen=True, kw_only=True):
    """An operator lets no order leave any more in mode live. Answer: `ArmingSet`."""

    reason: str
    asked_ns: AskedNs
    """When the operator asked, ns UTC."""


class ArmingSet(Message, frozen=True, kw_only=True):
    request_id: str
    arming: Arming | None
    """In force from now on, durable; None with a refusal, and nothing was changed."""
    refusal: Refusal | None
    clock_span_ns: int = 0
    """As in `TradingStateSet`."""


class CancelOpenIntents(Message, frozen=True, kw_only=True):
    """The engine stops: note of every open intent that it shall end. Answer: `OpenIntentsCanceled`.

    Repeating it changes nothing. The routers are told of each.
    """

    reason: str


class OpenIntentsCanceled(Message, frozen=True, kw_only=True):
    """All the wishes are durable."""

    noted: int
    """So many were new."""


class LiftQuarantine(ClientRequest, frozen=True, kw_only=True):
    """An operator has looked at a symbol. Answer: `QuarantineAnswered`."""

    symbol: str
    reason: str


class QuarantineAnswered(Message, frozen=True, kw_only=True):
    request_id: str
    lifted: bool
    """False: there was none."""


class FlushBook(Message, frozen=True, kw_only=True):
    """Commit what is pending. Answer: `BookFlushed`, after everything that was sent before."""


class BookFlushed(Message, frozen=True, kw_only=True):
    last_event: int
    """Sequence of the newest event of the outbox."""


class CommitBatch(Message, frozen=True, kw_only=True):
    """The portfolio to itself: everything that had arrived is applied, commit now."""

    generation: int
    """A batch that was committed for its size makes this one stale."""
