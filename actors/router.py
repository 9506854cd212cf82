"""OrderRouter, one per symbol: a shell around `core.routing.Router`. Messages in, effects out, nothing decided here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.base import Guarded
from actors.children import GATEWAY, PORTFOLIO, RECONCILER
from core import book, effects, events, intent, replacing
from core.effects import SubmitAnswer, Timer
from core.errors import InvalidInput
from core.ids import NS_PER_MS, ClientOrderId, IntentId
from core.lifecycle import State
from core.patience import Patience
from core.planning import Refusal
from core.records import IntentRecord
from core.reports import OutcomeUnknown
from core.routing import Router
from core.submission import Submission
from messages.book import (
    ApplyReport,
    AttemptBegun,
    BeginAttempt,
    CancelRequested,
    EndIntent,
    IntentOpened,
    OpenIntent,
    RecordEvents,
    RecordRefusal,
    ReplaceRequested,
    ReportApplied,
    RequestCancel,
    RequestReplace,
)
from messages.intents import (
    CancelIntent,
    IntentAnswered,
    IntentCancelNoted,
    IntentDone,
    IntentReplaceNoted,
    ReplaceIntent,
    SubmitIntent,
)
from messages.lifecycle import ChildReady, ConfigureChild, PrepareStop, Rewire, StreamChanged, Tick
from messages.reconciling import ResolveUnknown, UnknownResolved
from messages.venue import (
    CancelAttempted,
    CancelOrder,
    FetchOpenOrders,
    FetchOrder,
    FetchQuote,
    OpenOrdersFetched,
    OrderReported,
    QuoteFetched,
)
from storage.book_store import BookStore

PATIENCE_FACTOR = 3
"""A placement's answer is waited for at least this many times `exchange.timeout_ms`: it may queue in the gateway."""
PATIENCE_CHECK_NS = 1_000_000_000
BOOK_CHECK_NS = 5_000_000_000
"""How often the book is looked at for news that was lost on the road."""
PATIENCE_TICK, BOOK_TICK = "patience", "book"


