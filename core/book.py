"""The portfolio's brain: everything that changes the book, each function inside one unit of work.

Guarantees
----------
* Idempotency check, reservation, intent row, first attempt and audit events are one transaction (B2); so are fills,
  ledger, position, release and state. A function that raises has written nothing, because its caller throws the whole
  transaction away.
* Facts go in (`core/reports.py`), states come out. Applying a report twice changes nothing, so a report can be
  repeated after a time-out, and the router, the reconciler and a stream may all report the same fill.
* A reservation lives exactly as long as its intent is not terminal.

Who calls: the Portfolio actor, the book's only writer, and the deterministic simulation.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from core import events, fencing, holdings, ids, ledger, private_data, risk, risk_figures, trading
from core.errors import InvariantViolated
from core.ids import IdempotencyKey, IntentId, PayloadHash
from core.intent import Intent, Side
from core.lifecycle import Cause, State, is_terminal
from core.market import MarketRules
from core.money import ZERO, floor_to, text
from core.planning import OrderPlan, Refusal, is_dust, reservation_for
from core.records import (
    AttemptRecord,
    AttemptStatus,
    Balance,
    IdempotencyRecord,
    IntentRecord,
    LedgerTransaction,
    Quarantine,
    Reservation,
    TradingState,
)
from core.settings import RiskSettings
from core.transitions import advance, end_by_quantity, save
from core.unit_of_work import BookReader, UnitOfWork

NEVER_NS = 2**63
"""Longer than anything waits."""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the accepting transaction needs to know about a wish that was planned."""

    intent: Intent
    payload_hash: PayloadHash
    alternate_key: IdempotencyKey | None
    """The key the same wish would have had one content bucket earlier; None for a caller's own key."""
    plan: OrderPlan
    rules: MarketRules
    min_notional: Decimal
    """Quote currency, `router.min_notional`."""
    retries_max: int
    backoff_ms: int


