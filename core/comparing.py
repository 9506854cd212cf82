"""Does an ended intent agree with the venue's own trades?

Every intent that ends, told by the book's outbox, is compared soon afterwards; all of a symbol's are, in one question.
How far the outbox has been worked off is durable and moves with the results, so nothing is forgotten by a restart, or
compared for ever. An intent counts as finished when its result stands in the outbox *and* the trades of its symbol were
read again, from the cursor on, after the time for which venues report trades late.

A shortfall of the venue is looked at again before it is called a mismatch, since reads lag. A mismatch that lasts is
drift (C5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from core import reconcile, timestamps, wants
from core.concern import Concern, Premise
from core.drift import NARROWS_AT, Alarm
from core.events import AnyEvent, OrderDone, ReconciliationResult
from core.ids import ExchangeOrderId, IntentId, TradeId
from core.inquiry import BY_TIME_MAX_NS, Effects, Inquiries, Inquiry, Moment, Question
from core.money import text
from core.reconcile import Comparison
from core.records import IntentRecord, OrderRecord
from core.reports import Trade
from core.settings import Settings
from core.unit_of_work import BookReader

LOOKS_BEFORE_MISMATCH: Final = 5
ENDED_MAX: Final = 20_000
"""So many ended intents are kept in memory; the others wait in the outbox."""
ROWS_MAX: Final = 50_000
"""So many events are read in one go."""


class Ended:
    """An ended intent that is not finished."""

    def __init__(self, sequence: int, done: OrderDone, record: IntentRecord) -> None:
        self.sequence = sequence
        """Of its end in the outbox."""
        self.done_ns = done.at_ns
        self.intent_id = record.intent.intent_id
        self.symbol = record.intent.symbol
        self.created_ns = record.intent.created_ns
        self.is_told = False
        """Its result stands in the outbox."""
        self.is_over = False
        """There is nothing more to compare."""
        self.due_ns = 0
        self.looks = 0
        self.differs_ns = 0
        """When it was seen to differ first; 0: it was not."""
        self.lasting = 0
        """So often it differed after the venue's reads must have caught up."""


