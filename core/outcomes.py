"""What a report means for an intent: facts are booked first, then the table moves it.

The judgement is by quantity (F5): an order that the venue calls expired may have filled, and one it calls filled is
only over here when its trades are booked. Only the *current* attempt moves the state, since a new attempt begins only
after the fate of the one before is proven (F3). A fill of an attempt or intent that was over is booked all the same,
raises an alert and quarantines the symbol (F4). An order that turns out to be alive when no intent wants it any more is
a *leftover*: it is told, kept in the book, and canceled until it is gone (`core/leftovers.py`).
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

from msgspec.structs import replace

from core import book as rules_of_book
from core import events, replacing, risk_figures
from core.booking import book_trade
from core.errors import InvariantViolated
from core.ids import NS_PER_MS, NS_PER_S, IntentId
from core.intent import Side, TimeInForce
from core.leftovers import has_gone_on
from core.lifecycle import Cause, State, is_terminal
from core.money import ZERO, text
from core.planning import is_dust
from core.reconcile import late_result
from core.records import AttemptRecord, AttemptStatus, FillRecord, IntentRecord, Leftover, OrderRecord
from core.reports import NotPlaced, OrderSnapshot, OrderStatus, OutcomeUnknown, Report, Trade
from core.settings import RouterSettings
from core.transitions import advance, end_by_quantity, save
from core.unit_of_work import UnitOfWork

BACKOFF_DOUBLINGS_MAX = 6
LOCAL_DOUBLINGS_MAX = 3
"""For what never left: it is over within seconds, and no venue is spared by waiting longer."""
CLOCK_REFUSALS_MAX = 5
"""So many refusals of the time that a request claimed use up no retry of an intent: the clock is made up for meanwhile
(`core/timestamps.py`). If the venue goes on refusing, that does not help."""
JITTER_SHARE = Decimal("0.25")
PLACEMENT = "placement"
"""Source of a report that is the answer to the placement itself."""
FILLED_EARLIER = "filled by an earlier attempt"
BEYOND_THE_INTENT = "its order would fill more, or dearer, than what is wanted by now"
LOOK_UP = "lookup"
"""Source of a report that answers a question about the order itself, with all its trades."""
BELIEVED_AFTER_NS = 120 * NS_PER_S
"""So long an order that is over must be shown with less than it once was, before the larger figure counts as wrong.
Longer than reads lag, and than fills are reported late: what a read misses must not be bought again."""
TRADES = "trades"
"""Source of a report that follows from trades: how the order stands is a guess."""


def lose_track(book: UnitOfWork, reason: str, now_ns: int) -> list[IntentRecord]:
    """Whoever was sending is gone: nobody knows what became of any attempt that was on its way."""
    lost = []
    for record in list(book.open_intents()):
        attempt = book.attempt(record.intent.intent_id, record.attempts)
        if record.state is State.SENDING and attempt is not None:
            report = OutcomeUnknown(client_order_id=attempt.client_order_id, reason=reason)
            lost.append(_apply_unknown(book, record, attempt, report, now_ns))
    return lost


def apply_report(
    book: UnitOfWork, report: Report, limits: RouterSettings, now_ns: int
) -> tuple[IntentRecord, AttemptRecord]:
    """Book a report and return the intent and the attempt as they stand afterwards."""
    attempt = book.attempt_by_client_id(report.client_order_id)
    record = book.intent(attempt.intent_id) if attempt else None
    if attempt is None or record is None:
        raise InvariantViolated(f"report about an order that the book does not know: {report}")
    if isinstance(report, OrderSnapshot):
        record = _Snapshot(book, record, attempt, report, limits, now_ns).apply()
    elif isinstance(report, NotPlaced):
        record = _apply_not_placed(book, record, attempt, report, now_ns)
    else:
        record = _apply_unknown(book, record, attempt, report, now_ns)
    after = book.attempt_by_client_id(report.client_order_id)
    assert after is not None
    return record, after


def _apply_unknown(
    book: UnitOfWork, record: IntentRecord, attempt: AttemptRecord, report: OutcomeUnknown, now_ns: int
) -> IntentRecord:
    if record.state is not State.SENDING or attempt.attempt != record.attempts:
        return record  # the order was seen already, or the attempt is over: not knowing adds nothing
    book.put_attempt(replace(attempt, status=AttemptStatus.UNKNOWN))
    book.append_event(
        events.OrderOutcomeUnknown(
            at_ns=now_ns,
            intent_id=attempt.intent_id,
            attempt=attempt.attempt,
            client_order_id=attempt.client_order_id,
            reason=report.reason,
        )
    )
    return advance(book, record, Cause.LOSE_TRACK, now_ns, report.reason)


def _apply_not_placed(
    book: UnitOfWork, record: IntentRecord, attempt: AttemptRecord, report: NotPlaced, now_ns: int
) -> IntentRecord:
    if record.state not in {State.SENDING, State.UNKNOWN} or attempt.attempt != record.attempts:
        return record
    reason = f"{report.code}: {report.reason}"
    book.put_attempt(replace(attempt, status=AttemptStatus.NOT_PLACED, end_reason=reason))
    if report.proof is not None:
        book.append_event(
            events.AbsenceProven(
                at_ns=now_ns,
                intent_id=attempt.intent_id,
                attempt=attempt.attempt,
                client_order_id=attempt.client_order_id,
                proof=report.proof,
            )
        )
    book.append_event(
        events.OrderNotPlaced(
            at_ns=now_ns,
            intent_id=attempt.intent_id,
            attempt=attempt.attempt,
            client_order_id=attempt.client_order_id,
            code=report.code,
            reason=report.reason,
            never_left=report.never_left,
        )
    )
    is_spared = report.wrong_time and record.clock_refusals < CLOCK_REFUSALS_MAX
    is_free = report.never_left or is_spared
    record = replace(
        record,
        end_reason=reason,
        uncounted=record.uncounted + is_free,
        clock_refusals=record.clock_refusals + is_spared,
    )
    record = advance(book, record, Cause.REFUSE, now_ns, reason)
    if record.amendment is not None and report.retryable and not record.cancel_requested:
        record = replacing.take_effect(book, record, now_ns)
    if record.filled_qty >= record.qty:  # a late fill of an earlier attempt
        return end_by_quantity(book, record, Cause.END_REJECTED, now_ns, FILLED_EARLIER)
    if record.cancel_requested:
        return end_by_quantity(book, record, Cause.END_CANCELED, now_ns, "canceled; the order had not been placed")
    if not report.retryable:
        return end_by_quantity(book, record, Cause.END_REJECTED, now_ns, reason)
    if record.real_attempts > record.retries_max:
        return end_by_quantity(book, record, Cause.END_FAILED, now_ns, reason)
    return schedule_retry(book, record, now_ns, reason, report.retry_after_ns, is_free=is_free)


def schedule_retry(
    book: UnitOfWork,
    record: IntentRecord,
    now_ns: int,
    note: str,
    at_least_ns: int = 0,
    *,
    is_free: bool = False,
) -> IntentRecord:
    """RETRY with a due time: doubling backoff with jitter, never earlier than the venue asked for (R4).

    What uses up no retry does not lengthen the wait of what does. It waits for a time that it was told, or, where
    nobody can know how long it takes (a gateway that restarts), a little longer each time.
    """
    step = record.real_attempts
    if is_free:
        step = 1 if at_least_ns else min(record.uncounted, LOCAL_DOUBLINGS_MAX + 1)
    wait_ns = max(backoff_ns(record.intent.intent_id, step, record.backoff_ms), at_least_ns)
    moved = advance(book, record, Cause.SCHEDULE_RETRY, now_ns, note)
    record = save(book, replace(moved, retry_at_ns=now_ns + wait_ns))
    book.append_event(
        events.RetryAttempt(
            at_ns=now_ns,
            intent_id=record.intent.intent_id,
            attempt=record.attempts,
            retry_at_ns=record.retry_at_ns,
            remaining_qty=record.remaining_qty,
        )
    )
    return record


def backoff_ns(intent_id: IntentId, attempt: int, backoff_ms: int) -> int:
    """Wait after the `attempt`-th failure: doubles each time; the jitter comes from the id, so it can be replayed."""
    base_ns = backoff_ms * NS_PER_MS << min(attempt - 1, BACKOFF_DOUBLINGS_MAX)
    draw = hashlib.blake2b(f"{intent_id}/{attempt}/jitter".encode(), digest_size=4).digest()
    fraction = Decimal(int.from_bytes(draw, "big")) / Decimal(2**32)
    return base_ns + int(base_ns * JITTER_SHARE * fraction)


class _Snapshot:
    """One order snapshot on its way into the book; the steps share the growing record and attempt."""

    def __init__(
        self,
        book: UnitOfWork,
        record: IntentRecord,
        attempt: AttemptRecord,
        report: OrderSnapshot,
        limits: RouterSettings,
        now_ns: int,
    ) -> None:
        self.book, self.record, self.attempt, self.report = book, record, attempt, report
        self.limits, self.now_ns = limits, now_ns
        current = attempt.attempt == record.attempts
        self.reappeared = attempt.status is AttemptStatus.NOT_PLACED
        waiting = record.state is State.RETRY and not self.reappeared
        self.over_before = is_terminal(record.state) or waiting or not current
        known = attempt.exchange_order_id
        self.is_second = known is not None and known != report.exchange_order_id
        """The venue has two orders under this name."""
        self.rules = book.market(attempt.symbol)
        if self.rules is None:
            raise InvariantViolated(f"no market rules of {attempt.symbol} in the book")

    def apply(self) -> IntentRecord:
        record = self._take_in()
        self._note_leftover()
        return record

    def _take_in(self) -> IntentRecord:
        before = self.attempt
        self._note_order()
        booked = self._book_trades()
        if self.attempt != before:
            self.book.put_attempt(self.attempt)
        if booked or self.attempt != before:  # its router goes by the record's revision, and shall look at the attempt
            self.record = save(self.book, self.record)
        if self.record.filled_qty > self.record.qty and booked:
            self._alarm("OVERFILL", f"{text(self.record.filled_qty)} filled of {text(self.record.qty)} ordered")
        if self.over_before:
            if booked:
                self._late_fill(booked)
            return self.record
        self._move_by_quantity(booked)
        if not is_terminal(self.record.state):
            self._end_or_follow(booked)
        return self.record

    def _note_order(self) -> None:
        report, attempt = self.report, self.attempt
        if self.reappeared and not (self.over_before and report.trades):  # with trades it is told as a late fill
            self._alarm("ORDER_REAPPEARED", f"{attempt.client_order_id} was proven not placed, and is at the venue")
        first = attempt.exchange_order_id is None
        second = self.is_second
        known = self.book.order(attempt.symbol, report.exchange_order_id) is not None
        if second and not known:
            twice = f"{attempt.client_order_id} has a second order {report.exchange_order_id}"
            self._alarm("DUPLICATE_AT_VENUE", twice)
        if not known:
            self.book.put_order(
                OrderRecord(
                    exchange_order_id=report.exchange_order_id,
                    symbol=attempt.symbol,
                    intent_id=attempt.intent_id,
                    attempt=attempt.attempt,
                )
            )
        if second:
            return  # its trades are booked, but how the first one stands is not for it to say
        if first:
            self.book.append_event(
                events.OrderAck(
                    at_ns=self.now_ns,
                    intent_id=attempt.intent_id,
                    attempt=attempt.attempt,
                    client_order_id=attempt.client_order_id,
                    exchange_order_id=report.exchange_order_id,
                    venue_status=report.venue_status,
                    source=report.source,
                )
            )
        filled_qty, less_since_ns = self._venue_filled()
        self.attempt = replace(
            attempt,
            exchange_order_id=report.exchange_order_id,
            venue_filled_qty=filled_qty,
            less_since_ns=less_since_ns,
        )
        if attempt.status is not AttemptStatus.CLOSED:  # an older snapshot does not open a closed order again
            self.attempt = replace(
                self.attempt,
                status=AttemptStatus.WORKING if report.status is OrderStatus.OPEN else AttemptStatus.CLOSED,
                order_status=report.status,
                venue_status=report.venue_status,
            )
        self._note_evidence(attempt)

    def _venue_filled(self) -> tuple[Decimal, int]:
        """How much of the order is filled by the venue's own word, and since when it says less than before.

        The largest figure counts, since reads lag behind. One that was wrong would keep the intent waiting for trades
        that do not exist, so what look-ups of an order that is over show for long, trades and all, corrects it.
        """
        attempt, report = self.attempt, self.report
        if report.filled_qty >= attempt.venue_filled_qty:
            return report.filled_qty, 0
        shown = sum((trade.qty for trade in report.trades), ZERO)
        is_final = report.source == LOOK_UP and report.status is not OrderStatus.OPEN and shown == report.filled_qty
        if not is_final:
            return attempt.venue_filled_qty, attempt.less_since_ns
        since_ns = attempt.less_since_ns or self.now_ns
        if self.now_ns - since_ns < BELIEVED_AFTER_NS:
            return attempt.venue_filled_qty, since_ns
        return max(report.filled_qty, attempt.filled_qty), 0

    def _note_evidence(self, before: AttemptRecord) -> None:
        """What was found out by asking is kept with what it says; a placement's own answer needs no evidence."""
        shown = (self.attempt.order_status, self.attempt.venue_filled_qty, self.attempt.exchange_order_id)
        if self.report.source == PLACEMENT or shown == (
            before.order_status,
            before.venue_filled_qty,
            before.exchange_order_id,
        ):
            return
        self.book.append_event(
            events.OrderSeen(
                at_ns=self.now_ns,
                intent_id=before.intent_id,
                attempt=before.attempt,
                client_order_id=before.client_order_id,
                exchange_order_id=self.report.exchange_order_id,
                status=self.report.status,
                venue_status=self.report.venue_status,
                filled_qty=self.report.filled_qty,
                source=self.report.source,
            )
        )

    def _book_trades(self) -> Decimal:
        """Book what is new and return its quantity."""
        booked = ZERO
        for trade in self.report.trades:
            if self.book.fill(self.attempt.symbol, trade.trade_id) is None:
                self._book_one(trade)
                booked += trade.qty
        return booked

    def _book_one(self, trade: Trade) -> None:
        assert self.rules is not None
        fill = FillRecord(
            symbol=self.attempt.symbol,
            trade_id=trade.trade_id,
            exchange_order_id=trade.exchange_order_id,
            intent_id=self.attempt.intent_id,
            attempt=self.attempt.attempt,
            side=self.attempt.side,
            qty=trade.qty,
            price=trade.price,
            quote_qty=trade.quote_qty,
            fee=trade.fee,
            fee_currency=trade.fee_currency,
            maker=trade.maker,
            venue_ns=trade.venue_ns,
            booked_ns=self.now_ns,
            source=self.report.source,
        )
        book_trade(self.book, fill, self.rules, late=self.over_before)
        fees = self.record.fees
        self.attempt = replace(self.attempt, filled_qty=self.attempt.filled_qty + trade.qty)
        self.record = replace(
            self.record,
            filled_qty=self.record.filled_qty + trade.qty,
            filled_notional=self.record.filled_notional + trade.quote_qty,
            fees=fees | {trade.fee_currency: fees.get(trade.fee_currency, ZERO) + trade.fee},
        )

    def _late_fill(self, booked: Decimal) -> None:
        """F4: it happened, so it is booked; an operator looks before the symbol trades on."""
        was_over = is_terminal(self.record.state)
        reason = f"late fill of {text(booked)} in {self.record.intent.intent_id} after {self.record.state}"
        self._alarm("LATE_FILL", reason)
        cause = Cause.FILL_ALL if self.record.filled_qty >= self.record.qty else Cause.FILL_PART
        moves = is_terminal(self.record.state) and self.record.state is not State.FILLED
        if moves or (cause is Cause.FILL_ALL and self.record.state is State.RETRY):
            self.record = advance(self.book, self.record, cause, self.now_ns, reason)
        elif not was_over and self.record.state is not State.RETRY:
            self._spare_the_rest()
        if was_over:
            if self.record.filled_qty == booked:
                risk_figures.filled_late(self.book, self.record, self.now_ns)
            self.book.append_event(late_result(self.record, booked, self.now_ns))

    def _spare_the_rest(self) -> None:
        """R8: an earlier attempt has filled what the present one was to fill; together they must not fill too much."""
        record = self.record
        current = self.book.attempt(record.intent.intent_id, record.attempts)
        if current is not None and current.qty - current.filled_qty > record.remaining_qty:
            noted = rules_of_book.request_cancel(self.book, record.intent.intent_id, FILLED_EARLIER, self.now_ns)
            assert noted is not None
            self.record = noted

    def _note_leftover(self) -> None:
        """Keep in the book what must be canceled, and forget it when it is over and all that it filled is booked."""
        attempt, report = self.attempt, self.report
        name = attempt.client_order_id
        known = self.book.leftover(name)
        if self._may_live_unwanted():
            is_told = known is not None and known.is_told
            is_sure = report.source != TRADES
            if known is None or (is_sure and not is_told):
                since_ns = self.now_ns if known is None else known.since_ns
                self.book.put_leftover(
                    Leftover(client_order_id=name, symbol=attempt.symbol, since_ns=since_ns, is_told=is_sure or is_told)
                )
            if is_sure and not is_told:
                text_ = f"{name} of {attempt.intent_id} is open at the venue, and no intent wants it; it is canceled"
                self._tell("ORDER_STILL_OPEN", text_)
        elif known is not None and attempt.filled_qty >= attempt.venue_filled_qty:
            self.book.delete_leftover(name)

    def _may_live_unwanted(self) -> bool:
        attempt = self.attempt
        if self.is_second:
            return self.report.status is OrderStatus.OPEN or self.report.source == TRADES
        may_fill = attempt.status is AttemptStatus.WORKING and attempt.filled_qty < attempt.qty
        return may_fill and has_gone_on(self.record, attempt)

    def _tell(self, code: str, what: str) -> None:
        self.book.append_event(
            events.AlertFired(at_ns=self.now_ns, intent_id=self.attempt.intent_id, code=code, text=what)
        )

    def _alarm(self, code: str, what: str) -> None:
        """What must never happen has: tell it, and take nothing new for the symbol until somebody has looked."""
        self._tell(code, what)
        rules_of_book.quarantine(self.book, self.attempt.symbol, f"{code}: {what}", self.now_ns)

    def _move_by_quantity(self, booked: Decimal) -> None:
        state = self.record.state
        full = self.record.filled_qty >= self.record.qty and not replacing.goes_on(self.record)
        can_fill = self.attempt.status is AttemptStatus.WORKING and self.attempt.filled_qty < self.attempt.qty
        if full and not can_fill:
            self._advance(Cause.FILL_ALL)
            return
        # a late fill made this order needless, or it was believed absent and replaced: it must not fill
        if can_fill and self._is_beyond_the_intent() and not self.record.cancel_requested:
            self.record = replace(self.record, cancel_requested=True, end_reason=BEYOND_THE_INTENT)
        if state in {State.SENDING, State.UNKNOWN, State.RETRY}:
            if not self.record.cancel_requested:
                self.record = replace(self.record, end_reason="")  # why an earlier attempt failed is over
            self._advance(Cause.FILL_PART if self.attempt.filled_qty > 0 else Cause.ACK)
        elif booked and state in {State.SENT, State.PARTIAL, State.CANCELING}:
            self._advance(Cause.FILL_PART)

    def _is_beyond_the_intent(self) -> bool:
        """Filled to its end the order would be more, or dearer, than what is wanted by now."""
        attempt, record = self.attempt, self.record
        worst = record.worst_price
        is_dearer = attempt.price > worst if attempt.side is Side.BUY else attempt.price < worst
        return is_dearer or attempt.qty - attempt.filled_qty > record.remaining_qty

    def _end_or_follow(self, booked: Decimal) -> None:
        if self.attempt.status is AttemptStatus.CLOSED:
            if self.attempt.filled_qty >= self.attempt.venue_filled_qty:
                self._end_attempt(booked)
        elif self.record.state in {State.SENT, State.PARTIAL}:
            if self.record.cancel_requested:
                self._advance(Cause.REQUEST_CANCEL)
            elif self.record.amendment is not None:
                self._advance(Cause.REQUEST_REPLACE)

    def _end_attempt(self, booked: Decimal) -> None:
        """The order is over, all its trades are booked, and something is left."""
        record, status = self.record, self.attempt.order_status
        word = self.attempt.venue_status
        if record.cancel_requested:
            self.record = self._end(Cause.END_CANCELED, record.end_reason or "canceled on request")
        elif record.amendment is not None:
            shows_end = self.report.status is not OrderStatus.OPEN  # else it is older than what has shown the end
            asked_ns, has_filled = self.report.asked_ns if shows_end else 0, booked > 0
            self.record = replacing.order_over(
                self.book, record, self.limits, self.now_ns, asked_ns=asked_ns, has_filled=has_filled
            )
        elif status is OrderStatus.CANCELED:
            self.record = self._end(Cause.END_CANCELED, f"canceled at the venue ({word}), not by us")
        elif status is OrderStatus.REJECTED:
            self.record = self._end(Cause.END_REJECTED, f"rejected by the venue ({word})")
        elif record.intent.tif is not TimeInForce.IOC:
            self.record = self._end(Cause.END_EXPIRED, f"{record.intent.tif} ended at the venue ({word})")
        elif self._remainder_is_dust():
            self.record = replace(record, dust_qty=record.remaining_qty)
            self.record = self._end(Cause.END_EXPIRED, f"remainder {text(record.remaining_qty)} is dust")
        elif record.real_attempts > record.retries_max:
            self.record = self._end(Cause.END_EXPIRED, f"not all filled after {record.real_attempts} attempts")
        else:
            self.record = schedule_retry(self.book, record, self.now_ns, "the rest is tried again")

    def _remainder_is_dust(self) -> bool:
        assert self.rules is not None
        return is_dust(self.record.remaining_qty, self.record.worst_price, self.rules, self.limits.min_notional)

    def _end(self, unfilled: Cause, note: str) -> IntentRecord:
        return end_by_quantity(self.book, self.record, unfilled, self.now_ns, note)

    def _advance(self, cause: Cause) -> None:
        self.record = advance(self.book, self.record, cause, self.now_ns)