class OpeningOutcome(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REFUSED = "refused"


class OpeningResult(msgspec.Struct, frozen=True, kw_only=True):
    outcome: OpeningOutcome
    record: IntentRecord | None = None
    """The new intent, or the existing one for a duplicate or a conflict."""
    attempt: AttemptRecord | None = None
    """The order to send; only for an accepted intent."""
    refusal: Refusal | None = None


def open_intent(book: UnitOfWork, opening: Opening, limits: RiskSettings, now_ns: int) -> OpeningResult:
    """Accept, refuse or recognise a wish. What is accepted leaves as RESERVED → SENDING with its first attempt."""
    known = find_known(book, opening.intent.idempotency_key, opening.alternate_key, opening.intent.created_ns)
    if known is not None:
        return _answer_known(book, known, opening, now_ns)
    refused = book.refusal(opening.intent.intent_id)
    if refused is not None:  # asked again because the answer was late: money that is free by now changes nothing
        return OpeningResult(outcome=OpeningOutcome.REFUSED, refusal=Refusal(refused.code, refused.reason))
    plan = _net_of_base_fees(book, opening)
    refusal = plan if isinstance(plan, Refusal) else _refuse(book, opening, plan, now_ns)
    if refusal is None:
        assert isinstance(plan, OrderPlan)
        refusal = _within_limits(book, opening, plan, limits, now_ns)
    if refusal is not None:
        record_refusal(book, opening.intent.symbol, opening.intent.idempotency_key, refusal, now_ns, opening.intent)
        return OpeningResult(outcome=OpeningOutcome.REFUSED, refusal=refusal)
    assert isinstance(plan, OrderPlan)
    record, attempt = _accept(book, opening, plan, now_ns)
    return OpeningResult(outcome=OpeningOutcome.ACCEPTED, record=record, attempt=attempt)


def find_known(
    book: BookReader, key: IdempotencyKey, alternate_key: IdempotencyKey | None, created_ns: int
) -> IdempotencyRecord | None:
    """The record of a key; for a content key also that of the bucket before, if it is younger than a bucket."""
    known = book.idempotency(key)
    if known is None and alternate_key is not None:
        earlier = book.idempotency(alternate_key)
        if earlier is not None and created_ns - earlier.created_ns < ids.CONTENT_BUCKET_NS:
            return earlier
    return known


def record_refusal(
    book: UnitOfWork,
    symbol: str,
    key: IdempotencyKey | None,
    refusal: Refusal,
    now_ns: int,
    refused: Intent | None = None,
) -> None:
    """A refusal is an event, not an intent, and it does not use up the key.

    `refused` is what the wish would have become; None if it never got so far. Asked about once more it stays refused.
    """
    is_new = refused is not None and book.intent(refused.intent_id) is None
    book.append_event(
        events.IntentRefused(
            at_ns=now_ns,
            intent_id=refused.intent_id if refused is not None and is_new else None,
            symbol=symbol,
            idempotency_key=key,
            code=refusal.code,
            reason=refusal.reason,
        )
    )


def begin_attempt(
    book: UnitOfWork, intent_id: IntentId, attempt: int, plan: OrderPlan, now_ns: int, stale_after_ns: int = NEVER_NS
) -> IntentRecord:
    """Write the next attempt of an intent in RETRY. Repeating the call, or being late with it, changes nothing.

    What is older than `stale_after_ns` and was never at the venue ends instead.
    """
    record = expire_stale(book, intent_id, stale_after_ns, now_ns)
    if record.state is not State.RETRY or record.attempts != attempt - 1 or record.amendments != plan.amendments:
        return record  # begun before, or planned for terms that were replaced since
    if record.cancel_requested:
        return end_by_quantity(book, record, Cause.END_CANCELED, now_ns, "canceled before the next attempt")
    braked = trading.refusal(book, record.intent.side) or doubt(book, record)
    if braked is not None:
        return end_by_quantity(book, record, Cause.END_CANCELED, now_ns, f"{braked.code}: {braked.reason}")
    blind = private_data.refusal(book, record.intent.side, now_ns)
    if blind is not None:  # it waits, and writes nothing that must be looked through again
        reason = f"{blind.code}: {blind.reason}"
        return save(book, replace(record, retry_at_ns=now_ns + private_data.LOOK_AGAIN_NS, end_reason=reason))
    best = min if record.intent.side is Side.BUY else max
    rules = book.market(record.intent.symbol)
    assert rules is not None
    qty = floor_to(min(plan.qty, record.remaining_qty), rules.step)  # a late fill may have crossed the plan
    if is_dust(qty, record.worst_price, rules, ZERO):
        dust = Refusal("DUST", f"{text(record.remaining_qty)} {rules.base} is left")
        return give_up(book, intent_id, dust, now_ns, record.amendments)
    bounded = replace(plan, qty=qty, price=best(plan.price, record.worst_price))
    return _send(book, record, bounded, now_ns)[0]


def doubt(book: BookReader, record: IntentRecord) -> Refusal | None:
    """Why what is left may not be sent again: an earlier order may live on, or nobody knows what the venue does.

    The intent ends, as when trading is halted. It could wait for the operator instead; but then it would hold its money
    until he comes, and an old wish would leave in the moment in which he lifts the quarantine to look further.
    """
    for attempt in book.attempts(record.intent.intent_id):
        if book.leftover(attempt.client_order_id) is not None:
            return Refusal("ORDER_STILL_OPEN", f"{attempt.client_order_id} is being canceled")
    stopped = book.quarantine(record.intent.symbol)
    return None if stopped is None else Refusal("SYMBOL_QUARANTINED", f"{record.intent.symbol}: {stopped.reason}")


def expire_stale(book: UnitOfWork, intent_id: IntentId, stale_after_ns: int, now_ns: int) -> IntentRecord:
    """I6: nobody wants an old wish filled now. End it and return its money, if nothing of it was ever at the venue."""
    record = _intent(book, intent_id)
    if not is_stale(book, record, stale_after_ns, now_ns):
        return record
    age_ns = now_ns - record.intent.created_ns
    reason = f"STALE: {age_ns // ids.NS_PER_S} s old, and nothing of it was ever at the venue"
    held = book.reservation(intent_id)
    if held is None:
        raise InvariantViolated(f"intent {intent_id} is {record.state} and holds nothing")
    book.append_event(
        events.StaleIntentCleanup(
            at_ns=now_ns,
            intent_id=intent_id,
            symbol=record.intent.symbol,
            age_ns=age_ns,
            attempts=record.attempts,
            released=held.amount,
            currency=held.currency,
        )
    )
    return end_by_quantity(book, record, Cause.END_EXPIRED, now_ns, reason)


def is_stale(book: BookReader, record: IntentRecord, stale_after_ns: int, now_ns: int) -> bool:
    """Whether it is too old and provably never was at the venue: every attempt is proven not to have been placed."""
    if record.state is not State.RETRY or now_ns - record.intent.created_ns < stale_after_ns:
        return False
    attempts = list(book.attempts(record.intent.intent_id))
    return record.filled_qty == 0 and all(attempt.status is AttemptStatus.NOT_PLACED for attempt in attempts)


def give_up(book: UnitOfWork, intent_id: IntentId, refusal: Refusal, now_ns: int, amendments: int = 0) -> IntentRecord:
    """End an intent in RETRY whose remainder cannot be ordered; the remainder is named as dust.

    Nothing is changed if its terms were replaced since that was found (`amendments`): then it is planned again.
    """
    record = _intent(book, intent_id)
    if record.state is not State.RETRY or record.amendments != amendments:
        return record
    dusty = replace(record, dust_qty=record.remaining_qty)
    return end_by_quantity(book, dusty, Cause.END_EXPIRED, now_ns, f"{refusal.code}: {refusal.reason}")


def request_cancel(book: UnitOfWork, intent_id: IntentId, reason: str, now_ns: int) -> IntentRecord | None:
    """Note that somebody wants the intent gone; end it here if nothing can be at the venue. None: no such intent."""
    record = book.intent(intent_id)
    if record is None or is_terminal(record.state) or record.cancel_requested:
        return record
    book.append_event(
        events.OrderCancel(
            at_ns=now_ns,
            intent_id=intent_id,
            reason=reason,
            filled_qty=record.filled_qty,
            age_ns=now_ns - record.intent.created_ns,
        )
    )
    wanted = replace(record, cancel_requested=True, end_reason=reason)
    if record.state in {State.RETRY, State.RESERVED}:
        return end_by_quantity(book, wanted, Cause.END_CANCELED, now_ns, reason)
    if record.state in {State.SENT, State.PARTIAL}:
        return advance(book, wanted, Cause.REQUEST_CANCEL, now_ns, reason)
    return save(book, wanted)  # SENDING, UNKNOWN: as soon as the order is proven to be there, it is canceled


def record_opening_balances(book: UnitOfWork, totals: dict[str, Decimal], now_ns: int) -> bool:
    """At the first start of all: what the venue says is there becomes the ledger's opening. False if it was done."""
    if next(iter(book.balances()), None) is not None:
        return False
    postings = ledger.opening(totals)
    for currency, total in totals.items():
        book.put_balance(Balance(currency=currency, total=total))
    book.append_ledger(LedgerTransaction(at_ns=now_ns, kind="opening", text="opening balances", postings=postings))
    book.append_event(events.LedgerEntry(at_ns=now_ns, kind="opening", postings=postings))
    return True


def quarantine(book: UnitOfWork, symbol: str, reason: str, now_ns: int) -> None:
    """Take no new intents for the symbol, and begin no attempts, until an operator lifts it."""
    if book.quarantine(symbol) is None:
        book.put_quarantine(Quarantine(symbol=symbol, reason=reason, since_ns=now_ns))
        book.append_event(events.SymbolQuarantined(at_ns=now_ns, symbol=symbol, reason=reason))


def lift_quarantine(book: UnitOfWork, symbol: str, reason: str, now_ns: int) -> bool:
    """An operator has looked. False if there was none."""
    if book.quarantine(symbol) is None:
        return False
    book.delete_quarantine(symbol)
    book.append_event(events.QuarantineLifted(at_ns=now_ns, symbol=symbol, reason=reason))
    return True


def _intent(book: BookReader, intent_id: IntentId) -> IntentRecord:
    record = book.intent(intent_id)
    if record is None:
        raise InvariantViolated(f"intent {intent_id} is not in the book")
    return record


def _answer_known(book: UnitOfWork, known: IdempotencyRecord, opening: Opening, now_ns: int) -> OpeningResult:
    record = _intent(book, known.intent_id)
    if known.intent_id == opening.intent.intent_id:  # the same request again, because its answer was lost or late
        attempt = book.attempt(record.intent.intent_id, record.attempts)
        return OpeningResult(outcome=OpeningOutcome.ACCEPTED, record=record, attempt=attempt)
    if known.payload_hash != opening.payload_hash:
        book.append_event(
            events.IdempotencyConflicted(at_ns=now_ns, intent_id=known.intent_id, idempotency_key=known.key)
        )
        return OpeningResult(outcome=OpeningOutcome.CONFLICT, record=record, refusal=conflict(known))
    book.append_event(events.DuplicateOrderBlocked(at_ns=now_ns, intent_id=known.intent_id, idempotency_key=known.key))
    return OpeningResult(outcome=OpeningOutcome.DUPLICATE, record=record)


def conflict(known: IdempotencyRecord) -> Refusal:
    """The answer to a known key that comes with another wish."""
    return Refusal(
        "IdempotencyConflict",
        f"key {known.key!r} belongs to intent {known.intent_id} with a different wish; use a new key for a new wish",
    )


def _net_of_base_fees(book: BookReader, opening: Opening) -> OrderPlan | Refusal:
    """A sale of what was bought must not fail because fees in base ate a little of it (B3, B4): sell what is left."""
    plan, rules = opening.plan, opening.rules
    if opening.intent.side is Side.BUY:
        return plan
    available = holdings.free(book, rules.base)
    if opening.intent.reduce_only:
        available = min(available, _reducible(book, rules.symbol))
    position, balance = book.position(rules.symbol), book.balance(rules.base)
    eaten = position.eaten_qty if position else ZERO
    held_elsewhere = balance is not None and balance.reserved > 0  # then that, not fees, may be why it is too little
    if available >= plan.qty or plan.qty - available > eaten or held_elsewhere:
        return plan
    qty = floor_to(available, rules.step)
    if is_dust(qty, plan.price, rules, opening.min_notional):
        return Refusal(
            "BELOW_MIN_QTY", f"{text(available)} {rules.base} is left after fees, below the venue's minimum; keep it"
        )
    return replace(plan, qty=qty)


def _reducible(book: BookReader, symbol: str) -> Decimal:
    """What of the position is not being sold already."""
    position = book.position(symbol)
    selling = (record.reach_qty for record in book.open_intents(symbol) if record.intent.side is Side.SELL)
    return max(ZERO, position.qty - sum(selling, ZERO)) if position else ZERO


def _refuse(book: BookReader, opening: Opening, plan: OrderPlan, now_ns: int) -> Refusal | None:
    intent, rules = opening.intent, opening.rules
    braked = trading.refusal(book, intent.side) or private_data.refusal(book, intent.side, now_ns)
    if braked is not None:
        return braked
    stopped = book.quarantine(rules.symbol)
    if stopped is not None:
        return Refusal(
            "SYMBOL_QUARANTINED", f"{rules.symbol}: {stopped.reason}; look at it, then `intentctl resume --symbol`"
        )
    reducing = intent.reduce_only or trading.standing(book).state is TradingState.REDUCING
    if reducing and plan.qty > (left := _reducible(book, rules.symbol)):
        return Refusal("REDUCE_ONLY", f"qty {text(plan.qty)} is above the position left {text(left)}; ask for less")
    currency, amount = reservation_for(intent.side, plan.qty, plan.price, rules)
    available = holdings.free(book, currency)
    if amount > available:
        return Refusal(
            "INSUFFICIENT_FUNDS",
            f"needs {text(amount)} {currency} in the worst case, {text(available)} is free; ask for less",
        )
    if book.intent(intent.intent_id) is not None:
        return Refusal("INTENT_ID_TAKEN", f"{intent.intent_id} belongs to another wish; submit again")
    return None


def _within_limits(
    book: UnitOfWork, opening: Opening, plan: OrderPlan, limits: RiskSettings, now_ns: int
) -> Refusal | None:
    """The risk limits, each check recorded; measured with the price that the wish was planned against."""
    intent, rules = opening.intent, opening.rules
    risk_figures.open_day(book, rules.quote, now_ns)
    risk_figures.mark(book, rules.symbol, rules.quote, intent.market_snapshot.bid, now_ns)
    checks = risk.evaluate(book, intent, plan, rules, limits, now_ns)
    return risk.judge(book, intent, rules, checks, now_ns)


def _accept(book: UnitOfWork, opening: Opening, plan: OrderPlan, now_ns: int) -> tuple[IntentRecord, AttemptRecord]:
    intent, rules = opening.intent, opening.rules
    if book.market(rules.symbol) != rules:
        book.put_market(rules)
    book.put_idempotency(
        IdempotencyRecord(intent.idempotency_key, opening.payload_hash, intent.intent_id, intent.created_ns)
    )
    currency, amount = reservation_for(intent.side, plan.qty, plan.price, rules)
    holdings.reserve(book, Reservation(intent_id=intent.intent_id, currency=currency, amount=amount, created_ns=now_ns))
    if plan.qty != opening.plan.qty:
        book.append_event(
            events.QuantityReduced(
                at_ns=now_ns,
                intent_id=intent.intent_id,
                asked_qty=opening.plan.qty,
                qty=plan.qty,
                reason="fees in base have eaten the rest",
            )
        )
    record = IntentRecord(
        intent=intent,
        payload_hash=opening.payload_hash,
        state=State.NEW,
        qty=plan.qty,
        worst_price=plan.price,
        retries_max=opening.retries_max,
        backoff_ms=opening.backoff_ms,
    )
    book.append_event(
        events.OrderIntent(
            at_ns=now_ns,
            intent_id=intent.intent_id,
            intent=intent,
            qty=plan.qty,
            worst_price=plan.price,
            reserved_amount=amount,
            reserved_currency=currency,
        )
    )
    risk_figures.accepted(book, record, rules.quote, now_ns)
    record = advance(book, record, Cause.RESERVE, now_ns)
    return _send(book, record, plan, now_ns)


def _send(book: UnitOfWork, record: IntentRecord, plan: OrderPlan, now_ns: int) -> tuple[IntentRecord, AttemptRecord]:
    """Write the next attempt. It leaves the machine only after this unit of work is durable."""
    intent = record.intent
    number = record.attempts + 1
    if plan.capped:
        book.append_event(
            events.SlippageGuardApplied(
                at_ns=now_ns,
                intent_id=intent.intent_id,
                asked=plan.asked_price,
                reference=plan.reference,
                capped=plan.price,
                slippage_bps=plan.slippage_bps,
            )
        )
    attempt = AttemptRecord(
        intent_id=intent.intent_id,
        attempt=number,
        client_order_id=ids.client_order_id(intent.intent_id, number),
        symbol=intent.symbol,
        side=intent.side,
        qty=plan.qty,
        price=plan.price,
        tif=plan.tif,
        status=AttemptStatus.SENDING,
        created_ns=now_ns,
        epoch=fencing.current(book).number,
    )
    book.put_attempt(attempt)
    book.append_event(
        events.OrderAttempt(
            at_ns=now_ns,
            intent_id=intent.intent_id,
            attempt=number,
            client_order_id=attempt.client_order_id,
            symbol=attempt.symbol,
            side=attempt.side,
            qty=attempt.qty,
            price=attempt.price,
            tif=attempt.tif,
        )
    )
    return advance(book, replace(record, attempts=number), Cause.SEND, now_ns), attempt
