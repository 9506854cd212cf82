"""The router's brain: one per symbol, told what happened and when, answers with effects. It does nothing itself.

Theory of operation
-------------------
A wish waits for a quote that is fresh enough, is planned, and goes to the book (`Open`), `OPENING_MAX` at a time: what
waits here stands in nobody's way, and a cancel need not queue behind it. Only what the book has made durable is sent,
once per attempt, and its outcome is awaited (`Place`). Whatever is heard of an order goes to the book (`Apply`), whose
answer, the record as it now stands, is the only thing that decides what is next:

| the record is in | next |
|---|---|
| RETRY | a timer, then a fresh quote, a new plan, `Begin` |
| SENT, PARTIAL | followed: one list of open orders per symbol and interval; what differs from the book is looked up |
| UNKNOWN | the reconciler finds out; the money stays held and nothing is sent |
| CANCELING | the cancel is sent, then the order is looked up; a cancel's own answer proves nothing |
| terminal | whoever waits is told; the reconciler sees it in the outbox and compares |

The brain keeps no truth of its own: after a restart `resume` builds it from the book's open intents.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final, NamedTuple

from core import effects as do
from core import ids
from core.book import Opening, OpeningOutcome, OpeningResult
from core.effects import Effect, SubmitAnswer, Timer, TimerKind
from core.ids import ClientOrderId, IdempotencyKey, IntentId, PayloadHash
from core.intent import RESTING, Intent, MarketSnapshot
from core.lifecycle import State, is_terminal
from core.market import MarketRules, Quote
from core.planning import OrderPlan, Refusal, plan_first, plan_retry
from core.records import AttemptRecord, AttemptStatus, IntentRecord
from core.replacing import NewTerms, ReplaceResult
from core.reports import OpenOrder, OrderAbsent, OutcomeUnknown, QueryFailed, Report
from core.settings import RouterSettings
from core.submission import Submission

LIST_PATIENCE_NS: Final = 20 * ids.NS_PER_S
"""A list that was not answered for so long is asked for once more."""
OPENING_MAX: Final = 32
"""Wishes on their way through the book at one time."""
UNPLANNED_MAX: Final = 20_000
"""Wishes that wait for their turn; the next one is refused."""
FOLLOWED: Final = frozenset({State.SENT, State.PARTIAL, State.CANCELING})


class _Opening(NamedTuple):
    """A wish on its way through the book, and those who sent the same one meanwhile."""

    payload_hash: PayloadHash
    first: Submission
    joined: list[Submission]


class Router:
    """All open intents of one symbol. Every method takes `now_ns` (UTC) and returns what to do."""

    def __init__(self, rules: MarketRules, settings: RouterSettings) -> None:
        self.rules = rules
        self.settings = settings
        self.quote: Quote | None = None
        self.quote_asked = False
        self.unplanned: deque[Submission] = deque()
        self.unplanned_retries: list[IntentId] = []
        self.opening: dict[IntentId, _Opening] = {}
        self.opening_by_key: dict[IdempotencyKey, IntentId] = {}
        self.early: dict[IntentId, tuple[IntentRecord, AttemptRecord, int]] = {}
        """What was told of an intent before the answer to its opening: the road may reorder. With when it was told."""
        self.live: dict[IntentId, tuple[IntentRecord, AttemptRecord]] = {}
        self.placed: dict[IntentId, int] = {}
        """The highest attempt of each live intent that was handed to the gateway, now or before a restart."""
        self.waiters: dict[IntentId, list[str]] = defaultdict(list)
        self.waiting: set[str] = set()
        self.cancelers: dict[IntentId, list[str]] = defaultdict(list)
        self.looking_up: set[ClientOrderId] = set()
        self.beginning: set[IntentId] = set()
        """Intents whose next attempt is on its way through the book."""
        self.stopping = False
        """The engine stops: what is in flight settles, and no attempt is begun; RETRY is durable and goes on later."""
        self.stream_is_live = False
        """The user stream tells what happens to orders, so they are looked at less often."""
        self.following = False
        self.follow_due_ns = 0
        self.list_awaited_until_ns = 0
        """Until then the answer to the last list is awaited; 0: it is there."""
        self.follow_round = 0

    # ── what clients ask for ──────────────────────────────────────────────────────────────────────────────────────

    def can_plan(self, now_ns: int) -> bool:
        """Whether a wish that arrives now is planned at once, without waiting for a quote or for its turn."""
        return not self.unplanned and self._room > 0 and self._is_fresh(self.quote, now_ns)

    def submit(self, submission: Submission, known: SubmitAnswer | None, now_ns: int) -> list[Effect]:
        """A wish arrived. `known` is what the book's snapshot says about its key, if anything."""
        if known is not None:
            return self._answer(submission, known)
        opening = self.opening.get(self.opening_by_key.get(submission.key, IntentId("")))
        if opening is not None and opening.payload_hash == submission.payload_hash:
            opening.joined.append(submission)
            return []
        if len(self.unplanned) >= UNPLANNED_MAX:
            reason = f"{UNPLANNED_MAX} wishes for {self.rules.symbol} wait already; ask again later"
            return self._refuse(submission, Refusal("QUEUE_FULL", reason))
        self.unplanned.append(submission)
        return self._plan_all(now_ns)

    def cancel(self, request_id: str, intent_id: IntentId, reason: str) -> list[Effect]:
        """A cancel was asked for."""
        if request_id not in self.cancelers[intent_id]:
            self.cancelers[intent_id].append(request_id)
        return [do.NoteCancel(intent_id, reason)]

    def replace(self, request_id: str, intent_id: IntentId, terms: NewTerms) -> list[Effect]:
        """Another price or quantity was asked for."""
        return [do.NoteReplace(request_id, intent_id, terms)]

    # ── what the book answers ─────────────────────────────────────────────────────────────────────────────────────

    def opened(self, intent_id: IntentId, result: OpeningResult, now_ns: int) -> list[Effect]:
        """The accepting transaction is durable, or there was none.

        An answer that was lost is asked for again, and then the intent may have come further: its order was on its way
        when the portfolio died, so nobody knows what became of it.
        """
        opening = self.opening.pop(intent_id, None)
        if opening is None:
            return []  # heard before
        self.opening_by_key.pop(opening.first.key, None)
        told = self.early.pop(intent_id, None)
        first = SubmitAnswer(outcome=result.outcome, record=result.record, refusal=result.refusal)
        effects = self._answer(opening.first, first)
        accepted = result.outcome is OpeningOutcome.ACCEPTED
        again = SubmitAnswer(outcome=OpeningOutcome.DUPLICATE, record=result.record) if accepted else first
        for submission in opening.joined:
            effects += self._answer(submission, again)
            if result.record is not None:
                effects.append(do.NoteRepeat(result.record.intent.intent_id, submission.key))
        if (
            accepted
            and result.record is not None
            and result.attempt is not None
            and not is_terminal(result.record.state)
        ):
            if result.record.state is not State.SENDING:
                effects += self._take_up(result.record, result.attempt, now_ns, entered=True)
            self.live[intent_id] = (result.record, result.attempt)
            if told is None or told[0].state is State.SENDING:  # else its outcome is known already
                effects += self._place(result.record, result.attempt)
        if told is not None:
            effects += self.applied(*told)
        return effects + self._plan_all(now_ns)

    def applied(self, record: IntentRecord, attempt: AttemptRecord, now_ns: int) -> list[Effect]:
        """The book has taken in a report, an attempt, an end or a cancel; `record` is how the intent stands now."""
        intent_id = record.intent.intent_id
        before = self.live.get(intent_id)
        if intent_id in self.opening:
            known = self.early.get(intent_id)
            if known is None or known[0].revision < record.revision:
                self.early[intent_id] = (record, attempt, now_ns)
            return []
        if is_terminal(record.state):
            return self._finish(record)
        if before is None or before[0].revision >= record.revision:
            return []  # an answer that was overtaken by a newer one
        entered = before[0].place != record.place
        return self._take_up(record, attempt, now_ns, entered=entered)

    def _take_up(self, record: IntentRecord, attempt: AttemptRecord, now_ns: int, *, entered: bool) -> list[Effect]:
        """Go on from where the record stands; `entered` tells that it has just come into this state."""
        intent_id = record.intent.intent_id
        self.live[intent_id] = (record, attempt)
        match record.state:
            case State.RETRY:
                timer = Timer(TimerKind.RETRY, intent_id, record.attempts)
                return [do.WakeAt(record.retry_at_ns, timer)] if entered else []
            case State.UNKNOWN:
                return [do.Resolve(attempt)] if entered else []
            case State.CANCELING:
                follow = self._follow(now_ns, record, attempt)
                return [do.Cancel(attempt), *follow] if entered else follow
            case State.SENT | State.PARTIAL:
                return self._follow(now_ns, record, attempt)
            case _:
                return []

    def begun(self, record: IntentRecord, attempt: AttemptRecord, now_ns: int) -> list[Effect]:
        """The next attempt is durable, unless the intent went elsewhere."""
        intent_id = record.intent.intent_id
        self.beginning.discard(intent_id)
        effects = self.applied(record, attempt, now_ns) + self._place(record, attempt)
        now = self.live.get(intent_id)
        # not begun, since its terms were replaced after it was planned: then it is planned again
        if record.state is State.RETRY and now is not None and now[0].state is State.RETRY:
            effects.append(do.WakeAt(now[0].retry_at_ns, Timer(TimerKind.RETRY, intent_id, now[0].attempts)))
        return effects

    def _place(self, record: IntentRecord, attempt: AttemptRecord) -> list[Effect]:
        """Send the attempt, unless it was sent before: the book's answer may come twice, or late."""
        intent_id = record.intent.intent_id
        live = self.live.get(intent_id)
        still_to_send = live is not None and live[0].state is State.SENDING and live[0].attempts == attempt.attempt
        if not still_to_send or self.placed.get(intent_id, 0) >= attempt.attempt:
            return []
        self.placed[intent_id] = attempt.attempt
        return [do.Place(attempt)]

    def cancel_noted(
        self, intent_id: IntentId, record: IntentRecord | None, attempt: AttemptRecord | None, now_ns: int
    ) -> list[Effect]:
        """The wish to cancel is durable. `record` is None when there is no such intent."""
        refusal = None
        if record is None:
            refusal = Refusal("UNKNOWN_INTENT", f"there is no intent {intent_id}; see `intentctl intents`")
        effects: list[Effect] = [
            do.CancelAnswer(request_id, record, refusal) for request_id in self.cancelers.pop(intent_id, [])
        ]
        if record is None or attempt is None:
            return effects
        return effects + self.applied(record, attempt, now_ns)

    def replace_noted(
        self, request_id: str, result: ReplaceResult, attempt: AttemptRecord | None, now_ns: int
    ) -> list[Effect]:
        """The wish for other terms is durable, or refused."""
        effects: list[Effect] = [do.ReplaceAnswer(request_id, result)]
        if result.record is None or attempt is None:
            return effects
        return effects + self.applied(result.record, attempt, now_ns)

    # ── what the venue answers ────────────────────────────────────────────────────────────────────────────────────

    def quoted(self, quote: Quote | QueryFailed, now_ns: int) -> list[Effect]:
        """The top of the book arrived, or nothing did."""
        self.quote_asked = False
        if isinstance(quote, Quote):
            self.quote = quote
            return self._plan_all(now_ns, just_quoted=True)
        refusal = Refusal("MARKET_DATA_UNAVAILABLE", f"no price of {self.rules.symbol} ({quote.reason}); try again")
        effects: list[Effect] = []
        while self.unplanned:
            effects += self._refuse(self.unplanned.popleft(), refusal)
        for intent_id in self._take_unplanned_retries():
            record = self.live[intent_id][0]
            timer = Timer(TimerKind.RETRY, intent_id, record.attempts)
            effects.append(do.WakeAt(now_ns + self.settings.backoff_ms * ids.NS_PER_MS, timer))
        return effects

    def reported(self, report: Report | OrderAbsent | QueryFailed, about: ClientOrderId) -> list[Effect]:
        """What became of an order, or of the question about it. Absence and failure are asked again, never believed."""
        self.looking_up.discard(about)
        if isinstance(report, OrderAbsent | QueryFailed):
            return []  # the follow timer asks again
        return [do.Apply(report)]

    def cancel_answered(self, client_order_id: ClientOrderId) -> list[Effect]:
        """The venue answered a cancel, somehow. Only a look at the order tells what happened."""
        wanted = (attempt for _, attempt in self.live.values() if attempt.client_order_id == client_order_id)
        attempt = next(wanted, None)
        return [] if attempt is None else self._look_up(attempt)

    def listed(self, orders: tuple[OpenOrder, ...] | QueryFailed) -> list[Effect]:
        """The venue's open orders of the symbol: look up each working order of ours that differs from the book."""
        self.list_awaited_until_ns = 0
        if isinstance(orders, QueryFailed):
            return []
        listed = {order.client_order_id: order.filled_qty for order in orders}
        effects: list[Effect] = []
        for record, attempt in list(self.live.values()):
            if record.state not in FOLLOWED:
                continue
            if listed.get(attempt.client_order_id) != attempt.filled_qty:
                effects += self._look_up(attempt)
            elif record.state is State.CANCELING:
                effects.append(do.Cancel(attempt))  # it is still there: the cancel did not arrive
        return effects

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def woken(self, timer: Timer, now_ns: int) -> list[Effect]:
        """A timer is due. One that was set for something that is over does nothing."""
        if timer.kind is TimerKind.FOLLOW:
            return self._follow_now(now_ns) if timer.round == self.follow_round else []
        known = self.live.get(timer.intent_id) if timer.intent_id else None
        if self.stopping or known is None or known[0].state is not State.RETRY or known[0].attempts != timer.attempt:
            return []
        if known[0].intent.intent_id not in self.unplanned_retries:
            self.unplanned_retries.append(known[0].intent.intent_id)
        return self._plan_all(now_ns)

    def stream_changed(self, is_live: bool, now_ns: int) -> list[Effect]:  # noqa: FBT001  (a state, no option)
        """The stream was lost or is there again: what happened meanwhile was told by nobody, so look now."""
        self.stream_is_live = is_live
        self.list_awaited_until_ns = 0  # one that was asked for before does not close the gap
        return self._follow_now(now_ns)

    def gateway_replaced(self) -> None:
        """What it was asked, nobody answers."""
        self.list_awaited_until_ns = 0

    def resume(self, records: list[tuple[IntentRecord, AttemptRecord]], now_ns: int) -> list[Effect]:
        """After a start: take up every open intent where the book says it is."""
        effects: list[Effect] = []
        for record, attempt in records:
            self.placed[record.intent.intent_id] = record.attempts
            if record.state is State.SENDING:  # it may have left before the stop, nobody knows
                self.live[record.intent.intent_id] = (record, attempt)
                effects.append(
                    do.Apply(OutcomeUnknown(client_order_id=attempt.client_order_id, reason="restarted while sending"))
                )
            else:
                effects += self._take_up(record, attempt, now_ns, entered=True)
        return effects

    def compare(self, records: list[tuple[IntentRecord, AttemptRecord]], now_ns: int) -> list[Effect]:
        """How the book stands: open intents of the symbol, and those that are live here and have ended there.

        Take up what was never heard of. News may be lost on the road, and an intent may be opened by a router that has
        died since. What is known here in the same revision is left alone.
        """
        effects: list[Effect] = []
        for record, attempt in records:
            intent_id = record.intent.intent_id
            known = self.live.get(intent_id)
            if intent_id in self.opening or (known is not None and known[0].revision >= record.revision):
                continue
            if is_terminal(record.state):
                effects += self._finish(record)
            else:
                effects += self._take_up(record, attempt, now_ns, entered=True) + self._place(record, attempt)
        return effects

    # ── questions of the shell ────────────────────────────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> bool:
        """Whether an answer is awaited that a graceful stop should not miss."""
        sending = any(record.state is State.SENDING for record, _ in self.live.values())
        return sending or bool(self.opening or self.unplanned or self.beginning)

    def is_waiting(self, request_id: str) -> bool:
        """Whether this request is still to hear of its intent's end."""
        return request_id in self.waiting

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, submission: Submission, answer: SubmitAnswer) -> list[Effect]:
        record = answer.record
        if submission.wait and record is not None and answer.refusal is None and not is_terminal(record.state):
            self.waiters[record.intent.intent_id].append(submission.request_id)
            self.waiting.add(submission.request_id)
        return [do.Answer(submission.request_id, answer)]

    def _refuse(self, submission: Submission, refusal: Refusal) -> list[Effect]:
        answer = SubmitAnswer(outcome=OpeningOutcome.REFUSED, refusal=refusal)
        return [do.NoteRefusal(self.rules.symbol, submission.key, refusal), *self._answer(submission, answer)]

    def _plan_all(self, now_ns: int, *, just_quoted: bool = False) -> list[Effect]:
        """Plan everything that waits, if there is a quote to plan against; else ask for one."""
        if not (self.unplanned and self._room > 0) and not self.unplanned_retries:
            return []
        quote = self.quote
        if quote is None or not (just_quoted or self._is_fresh(quote, now_ns)):
            if self.quote_asked:
                return []
            self.quote_asked = True
            return [do.AskQuote()]
        effects: list[Effect] = []
        while self.unplanned and self._room > 0:
            effects += self._plan_submission(self.unplanned.popleft(), quote)
        for intent_id in self._take_unplanned_retries():
            effects += self._plan_retry(intent_id, quote)
        return effects

    def _is_fresh(self, quote: Quote | None, now_ns: int) -> bool:
        # not of a time to come, either: a clock may be set back
        return quote is not None and 0 <= now_ns - quote.observed_ns <= self.settings.quote_max_age

    @property
    def _room(self) -> int:
        """Wishes that may go to the book now."""
        return OPENING_MAX - len(self.opening)

    def _take_unplanned_retries(self) -> list[IntentId]:
        taken, self.unplanned_retries = self.unplanned_retries, []
        return [] if self.stopping else [intent_id for intent_id in taken if intent_id in self.live]

    def _plan_submission(self, submission: Submission, quote: Quote) -> list[Effect]:
        opening = self.opening.get(self.opening_by_key.get(submission.key, IntentId("")))
        if opening is not None and opening.payload_hash == submission.payload_hash:
            opening.joined.append(submission)
            return []
        plan = plan_first(submission.request, self.rules, quote, self.settings)
        if isinstance(plan, Refusal):
            return self._refuse(submission, plan)
        accepted = self._intent(submission, quote)
        self.opening[accepted.intent_id] = _Opening(submission.payload_hash, submission, [])
        self.opening_by_key.setdefault(submission.key, accepted.intent_id)
        return [
            do.Open(
                Opening(
                    intent=accepted,
                    payload_hash=submission.payload_hash,
                    alternate_key=submission.alternate_key,
                    plan=plan,
                    rules=self.rules,
                    min_notional=self.settings.min_notional,
                    retries_max=self.settings.max_retries,
                    backoff_ms=self.settings.backoff_ms,
                )
            )
        ]

    def _intent(self, submission: Submission, quote: Quote) -> Intent:
        request = submission.request
        return Intent(
            intent_id=ids.intent_id(submission.at_ns, request.symbol, submission.key, submission.payload_hash),
            idempotency_key=submission.key,
            decision_id=request.decision_id,
            symbol=request.symbol,
            side=request.side,
            kind=request.kind,
            qty=request.qty,
            quote_budget=request.quote_budget,
            limit_price=request.limit_price,
            tif=request.tif,
            max_slippage_bps=request.max_slippage_bps,
            reduce_only=request.reduce_only,
            reason=request.reason,
            source=request.source,
            created_ns=submission.at_ns,
            market_snapshot=MarketSnapshot(quote.bid, quote.ask, quote.observed_ns),
        )

    def _plan_retry(self, intent_id: IntentId, quote: Quote) -> list[Effect]:
        record = self.live[intent_id][0]
        if record.state is not State.RETRY:
            return []
        plan: OrderPlan | Refusal = plan_retry(record, self.rules, quote, self.settings)
        if isinstance(plan, Refusal):
            return [do.GiveUp(intent_id, plan, record.amendments)]
        self.beginning.add(intent_id)
        return [do.Begin(intent_id, record.attempts + 1, plan)]

    def _finish(self, record: IntentRecord) -> list[Effect]:
        intent_id = record.intent.intent_id
        self.live.pop(intent_id, None)
        self.placed.pop(intent_id, None)
        self.beginning.discard(intent_id)
        waiters = self.waiters.pop(intent_id, [])
        self.waiting.difference_update(waiters)
        return [do.Done(request_id, record) for request_id in waiters]

    def _follow(self, now_ns: int, record: IntentRecord, attempt: AttemptRecord) -> list[Effect]:
        """Look at this order again after its interval, or earlier if that was planned already."""
        due_ns = now_ns + self._follow_interval_ns(record, attempt)
        if self.following and self.follow_due_ns <= due_ns:
            return []
        if self.following:
            self.follow_round += 1  # the timer that is set comes too late for this
        self.following, self.follow_due_ns = True, due_ns
        return [do.WakeAt(due_ns, Timer(TimerKind.FOLLOW, round=self.follow_round))]

    def _follow_interval_ns(self, record: IntentRecord, attempt: AttemptRecord) -> int:
        """An order that only rests needs fewer looks while the stream tells of it."""
        is_resting = record.state is not State.CANCELING and attempt.status is AttemptStatus.WORKING
        slow = self.stream_is_live and is_resting
        return self.settings.stream_poll_interval if slow else self.settings.poll_interval

    def _follow_now(self, now_ns: int) -> list[Effect]:
        self.following = False
        self.follow_round += 1
        working = [(record, attempt) for record, attempt in self.live.values() if record.state in FOLLOWED]
        if not working:
            return []
        effects: list[Effect] = []
        if now_ns >= self.list_awaited_until_ns:  # else the venue is slow, or has no room, and needs no second question
            self.list_awaited_until_ns = now_ns + LIST_PATIENCE_NS
            effects.append(do.ListOpenOrders())
        for record, attempt in working:
            if attempt.status is AttemptStatus.CLOSED:
                effects += self._look_up(attempt)  # over, but its trades are not all here yet
            elif self._is_overdue(record, attempt, now_ns):
                effects.append(do.NoteCancel(record.intent.intent_id, "older than router.order_max_age"))
        soonest = min(working, key=lambda live: self._follow_interval_ns(*live))
        return effects + self._follow(now_ns, *soonest)

    def _is_overdue(self, record: IntentRecord, attempt: AttemptRecord, now_ns: int) -> bool:
        resting = record.intent.tif in RESTING and record.state is not State.CANCELING
        return resting and now_ns - attempt.created_ns > self.settings.order_max_age

    def _look_up(self, attempt: AttemptRecord) -> list[Effect]:
        if attempt.client_order_id in self.looking_up:
            return []
        self.looking_up.add(attempt.client_order_id)
        return [do.LookUp(attempt)]
