"""Both ends of a user data stream, for tests: a client that speaks the wire itself, an owner that remembers what our
client tells it, and a venue that says what the test wants it to."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from core.reports import OrderSnapshot
from exchange.binance import stream_address
from exchange.credentials import Credentials
from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from exchange.stream import Connected, Lost, StreamState, UserStream
from exchange.stream_connection import StreamTiming

DEADLINE_S = 60.0
"""What must come comes within moments; a machine that is slow has long for it."""
PATIENT = StreamTiming(answer_s=3_600, quiet_s=3_600, pong_s=3_600, backoff_first_s=0.01, backoff_max_s=0.05)
"""Never loses a connection because a test is slow, and whoever waits for one of these waits too long."""
QUICK = msgspec.structs.replace(PATIENT, quiet_s=0.2, pong_s=3)
"""Silence is noticed within seconds."""
STOPPED_S = 9.0
"""A simulator that waits for a client to agree that it is over would wait for 10 s, and be killed then."""
SUBSCRIBED = '{"id": 1, "status": 200, "result": {"subscriptionId": 0}}'

Result = TypeVar("Result")


def within(work: Coroutine[Any, Any, Result], timeout_s: float = DEADLINE_S) -> Result:
    """What the coroutine returns."""

    async def bounded() -> Result:
        async with asyncio.timeout(timeout_s):
            return await work

    return asyncio.run(bounded())


def signed(secret: str = SIM_API_SECRET, **params: Any) -> dict[str, Any]:
    """Params of a subscription, with the present time unless they have one; None leaves one out."""
    usual = {"apiKey": SIM_API_KEY, "timestamp": time.time_ns() // 1_000_000}
    sent = {name: value for name, value in (usual | params).items() if value is not None}
    text = "&".join(f"{name}={value}" for name, value in sorted(sent.items()))
    return sent | {"signature": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}


class Wire:
    """A websocket, spoken by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[Any]) -> None:
        self.socket = socket

    async def ask(self, method: str, params: Any = None) -> Any:
        """The next message after the request."""
        await self.socket.send_json({"id": 7, "method": method} | ({} if params is None else {"params": params}))
        return await self.hear()

    async def subscribe(self) -> None:
        assert (await self.ask("userDataStream.subscribe.signature", signed()))["status"] == 200

    async def hear(self) -> Any:
        return await self.socket.receive_json(timeout=DEADLINE_S)

    async def until(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Reports of an order of this name, up to the one of this execution type or status."""
        heard: list[dict[str, Any]] = []
        while not heard or kind not in {heard[-1]["x"], heard[-1]["X"]}:
            event = (await self.hear())["event"]
            if name in {event.get("c"), event.get("C")}:
                heard.append(event)
        return heard


@asynccontextmanager
async def wired(base_url: str, **options: Any) -> AsyncIterator[Wire]:
    """A connection to a simulator."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{base_url}/ws-api/v3", timeout=aiohttp.ClientWSTimeout(ws_close=0.1), **options) as socket,
    ):
        yield Wire(socket)


class Owner:
    """Remembers what a stream tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, OrderSnapshot]] = []
        self.states: list[StreamState] = []
        self.lines: list[str] = []
        self._told = asyncio.Event()

    def on_report(self, symbol: str, report: OrderSnapshot) -> None:
        self.reports.append((symbol, report))
        self._told.set()

    def on_state(self, state: StreamState) -> None:
        self.states.append(state)
        self._told.set()

    def write_trace(self, line: str) -> None:
        self.lines.append(line)
        self._told.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._told.clear()
                await self._told.wait()

    async def connections(self, count: int) -> None:
        """Wait until it has been connected so often."""
        await self.until(lambda: sum(isinstance(state, Connected) for state in self.states) >= count)

    async def losses(self, count: int = 1) -> list[Lost]:
        await self.until(lambda: len(self.lost) >= count)
        return self.lost

    async def report(self, name: str, status: str) -> OrderSnapshot:
        """Wait until an order is told to be so."""

        def found() -> list[OrderSnapshot]:
            return [r for _, r in self.reports if (r.client_order_id, r.venue_status) == (name, status)]

        await self.until(lambda: bool(found()))
        return found()[0]

    @property
    def lost(self) -> list[Lost]:
        return [state for state in self.states if isinstance(state, Lost)]


def stream_of(base_url: str, owner: Owner, **changes: Any) -> UserStream:
    """A stream of ours; `changes` replace arguments."""
    usual: dict[str, Any] = {
        "address": stream_address(base_url, sandbox=False),
        "keys": Credentials(SIM_API_KEY, SIM_API_SECRET),
        "recv_window_ms": 5_000,
        "now_ns": time.time_ns,
        "jitter": lambda: 0.5,
        "symbol": str,
        "currency": str,
        "on_report": owner.on_report,
        "on_state": owner.on_state,
        "write_trace": owner.write_trace,
        "timing": PATIENT,
    }
    return UserStream(**(usual | changes))


@asynccontextmanager
async def streaming(base_url: str, **changes: Any) -> AsyncIterator[Owner]:
    """A running stream, closed at the end; what it raised is raised."""
    owner = Owner()
    stream = stream_of(base_url, owner, **changes)
    task = asyncio.create_task(stream.run())
    try:
        yield owner
    finally:
        await stream.close()
    if not task.cancelled():
        task.result()


Script = Callable[[web.WebSocketResponse], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Stage:
    """A venue that says to each connection what a test has written; then it keeps it open, in silence."""

    def __init__(self, *scripts: Script) -> None:
        """The last one is for all further connections, too."""
        self._scripts = list(scripts)
        self.requests: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        self.requests.append(json.loads((await socket.receive()).data))
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        await script(socket)
        while not (await socket.receive()).type.name.startswith("CLOS"):
            pass
        return socket


def says(*texts: str) -> Script:
    """Whatever is asked, these are sent."""

    async def script(socket: web.WebSocketResponse) -> None:
        for text in texts:
            await socket.send_str(text)

    return script


@asynccontextmanager
async def served(handle: Handler) -> AsyncIterator[str]:
    """A server with a port of its own. Gives its address."""
    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
