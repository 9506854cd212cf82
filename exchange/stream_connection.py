"""One websocket to the venue: texts out and in, pings answered, and its end noticed, whatever kind of end it is.

A connection that is merely quiet is pinged. When not even that is answered in time, it is lost, however alive it looks:
a cable that was pulled closes nothing. Nothing here raises anything but `StreamLost` for what venue and network do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import WSMsgType

from exchange.outcomes import shorten

MESSAGE_BYTES_MAX: Final = 1024 * 1024
TOO_MANY_REQUESTS: Final = frozenset({418, 429})
"""HTTP: slow down, and banned."""


class StreamTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How long each thing may take. Seconds."""

    answer_s: float = 10.0
    """For a connection to come about, and for the answer to a request."""
    quiet_s: float = 5.0
    """After so long without a message we ping."""
    pong_s: float = 5.0
    """A ping that is not answered for so long, by anything, is a lost connection."""
    close_s: float = 0.5
    """The longest wait for the venue to agree that it is over."""
    backoff_first_s: float = 0.25
    """Between two connections, the first time; it doubles with each failure."""
    backoff_max_s: float = 30.0
    wait_max_s: float = 3_600.0
    """Of what the venue asks for when it has had too many requests."""
    stable_s: float = 5.0
    """A connection that lasts this long makes good for the failures before it."""


class StreamLost(Exception):
    """The venue tells us nothing any more, or nothing that could be believed."""

    def __init__(self, because: str, wait_s: float | None = None) -> None:
        """`wait_s`: the venue has had too many requests of us, and wants no more for so long; 0: it does not say."""
        super().__init__(because)
        self.because = because
        self.wait_s = wait_s


class _Socket(aiohttp.ClientWebSocketResponse):
    """aiohttp's own, which can be let go of at once."""

    def abort(self) -> None:
        """Close the connection without a word, and without waiting."""
        self._response.close()


class Connection:
    """Made by `connected`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[Any], timing: StreamTiming) -> None:
        self._socket = socket
        self._timing = timing

    async def send(self, text: str) -> None:
        """Raises `StreamLost`."""
        try:
            async with asyncio.timeout(self._timing.answer_s):
                await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise StreamLost(f"cannot be written to: {explained(error)}") from None

    async def receive(self) -> str:
        """The next text. Raises `StreamLost`."""
        while True:
            message = await self._next()
            if message.type is WSMsgType.TEXT:
                return str(message.data)
            if message.type is WSMsgType.PING:
                await self._control(self._socket.pong, message.data)
            elif message.type is WSMsgType.BINARY:
                raise StreamLost("malformed: the venue sent no text")
            elif message.type is not WSMsgType.PONG:
                raise StreamLost(f"the venue closed the connection: {self._end_of(message)}")

    async def close(self) -> None:
        """Tell the venue, and wait a moment for its answer."""
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            async with asyncio.timeout(self._timing.close_s):
                await self._socket.close()

    async def _next(self) -> aiohttp.WSMessage:
        """Whatever comes next: what was asked for by a ping, if nothing comes by itself."""
        message = await self._within(self._timing.quiet_s)
        if message is not None:
            return message
        await self._control(self._socket.ping, b"")
        message = await self._within(self._timing.pong_s)
        if message is not None:
            return message
        silent_s = self._timing.quiet_s + self._timing.pong_s
        raise StreamLost(f"the venue is silent for {silent_s:g} s, and our ping is not answered")

    async def _within(self, timeout_s: float) -> aiohttp.WSMessage | None:
        """The next message; None if none comes."""
        try:
            return await self._socket.receive(timeout_s)
        except TimeoutError:
            return None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise StreamLost(f"cannot be read: {explained(error)}") from None

    async def _control(self, send: Any, content: bytes) -> None:
        try:
            async with asyncio.timeout(self._timing.pong_s):
                await send(content)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise StreamLost(f"cannot be written to: {explained(error)}") from None

    def _end_of(self, message: aiohttp.WSMessage) -> str:
        if isinstance(message.data, BaseException):
            return explained(message.data)
        return shorten(f"{self._socket.close_code or 'no word of it'} {message.extra or ''}").strip()


@asynccontextmanager
async def connected(address: str, cafile: str | None, timing: StreamTiming) -> AsyncIterator[Connection]:
    """A connection, closed at the end in any case. `cafile` has the authorities for `wss`. Raises `StreamLost`."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    async with aiohttp.ClientSession(trace_configs=[trace], ws_response_class=_Socket) as session:
        try:
            async with asyncio.timeout(timing.answer_s):
                socket = await session.ws_connect(
                    address,
                    autoping=False,  # aiohttp would hide the pongs, and with them whether anybody is there
                    max_msg_size=MESSAGE_BYTES_MAX,
                    ssl=ssl.create_default_context(cafile=cafile) if address.startswith("wss:") else False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=timing.close_s),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise StreamLost(f"no connection: {explained(error)}", _wait_s(error)) from None
        assert isinstance(socket, _Socket)
        try:
            yield Connection(socket, timing)
        finally:
            socket.abort()


async def _refuse(_session: Any, _context: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
    """Keys go where the settings say, whatever an answer proposes."""
    raise ConnectionRefusedError(f"{params.url.host} sends us elsewhere; nothing was sent there")


def _wait_s(error: BaseException) -> float | None:
    """How long a venue that has had enough of us wants to be left alone."""
    if not isinstance(error, aiohttp.WSServerHandshakeError) or error.status not in TOO_MANY_REQUESTS:
        return None
    asked = "" if error.headers is None else str(error.headers.get("Retry-After", ""))
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


def explained(error: BaseException) -> str:
    """The error's class and words in one line of bounded length."""
    return shorten(f"{type(error).__name__}: {error}")
