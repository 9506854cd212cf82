"""The venue on HTTP: every request goes through its passage, and the waits that a fault asks for are waited here.

A request to the WebSocket API becomes a stream (`streams.py`).

Everything between two waits happens at once. Listens on the loopback address only.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any, Final

from aiohttp import web

from exchange.simulator.answers import NO_ANSWER, Answer, spoiled
from exchange.simulator.passage import STREAM_PATH, Admitted, Connected, Outcome, Passage, Request
from exchange.simulator.streams import PING_INTERVAL_S, Streams

HOST: Final = "127.0.0.1"
TICKER_S: Final = 0.25
"""How often resting orders are looked at while nobody asks."""


class Venue(Passage):
    """The passage of a running simulator."""

    def __init__(self, *, ping_interval_s: float = PING_INTERVAL_S, **passage: Any) -> None:
        """`ping_interval_s` is how often a stream is pinged; the rest is `Passage`'s."""
        super().__init__(**passage)
        self.streams = Streams(self.faults, self.clock_ns, ping_interval_s)

    def save(self) -> None:
        """As `Passage` does it; events that nobody hears are not even made."""
        self.publish = self.streams.publish if self.streams.subscriptions else None
        super().save()

    @cached_property
    def failure(self) -> asyncio.Future[None]:
        """Gets the exception after which the simulator cannot keep its promise any more and has to end."""
        return asyncio.get_running_loop().create_future()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request to the venue."""
        if request.path == STREAM_PATH and web.WebSocketResponse().can_prepare(request):
            return await self._stream(request)
        body = (await request.read()).decode(errors="replace") if request.body_exists else ""
        query = request.raw_path.partition("?")[2]
        key = request.headers.get("X-MBX-APIKEY")
        admitted = self.admit(Request(request.method, request.path, query, body, key))
        if not isinstance(admitted, Admitted):
            return self._sent(request, admitted)
        self._end_streams_in_outage()
        await _pause(admitted.plan.delay_ms)
        outcome = self._execute(admitted)
        await _pause(outcome.late_ms)
        return self._sent(request, outcome.answer)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        connected = self.connect()
        if not isinstance(connected, Connected):
            self._end_streams_in_outage()
            return self._sent(request, connected)
        await _pause(connected.plan.delay_ms)
        down = self.faults.outage(self.clock_ns())
        if down is not None:
            return self._sent(request, spoiled(NO_ANSWER, down))
        return await self.streams.serve(request, connected)

    async def run_market(self) -> None:
        """Let resting orders trade while nobody asks. Never returns."""
        while True:
            await asyncio.sleep(TICKER_S)
            self.engine.advance(self.clock_ns())
            self.save()

    def _end_streams_in_outage(self) -> None:
        if self.faults.outage(self.clock_ns()) is not None:
            self.streams.cut()

    def _sent(self, request: web.Request, answer: Answer | None) -> web.Response:
        """The answer, counted; without one the connection ends."""
        self.answers[f"{request.method} {request.path} {'none' if answer is None else answer.status}"] += 1
        return _sent(request, answer)

    def _execute(self, admitted: Admitted) -> Outcome:
        try:
            return self.carry_out(admitted)
        except Exception as error:  # noqa: BLE001  (half executed: nothing may be saved or answered from here on)
            if not self.failure.done():
                self.failure.set_exception(error)
            return Outcome(Answer(500, b"", {}), 0)


async def _pause(time_ms: int) -> None:
    if time_ms:
        await asyncio.sleep(time_ms / 1_000)


def _sent(request: web.Request, answer: Answer | None) -> web.Response:
    if answer is not None:
        return web.Response(
            status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
        )
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # has nowhere to go
