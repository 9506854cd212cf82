"""The way of a request through the venue: limits, keys, faults, endpoint, journal. No HTTP, no waiting.

A request is admitted when it comes in and carried out later, if its plan says so; whoever calls waits in between. What
`carry_out` does happens at once, so a request is executed whole or not at all, and what it changed is in the operating
system's hands before its answer leaves, and before anybody is told of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from exchange.simulator import auth
from exchange.simulator.account import Balance
from exchange.simulator.announcer import Announcer
from exchange.simulator.answers import NO_ANSWER, Answer, spoiled
from exchange.simulator.endpoints import ENDPOINTS, Call, Endpoint
from exchange.simulator.errors import VenueError
from exchange.simulator.faults import Faults
from exchange.simulator.limits import RateLimits
from exchange.simulator.matching import MatchingEngine, Record
from exchange.simulator.owner import Owner
from exchange.simulator.params import Params, mandatory
from exchange.simulator.plan import HTML, Kind, Plan
from exchange.simulator.reads import HiddenFills
from exchange.simulator.session import CONNECT_WEIGHT, Session
from exchange.simulator.wire import Json

NOT_FOUND: Final = Answer(404, b"<html><body><h1>404 Not Found</h1></body></html>", {}, HTML)
STREAM_PATH: Final = "/ws-api/v3"

_NS_PER_MS: Final = 1_000_000
_encoder: Final = msgspec.json.Encoder()


class Request(NamedTuple):
    """As it comes in."""

    method: str
    path: str
    query: str
    """As it was sent, encoded."""
    body: str
    api_key: str | None


class Admitted(NamedTuple):
    """A request that will be carried out."""

    endpoint: Endpoint
    params: Params
    plan: Plan
    """To be awaited first: `delay_ms`."""


class Connected(NamedTuple):
    """A new client of the WebSocket API that is let in."""

    session: Session
    plan: Plan
    """To be awaited first: `delay_ms`."""


class Outcome(NamedTuple):
    answer: Answer | None
    """None: the connection ends without one."""
    late_ms: int
    """To be awaited before the answer leaves."""


class Passage:
    """Of one venue."""

    def __init__(
        self,
        *,
        engine: MatchingEngine,
        save: Callable[[list[Record]], None],
        credentials: auth.Credentials,
        limits: RateLimits,
        clock_ns: Callable[[], int],
        owner: Owner | None = None,
    ) -> None:
        """`save` hands records over to the operating system; `clock_ns` is the venue's clock, ns UTC."""
        self.engine = engine
        self.faults = Faults()
        self.hidden: HiddenFills = {}
        """Fills that no read shows yet. Not saved, as faults are not."""
        self.requests: Counter[str] = Counter()
        """Seen so far, by method and path."""
        self.answers: Counter[str] = Counter()
        """How they ended, by method, path and status; `none` where the connection ended without an answer."""
        self.publish: Callable[[list[Json]], None] | None = None
        """Gets the events of each step, in their order; None: nobody listens."""
        self.clock_ns = clock_ns
        self._announcer = Announcer(engine, self.hidden)
        self._save = save
        self._credentials = credentials
        self._limits = limits
        self._owner = owner or Owner()

    def admit(self, request: Request) -> Admitted | Answer | None:
        """Take a request in. An answer: it is not carried out; None: nor answered, the connection ends."""
        endpoint = ENDPOINTS.get((request.method, request.path))
        if endpoint is None:
            return NOT_FOUND
        self.requests[f"{request.method} {request.path}"] += 1
        down = self.faults.outage(self.clock_ns())
        if down is not None:
            return spoiled(NO_ANSWER, down)
        try:
            params = Params(request.query, request.body)
            self._limits.charge(self.clock_ns(), endpoint.weight(params))
            if endpoint.signed:
                auth.check_key(self._credentials, request.api_key)
                auth.check_signature(self._credentials, request.query, request.body)
        except VenueError as error:
            return self._refused(error)
        return Admitted(endpoint, params, self.faults.plan(endpoint.kind, self.clock_ns()))

    def connect(self) -> Connected | Answer | None:
        """A new client of the WebSocket API. An answer: it is not let in; None: nor answered, the connection ends."""
        self.requests[f"GET {STREAM_PATH}"] += 1
        down = self.faults.outage(self.clock_ns())
        if down is not None:
            return spoiled(NO_ANSWER, down)
        try:
            self._limits.charge(self.clock_ns(), CONNECT_WEIGHT)
        except VenueError as error:
            return self._refused(error)
        plan = self.faults.plan(Kind.STREAM, self.clock_ns())
        if plan.before is not None:
            return spoiled(NO_ANSWER, plan.before)
        return Connected(Session(self._credentials, self._limits, self.clock_ns, plan.skew_ms, self._answered), plan)

    def carry_out(self, admitted: Admitted) -> Outcome:
        """The true answer, a refusal too, or what a fault makes of it. Raises `OSError` when it cannot be saved."""
        plan = admitted.plan
        before = self.faults.outage(self.clock_ns()) or plan.before
        if before is not None:
            return Outcome(spoiled(NO_ANSWER, before), 0)
        answer = self._answer(admitted)
        self.save()  # for a refusal too: the market may have moved on the way to it
        return Outcome(answer if plan.after is None else spoiled(answer, plan.after), plan.late_ms)

    def save(self) -> None:
        """Hand over to the operating system what changed, then tell those who listen. Raises `OSError`."""
        now_ns = self.clock_ns()
        # first, since it lets the market move on
        shown = None if self.publish is None else self._announcer.shown_balances(now_ns)
        happened, changes = self.engine.happenings(), self.engine.changes()
        self._save(changes)
        if self.publish is None:
            return
        balances = [record for record in changes if isinstance(record, Balance)]
        events = self._announcer.events(happened, balances, shown, now_ns)
        if events:
            self.publish(events)

    def _answered(self, status: int) -> None:
        """A request to the WebSocket API."""
        self.answers[f"WS {STREAM_PATH} {status}"] += 1

    def _answer(self, admitted: Admitted) -> Answer:
        endpoint, params, plan = admitted
        now_ns = self.clock_ns()
        try:
            if endpoint.signed:
                _check_time(now_ns + plan.skew_ms * _NS_PER_MS, params)
            if plan.refusal is not None:
                raise plan.refusal
            if endpoint.kind is Kind.PLACE:
                self._limits.check_order(now_ns)
            content = endpoint.run(Call(self.engine, params, now_ns, plan, self._limits, self.hidden, self._owner))
            params.check_all_read()  # endpoints that change something have asked this before they did
        except VenueError as error:
            return self._refused(error)
        headers = self._limits.weight_headers(now_ns)
        if endpoint.kind is Kind.PLACE:
            self._limits.count_order(now_ns)
            headers |= self._limits.order_headers(now_ns)
        return Answer(200, _encoder.encode(content), headers)

    def _refused(self, error: VenueError) -> Answer:
        headers = self._limits.weight_headers(self.clock_ns())
        if error.retry_after_s:
            headers["Retry-After"] = str(error.retry_after_s)
        return Answer(error.status, _encoder.encode({"code": error.code, "msg": error.text}), headers)


def _check_time(now_ns: int, params: Params) -> None:
    timestamp_ms = mandatory("timestamp", params.integer("timestamp"))
    recv_window_ms = params.integer("recvWindow")
    params.text("signature", r"^.+$")
    auth.check_timestamp(now_ns, timestamp_ms, recv_window_ms or auth.RECV_WINDOW_MS_DEFAULT)
