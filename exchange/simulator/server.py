"""The venue on HTTP: one request after the other through limits, keys, faults, endpoint and journal.

Everything between two waits happens at once, so a request is executed whole or not at all. What it changed is in the
operating system's hands before its answer leaves. Listens on the loopback address only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from exchange.simulator import auth
from exchange.simulator.answers import NO_ANSWER, Answer, spoiled
from exchange.simulator.endpoints import ENDPOINTS, Call, Endpoint
from exchange.simulator.errors import VenueError
from exchange.simulator.faults import Faults
from exchange.simulator.limits import RateLimits
from exchange.simulator.matching import MatchingEngine, Record
from exchange.simulator.params import Params, mandatory
from exchange.simulator.plan import Kind, Plan
from exchange.simulator.reads import HiddenFills

HOST: Final = "127.0.0.1"
TICKER_S: Final = 0.25
"""How often resting orders are looked at while nobody asks."""

_NS_PER_MS: Final = 1_000_000
_encoder: Final = msgspec.json.Encoder()


class Venue:
    """The parts of a running simulator and the way of a request through them."""

    def __init__(
        self,
        *,
        engine: MatchingEngine,
        save: Callable[[list[Record]], None],
        credentials: auth.Credentials,
        limits: RateLimits,
        clock_ns: Callable[[], int],
    ) -> None:
        """`save` hands records over to the operating system; `clock_ns` is the venue's clock, ns UTC."""
        self.engine = engine
        self.faults = Faults()
        self.hidden: HiddenFills = {}
        """Fills that no read shows yet. Not saved, as faults are not."""
        self.requests: Counter[str] = Counter()
        """Seen so far, by method and path."""
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception after which the simulator cannot keep its promise any more and has to end."""
        self.clock_ns = clock_ns
        self._save = save
        self._credentials = credentials
        self._limits = limits

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request to the venue."""
        endpoint = ENDPOINTS.get((request.method, request.path))
        if endpoint is None:
            return web.Response(status=404, text="<html><body><h1>404 Not Found</h1></body></html>")
        self.requests[f"{request.method} {request.path}"] += 1
        down = self.faults.outage(self.clock_ns())
        if down is not None:
            return _sent(request, spoiled(NO_ANSWER, down))
        query = request.raw_path.partition("?")[2]
        body = (await request.read()).decode(errors="replace") if request.body_exists else ""
        try:
            params = Params(query, body)
            self._limits.charge(self.clock_ns(), endpoint.weight(params))
            if endpoint.signed:
                auth.check_key(self._credentials, request.headers.get("X-MBX-APIKEY"))
                auth.check_signature(self._credentials, query, body)
        except VenueError as error:
            return _sent(request, self._refused(error))
        plan = self.faults.plan(endpoint.kind, self.clock_ns())
        await _pause(plan.delay_ms)
        before = self.faults.outage(self.clock_ns()) or plan.before
        if before is not None:
            return _sent(request, spoiled(NO_ANSWER, before))
        answer = self._execute(endpoint, params, plan)
        await _pause(plan.late_ms)
        return _sent(request, answer if plan.after is None else spoiled(answer, plan.after))

    async def run_market(self) -> None:
        """Let resting orders trade while nobody asks. Never returns."""
        while True:
            await asyncio.sleep(TICKER_S)
            self.engine.advance(self.clock_ns())
            self.save()

    def save(self) -> None:
        """Hand over to the operating system what changed. Raises `OSError`."""
        self._save(self.engine.changes())

    def _execute(self, endpoint: Endpoint, params: Params, plan: Plan) -> Answer:
        """The true answer, a refusal too. Whole or not at all: nothing in here waits."""
        try:
            answer = self._answer(endpoint, params, plan)
            self.save()  # for a refusal too: the market may have moved on the way to it
        except Exception as error:  # noqa: BLE001  (half executed: nothing may be saved or answered from here on)
            if not self.failure.done():
                self.failure.set_exception(error)
            return Answer(500, b"", {})
        return answer

    def _answer(self, endpoint: Endpoint, params: Params, plan: Plan) -> Answer:
        now_ns = self.clock_ns()
        try:
            if endpoint.signed:
                _check_time(now_ns + plan.skew_ms * _NS_PER_MS, params)
            if plan.refusal is not None:
                raise plan.refusal
            if endpoint.kind is Kind.PLACE:
                self._limits.check_order(now_ns)
            content = endpoint.run(Call(self.engine, params, now_ns, plan, self._limits, self.hidden))
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


async def _pause(time_ms: int) -> None:
    if time_ms:
        await asyncio.sleep(time_ms / 1_000)


def _sent(request: web.Request, answer: Answer | None) -> web.Response:
    """The answer; without one the connection ends."""
    if answer is not None:
        return web.Response(
            status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
        )
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # has nowhere to go
