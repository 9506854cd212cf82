"""Portfolio: the book's single writer.

Group commit: each request is applied inside one open transaction and its answer is kept back. When the inbox is
drained (a message to itself marks the end) or the batch is full, the transaction is committed once and only then all
answers leave. Nobody hears "yes" before the fsync. If the process dies before the commit, nothing has happened and
nobody was told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from actors.base import Guarded
from actors.crashpoints import reach
from core import (
    arming,
    book,
    breaker,
    drift,
    fencing,
    holdings,
    narrowing,
    private_data,
    replacing,
    risk,
    risk_figures,
    timestamps,
    trading,
)
from core.errors import InvariantViolated
from core.ids import NS_PER_S, IntentId
from core.outcomes import apply_report, lose_track
from core.planning import Refusal
from core.records import AttemptRecord, IntentRecord, TradingState
from core.reports import NotPlaced
from core.settling import settle
from core.unit_of_work import BookReader
from messages.book import (
    ApplyReport,
    ArmingSet,
    ArmTrading,
    AttemptBegun,
    BeginAttempt,
    BookFlushed,
    CancelOpenIntents,
    CancelRequested,
    CommitBatch,
    DisarmTrading,
    EndIntent,
    ExpireIntent,
    FlushBook,
    IntentOpened,
    LiftQuarantine,
    OpeningBalancesRecorded,
    OpenIntent,
    OpenIntentsCanceled,
    QuarantineAnswered,
    RecordBreaker,
    RecordClock,
    RecordEvents,
    RecordOpeningBalances,
    RecordPrivateData,
    RecordRefusal,
    ReplaceRequested,
    ReportApplied,
    RequestCancel,
    RequestReplace,
    SettleTrades,
    SetTradingState,
    TightenTrading,
    TradingStateSet,
)
from messages.lifecycle import ChildReady, ConfigureChild, GatewayGone, Rewire, Tick
from messages.venue import PlaceOrder
from storage.book_store import MAP_ALARM_SHARE, BookStore, Transaction
from storage.writer import Writer

OPERATOR: Final = "operator"
EXPIRY_LOOK_NS: Final = 60 * NS_PER_S


class Portfolio(Guarded):
    name = "portfolio"
    store: BookStore

    def __init__(self) -> None:
        super().__init__()
        self.unit: Transaction | None = None
        self.answers: list[tuple[Any, Any]] = []
        self.pending = 0
        self.generation = 0
        self.leaving: list[AttemptRecord] = []
        """Attempts of the open transaction, for the gateway as soon as they are durable."""
        self.gateway: Any = None
        """Whoever has introduced itself; None until then, and after it has died."""
        self.named_gateway: Any = None
        """Whom the engine says it is; nobody else is let in."""
        self.routers: dict[str, Any] = {}
        """By symbol: whoever opens an intent or begins an attempt is its symbol's router."""
        self.expiry_looks = 0
        """Begun so far; only the latest counts."""
        self.epoch = 0
        """Of this portfolio and of what it sends; a newer one in the book means that it is over."""

    def on_start(self, message: ConfigureChild) -> ChildReady:
        self.routers, self.named_gateway = dict(message.routers), message.gateway
        self.store = self.open_book_to_write()
        with self.store.snapshot() as view:
            problems = holdings.violations(view) + risk_figures.violations(view)
            symbols = sorted({record.intent.symbol for record in view.open_intents()})
        if problems:
            raise InvariantViolated(f"the book contradicts itself: {'; '.join(problems[:5])}; restore a copy")
        with self.store.transaction() as unit:
            self.begin_epoch(unit, "the portfolio was started while the order was on its way")
        reach("portfolio start: epoch")
        with self.store.snapshot() as view:
            self.await_expiry(view)
        if self.store.used_share() > MAP_ALARM_SHARE:
            self.log.error("book_nearly_full", used_share=round(self.store.used_share(), 3))
        self.log.info("book_opened", open_symbols=symbols, epoch=self.epoch)
        return ChildReady(name=self.label, pid=self.process_id(), open_symbols=tuple(symbols))

    def begin_epoch(self, unit: Writer, reason: str) -> None:
        """From here on nobody older may write or send, so nobody will tell what became of what they were sending."""
        self.epoch = fencing.begin(unit, self.now_ns()).number
        for record in lose_track(unit, reason, self.now_ns()):
            self.log.warning("outcome_lost", intent_id=record.intent.intent_id)

    def receiveMsg_GatewayGone(self, _message: GatewayGone, _sender: Any) -> None:
        self.name_gateway(None)

    def receiveMsg_Rewire(self, message: Rewire, _sender: Any) -> None:
        self.routers = dict(message.routers)
        self.name_gateway(message.gateway)

    def name_gateway(self, address: Any) -> None:
        """Where it is from now on; one that was somewhere else is dead, whatever of it still arrives."""
        if self.gateway is not None and self.gateway != address:
            self.commit()
            self.gateway = None
        self.named_gateway = address

    def on_stop(self) -> None:
        if hasattr(self, "store"):
            self.commit()
            self.store.close()

    def on_prepare_stop(self) -> bool:
        self.commit()
        return True

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_OpenIntent(self, message: OpenIntent, sender: Any) -> None:
        self.routers[message.opening.intent.symbol] = sender
        intent_id = message.opening.intent.intent_id

        def open_it(unit: Writer) -> IntentOpened:
            is_new = unit.intent(intent_id) is None
            result = book.open_intent(unit, message.opening, self.settings.risk, self.now_ns())
            if is_new and result.attempt is not None:
                self.leaving.append(result.attempt)
            self.guard_drawdown(unit, message.opening.intent.symbol)
            return IntentOpened(intent_id=intent_id, result=result)

        self.within(sender, open_it)

    def receiveMsg_BeginAttempt(self, message: BeginAttempt, sender: Any) -> None:
        def begin(unit: Writer) -> AttemptBegun:
            is_new = unit.attempt(message.intent_id, message.attempt) is None
            stale_ns = self.settings.router.intent_stale_threshold
            record = book.begin_attempt(unit, message.intent_id, message.attempt, message.plan, self.now_ns(), stale_ns)
            self.routers[record.intent.symbol] = sender
            attempt = _latest(unit, record)
            if is_new and attempt.attempt == message.attempt:
                self.leaving.append(attempt)
            return AttemptBegun(record=record, attempt=attempt, asked=message.attempt)

        self.within(sender, begin)

    def receiveMsg_ApplyReport(self, message: ApplyReport, sender: Any) -> None:
        """From the gateway; or from a router or the reconciler, who hear of orders otherwise. The router is told."""

        def apply(unit: Writer) -> ReportApplied:
            record, _ = apply_report(unit, message.report, self.settings.router, self.now_ns())
            self.guard_drawdown(unit, record.intent.symbol)
            return ReportApplied(record=record, attempt=_latest(unit, record))

        self.within_for(lambda applied: self.routers.get(applied.record.intent.symbol, sender), apply)

    def receiveMsg_EndIntent(self, message: EndIntent, sender: Any) -> None:
        def end(unit: Writer) -> ReportApplied:
            record = book.give_up(unit, message.intent_id, message.refusal, self.now_ns(), message.amendments)
            return ReportApplied(record=record, attempt=_latest(unit, record))

        self.within(sender, end)

    def receiveMsg_ExpireIntent(self, message: ExpireIntent, sender: Any) -> None:
        def expire(unit: Writer) -> ReportApplied:
            stale_ns = self.settings.router.intent_stale_threshold
            record = book.expire_stale(unit, message.intent_id, stale_ns, self.now_ns())
            return ReportApplied(record=record, attempt=_latest(unit, record))

        self.within_for(lambda applied: self.routers.get(applied.record.intent.symbol, sender), expire)

    def receiveMsg_RequestCancel(self, message: RequestCancel, sender: Any) -> None:
        def cancel(unit: Writer) -> CancelRequested:
            record = book.request_cancel(unit, message.intent_id, message.reason, self.now_ns())
            attempt = _latest(unit, record) if record is not None else None
            return CancelRequested(intent_id=message.intent_id, record=record, attempt=attempt)

        self.within(sender, cancel)
        self.commit()  # it does not wait until the batch is full

    def receiveMsg_RequestReplace(self, message: RequestReplace, sender: Any) -> None:
        def amend(unit: Writer) -> ReplaceRequested:
            result = replacing.request(unit, message.intent_id, message.terms, self.settings, self.now_ns())
            attempt = _latest(unit, result.record) if result.record is not None else None
            return ReplaceRequested(request_id=message.request_id, result=result, attempt=attempt)

        self.within(sender, amend)

    def receiveMsg_RecordRefusal(self, message: RecordRefusal, _sender: Any) -> None:
        self.within(
            None, lambda unit: book.record_refusal(unit, message.symbol, message.key, message.refusal, self.now_ns())
        )

    def receiveMsg_RecordOpeningBalances(self, message: RecordOpeningBalances, sender: Any) -> None:
        """Let the gateway in. It asks until it is answered, since this may come before the engine names it."""
        if sender != self.named_gateway:
            self.log.warning("gateway_not_let_in", sender=str(sender))
            return
        if sender == self.gateway:  # asked twice: what is on its way through it needs no new epoch
            self.within(sender, lambda _unit: OpeningBalancesRecorded(first=False))
            return
        self.commit()  # what is in the open transaction belongs to the gateway before
        self.gateway = sender

        def record(unit: Writer) -> OpeningBalancesRecorded:
            self.begin_epoch(unit, "the gateway was started while the order was on its way")
            return OpeningBalancesRecorded(first=book.record_opening_balances(unit, message.totals, self.now_ns()))

        self.within(sender, record)

    def receiveMsg_TightenTrading(self, message: TightenTrading, _sender: Any) -> None:
        def tighten(unit: Writer) -> None:
            drift.act_on(unit, message.concern, message.state, message.by, self.now_ns())
            self.narrow(unit)

        self.within(None, tighten)

    def receiveMsg_SetTradingState(self, message: SetTradingState, sender: Any) -> None:
        def put(unit: Writer) -> TradingStateSet:
            if trading.is_overtaken(unit, message.state, message.asked_ns, self.now_ns()):
                standing = trading.standing(unit)
                return TradingStateSet(
                    request_id=message.request_id,
                    standing=standing,
                    canceling=0,
                    clock_span_ns=timestamps.span(unit).width_ns,
                )
            asked_ns, now_ns = message.asked_ns, self.now_ns()
            standing = trading.put(unit, message.state, message.reason, OPERATOR, now_ns, asked_ns=asked_ns)
            if message.state is TradingState.ACTIVE:
                drift.accept(unit)
                risk.accept_drawdown(unit, self.settings.risk, self.now_ns())
            canceling = self.narrow(unit, cancel_open=message.cancel_open)
            return TradingStateSet(
                request_id=message.request_id,
                standing=standing,
                canceling=canceling,
                clock_span_ns=timestamps.span(unit).width_ns,
            )

        self.within(sender, put)
        self.commit()

    def receiveMsg_ArmTrading(self, message: ArmTrading, sender: Any) -> None:
        def arm(unit: Writer) -> ArmingSet:
            done = arming.arm(
                unit, message.account, message.for_ns, message.reason, OPERATOR, message.asked_ns, self.now_ns()
            )
            if isinstance(done, Refusal):
                return ArmingSet(request_id=message.request_id, arming=None, refusal=done)
            self.await_expiry(unit)
            return ArmingSet(request_id=message.request_id, arming=done, refusal=None)

        self.within(sender, arm)

    def receiveMsg_DisarmTrading(self, message: DisarmTrading, sender: Any) -> None:
        def disarm(unit: Writer) -> ArmingSet:
            done = arming.disarm(unit, message.reason, OPERATOR, message.asked_ns, self.now_ns())
            return ArmingSet(
                request_id=message.request_id, arming=done, refusal=None, clock_span_ns=timestamps.span(unit).width_ns
            )

        self.within(sender, disarm)
        self.commit()  # it does not wait until the batch is full

    def await_expiry(self, book: BookReader) -> None:
        """Look when the arming is to be over, and now and then before that, since clocks are set."""
        left_ns = arming.expires_in_ns(book, self.now_ns())
        if left_ns is not None:
            self.expiry_looks += 1
            self.wake_after_ns(min(left_ns, EXPIRY_LOOK_NS), Tick(name="expiry", generation=self.expiry_looks))

    def on_timer(self, payload: Any) -> None:
        if payload.generation != self.expiry_looks:
            return  # of an arming before
        with self.store.snapshot() as view:
            is_over = arming.expires_in_ns(view, self.now_ns()) == 0
            if not is_over:
                self.await_expiry(view)
        if is_over:
            self.within(None, lambda unit: arming.tell_expiry(unit, self.now_ns()))

    def narrow(self, unit: Writer, *, cancel_open: bool = False) -> int:
        """Cancel what the trading state does not want to work any longer, and tell its routers. Returns how many."""
        return self.tell_routers(unit, narrowing.after_change(unit, cancel_open=cancel_open, now_ns=self.now_ns()))

    def receiveMsg_CancelOpenIntents(self, message: CancelOpenIntents, sender: Any) -> None:
        def cancel(unit: Writer) -> OpenIntentsCanceled:
            changed = narrowing.at_stop(unit, message.reason, self.now_ns())
            return OpenIntentsCanceled(noted=self.tell_routers(unit, changed))

        self.within(sender, cancel)
        self.commit()  # it does not wait until the batch is full

    def tell_routers(self, unit: Writer, changed: list[IntentRecord]) -> int:
        """What was changed without their asking. Returns how many."""
        for record in changed:
            router = self.routers.get(record.intent.symbol)
            if router is not None:  # one that starts finds it in the book
                self.answers.append((router, ReportApplied(record=record, attempt=_latest(unit, record))))
        return len(changed)

    def guard_drawdown(self, unit: Writer, symbol: str) -> None:
        """After whatever moved money or prices: a day that has lost too much narrows trading."""
        rules = unit.market(symbol)
        if rules is None or trading.standing(unit).state is not TradingState.ACTIVE:
            return
        concern = risk.drawdown(unit, rules.quote, self.settings.risk, self.now_ns())
        if concern is not None:
            drift.act_on(unit, concern, TradingState.REDUCING, self.name, self.now_ns())
            self.narrow(unit)

    def receiveMsg_RecordEvents(self, message: RecordEvents, _sender: Any) -> None:
        def record(unit: Writer) -> None:
            for event in message.events:
                unit.append_event(event)
            if message.compared is not None and message.compared > (unit.compared() or 0):
                unit.put_compared(message.compared)

        self.within(None, record)

    def receiveMsg_RecordBreaker(self, message: RecordBreaker, sender: Any) -> None:
        if sender == self.gateway:  # one that is gone has no say any more
            self.within(None, lambda unit: breaker.note(unit, message.breaker, self.now_ns()))

    def receiveMsg_RecordClock(self, message: RecordClock, sender: Any) -> None:
        if sender == self.gateway:
            self.within(None, lambda unit: timestamps.note(unit, message.correction_ns, self.now_ns()))

    def receiveMsg_RecordPrivateData(self, message: RecordPrivateData, _sender: Any) -> None:
        self.within(None, lambda unit: private_data.note(unit, message.private_data, self.now_ns()))

    def receiveMsg_SettleTrades(self, message: SettleTrades, _sender: Any) -> None:
        self.within(None, lambda unit: settle(unit, message.settlement, self.now_ns()))

    def receiveMsg_LiftQuarantine(self, message: LiftQuarantine, sender: Any) -> None:
        self.within(
            sender,
            lambda unit: QuarantineAnswered(
                request_id=message.request_id,
                lifted=book.lift_quarantine(unit, message.symbol, message.reason, self.now_ns()),
            ),
        )

    def receiveMsg_FlushBook(self, _message: FlushBook, sender: Any) -> None:
        self.within(sender, lambda unit: BookFlushed(last_event=unit.last_sequence("audit")))

    # ── group commit ──────────────────────────────────────────────────────────────────────────────────────────────

    def within(self, sender: Any, step: Callable[[Writer], Any]) -> None:
        """Apply a step in the open transaction; its result is sent to `sender` after the commit, if there is one."""
        self.within_for(lambda _: sender, step)

    def within_for(self, receiver_of: Callable[[Any], Any], step: Callable[[Writer], Any]) -> None:
        """The same, where the result tells who is to have it."""
        if self.unit is None:
            self.unit = self.store.begin()
            fencing.check(self.unit.writer, self.epoch)
            self.generation += 1
            self.send(self.myAddress, CommitBatch(generation=self.generation))
        answer = step(self.unit.writer)
        receiver = receiver_of(answer)
        if receiver is not None:
            self.answers.append((receiver, answer))
        self.pending += 1
        if self.pending >= self.settings.portfolio.commit_batch_max:
            self.commit()

    def receiveMsg_CommitBatch(self, message: CommitBatch, _sender: Any) -> None:
        if message.generation == self.generation:
            self.commit()

    def commit(self) -> None:
        if self.unit is None:
            return
        unit, self.unit = self.unit, None
        reach("portfolio commit: before")
        unit.commit()
        reach("portfolio commit: after")
        self.pending = 0
        leaving, self.leaving = self.leaving, []
        for attempt in leaving:
            if self.gateway is not None:
                self.send(self.gateway, PlaceOrder(attempt=attempt))
            else:
                self.not_handed_over(attempt)
        if leaving:
            reach("portfolio commit: orders handed over")
        answers, self.answers = self.answers, []
        for address, answer in answers:
            self.send(address, answer)

    def not_handed_over(self, attempt: AttemptRecord) -> None:
        """There is no gateway at the moment. What has not left this process is proven not to be placed."""
        report = NotPlaced(
            client_order_id=attempt.client_order_id,
            code="NO_GATEWAY",
            reason="the gateway is being restarted; the order was not handed over",
            retryable=True,
            never_left=True,
        )
        self.send(self.myAddress, ApplyReport(report=report))


def _latest(unit: Writer, record: IntentRecord) -> AttemptRecord:
    attempt = unit.attempt(IntentId(record.intent.intent_id), record.attempts)
    if attempt is None:
        raise InvariantViolated(f"intent {record.intent.intent_id} has no attempt {record.attempts}")
    return attempt
