"""The user stream of a simulated world, in the place of the websocket: real events, real parsing, virtual time.

Whoever is connected is told, in order and a moment later, what the venue's own passage publishes. The faults of the
simulator's stream do here what they do there; a connection that is cut is noticed, and begun anew after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec
from thespian.actors import WatchMessage

from exchange.client import VenueClient
from exchange.simulator.plan import Kind, Plan, Point
from exchange.simulator.wire import Json
from exchange.stream import Connected, Lost, OnReport, OnState
from exchange.stream_events import OrderEvent, parse
from tests.simulation.machine import Machine, Process
from tests.simulation.scheduler import NS_PER_MS, NS_PER_S
from tests.simulation.venue import Venue

TRAVEL_NS: Final = (NS_PER_MS, 25 * NS_PER_MS)
CONNECTING_S: Final = (0.05, 3.0)
SILENCE_NS: Final = 10 * NS_PER_S
"""So long after it has fallen silent a connection is given up."""


class Streams:
    """Everybody who listens."""

    def __init__(self, machine: Machine, venue: Venue, random: Random) -> None:
        self.machine = machine
        self.random = random
        self.faults = 0
        self._venue = venue
        self._listeners: list[Stream] = []
        venue.publish = self.publish

    def open(self, caller: Process, client: VenueClient, on_report: OnReport, on_state: OnState) -> Stream:
        exchange = client._ccxt

        def read(text: bytes) -> None:
            message = parse(text.decode(), exchange.safe_symbol, exchange.safe_currency_code)
            if isinstance(message, OrderEvent):
                on_report(message.symbol, message.report)

        stream = Stream(self, caller, read, on_state)
        self._listeners.append(stream)
        caller.on_end.append(lambda: self._listeners.remove(stream))
        return stream

    def publish(self, events: list[Json]) -> None:
        for event in events:
            plan = self._venue.faults.plan(Kind.EVENT, self.machine.scheduler.now_ns)
            self.faults += plan != Plan(received_ns=plan.received_ns)
            text = msgspec.json.encode({"subscriptionId": 0, "event": event})
            for listener in tuple(self._listeners):
                listener.tell(text, plan)


class Stream:
    """As the gateway uses it: `run` and `close`."""

    def __init__(self, streams: Streams, caller: Process, read: Callable[[bytes], None], on_state: OnState) -> None:
        self._streams = streams
        self._caller = caller
        self._read = read
        self._on_state = on_state
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._connection = 0
        """Which one; 0: none."""
        self._count = 0
        self._last_ns = 0
        """When the newest of what is on the way will arrive."""
        self._is_silent = False

    @property
    def now_ns(self) -> int:
        return self._streams.machine.scheduler.now_ns

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._streams.random.uniform(*CONNECTING_S))
            self._count += 1
            self._connection, self._is_silent = self._count, False
            self._on_state(Connected(self.now_ns))
            while (text := await self._arrived.get()) is not None:
                self._read(text)
            self._on_state(Lost(self.now_ns, "the connection was cut", self.now_ns))

    async def close(self) -> None:
        """Nobody waits for it here."""

    def tell(self, text: bytes, plan: Plan) -> None:
        """The venue sends an event to whoever is connected now."""
        if not self._connection or self._is_silent:
            return
        if plan.cut is Point.BEFORE:
            self._cut(0)
            return
        for _ in range(plan.copies):
            self._send(text, plan.late_ms * NS_PER_MS, overtaken=plan.overtaken)
        if plan.cut is not None:
            self._cut(0)
        elif plan.silent_ms:
            self._is_silent = True
            self._cut(SILENCE_NS)

    def _cut(self, after_ns: int) -> None:
        """What is on the way still arrives; what comes later is not sent."""
        if not after_ns:
            self._is_silent = True
        self._send(None, after_ns, overtaken=False)

    def _send(self, content: bytes | None, late_ns: int, *, overtaken: bool) -> None:
        connection, travel_ns = self._connection, self._streams.random.randint(*TRAVEL_NS)
        at_ns = self.now_ns + travel_ns + late_ns
        if not overtaken:
            at_ns = self._last_ns = max(at_ns, self._last_ns)
        self._streams.machine.scheduler.after(at_ns - self.now_ns, lambda: self._arrive(connection, content))

    def _arrive(self, connection: int, content: bytes | None) -> None:
        if not self._caller.is_alive or connection != self._connection:
            return
        if content is None:
            self._connection = 0
        self._arrived.put_nowait(content)
        self._caller.arrive(WatchMessage([]), self._caller.address)