class Comparisons:
    """All ended intents that are not finished, in the order of their end."""

    def __init__(self, settings: Settings, inquiries: Inquiries, alarm: Alarm) -> None:
        self._settings = settings
        self._inquiries = inquiries
        self._alarm = alarm
        self._ended: dict[IntentId, Ended] = {}
        self._read: int | None = None
        """Up to here the outbox has been read for what has ended."""
        self._heard = 0
        """The same for results."""
        self._noted = -1
        """What the book knows to be finished."""
        self._running: set[str] = set()

    @property
    def symbols(self) -> set[str]:
        """Those with something unfinished."""
        return {ended.symbol for ended in self._ended.values()}

    def catch_up(self, at: Moment) -> None:
        """Read on in the outbox: what has ended, and whose result is there.

        Each for itself: while memory is full, the ends wait, and results are heard all the same. They make room.
        """
        last = at.book.last_sequence("audit")
        if self._read is None:
            self._noted = self._read = self._heard = at.book.compared() or 0
        self._read = self._take_up(at, self._read, min(last, self._read + ROWS_MAX))
        until = min(last, self._heard + ROWS_MAX)
        for _, event in at.book.events_of((ReconciliationResult,), self._heard, until):
            ended = self._ended.get(event.intent_id) if event.intent_id is not None else None
            if ended is not None:
                self._told(ended, event)
        self._heard = max(self._heard, until)

    def _take_up(self, at: Moment, after: int, until: int) -> int:
        """Up to where the ends were read."""
        for sequence, event in at.book.events_of((OrderDone,), after, until):
            if len(self._ended) >= ENDED_MAX:
                return sequence - 1
            record = at.book.intent(event.intent_id) if event.intent_id is not None else None
            if record is not None and isinstance(event, OrderDone):
                self._ended[record.intent.intent_id] = Ended(sequence, event, record)
        return max(after, until)

    def _told(self, ended: Ended, result: AnyEvent) -> None:
        ended.is_told = True
        if ended.looks == 0 and isinstance(result, ReconciliationResult) and result.code == reconcile.RECONCILED:
            ended.is_over = True  # by this actor before its restart

    def go_on(self, at: Moment) -> Effects:
        """Ask for the trades of every symbol that has something due."""
        self.catch_up(at)
        due: dict[str, list[Ended]] = defaultdict(list)
        for ended in self._ended.values():
            is_due = ended.due_ns <= at.now_ns and not (ended.is_told and ended.is_over)
            if is_due and ended.symbol not in self._running:
                due[ended.symbol].append(ended)
        effects: Effects = self._note_finished()
        for symbol, some in due.items():
            effects.append(self._ask(symbol, some, at))
        return effects

    def _ask(self, symbol: str, some: list[Ended], at: Moment) -> Question:
        self._running.add(symbol)
        inquiry = self._inquiries.begin(at, lambda over, then: self._answered(symbol, some, over, then))
        since_ns = min(ended.created_ns for ended in some) - timestamps.slack_ns(at.book)
        return inquiry.ask_trades(symbol, last_before(at.book, symbol, since_ns, at.now_ns), since_ns)

    def _answered(self, symbol: str, some: list[Ended], inquiry: Inquiry, at: Moment) -> Effects:
        self._running.discard(symbol)
        if not inquiry.has_trades(symbol):
            return [wants.Say("trades_not_fetched", {"symbol": symbol, "reason": "; ".join(inquiry.failed.values())})]
        trades = inquiry.trades_of(symbol)
        orders = {trade.exchange_order_id: at.book.order(symbol, trade.exchange_order_id) for trade in trades}
        known: dict[IntentId, dict[ExchangeOrderId, OrderRecord]] = defaultdict(dict)
        for order_id, order in orders.items():
            if order is not None:
                known[order.intent_id][order_id] = order
        effects: Effects = []
        told = []
        for ended in some:
            result, also = self._compare(ended, trades, known[ended.intent_id], at)
            effects += also
            told += [] if result is None else [result]
        return [*effects, wants.Record(tuple(told))] if told else effects

    def _compare(
        self, ended: Ended, trades: list[Trade], known: dict[ExchangeOrderId, OrderRecord], at: Moment
    ) -> tuple[ReconciliationResult | None, Effects]:
        record = at.book.intent(ended.intent_id)
        assert record is not None
        found = reconcile.compare(record, at.book.attempts(ended.intent_id), trades, known)
        effects: Effects = []
        if found.missing:
            effects.append(wants.Say("missing_trades_found", {"intent_id": ended.intent_id}))
            effects += [wants.Apply(report) for report in found.missing]
        result = reconcile.result_event(record, found, at.now_ns)
        if result.code == reconcile.MISMATCH:
            ended.looks += 1
            ended.differs_ns = ended.differs_ns or at.now_ns
            is_fresh = at.now_ns - ended.differs_ns < self._settings.exchange.read_lag
            if is_fresh or ended.looks < LOOKS_BEFORE_MISMATCH:
                return None, effects  # the venue's reads lag behind its answers
            lasting = ended.lasting
            ended.lasting += 1
            effects += self._alarm.raised(_concern(record, found), lasting + NARROWS_AT)
            ended.is_over = self._alarm.is_final(lasting + NARROWS_AT)
            is_news = lasting == 0 or (ended.is_over and not ended.is_told)
            return result if is_news else None, effects
        ended.is_over = True
        ended.due_ns = at.now_ns + self._settings.engine.request_timeout  # until then its result is in the outbox
        return result, effects

    # ── what is finished ──────────────────────────────────────────────────────────────────────────────────────────

    def swept(self, symbol: str, settled_before_ns: int) -> None:
        """All trades of the symbol since its cursor were read, and what was missing was handed to the book.

        What is younger than `settled_before_ns` may still come; the cursor stays before it, so nothing is finished that
        the cursor has not reached.
        """
        finished = [
            ended.intent_id
            for ended in self._ended.values()
            if ended.symbol == symbol and ended.is_told and ended.is_over and ended.done_ns <= settled_before_ns
        ]
        for intent_id in finished:
            del self._ended[intent_id]

    def _note_finished(self) -> Effects:
        """Tell the book how far everything is finished, if that is news."""
        first = next(iter(self._ended.values()), None)
        finished = (self._read or 0) if first is None else first.sequence - 1
        if finished <= self._noted:
            return []
        self._noted = finished
        return [wants.Record((), compared=finished)]


def last_before(book: BookReader, symbol: str, since_ns: int, now_ns: int) -> TradeId | None:
    """Where to begin reading what happened since a time that is too long ago to be asked for.

    The newest trade before it that the book has, so that not all that the account ever did is read. None: ask by time,
    or there is no such trade.
    """
    if now_ns - since_ns <= BY_TIME_MAX_NS:
        return None
    older = ((fill.venue_ns, fill.trade_id) for fill in book.fills_of(symbol) if fill.venue_ns < since_ns)
    return max(older, default=(0, None), key=lambda each: each[0])[1]


def _concern(record: IntentRecord, found: Comparison) -> Concern:
    qty = f"quantity {text(found.venue_qty)} at the venue, {text(record.filled_qty)} in the book"
    notional = f"notional {text(found.venue_notional)} and {text(record.filled_notional)}"
    fees = f"fees {_told(found.venue_fees)} and {_told(record.fees)}"
    figures = f"{qty}; {notional}; {fees}"
    intent_id = record.intent.intent_id
    return Concern(
        code="FILL_MISMATCH",
        text=f"{intent_id}: {figures}",
        fills={intent_id: figures},
        premise=Premise(intent_id=intent_id, filled_qty=record.filled_qty),
    )


def _told(fees: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{text(fee)} {currency}" for currency, fee in sorted(fees.items())) or "none"
