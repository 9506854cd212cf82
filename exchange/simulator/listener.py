"""One websocket of the WebSocket API: messages in, answers and events out, pings both ways.

Everything that leaves waits in one line, so an event never overtakes the answer to its subscription. The line is
bounded: a client that does not read is cut off, as Binance does it, and so is one that does not answer pings.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Final, NamedTuple

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from exchange.simulator.plan import Plan, Point
from exchange.simulator.session import Session
from exchange.simulator.wire import Json

WAITING_MAX: Final = 1_000
"""Messages that wait for a client to read."""
SENT_UNREAD_MAX: Final = 64 * 1024
"""Bytes that the connection itself holds before the others wait, and the kernel as many."""
PINGS_UNANSWERED_MAX: Final = 3
CLOSE_S: Final = 0.3
"""The longest wait for a client to agree that it is over."""

_encoder: Final = msgspec.json.Encoder()


class _Letter(NamedTuple):
    """Something that leaves."""

    due_s: float
    """On the loop's clock."""
    text: str
    cut: Point | None = None


class Listener:
    """Of one connection."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, session: Session, ping_interval_s: float
    ) -> None:
        transport.set_write_buffer_limits(high=SENT_UNREAD_MAX)
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, SENT_UNREAD_MAX)
        self.session = session
        self._socket = socket
        self._transport = transport
        self._ping_interval_s = ping_interval_s
        self._loop = asyncio.get_running_loop()
        self._line: asyncio.Queue[_Letter] = asyncio.Queue(WAITING_MAX)
        self._latest_s = 0.0
        self._pings_unanswered = 0
        self._is_silent = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Until either side ends it."""
        helpers = [self._loop.create_task(self._write()), self._loop.create_task(self._ping())]
        try:
            await self._read()
        finally:
            self._ended.set()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def tell(self, event: Json, plan: Plan) -> None:
        """Send an event, if the client has subscribed, and what the plan makes of it."""
        if self.session.subscription is None:
            return
        text = _encoder.encode({"subscriptionId": self.session.subscription, "event": event}).decode()
        due_s = self._loop.time() + (plan.delay_ms + plan.late_ms) / 1_000
        cut = Point.BEFORE if plan.cut and not plan.copies else plan.cut
        for copy in range(max(plan.copies, 1 if cut else 0)):
            letter = _Letter(due_s, text, cut if copy == 0 else None)
            if plan.overtaken:
                self._loop.call_at(due_s, self._put, letter)
            else:
                self._put(letter)
        if plan.silent_ms:
            self.fall_silent(plan.silent_ms)

    def fall_silent(self, length_ms: int) -> None:
        """Neither send nor hear anything for so long, then end."""
        self._is_silent = True
        self._loop.call_later(length_ms / 1_000, self.cut)

    def cut(self) -> None:
        """End the connection without a word."""
        self._ended.set()
        self._transport.abort()

    async def close(self) -> None:
        """End it in order, and soon."""
        if self._is_silent:
            self.cut()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"going away")
        self._ended.set()
        self._transport.close()

    def _put(self, letter: _Letter) -> None:
        if self._ended.is_set():
            return
        # what leaves later than what came before it holds up what comes after
        self._latest_s = max(self._latest_s, letter.due_s)
        try:
            self._line.put_nowait(letter._replace(due_s=self._latest_s))
        except asyncio.QueueFull:
            self.cut()

    async def _read(self) -> None:
        on_message: dict[WSMsgType, Callable[[str], None]] = {
            WSMsgType.TEXT: self._answer,
            WSMsgType.BINARY: lambda _data: self.cut(),
            WSMsgType.PONG: lambda _data: self._note_pong(),
        }
        while not self._ended.is_set():
            message = await self._socket.receive()
            if self._is_silent:
                await self._ended.wait()
            elif message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type in on_message:
                on_message[message.type](message.data)
            else:
                return

    def _answer(self, text: str) -> None:
        self._put(_Letter(self._loop.time(), _encoder.encode(self.session.answer(text)).decode()))

    def _note_pong(self) -> None:
        self._pings_unanswered = 0

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                letter = await self._line.get()
                await asyncio.sleep(max(0.0, letter.due_s - self._loop.time()))
                if self._is_silent:
                    continue
                if letter.cut is Point.BEFORE:
                    break
                await self._socket.send_str(letter.text)
                if letter.cut is Point.AFTER:
                    self._transport.close()  # unlike `abort`, after what was sent
                    break
        if letter.cut is not Point.AFTER:
            self.cut()

    async def _ping(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self._pings_unanswered < PINGS_UNANSWERED_MAX:
                await asyncio.sleep(self._ping_interval_s)
                if not self._is_silent:
                    self._pings_unanswered += 1
                    await self._socket.ping()
        self.cut()
