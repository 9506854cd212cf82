"""A stateful model of router, book and venue: messages late, twice, out of order, and engines that die in between.

Whatever happens, an order leaves at most once per attempt, only after it is durable, and never while another order of
the same intent may be alive; a client hears one answer. When the faults end and everything is delivered, every
accepted intent is terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core import book as rules_of_book
from core import effects as do
from core.holdings import violations
from core.ids import ClientOrderId
from core.intent import TimeInForce
from core.lifecycle import TERMINAL
from core.outcomes import apply_report
from core.records import AttemptRecord, AttemptStatus, IntentRecord
from core.reports import (
    NotPlaced,
    OpenOrder,
    OrderAbsent,
    OrderSnapshot,
    OrderStatus,
    OutcomeUnknown,
    QueryFailed,
    Trade,
)
from core.routing import Router
from core.settings import UNLIMITED
from core.submission import Submission
from tests.builders import Desk, dec, not_placed, quote, request, snapshot, unknown

FATES = ["fills", "fills in part", "finds nobody", "is refused", "answer lost", "lost on the way", "rests"]
DELIVERIES_MAX = 3_000


class Mail(NamedTuple):
    """A message under way: to whom, whether the transport may deliver it twice, and what its delivery does."""

    to: str
    repeatable: bool
    deliver: Callable[[], None]


class RoutingMachine(RuleBasedStateMachine):
    in_order = False
    """Whether messages of one kind keep their order; only then can liveness be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(USDT="100000", BTC="1")
        self.mail: list[Mail] = []
        self.timers: list[do.WakeAt] = []
        self.placed: Counter[ClientOrderId] = Counter()
        self.orders: dict[ClientOrderId, tuple[AttemptRecord, OrderStatus, list[Trade]]] = {}
        self.fates: list[str] = []
        self.answered: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.requests = 0
        self.brain = Router(self.desk.market, self.desk.settings)

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────────

    @initialize(fate=st.sampled_from(FATES))
    def start(self, fate: str) -> None:
        self.submit(key=1, resting=False, fate=fate)

    @rule(key=st.integers(1, 4), resting=st.booleans(), fate=st.sampled_from(FATES))
    def submit(self, key: int, resting: bool, fate: str) -> None:
        """A wish, maybe one that is known or under way; `fate` is what becomes of the next order at the venue."""
        self.requests += 1
        self.fates.append(fate)
        wish = request(key=f"k{key}", tif=TimeInForce.GTC if resting else TimeInForce.IOC)
        sent = Submission(request_id=f"r{self.requests}", request=wish, wait=True, at_ns=self.desk.now_ns)
        known = rules_of_book.find_known(self.desk.book, sent.key, sent.alternate_key, sent.at_ns)
        answer = None
        if known is not None:
            record = self.desk.record(known.intent_id)
            conflict = known.payload_hash != sent.payload_hash
            outcome = rules_of_book.OpeningOutcome.CONFLICT if conflict else rules_of_book.OpeningOutcome.DUPLICATE
            refusal = rules_of_book.conflict(known) if conflict else None
            answer = do.SubmitAnswer(outcome=outcome, record=record, refusal=refusal)
        self.carry_out(self.brain.submit(sent, answer, self.desk.now_ns))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        known = [record.intent.intent_id for record in self.desk.book.intents()]
        if known:
            self.requests += 1
            wanted = data.draw(st.sampled_from(known), label="intent")
            self.carry_out(self.brain.cancel(f"c{self.requests}", wanted, "enough"))

    @precondition(lambda self: self.mail)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """One message arrives; of its kind the oldest, or any."""
        position = data.draw(st.integers(0, len(self.mail) - 1), label="message")
        if self.in_order:
            kind = self.mail[position].to
            position = next(place for place, mail in enumerate(self.mail) if mail.to == kind)
        self.mail.pop(position).deliver()

    @precondition(lambda self: self.mail)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The transport delivers a message and keeps it for a second time."""
        position = data.draw(st.integers(0, len(self.mail) - 1), label="message")
        if self.in_order:
            kind = self.mail[position].to
            position = next(place for place, mail in enumerate(self.mail) if mail.to == kind)
        if self.mail[position].repeatable:
            self.mail[position].deliver()

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def wake(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.timers) - 1), label="timer")
        self.fire(self.timers.pop(position))

    @rule(lost=st.booleans())
    def die(self, lost: bool) -> None:
        """Every process is gone; what was on its way to the venue may still have arrived."""
        on_the_way = [mail for mail in self.mail if mail.to == "venue"]
        self.mail, self.timers = [], []
        if not lost:
            for mail in on_the_way:
                mail.deliver()
        self.mail = []
        self.answered.clear()
        self.done.clear()
        self.brain = Router(self.desk.market, self.desk.settings)
        found = [(record, self.latest(record)) for record in self.desk.book.open_intents()]
        self.carry_out(self.brain.resume(found, self.desk.now_ns))

    # ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def carry_out(self, wanted: list[do.Effect]) -> None:
        for effect in wanted:
            self.carry_out_one(effect)

    def carry_out_one(self, effect: do.Effect) -> None:  # noqa: C901
        match effect:
            case do.AskQuote():
                self.to_router(lambda: self.brain.quoted(quote(observed_ns=self.desk.now_ns), self.desk.now_ns))
            case do.Open() | do.Begin() | do.GiveUp() | do.Apply() | do.NoteRefusal() | do.NoteCancel():
                self.mail.append(Mail("book", repeatable=True, deliver=lambda: self.book_receives(effect)))
            case do.Place(attempt):
                self.check_place(attempt)
                self.mail.append(Mail("venue", repeatable=False, deliver=lambda: self.place(attempt)))
            case do.Cancel(attempt):
                self.mail.append(Mail("venue", repeatable=True, deliver=lambda: self.venue_cancels(attempt)))
            case do.LookUp(attempt):
                self.to_router(lambda: self.brain.reported(self.look(attempt), attempt.client_order_id))
            case do.Resolve(attempt):
                self.to_router(lambda: self.brain.reported(self.resolve(attempt), attempt.client_order_id))
            case do.ListOpenOrders():
                self.to_router(lambda: self.brain.listed(self.open_orders()))
            case do.WakeAt():
                self.timers.append(effect)
            case do.Answer(request_id, _):
                self.answered[request_id] += 1
            case do.CancelAnswer(request_id, _, _):
                self.answered[request_id] += 1
            case do.Done(request_id, record):
                assert record.state in TERMINAL
                self.done[request_id] += 1

    def to_router(self, step: Callable[[], list[do.Effect]]) -> None:
        self.mail.append(Mail("router", repeatable=True, deliver=lambda: self.carry_out(step())))

    def book_receives(self, effect: do.Effect) -> None:
        """The portfolio: one transaction, then the answer."""
        now_ns = self.desk.now_ns
        with self.desk.book.transaction() as unit:
            match effect:
                case do.Open(opening):
                    result = rules_of_book.open_intent(unit, opening, UNLIMITED, now_ns)
                    intent_id = opening.intent.intent_id
                    self.to_router(lambda: self.brain.opened(intent_id, result, self.desk.now_ns))
                case do.Begin(intent_id, number, plan):
                    record = rules_of_book.begin_attempt(unit, intent_id, number, plan, now_ns)
                    attempt = self.latest(record)
                    self.to_router(lambda: self.brain.begun(record, attempt, self.desk.now_ns))
                case do.GiveUp(intent_id, refusal, amendments):
                    self.answer_applied(rules_of_book.give_up(unit, intent_id, refusal, now_ns, amendments))
                case do.Apply(report):
                    self.answer_applied(apply_report(unit, report, self.desk.settings, now_ns)[0])
                case do.NoteCancel(intent_id, reason):
                    noted = rules_of_book.request_cancel(unit, intent_id, reason, now_ns)
                    latest = self.latest(noted) if noted else None
                    self.to_router(lambda: self.brain.cancel_noted(intent_id, noted, latest, self.desk.now_ns))
                case do.NoteRefusal(symbol, key, refusal):
                    rules_of_book.record_refusal(unit, symbol, key, refusal, now_ns)

    def answer_applied(self, record: IntentRecord) -> None:
        attempt = self.latest(record)
        self.to_router(lambda: self.brain.applied(record, attempt, self.desk.now_ns))

    def latest(self, record: IntentRecord) -> AttemptRecord:
        return self.desk.attempt(record.intent.intent_id, record.attempts)

    def fire(self, wake: do.WakeAt) -> None:
        self.desk.now_ns = max(self.desk.now_ns, wake.at_ns)
        self.carry_out(self.brain.woken(wake.timer, self.desk.now_ns))

    # ── the venue ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_place(self, attempt: AttemptRecord) -> None:
        """The promise: once, durable before, and the only one that may be alive."""
        self.placed[attempt.client_order_id] += 1
        assert self.placed[attempt.client_order_id] == 1, f"attempt {attempt.attempt} leaves twice"
        durable = self.desk.book.attempt(attempt.intent_id, attempt.attempt)
        assert durable is not None
        assert (durable.qty, durable.price) == (attempt.qty, attempt.price)
        for earlier in self.desk.book.attempts(attempt.intent_id):
            if earlier.attempt < attempt.attempt:
                assert earlier.status in {AttemptStatus.CLOSED, AttemptStatus.NOT_PLACED}

    def place(self, attempt: AttemptRecord) -> None:
        fate = self.fates.pop(0) if self.fates else "fills"
        if fate == "rests" and attempt.tif is TimeInForce.IOC:
            fate = "fills in part"
        if fate == "is refused":
            self.report(not_placed(attempt, retryable=True))
            return
        if fate == "lost on the way":
            self.report(unknown(attempt))
            return
        share = {"fills": 1, "answer lost": 1, "fills in part": Decimal("0.5")}.get(fate, Decimal(0))
        qty = attempt.qty * share // dec("0.00001") * dec("0.00001")
        trades = [self.desk.trade(str(qty), str(attempt.price))] if qty else []
        status = OrderStatus.FILLED if qty == attempt.qty else OrderStatus.EXPIRED
        if attempt.tif is TimeInForce.GTC and status is not OrderStatus.FILLED:
            status = OrderStatus.OPEN
        self.orders[attempt.client_order_id] = (attempt, status, trades)
        self.report(unknown(attempt) if fate == "answer lost" else self.look(attempt))

    def report(self, report: OrderSnapshot | NotPlaced | OutcomeUnknown | OrderAbsent | QueryFailed) -> None:
        known_as = report.client_order_id  # type: ignore[union-attr]
        self.to_router(lambda: self.brain.reported(report, known_as))

    def look(self, attempt: AttemptRecord) -> OrderSnapshot | OrderAbsent:
        found = self.orders.get(attempt.client_order_id)
        if found is None:
            return OrderAbsent(client_order_id=attempt.client_order_id)
        _, status, trades = found
        return snapshot(attempt, status, trades)

    def resolve(self, attempt: AttemptRecord) -> OrderSnapshot | NotPlaced:
        """The reconciler with all evidence: once nothing is on its way any more, absence is proof."""
        found = self.look(attempt)
        if isinstance(found, OrderAbsent):
            self.orders.pop(attempt.client_order_id, None)
            return not_placed(attempt, retryable=True)
        return found

    def venue_cancels(self, attempt: AttemptRecord) -> None:
        found = self.orders.get(attempt.client_order_id)
        if found is not None and found[1] is OrderStatus.OPEN:
            self.orders[attempt.client_order_id] = (attempt, OrderStatus.CANCELED, found[2])
        self.to_router(lambda: self.brain.cancel_answered(attempt.client_order_id))

    def open_orders(self) -> tuple[OpenOrder, ...]:
        return tuple(
            OpenOrder(
                client_order_id=known_as,
                exchange_order_id=snapshot(attempt).exchange_order_id,
                symbol=attempt.symbol,
                filled_qty=sum((trade.qty for trade in trades), Decimal(0)),
            )
            for known_as, (attempt, status, trades) in self.orders.items()
            if status is OrderStatus.OPEN
        )

    # ── what must hold ────────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_book_is_sound(self) -> None:
        assert violations(self.desk.book) == []

    @invariant()
    def nobody_hears_twice(self) -> None:
        """One answer per request, and one end for those who wait."""
        assert all(count == 1 for count in self.answered.values()), self.answered
        assert all(count == 1 for count in self.done.values()), self.done

    def teardown(self) -> None:
        """The faults are over: everything is delivered, the clock runs, resting orders fill."""
        for _ in range(DELIVERIES_MAX):
            if self.mail:
                self.mail.pop(0).deliver()
                continue
            for known_as, (attempt, status, trades) in list(self.orders.items()):
                if status is OrderStatus.OPEN:
                    rest = attempt.qty - sum((trade.qty for trade in trades), Decimal(0))
                    trades.append(self.desk.trade(str(rest), str(attempt.price)))
                    self.orders[known_as] = (attempt, OrderStatus.FILLED, trades)
            if not self.timers:
                break
            self.timers.sort(key=lambda wake: wake.at_ns)
            self.fire(self.timers.pop(0))
        self.the_book_is_sound()
        self.nobody_hears_twice()
        fills = {fill.trade_id for fill in self.desk.book.fills()}
        if self.in_order:
            assert self.timers == [], "the router never comes to rest"
            assert [record.state for record in self.desk.book.open_intents()] == []
            assert fills == {trade.trade_id for _, _, trades in self.orders.values() for trade in trades}


class OrderedRoutingMachine(RoutingMachine):
    """The same with a transport that keeps the order of each kind of message: then nothing may stay behind."""

    in_order = True


RoutingMachine.TestCase.settings = hypothesis_settings(max_examples=80, stateful_step_count=40)
OrderedRoutingMachine.TestCase.settings = hypothesis_settings(max_examples=80, stateful_step_count=40)
TestRouting = RoutingMachine.TestCase
TestOrderedRouting = OrderedRoutingMachine.TestCase
