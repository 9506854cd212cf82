"""The WebSocket API on the venue's own port: who listens, and what everybody is told.

Events leave when the step that made them is saved: those of an order together with its answer, those of a price move
when the market moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from exchange.simulator.faults import Faults
from exchange.simulator.listener import CLOSE_S, Listener
from exchange.simulator.passage import Connected
from exchange.simulator.plan import Kind
from exchange.simulator.wire import Json

PING_INTERVAL_S: Final = 20.0
MESSAGE_BYTES_MAX: Final = 64 * 1024


class Streams:
    """Everybody who is connected to one venue."""

    def __init__(self, faults: Faults, clock_ns: Callable[[], int], ping_interval_s: float = PING_INTERVAL_S) -> None:
        self._faults = faults
        self._clock_ns = clock_ns
        self._ping_interval_s = ping_interval_s
        self._listeners: dict[Listener, None] = {}

    @property
    def subscriptions(self) -> int:
        return len(self._subscribed())

    async def serve(self, request: web.Request, connected: Connected) -> web.StreamResponse:
        """One connection, from its beginning to its end."""
        socket = web.WebSocketResponse(
            autoping=False, autoclose=False, max_msg_size=MESSAGE_BYTES_MAX, compress=False, timeout=CLOSE_S
        )
        await socket.prepare(request)
        if request.transport is None:
            return socket
        assert isinstance(request.transport, asyncio.Transport)
        listener = Listener(socket, request.transport, connected.session, self._ping_interval_s)
        if connected.plan.silent_ms:
            listener.fall_silent(connected.plan.silent_ms)
        self._listeners[listener] = None
        try:
            await listener.run()
        finally:
            del self._listeners[listener]
        return socket

    def publish(self, events: list[Json]) -> None:
        """Tell everybody who has subscribed. A fault does to an event the same for all of them."""
        listeners = self._subscribed()
        if not listeners:
            return
        for event in events:
            plan = self._faults.plan(Kind.EVENT, self._clock_ns())
            for listener in listeners:
                listener.tell(event, plan)

    def cut(self) -> None:
        """End all connections without a word."""
        for listener in tuple(self._listeners):
            listener.cut()

    async def close(self, _application: web.Application | None = None) -> None:
        """End all connections in order, and soon."""
        await asyncio.gather(*(listener.close() for listener in self._listeners))

    def _subscribed(self) -> list[Listener]:
        return [listener for listener in self._listeners if listener.session.subscription is not None]
