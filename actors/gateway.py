"""Gateway: the account's one door to the venue.

It exists because credentials, the connection pool and rate limits belong to the account, not to a symbol. Its asyncio
loop is pumped by the actor itself whenever the venue answers (`pumped_loop`), so the actor never blocks and the venue's
latency holds nobody up. Only this process holds credentials.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from actors import logs
from actors.base import CREDENTIAL_VARIABLES, WatchMessage
from actors.crashpoints import reach
from actors.first_answer import first_answer
from actors.pumped_loop import PumpedLoop
from actors.questions import Questions, lane_of
from core import departure, events, predecessor, private_data, timestamps
from core.breaker import Breaker, Permit, failed
from core.departure import Moment
from core.errors import IntentdError, StartupFailed, VenueSilent
from core.health import StreamHealth
from core.ids import NS_PER_MS, NS_PER_S, ClientOrderId
from core.in_flight import InFlight
from core.news import News, says_nothing_new
from core.rates import Stop
from core.records import AttemptRecord
from core.reports import NotPlaced, OrderSnapshot, OutcomeUnknown, QueryFailed, Report
from messages.book import (
    ApplyReport,
    OpeningBalancesRecorded,
    RecordBreaker,
    RecordClock,
    RecordEvents,
    RecordOpeningBalances,
    ReportApplied,
)
from messages.lifecycle import ChildReady, ConfigureChild, Rewire, StartDelayed, Tick
from messages.venue import (
    AwaitQuiet,
    BalancesFetched,
    CancelAttempted,
    CancelOrder,
    EndPlacing,
    FetchBalances,
    GatewayHealth,
    GatewayReady,
    PlaceOrder,
    WireQuiet,
)
from storage.book_store import BookStore

if TYPE_CHECKING:
    from exchange.client import VenueClient
    from exchange.stream import StreamState, UserStream

STOP_TIMEOUT_S = 5.0
NEVER = 1 << 62
HANDED_MAX = 100_000
INTRODUCE_AGAIN_NS = 500_000_000
INTRODUCE_TICK: Final = Tick(name="introduce")
HEALTH_NS = 1_000_000_000
"""Between two looks at what there is to tell the engine, and whether the book has the breaker as it is."""
ACCOUNT_ASKED: Final = 2
"""So often a start asks for the account in vain, unless it is known that it cannot be read; then it does without: an
order that is to be canceled cannot wait for it."""
HEALTH_TICK: Final = Tick(name="health")
PORTFOLIO: Final = object()
"""Receiver of a result: whoever is the portfolio when it is there."""
NOBODY: Final = object()
"""Receiver of what has told already whom it concerns."""


class Gateway(Questions):
    name = "gateway"
    keeps_credentials = True
    loop: PumpedLoop

    def __init__(self) -> None:
        super().__init__()
        self.results: deque[tuple[Any, Any]] = deque()
        self.alarm_ns = NEVER
        """When the earliest alarm that is set will ring; monotonic."""
        self.portfolio: Any = None
        self.ready: GatewayReady | None = None
        self.introduced = False
        self.let_in_by: Any = None
        """The portfolio that has answered an introduction."""
        self.stopping = False
        self.handed: dict[ClientOrderId, None] = {}
        """Every order that was handed over, oldest first."""
        self.quiet_askers: list[tuple[Any, str, frozenset[ClientOrderId]]] = []
        """Who wants to know when nothing of these is on the way any more: address, request, orders."""
        self.permits: dict[ClientOrderId, Permit] = {}
        """Orders that the breaker has let through and that were not answered yet."""
        self.told: GatewayHealth | None = None
        self.noted_revision = 0
        self.news = News()
        self.is_learning = False
        """Whose account it is."""
        self.stream: UserStream | None = None
        self.stream_health: StreamHealth | None = None

    store: BookStore
    in_flight: InFlight
    breaker: Breaker

    def on_start(self, message: ConfigureChild) -> None:
        self.portfolio = message.portfolio
        self.store = self.open_book()
        with self.store.snapshot() as view:
            self.breaker = Breaker(self.settings.breaker, view.breaker())
            recv_window_ns = self.settings.exchange.recv_window_ms * NS_PER_MS
            clock = timestamps.span(view)
            self.in_flight = InFlight(recv_window_ns, self.monotonic_ns(), clock.ahead_ns, clock.behind_ns)
            left = predecessor.left(view, self.now_ns())
            known_taker = private_data.known_taker(view)
            patience = 0 if private_data.standing(view).is_gone else ACCOUNT_ASKED
        self.noted_revision = self.breaker.record.revision
        self.loop = PumpedLoop(self.monotonic_ns)
        self.watched = [self.loop.fileno()]
        self.client = self.open_venue()
        self.client.on_rate_limit_hit = self.rate_limit_hit
        self.client.on_clock_read = self.clock_read
        self.client.go_on_with(left, was_reached=message.venue_was_reached)
        for variable in CREDENTIAL_VARIABLES:
            os.environ.pop(variable, None)

        asked = itertools.count(1)

        async def start() -> GatewayReady:
            found = await first_answer(
                lambda: self.client.start(known_taker if next(asked) > patience else None),
                self.settings.engine.start_timeout,
                self.monotonic_ns,
                self.venue_is_silent,
            )
            return GatewayReady(markets=found.markets, totals=found.totals, account=found.account)

        self.run(None, start)
        self.wake_after_ns(HEALTH_NS, HEALTH_TICK)

    def venue_is_silent(self, reason: str, attempt: int, again_in_s: float) -> None:
        self.log.warning("venue_does_not_answer", reason=reason, attempt=attempt, again_in_s=again_in_s)
        if attempt == 1:
            self.send(self.engine, StartDelayed(reason=reason))

    def open_venue(self) -> VenueClient:
        from exchange.client import VenueClient  # noqa: PLC0415  (ccxt is imported in this process alone)

        tracer = logs.LineFile(str(self.folder.tracer_log))
        return VenueClient(self.settings, os.environ, tracer.msg, self.now_ns)

    def on_prepare_stop(self) -> bool:
        self.stopping = True
        return True

    def on_stop(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if self.stream is not None:
                self.loop.complete(self.stream.close(), STOP_TIMEOUT_S)
            self.loop.complete(self.client.close(), STOP_TIMEOUT_S)
        except TimeoutError:
            self.log.warning("venue_connection_not_closed")
        self.loop.close()
        self.store.close()

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────

    def receiveMsg_PlaceOrder(self, message: PlaceOrder, _sender: Any) -> None:
        attempt = message.attempt
        if attempt.client_order_id in self.handed:
            self.log.error("placement_came_twice", client_order_id=attempt.client_order_id)
            return  # the transport may deliver twice; the venue would execute twice
        self.handed[attempt.client_order_id] = None
        if len(self.handed) > HANDED_MAX:
            self.handed.pop(next(iter(self.handed)))

        async def place() -> None:
            wait_ns = self.breaker.wait_ns(self.now_ns())
            report = (
                self.breaker_is_open(attempt, wait_ns)
                if wait_ns
                else self.judged(await self.client.place(attempt, lambda: self.blocked(attempt)))
            )
            reach("gateway request: after")
            if not isinstance(report, OutcomeUnknown):
                self.in_flight.answered(attempt.client_order_id)
                self.tell_quiet()
            self.results.append((PORTFOLIO, ApplyReport(report=report)))
            self.pass_on(self.news.answered(report))

        self.run(NOBODY, place)

    def blocked(self, attempt: AttemptRecord) -> NotPlaced | None:
        """Why this order is not sent at all; nothing has left then, which is proof that it was not placed.

        Asked in the last moment before the send, when the time that the request claims has been taken.
        """
        account = self.ready.account.fingerprint if self.ready is not None else ""
        clock = self.client.timestamps
        with self.store.snapshot() as view:
            moment = Moment(
                self.settings.engine.mode,
                account,
                self.stopping,
                self.now_ns(),
                correction_ns=clock.correction_ns,
                is_clock_doubted=clock.is_doubted,
            )
            refused = departure.refusal(view, attempt, moment)
        return refused or self.blocked_by_breaker(attempt)

    # ── the breaker ───────────────────────────────────────────────────────────────────────────────────────────────

    def blocked_by_breaker(self, attempt: AttemptRecord) -> NotPlaced | None:
        """The last check of all: what passes it leaves."""
        permit = self.breaker.admit(self.now_ns())
        if permit is None:
            return self.breaker_is_open(attempt, self.breaker.wait_ns(self.now_ns()))
        self.permits[attempt.client_order_id] = permit
        self.note_breaker()
        reach("gateway request: before")
        correction_ns = self.client.timestamps.correction_ns
        self.in_flight.leaves(attempt.client_order_id, self.monotonic_ns(), correction_ns)
        self.news.leaves(attempt.client_order_id)
        return None

    def breaker_is_open(self, attempt: AttemptRecord, wait_ns: int) -> NotPlaced:
        """It waits in RETRY, and comes when the venue is tried again or later."""
        record = self.breaker.record
        reason = f"{record.failures} of {record.samples} orders failed at the venue; see `intentctl status`"
        return self.client.come_again(attempt, "BREAKER_OPEN", reason, wait_ns)

    def judged(self, report: Report) -> Report:
        """The same, and the breaker knows what it says about the venue."""
        permit = self.permits.pop(report.client_order_id, None)
        if permit is not None:
            self.breaker.settle(permit, failed(report), self.now_ns())
            self.note_breaker()
        return report

    def note_breaker(self) -> None:
        """Each change goes to the book."""
        record = self.breaker.record
        if record.revision != self.noted_revision:
            self.noted_revision = record.revision
            self.log.warning("breaker_changed", state=str(record.state), opens_total=record.opens_total)
            self.send(self.portfolio, RecordBreaker(breaker=record))

    def note_breaker_again(self) -> None:
        """What the book does not show yet may be lost on the road."""
        with self.store.snapshot() as view:
            known = view.breaker()
        if self.breaker.record.revision > (known.revision if known is not None else 0):
            self.send(self.portfolio, RecordBreaker(breaker=self.breaker.record))

    # ── the venue's clock ─────────────────────────────────────────────────────────────────────────────────────────

    def clock_read(self) -> None:
        """The venue has refused the time of a request, so its clock was read."""
        clock = self.client.timestamps
        self.log.warning("venue_clock_read", correction_ms=clock.correction_ns // NS_PER_MS, problem=clock.problem)
        self.in_flight.clock_read(clock.correction_ns)
        self.note_clock()

    def note_clock(self) -> None:
        """No order leaves with a correction that the book does not cover; what it is told may be lost on the road."""
        if not self.is_clock_noted():
            self.send(self.portfolio, RecordClock(correction_ns=self.client.timestamps.correction_ns))

    def is_clock_noted(self) -> bool:
        with self.store.snapshot() as view:
            return timestamps.is_covered(view, self.client.timestamps.correction_ns)

    # ── the user stream ───────────────────────────────────────────────────────────────────────────────────────────

    def listen(self) -> None:
        """Hear what the venue tells by itself, if the settings say so."""
        if not self.settings.exchange.user_stream:
            return
        self.stream = self.client.user_stream(self.stream_told, self.stream_changed)
        self.run(NOBODY, self.stream.run)

    def stream_told(self, _symbol: str, report: OrderSnapshot) -> None:
        self.pass_on(self.news.told(report, self.now_ns()))

    def pass_on(self, reports: Iterable[OrderSnapshot]) -> None:
        """To the book, what it does not know. Orders that are not ours are the reconciler's."""
        for report in reports:
            with self.store.snapshot() as view:
                attempt = view.attempt_by_client_id(report.client_order_id)
            if attempt is not None and not says_nothing_new(attempt, report):
                self.results.append((PORTFOLIO, ApplyReport(report=report)))

    def stream_changed(self, state: StreamState) -> None:
        """The engine tells whoever must ask the more, or may ask the less."""
        is_live, because = not hasattr(state, "because"), getattr(state, "because", "")
        self.stream_health = StreamHealth(is_live=is_live, since_ns=state.since_ns, because=because)
        self.log.info("user_stream", is_live=is_live, because=because)
        self.tell_health()

    # ── the budget ────────────────────────────────────────────────────────────────────────────────────────────────

    def rate_limit_hit(self, status: int, stop: Stop) -> None:
        """The venue has said that there were too many requests: who looks later shall see when, and why."""
        lanes = tuple(str(lane) for lane in stop.lanes)
        self.log.error("rate_limit_hit", status=status, lanes=lanes, until_ns=stop.until_ns)
        hit = events.RateLimitHit(
            at_ns=self.now_ns(), status=status, lanes=lanes, until_ns=stop.until_ns, reason=stop.reason
        )
        self.send(self.portfolio, RecordEvents(events=(hit,)))

    def tell_health(self) -> None:
        now_ns = self.now_ns()
        health = GatewayHealth(
            at_ns=self.told.at_ns if self.told is not None else now_ns,
            in_flight=self.client.in_flight,
            rates=self.client.rate_figures(),
            breaker=self.breaker.figures(now_ns),
            stream=self.stream_health,
        )
        if health != self.told:
            self.told = replace(health, at_ns=now_ns)
            self.send(self.engine, self.told)

    def look_around(self) -> None:
        """What nobody else brings about."""
        self.tell_health()
        self.note_breaker_again()
        self.note_clock()
        self.pass_on(self.news.overdue(self.now_ns()))
        self.wake_after_ns(HEALTH_NS, HEALTH_TICK)

    def receiveMsg_AwaitQuiet(self, message: AwaitQuiet, sender: Any) -> None:
        self.quiet_askers.append((sender, message.request_id, self.in_flight.orders(self.monotonic_ns())))
        self.tell_quiet()

    def tell_quiet(self) -> None:
        """Answer whoever waits for nothing any more. The engine has a deadline of its own; nobody else looks."""
        waiting, self.quiet_askers = self.quiet_askers, []
        for asker, request_id, orders in waiting:
            if self.in_flight.is_quiet(orders, self.monotonic_ns()):
                self.send(asker, WireQuiet(request_id=request_id))
            else:
                self.quiet_askers.append((asker, request_id, orders))

    def receiveMsg_EndPlacing(self, message: EndPlacing, _sender: Any) -> None:
        self.stopping = True
        self.run(NOBODY, partial(self.client.end_placing, message.wait_max_ns))

    def receiveMsg_CancelOrder(self, message: CancelOrder, sender: Any) -> None:
        async def cancel() -> CancelAttempted:
            reach("gateway cancel: before")
            note = await self.client.cancel(message.attempt)
            reach("gateway cancel: after")
            return CancelAttempted(client_order_id=message.attempt.client_order_id, note=note)

        self.run(sender, cancel)

    def receiveMsg_FetchBalances(self, message: FetchBalances, sender: Any) -> None:
        async def fetch() -> BalancesFetched:
            totals = await self.client.balances(lane_of(message))
            if not isinstance(totals, QueryFailed):
                self.learn_account()
            return BalancesFetched(purpose=message.purpose, totals=totals)

        self.run(sender, fetch)

    def learn_account(self) -> None:
        """Started while the account could not be read, it does not know whose it is: live trading waits for that."""
        if self.ready is None or self.ready.account.fingerprint or self.is_learning:
            return
        self.is_learning = True

        async def learn() -> None:
            try:
                found = await self.client.start()
            except VenueSilent:
                return  # the next balances that are there lead here again
            except StartupFailed as error:  # such as a key that may withdraw: as at any other start
                self.fail(error)
                return
            finally:
                self.is_learning = False
            assert self.ready is not None
            self.ready = replace(self.ready, markets=found.markets, account=found.account)
            self.send(self.engine, self.ready)

        self.loop.start(learn(), partial(self.finished, NOBODY))

    def receiveMsg_OpeningBalancesRecorded(self, message: OpeningBalancesRecorded, sender: Any) -> None:
        """The last step of the start: the book has its opening balances, now or from before."""
        self.let_in_by = sender
        if self.introduced:
            return
        self.introduced = True
        self.log.info("gateway_ready", opening_recorded=message.first)
        self.send(self.engine, self.ready)
        self.send(self.engine, ChildReady(name=self.label, pid=self.process_id()))

    def receiveMsg_Rewire(self, message: Rewire, _sender: Any) -> None:
        moved = self.portfolio != message.portfolio
        self.portfolio = message.portfolio
        if moved and self.ready is not None:
            self.introduce()

    def introduce(self) -> None:
        """To the portfolio, until it answers: from then on it sends here what it has made durable."""
        assert self.ready is not None
        if self.let_in_by != self.portfolio or self.portfolio is None:
            self.send(self.portfolio, RecordOpeningBalances(totals=self.ready.totals))
            self.wake_after_ns(INTRODUCE_AGAIN_NS, INTRODUCE_TICK)

    def receiveMsg_ReportApplied(self, message: ReportApplied, _sender: Any) -> None:
        """The book has not heard from the symbol's router yet; the router finds the intent there when it starts."""
        self.log.info("report_applied_without_router", intent_id=message.record.intent.intent_id)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, receiver: Any, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin the work; what it returns goes to the receiver, what it raises is this actor's crash."""
        self.loop.start(work(), partial(self.finished, receiver))
        self.pump()

    def finished(self, receiver: Any, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            self.results.append((receiver, task.exception() or task.result()))

    def receiveMsg_WatchMessage(self, _message: WatchMessage, _sender: Any) -> None:
        self.pump()

    def on_timer(self, payload: Any) -> None:
        if payload == INTRODUCE_TICK:
            self.introduce()
            return
        if payload == HEALTH_TICK:
            self.look_around()
            self.pump()
            return
        if payload == self.alarm_ns:
            self.alarm_ns = NEVER
        self.pump()

    def pump(self) -> None:
        """Do what can be done without waiting, deliver what is finished, and be woken when a timer is due."""
        wait_s = self.loop.pump()
        while self.results:
            self.deliver(*self.results.popleft())
        if wait_s is None:
            return
        due_ns = self.monotonic_ns() + int(wait_s * NS_PER_S)
        if due_ns < self.alarm_ns:  # else an alarm that comes first will look again
            self.alarm_ns = due_ns
            self.wake_after_ns(int(wait_s * NS_PER_S), due_ns)

    def deliver(self, receiver: Any, result: Any) -> None:
        if isinstance(result, IntentdError) and self.ready is None:
            self.fail(result)
        elif isinstance(result, Exception):
            raise result
        elif isinstance(result, GatewayReady):
            self.ready = result
            self.introduce()
            self.listen()
        elif receiver is NOBODY:
            pass
        else:
            self.send(self.portfolio if receiver is PORTFOLIO else receiver, result)
