"""Binance Spot through ccxt: the one place where ccxt's class is adapted.

What it guarantees on top of ccxt's own class:

- Each call of a method sends each of its requests once. ccxt's retries are off, and so is aiohttp's, which would send
  a GET, PUT or DELETE again when a kept-alive connection breaks: a cancel sent twice reports "Unknown order sent."
- With a `base_url` no request can leave for another host. Every address is rewritten, and each request is checked.
- A rewritten address gets the same error classes as the real one; ccxt looks them up by the real host's name.
- Numbers in ccxt's answers are exact texts, never floats, but for order books: use `Decimal(text)`.
- What `exchangeInfo` says of limits and of the time is kept (`announced`).
- Each HTTP exchange is reported to `on_exchange`, without key, secret or signature.

Whoever shows an exception's text masks it first (`exchange/masking.py`): ccxt puts the signed address into it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import ccxt.async_support
import msgspec

from core.ids import NS_PER_MS

ADDRESS_BOOKS: Final = ("api", "test", "demo")
"""The entries of ccxt's `urls` that requests are built from. The others lead to documentation."""

STREAM_PATH: Final = "/ws-api/v3"
STREAM_ORIGIN: Final = "wss://ws-api.binance.com:443"
TESTNET_STREAM_ORIGIN: Final = "wss://ws-api.testnet.binance.vision"
EXCHANGE_INFO: Final = "/exchangeInfo"
_CODE: Final = re.compile(r'"code"\s*:\s*(-?\d+)')
CODE_WITHIN: Final = 200
"""Characters of a refusal in which its code stands."""
REFUSED_FROM: Final = 400

SECRET_PARAMETERS: Final = frozenset({"signature"})

CCXT_OPTIONS: Final[Mapping[str, Any]] = {
    "defaultType": "spot",
    "fetchMarkets": {"types": ["spot"], "loadAllOptions": False},
    "fetchCurrencies": False,  # sapi, which neither a simulator nor the testnet has
    "fetchMargins": False,  # sapi again
    "adjustForTimeDifference": False,  # one more request at start, and a guess; -1021 tells of a wrong clock
    "warnOnFetchOpenOrdersWithoutSymbol": False,
    "newOrderRespType": {"limit": "FULL", "market": "FULL"},  # the answer then carries the trades
    "maxRetriesOnFailure": 0,
}


class TraceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP exchange with the venue, fit to be logged."""

    at_ns: int
    """When the request left, ns of the injected clock."""
    method: str
    path: str
    params: str
    """Query or form, URL-encoded, without the signature."""
    latency_ns: int
    """Until the whole answer was read and judged, or the failure."""
    status: int | None
    """HTTP status; None when no whole answer arrived."""
    error: str
    """Class of the exception that the caller gets; empty when there is none."""
    used_weight: int | None
    """Request weight used in this minute, from X-MBX-USED-WEIGHT-1M."""
    order_count: int | None
    """Orders in these ten seconds, from X-MBX-ORDER-COUNT-10S."""
    order_count_day: int | None
    """Orders today, from X-MBX-ORDER-COUNT-1D."""
    code: int | None
    """The venue's number for a refusal, e.g. -1015."""
    retry_after_s: int
    """From Retry-After; 0 when the venue does not ask to wait."""
    size: int
    """Length of the answer's text in characters."""


class Announced(msgspec.Struct, frozen=True):
    """What the venue's `exchangeInfo` has said about itself."""

    rate_limits: Any
    """As it states them; None if it does not."""
    venue_ns: int
    """Its time, ns UTC; 0: it did not tell."""
    sent_ns: int
    answered_ns: int


class _Answer(msgspec.Struct):
    status: int | None = None
    code: int | None = None
    headers: Mapping[str, str] = {}
    size: int = 0


_answer: ContextVar[_Answer] = ContextVar("answer")
"""Of the exchange that the running task is in: ccxt hands it to a method that knows nothing of the request."""


