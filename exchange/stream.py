"""Fills and order updates as the venue tells them, by its user data stream (G7).

It is an accelerator, and never the truth alone: events may be lost with a connection, so each change of `StreamState`
is told, and after each `Connected` whoever owns the stream closes the gap with questions. A report holds facts like any
other; the same one may come twice, and later than the answer to a question.

What venue and network do never raises here. A connection that ends, a subscription that is refused, silence, a message
that cannot be believed and the venue's own word that it is over are all the same: the stream is lost, and begins anew
after a wait that doubles, up to a bound, with a random share.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

import msgspec

from core.ids import NS_PER_MS, NS_PER_S
from core.reports import OrderSnapshot
from exchange.credentials import Credentials
from exchange.masking import MASK, mask
from exchange.stream_connection import TOO_MANY_REQUESTS, Connection, StreamLost, StreamTiming, connected, explained
from exchange.stream_events import Answer, Ending, OrderEvent, parse

SUBSCRIBE: Final = "userDataStream.subscribe.signature"
REQUEST_ID: Final = 1
"""There is one request on each connection."""
TRACE_LENGTH_MAX: Final = 2_000
_OK: Final = 200
_DOUBLINGS_MAX: Final = 30


class Connected(msgspec.Struct, frozen=True):
    """Subscribed: what happens from now on is told, until `Lost` says otherwise."""

    since_ns: int
    """Of the injected clock, ns UTC."""


class Lost(msgspec.Struct, frozen=True):
    """Nothing is told. What happened after `heard_ns` may never have been."""

    since_ns: int
    """When it was noticed, ns of the injected clock."""
    because: str
    """In one line, masked."""
    heard_ns: int
    """When the venue last said something, ns of the injected clock; 0: never."""


StreamState = Connected | Lost
OnReport = Callable[[str, OrderSnapshot], None]
"""Gets our name of the market, and what happened to an order of the account, ours or not."""
OnState = Callable[[StreamState], None]


class StreamRecord(msgspec.Struct, frozen=True):
    """A line of the trace."""

    at_ns: int
    stream: str
    """`sent`, `received`, `connected` or `lost`."""
    text: str


class UserStream:
    """Of one account. Run it in the event loop, and close it in the end."""

    def __init__(
        self,
        *,
        address: str,
        keys: Credentials,
        recv_window_ms: int,
        now_ns: Callable[[], int],
        claimed_ns: Callable[[], int] | None = None,
        jitter: Callable[[], float],
        symbol: Callable[[str], str],
        currency: Callable[[str], str],
        on_report: OnReport,
        on_state: OnState,
        write_trace: Callable[[str], None],
        cafile: str | None = None,
        timing: StreamTiming | None = None,
    ) -> None:
        """`now_ns` is the clock, ns UTC; `claimed_ns` what is signed with (`core/timestamps.py`).
        `jitter` gives numbers from 0 to 1. `write_trace` gets lines of JSON.

        `symbol` and `currency` turn the venue's names into ours. `cafile` has the authorities that vouch for the venue.
        """
        self._address = address
        self._keys = keys
        self._recv_window_ms = recv_window_ms
        self._now_ns = now_ns
        self._claimed_ns = claimed_ns or now_ns
        self._jitter = jitter
        self._symbol = symbol
        self._currency = currency
        self._on_report = on_report
        self._on_state = on_state
        self._write_trace = write_trace
        self._cafile = cafile
        self._timing = timing or StreamTiming()
        self._stable_ns = round(self._timing.stable_s * NS_PER_S)
        self._state: StreamState | None = None
        self._heard_ns = 0
        self._failures = 0
        self._connection: Connection | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_closed = False

    async def run(self) -> None:
        """Connect, tell, and connect again, until closed. Raises only what the callbacks do."""
        self._task = asyncio.current_task()
        while not self._is_closed:
            lost = await self._live()
            self._note_lost(lost)
            await asyncio.sleep(0 if self._is_closed else self._pause_s(lost))

    async def close(self) -> None:
        """End it, in a moment. Nothing is told afterwards."""
        self._is_closed = True
        if self._connection is not None:
            await self._connection.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ── a connection's life ───────────────────────────────────────────────────────────────────────────────────────

    async def _live(self) -> StreamLost:
        """One connection, until it is lost."""
        try:
            async with connected(self._address, self._cafile, self._timing) as connection:
                self._connection = connection
                await self._subscribe(connection)
                while True:
                    await self._hear(connection)
        except StreamLost as lost:
            return lost
        finally:
            self._connection = None

    async def _subscribe(self, connection: Connection) -> None:
        params = self._signed({"apiKey": self._keys.api_key, "recvWindow": self._recv_window_ms})
        request = {"id": REQUEST_ID, "method": SUBSCRIBE, "params": params}
        hidden = request | {"params": params | {"apiKey": MASK, "signature": MASK}}
        self._trace("sent", msgspec.json.encode(hidden).decode())
        await connection.send(msgspec.json.encode(request).decode())
        try:
            async with asyncio.timeout(self._timing.answer_s):
                while (answer := await self._hear(connection)) is None or answer.id != REQUEST_ID:
                    pass
        except TimeoutError:
            raise StreamLost(f"the subscription was not answered for {self._timing.answer_s:g} s") from None
        if answer.status != _OK:
            wait_s = max(0.0, (answer.retry_after_ns - self._now_ns()) / NS_PER_S)
            because = f"the subscription was refused: {answer.code} {answer.text}"
            raise StreamLost(because, wait_s if answer.status in TOO_MANY_REQUESTS else None)
        if not self._is_closed:
            self._enter(Connected(self._heard_ns))

    def _signed(self, params: dict[str, Any]) -> dict[str, Any]:
        """The signature is of all the others, sorted by name."""
        params = params | {"timestamp": self._claimed_ns() // NS_PER_MS}
        text = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
        return params | {
            "signature": hmac.new(self._keys.api_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        }

    async def _hear(self, connection: Connection) -> Answer | None:
        """Take the next message in. Returns an answer; an event is told."""
        text = await connection.receive()
        self._heard_ns = self._now_ns()
        self._trace("received", text)
        try:
            message = parse(text, self._symbol, self._currency)
        except Exception as error:  # noqa: BLE001  (`Malformed`, and whatever nobody has foreseen in what came)
            raise StreamLost(f"malformed: {explained(error)}") from None
        if isinstance(message, Ending):
            raise StreamLost(f"the venue ends it: {message.event}")
        if isinstance(message, OrderEvent) and not self._is_closed:
            self._on_report(message.symbol, message.report)
        return message if isinstance(message, Answer) else None

    # ── what became of it ─────────────────────────────────────────────────────────────────────────────────────────

    def _note_lost(self, lost: StreamLost) -> None:
        if self._is_closed:
            return
        because = mask(lost.because, self._keys.secrets)
        if isinstance(self._state, Connected) and self._now_ns() - self._state.since_ns >= self._stable_ns:
            self._failures = 0
        if not isinstance(self._state, Lost) or self._state.because != because:
            self._enter(Lost(self._now_ns(), because, self._heard_ns))

    def _pause_s(self, lost: StreamLost) -> float:
        """Half of it is certain, and half is drawn, so that not everybody comes back at once.

        What the venue asks for, when it has had too many requests, comes on top.
        """
        timing = self._timing
        self._failures += 1
        doublings = min(self._failures - 1, _DOUBLINGS_MAX)
        longest_s = min(timing.backoff_max_s, timing.backoff_first_s * float(2**doublings))
        if lost.wait_s is None:
            return longest_s * (1 + self._jitter()) / 2
        return min(timing.wait_max_s, lost.wait_s) + timing.backoff_max_s * (1 + self._jitter()) / 2

    def _enter(self, state: StreamState) -> None:
        self._state = state
        if isinstance(state, Connected):
            self._trace("connected", self._address)
        else:
            self._trace("lost", state.because)
        self._on_state(state)

    def _trace(self, what: str, text: str) -> None:
        """Masked before it is cut, or half a secret would be none to `mask`."""
        record = StreamRecord(self._now_ns(), what, mask(text, self._keys.secrets)[:TRACE_LENGTH_MAX])
        self._write_trace(mask(msgspec.json.encode(record).decode(), self._keys.secrets))