class OrderRouter(Guarded):
    name = "router"
    brain: Router
    store: BookStore
    patience: Patience[effects.Effect]

    def __init__(self) -> None:
        super().__init__()
        self.portfolio: Any = None
        self.gateway: Any = None
        self.reconciler: Any = None
        self.clients: dict[str, Any] = {}
        self.watching = False

    def on_start(self, message: ConfigureChild) -> ChildReady:
        assert message.rules is not None
        self.portfolio, self.gateway, self.reconciler = message.portfolio, message.gateway, message.reconciler
        self.brain = Router(message.rules, self.settings.router)
        self.brain.stream_is_live = message.stream_is_live
        slowest_ns = PATIENCE_FACTOR * self.settings.exchange.timeout_ms * NS_PER_MS
        self.patience = Patience(max(self.settings.engine.request_timeout, slowest_ns))
        self.store = self.open_book()
        with self.store.snapshot() as view:
            found = [
                (record, view.attempt(record.intent.intent_id, record.attempts))
                for record in view.open_intents(message.rules.symbol)
            ]
        open_intents = [(record, attempt) for record, attempt in found if attempt is not None]
        self.log.info("router_started", open_intents=len(open_intents))
        self.carry_out(self.brain.resume(open_intents, self.now_ns()))
        self.wake_after_ns(BOOK_CHECK_NS, Tick(name=BOOK_TICK))
        return ChildReady(name=self.label, pid=self.process_id())

    def receiveMsg_Rewire(self, message: Rewire, _sender: Any) -> None:
        """Ask again whoever took the place of the one that was asked; what was being sent may be lost."""
        self.portfolio, self.gateway, self.reconciler = message.portfolio, message.gateway, message.reconciler
        if message.replaced == GATEWAY:
            self.brain.gateway_replaced()
        if message.replaced in {PORTFOLIO, GATEWAY}:
            self.carry_out(self.patience.all())
        elif message.replaced == RECONCILER:
            self.carry_out(self.patience.of("resolve"))

    def receiveMsg_StreamChanged(self, message: StreamChanged, _sender: Any) -> None:
        self.carry_out(self.brain.stream_changed(message.is_live, self.now_ns()))

    def on_stop(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def receiveMsg_PrepareStop(self, message: PrepareStop, sender: Any) -> None:
        """What is on its way through the book or at the venue settles. Nothing has begun with wishes that only wait."""
        self.brain.stopping = True
        waiting = list(self.brain.unplanned)
        self.brain.unplanned.clear()
        self.carry_out([effect for submission in waiting for effect in self.submitted_while_stopping(submission)])
        super().receiveMsg_PrepareStop(message, sender)

    def on_prepare_stop(self) -> bool:
        return not self.brain.in_flight

    # ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_SubmitIntent(self, message: SubmitIntent, sender: Any) -> None:
        if message.request_id in self.clients:
            return  # delivered twice; the first one is being answered
        self.clients[message.request_id] = sender
        at_ns = self.now_ns()
        refusal = self.refusal_of(message)
        if refusal is not None:
            self.carry_out(self.refused(message.request_id, refusal))
            return
        submission = Submission(request_id=message.request_id, request=message.request, wait=message.wait, at_ns=at_ns)
        if self.brain.stopping:
            self.carry_out(self.submitted_while_stopping(submission))
        else:
            self.carry_out(self.submitted(submission))

    def submitted_while_stopping(self, submission: Submission) -> list[effects.Effect]:
        """A repeat gets its intent; what is new is refused."""
        known = self.known(submission)
        if known is not None:
            return self.brain.submit(submission, known, submission.at_ns)
        stopping = "the engine is stopping; submit again after its next start"
        return self.refused(submission.request_id, Refusal("STOPPING", stopping))

    def refused(self, request_id: str, refusal: Refusal) -> list[effects.Effect]:
        answer = SubmitAnswer(outcome=book.OpeningOutcome.REFUSED, refusal=refusal)
        return [effects.NoteRefusal(self.brain.rules.symbol, None, refusal), effects.Answer(request_id, answer)]

    def submitted(self, submission: Submission) -> list[effects.Effect]:
        """What is known is answered at once. The accepting transaction looks anyway, so what can go there is not asked
        about first; only where planning refuses is it."""
        at_ns = submission.at_ns
        if not self.brain.can_plan(at_ns):
            return self.brain.submit(submission, self.known(submission), at_ns)
        wanted = self.brain.submit(submission, None, at_ns)
        if not any(isinstance(effect, effects.NoteRefusal) for effect in wanted):
            return wanted
        known = self.known(submission)
        return wanted if known is None else self.brain.submit(submission, known, at_ns)

    def refusal_of(self, message: SubmitIntent) -> Refusal | None:
        """What is wrong with the request itself."""
        try:
            intent.validate(message.request)
        except InvalidInput as error:
            return Refusal("INVALID", str(error))
        if message.request.symbol != self.brain.rules.symbol:
            return Refusal("INVALID", f"symbol {message.request.symbol}: this router is for {self.brain.rules.symbol}")
        return None

    def known(self, submission: Submission) -> SubmitAnswer | None:
        """What the book says about the submission's key. The accepting transaction looks again."""
        with self.store.snapshot() as view:
            known = book.find_known(view, submission.key, submission.alternate_key, submission.at_ns)
            record = view.intent(known.intent_id) if known else None
        if known is None or record is None:
            return None
        if known.payload_hash != submission.payload_hash:
            told = events.IdempotencyConflicted(
                at_ns=submission.at_ns, intent_id=known.intent_id, idempotency_key=known.key
            )
            self.send(self.portfolio, RecordEvents(events=(told,)))
            return SubmitAnswer(outcome=book.OpeningOutcome.CONFLICT, record=record, refusal=book.conflict(known))
        self.carry_out_one(effects.NoteRepeat(known.intent_id, known.key))
        return SubmitAnswer(outcome=book.OpeningOutcome.DUPLICATE, record=record)

    def receiveMsg_CancelIntent(self, message: CancelIntent, sender: Any) -> None:
        if message.request_id in self.clients:
            return
        self.clients[message.request_id] = sender
        refusal = self.refusal_of_cancel(message)
        if refusal is not None:
            self.carry_out([effects.CancelAnswer(message.request_id, None, refusal)])
            return
        self.carry_out(self.brain.cancel(message.request_id, message.intent_id, message.reason))

    def receiveMsg_ReplaceIntent(self, message: ReplaceIntent, sender: Any) -> None:
        if message.request_id in self.clients:
            return
        self.clients[message.request_id] = sender
        try:
            replacing.validate(message.terms)
            refusal = self.refusal_of_owner(message.intent_id)
        except InvalidInput as error:
            refusal = Refusal("INVALID", str(error))
        if refusal is None and self.brain.stopping:
            refusal = Refusal("STOPPING", "the engine is stopping; ask again after its next start")
        if refusal is not None:
            refused = replacing.ReplaceResult(record=None, refusal=refusal)
            self.carry_out([effects.ReplaceAnswer(message.request_id, refused)])
            return
        self.carry_out(self.brain.replace(message.request_id, message.intent_id, message.terms))

    def refusal_of_cancel(self, message: CancelIntent) -> Refusal | None:
        try:
            intent.validate_free_text("reason", message.reason)
        except InvalidInput as error:
            return Refusal("INVALID", str(error))
        return self.refusal_of_owner(message.intent_id)

    def refusal_of_owner(self, intent_id: IntentId) -> Refusal | None:
        """Whether another router follows the intent."""
        with self.store.snapshot() as view:
            record = view.intent(intent_id)
        if record is not None and record.intent.symbol != self.brain.rules.symbol:
            return Refusal("INVALID", f"{intent_id} is of {record.intent.symbol}; ask the router of that symbol")
        return None

    # ── the book ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_IntentOpened(self, message: IntentOpened, _sender: Any) -> None:
        self.patience.heard(("open", message.intent_id))
        self.carry_out(self.brain.opened(message.intent_id, message.result, self.now_ns()))

    def receiveMsg_AttemptBegun(self, message: AttemptBegun, _sender: Any) -> None:
        self.patience.heard(("begin", message.record.intent.intent_id, str(message.asked)))
        self.carry_out(self.brain.begun(message.record, message.attempt, self.now_ns()))

    def receiveMsg_ReportApplied(self, message: ReportApplied, _sender: Any) -> None:
        if self.is_news(message.record):
            if message.record.state is not State.SENDING:  # else it tells of an earlier attempt, this one's is awaited
                self.patience.heard(("place", message.attempt.client_order_id))
                self.patience.heard(("apply", message.record.intent.intent_id))
            if message.record.state is not State.RETRY:
                self.patience.heard(("end", message.record.intent.intent_id))
        self.carry_out(self.brain.applied(message.record, message.attempt, self.now_ns()))

    def is_news(self, record: IntentRecord) -> bool:
        """An old answer that comes late, or twice, ends no wait: the one that is awaited may be lost."""
        known = self.brain.live.get(record.intent.intent_id)
        return known is None or record.revision >= known[0].revision

    def receiveMsg_CancelRequested(self, message: CancelRequested, _sender: Any) -> None:
        self.patience.heard(("note cancel", message.intent_id))
        self.carry_out(self.brain.cancel_noted(message.intent_id, message.record, message.attempt, self.now_ns()))

    def receiveMsg_ReplaceRequested(self, message: ReplaceRequested, _sender: Any) -> None:
        self.patience.heard(("note replace", message.request_id))
        noted = self.brain.replace_noted(message.request_id, message.result, message.attempt, self.now_ns())
        self.carry_out(noted)

    # ── the venue ─────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_QuoteFetched(self, message: QuoteFetched, _sender: Any) -> None:
        self.patience.heard(("quote",))
        self.carry_out(self.brain.quoted(message.quote, self.now_ns()))

    def receiveMsg_OrderReported(self, message: OrderReported, _sender: Any) -> None:
        self.patience.heard(("look up", message.client_order_id))
        self.carry_out(self.brain.reported(message.report, message.client_order_id))

    def receiveMsg_UnknownResolved(self, message: UnknownResolved, _sender: Any) -> None:
        self.patience.heard(("resolve", message.client_order_id))
        self.carry_out(self.brain.reported(message.report, message.client_order_id))

    def receiveMsg_CancelAttempted(self, message: CancelAttempted, _sender: Any) -> None:
        self.patience.heard(("cancel", message.client_order_id))
        self.carry_out(self.brain.cancel_answered(message.client_order_id))

    def receiveMsg_OpenOrdersFetched(self, message: OpenOrdersFetched, _sender: Any) -> None:
        self.carry_out(self.brain.listed(message.orders))

    def on_timer(self, payload: Any) -> None:
        if isinstance(payload, Timer):
            self.carry_out(self.brain.woken(payload, self.now_ns()))
        elif payload.name == PATIENCE_TICK:
            self.watching = False
            self.carry_out(self.patience.overdue(self.now_ns()))
        else:
            self.compare_with_book()
            self.wake_after_ns(BOOK_CHECK_NS, payload)

    def compare_with_book(self) -> None:
        with self.store.snapshot() as view:
            records = {record.intent.intent_id: record for record in view.open_intents(self.brain.rules.symbol)}
            for intent_id in self.brain.live.keys() - records.keys():
                ended = view.intent(intent_id)
                if ended is not None:
                    records[intent_id] = ended
            found = [
                (record, attempt)
                for intent_id, record in sorted(records.items())
                if (attempt := view.attempt(intent_id, record.attempts)) is not None
            ]
        self.carry_out(self.brain.compare(found, self.now_ns()))

    # ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────

    def carry_out(self, wanted: list[effects.Effect]) -> None:
        for effect in wanted:
            self.carry_out_one(effect)
            self.expect_answer(effect)
        if self.patience and not self.watching:
            self.watching = True
            self.wake_after_ns(PATIENCE_CHECK_NS, Tick(name=PATIENCE_TICK))
        if self.brain.stopping and self.on_prepare_stop():
            self.stop_prepared()

    def expect_answer(self, effect: effects.Effect) -> None:
        """Whoever waits has a deadline. What is late is asked again; a placement never: its outcome is unknown."""
        if isinstance(effect, effects.Place):
            order_id = effect.attempt.client_order_id
            lost = OutcomeUnknown(client_order_id=order_id, reason="no answer from the gateway")
            self.patience.expect(("place", order_id), effects.Apply(lost), self.now_ns())
        elif isinstance(effect, effects.Apply):
            owner = self.intent_of(effect.report.client_order_id)
            if owner is not None:
                self.patience.expect(("apply", owner), effect, self.now_ns())
        elif type(effect) in ANSWER_KEYS:
            self.patience.expect(ANSWER_KEYS[type(effect)](effect), effect, self.now_ns())

    def intent_of(self, client_order_id: ClientOrderId) -> IntentId | None:
        """The live intent that an order belongs to."""
        for record, attempt in self.brain.live.values():
            if attempt.client_order_id == client_order_id:
                return record.intent.intent_id
        return None

    def carry_out_one(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Answer(request_id, answer):
                self.tell_client(request_id, IntentAnswered(request_id=request_id, answer=answer))
            case effects.Done(request_id, record):
                self.tell_client(request_id, IntentDone(request_id=request_id, record=record))
            case effects.CancelAnswer(request_id, record, refusal):
                noted = IntentCancelNoted(request_id=request_id, record=record, refusal=refusal)
                self.tell_client(request_id, noted)
            case effects.ReplaceAnswer(request_id, result):
                self.tell_client(request_id, IntentReplaceNoted(request_id=request_id, result=result))
            case effects.NoteRepeat(intent_id, key):
                told = events.DuplicateOrderBlocked(at_ns=self.now_ns(), intent_id=intent_id, idempotency_key=key)
                self.send(self.portfolio, RecordEvents(events=(told,)))
            case effects.WakeAt(at_ns, timer):
                self.wake_after_ns(at_ns - self.now_ns(), timer)
            case effects.Resolve(attempt):
                self.send(self.reconciler, ResolveUnknown(attempt=attempt))
            case effects.Place():
                pass  # whoever made it durable has handed it to the gateway; here its outcome is awaited
            case effects.AskQuote() | effects.Cancel() | effects.LookUp() | effects.ListOpenOrders():
                self.send(self.gateway, self.to_gateway(effect))
            case _:
                self.send(self.portfolio, TO_PORTFOLIO[type(effect)](effect))

    def tell_client(self, request_id: str, message: Any) -> None:
        """Answer a client, and forget it unless it is still to hear of its intent's end."""
        client = self.clients.get(request_id)
        if client is not None:
            self.answer(client, message)
        if not self.brain.is_waiting(request_id):
            self.clients.pop(request_id, None)

    def forget_client(self, client: Any) -> None:
        self.clients = {request_id: other for request_id, other in self.clients.items() if other != client}

    def to_gateway(self, effect: effects.Effect) -> Any:
        symbol = self.brain.rules.symbol
        match effect:
            case effects.Cancel(attempt):
                return CancelOrder(attempt=attempt)
            case effects.LookUp(attempt):
                return FetchOrder(attempt=attempt)
            case effects.ListOpenOrders():
                return FetchOpenOrders(symbol=symbol)
            case _:
                return FetchQuote(symbol=symbol)


ANSWER_KEYS: dict[type, Callable[[Any], tuple[str, ...]]] = {
    effects.AskQuote: lambda _: ("quote",),
    effects.Open: lambda effect: ("open", effect.opening.intent.intent_id),
    effects.Begin: lambda effect: ("begin", effect.intent_id, str(effect.attempt)),
    effects.GiveUp: lambda effect: ("end", effect.intent_id),
    effects.NoteCancel: lambda effect: ("note cancel", effect.intent_id),
    effects.NoteReplace: lambda effect: ("note replace", effect.request_id),
    effects.Cancel: lambda effect: ("cancel", effect.attempt.client_order_id),
    effects.LookUp: lambda effect: ("look up", effect.attempt.client_order_id),
    effects.Resolve: lambda effect: ("resolve", effect.attempt.client_order_id),
}
"""Under which key the answer to an effect is awaited. Other effects have none, or are asked anew anyway."""


TO_PORTFOLIO: dict[type, Callable[[Any], Any]] = {
    effects.Open: lambda effect: OpenIntent(opening=effect.opening),
    effects.Begin: lambda effect: BeginAttempt(intent_id=effect.intent_id, attempt=effect.attempt, plan=effect.plan),
    effects.GiveUp: lambda effect: EndIntent(
        intent_id=effect.intent_id, refusal=effect.refusal, amendments=effect.amendments
    ),
    effects.Apply: lambda effect: ApplyReport(report=effect.report),
    effects.NoteRefusal: lambda effect: RecordRefusal(symbol=effect.symbol, key=effect.key, refusal=effect.refusal),
    effects.NoteCancel: lambda effect: RequestCancel(intent_id=effect.intent_id, reason=effect.reason),
    effects.NoteReplace: lambda effect: RequestReplace(
        request_id=effect.request_id, intent_id=effect.intent_id, terms=effect.terms
    ),
}
"""The message that carries out an effect on the book."""