class Binance(ccxt.async_support.binance):  # type: ignore[misc]  # ccxt has no types
    """Made by `make_binance`. Bound to the event loop that first awaits it; `await close()` in the end."""

    # ccxt makes every number of its answers with this, from the venue's text. `str` keeps it exact. `Decimal`, which
    # ccxt also names, silently loses price, amount and fee of every trade: its helpers read texts and floats only.
    # Order books are floats all the same, so nothing here uses `fetch_order_book`.
    number = str

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        base_url: str | None,
        clock_ns: Callable[[], int],
        on_exchange: Callable[[TraceRecord], None] | None,
    ) -> None:
        """`config` is ccxt's. `base_url` is scheme and host; None: the real one."""
        super().__init__(dict(config))
        self._base_url = None if base_url is None else _origin(base_url)
        self._clock_ns = clock_ns
        self._on_exchange = on_exchange
        self._originals: dict[str, str] = {}
        self.announced: Announced | None = None
        if self._base_url is not None:
            self._rewrite_addresses(self._base_url)

    def correct_time(self, correction_ns: int) -> None:
        """What is signed from now on claims our time plus this."""
        self.options["timeDifference"] = -(correction_ns // NS_PER_MS)

    @property
    def account_address(self) -> str:
        """Scheme, host and port of what requests about the account go to."""
        return _origin(self.urls["api"]["private"])

    def open(self, lazy: bool = False) -> None:  # noqa: FBT001, FBT002  (ccxt's signature)
        """ccxt's session, which sends nothing twice."""
        super().open(lazy)
        if self.session is not None:
            # aiohttp's own switch for its test client; `test_a_broken_connection_is_not_retried` watches it
            self.session._retry_connection = False  # noqa: SLF001

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """One HTTP exchange. Raises ccxt's errors, and `ConnectionRefusedError` for an address beyond `base_url`."""
        if self._base_url is not None and _origin(url) != self._base_url:
            raise ConnectionRefusedError(f"{_origin(url)} is not {self._base_url}; nothing was sent")
        answer, error, began_ns, content = _Answer(), "", self._clock_ns(), None
        reset = _answer.set(answer)
        try:
            content = await super().fetch(url, method, headers, body)
        except BaseException as problem:
            error = type(problem).__name__
            raise
        finally:
            _answer.reset(reset)
            ended_ns = self._clock_ns()
            if self._on_exchange is not None:
                self._on_exchange(_record(url, method, body, answer, error, began_ns, ended_ns))
        if EXCHANGE_INFO in url:
            self._note_announced(content, began_ns, ended_ns)
        return content

    def _note_announced(self, content: Any, sent_ns: int, answered_ns: int) -> None:
        if isinstance(content, Mapping):
            told_ms = content.get("serverTime")
            venue_ns = told_ms * NS_PER_MS if isinstance(told_ms, int) else 0
            self.announced = Announced(content.get("rateLimits"), venue_ns, sent_ns, answered_ns)

    def on_rest_response(self, code: int, reason: str, url: str, method: str, response_headers: Any, *rest: Any) -> str:
        """ccxt's hook, called when the whole answer has been read."""
        text: str = super().on_rest_response(code, reason, url, method, response_headers, *rest)
        answer = _answer.get(None)
        if answer is not None:
            answer.status, answer.headers, answer.size = code, response_headers, len(text)
            if code >= REFUSED_FROM:
                found = _CODE.search(text, 0, CODE_WITHIN)
                answer.code = int(found[1]) if found else None
        return text

    def get_exceptions_by_url(self, url: str, exactOrBroad: str) -> dict[str, Any]:  # noqa: N803  (ccxt's signature)
        """ccxt's error table for an address: the real one's, wherever we send."""
        errors: dict[str, Any] = super().get_exceptions_by_url(self._original(url), exactOrBroad)
        return errors

    def _rewrite_addresses(self, base_url: str) -> None:
        for name in ADDRESS_BOOKS:
            self.urls[name] = self._rewritten(self.urls[name], base_url)

    def _rewritten(self, entry: Any, base_url: str) -> Any:
        if isinstance(entry, Mapping):
            return {name: self._rewritten(value, base_url) for name, value in entry.items()}
        scheme, host, *_ = urlsplit(base_url)
        address = urlunsplit(urlsplit(entry)._replace(scheme=scheme, netloc=host))
        # `api` comes first and wins where `test` or `demo` have the same path; they share the error table anyway
        self._originals.setdefault(address, entry)
        return address

    def _original(self, url: str) -> str:
        matches = [address for address in self._originals if url.startswith(address)]
        if not matches:
            return url
        longest = max(matches, key=len)
        return self._originals[longest] + url[len(longest) :]


def make_binance(
    *,
    api_key: str,
    api_secret: str,
    base_url: str | None,
    timeout_ms: int,
    recv_window_ms: int,
    rate_limit: bool,
    sandbox: bool = False,
    clock_ns: Callable[[], int] = time.time_ns,
    on_exchange: Callable[[TraceRecord], None] | None = None,
) -> Binance:
    """A client of Binance Spot.

    `base_url` replaces scheme, host and port of every address; `sandbox` leads to Binance's testnet instead.
    `timeout_ms` bounds one exchange, `recv_window_ms` how late the venue may still execute a request. `rate_limit`
    turns ccxt's own throttle on. `clock_ns` only measures latencies. Raises `ValueError` for a `base_url` that is none.
    """
    client = Binance(
        {
            "apiKey": api_key,
            "secret": api_secret,
            "timeout": timeout_ms,
            "enableRateLimit": rate_limit,
            "options": {**CCXT_OPTIONS, "recvWindow": recv_window_ms},
        },
        base_url=base_url,
        clock_ns=clock_ns,
        on_exchange=on_exchange,
    )
    if sandbox:
        client.set_sandbox_mode(True)
    return client


def stream_address(base_url: str | None, *, sandbox: bool) -> str:
    """Where the user data stream is. With a `base_url` it is there, as everything is.

    Raises `ValueError` for a `base_url` that is none.
    """
    if base_url is None:
        return (TESTNET_STREAM_ORIGIN if sandbox else STREAM_ORIGIN) + STREAM_PATH
    # http becomes ws, and https wss
    return "ws" + _origin(base_url).removeprefix("http") + STREAM_PATH


def _origin(url: str) -> str:
    """Scheme, host and port, e.g. `http://127.0.0.1:8080`."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"{url!r} is not an address; write scheme, host and port like http://127.0.0.1:8080")
    return f"{parts.scheme}://{parts.netloc}"


def _record(
    url: str, method: str, body: str | None, answer: _Answer, error: str, began_ns: int, ended_ns: int
) -> TraceRecord:
    address = urlsplit(url)
    sent = (body or address.query).split("&")
    headers = {name.upper(): value for name, value in answer.headers.items()}
    return TraceRecord(
        at_ns=began_ns,
        method=method,
        path=address.path,
        params="&".join(part for part in sent if part.partition("=")[0] not in SECRET_PARAMETERS),
        latency_ns=ended_ns - began_ns,
        status=answer.status,
        error=error,
        used_weight=_count(headers.get("X-MBX-USED-WEIGHT-1M")),
        order_count=_count(headers.get("X-MBX-ORDER-COUNT-10S")),
        order_count_day=_count(headers.get("X-MBX-ORDER-COUNT-1D")),
        code=answer.code,
        retry_after_s=_count(headers.get("RETRY-AFTER")) or 0,
        size=answer.size,
    )


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
