"""One client of the WebSocket API: what it asks, what it is answered, and what it has subscribed to. No sockets.

Requests are JSON `{"id": …, "method": …, "params": {…}}`. Answers have the request's id, the status that HTTP would
have, and a result or an error. The signature covers all params but itself, sorted by name, as `k=v&…`.

Source: developers.binance.com, "Spot WebSocket API".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from exchange.simulator import auth, wire
from exchange.simulator.errors import (
    BAD_JSON,
    SUBSCRIPTION_ACTIVE,
    SUBSCRIPTION_INACTIVE,
    UNSUPPORTED,
    VenueError,
)
from exchange.simulator.limits import RateLimits
from exchange.simulator.params import Params, mandatory
from exchange.simulator.wire import Json

CONNECT_WEIGHT: Final = 2
_SUBSCRIBE_WEIGHT: Final = 2
_USUAL_WEIGHT: Final = 1
_OK: Final = 200
_NS_PER_MS: Final = 1_000_000


class Session:
    """Of one connection."""

    def __init__(
        self,
        credentials: auth.Credentials,
        limits: RateLimits,
        clock_ns: Callable[[], int],
        skew_ms: int,
        answered: Callable[[int], None],
    ) -> None:
        """`clock_ns` is the venue's clock, ns UTC; `skew_ms` is how far it is ahead for this client; `answered` is told
        the status of each answer."""
        self.subscription: int | None = None
        """The id under which it is told what happens; None: it is not."""
        self._subscribed = 0
        self._credentials = credentials
        self._limits = limits
        self._clock_ns = clock_ns
        self._skew_ns = skew_ms * _NS_PER_MS
        self._note_status = answered
        self._methods: dict[str, Callable[[Json], Any]] = {
            "ping": lambda _params: {},
            "time": lambda _params: {"serverTime": wire.ms(self._now_ns())},
            "session.subscriptions": lambda _params: [{"subscriptionId": number} for number in self._active()],
            "userDataStream.subscribe.signature": self._subscribe,
            "userDataStream.unsubscribe": self._unsubscribe,
        }

    def answer(self, text: str) -> Json:
        """What is answered to a message."""
        number: Any = None
        try:
            request = _parsed(text)
            number = request.get("id")
            return self._answered(number, _OK, {"result": self._result(request)})
        except VenueError as error:
            return self._answered(number, error.status, {"error": self._told(error)})

    def _result(self, request: Json) -> Any:
        method, params = request.get("method"), request.get("params", {})
        if not isinstance(method, str) or not method:
            raise VenueError(BAD_JSON, "'method'", "a non-empty string")
        if not isinstance(params, dict):
            raise VenueError(BAD_JSON, "'params'", "an object")
        run = self._methods.get(method.removeprefix("v3/"))
        if run is None:
            self._limits.charge(self._clock_ns(), _USUAL_WEIGHT)
            raise VenueError(UNSUPPORTED)
        self._limits.charge(self._clock_ns(), _SUBSCRIBE_WEIGHT if run == self._subscribe else _USUAL_WEIGHT)
        return run(params)

    def _subscribe(self, params: Json) -> Json:
        sent = {name: _text(value) for name, value in params.items()}
        auth.check_key(self._credentials, sent.pop("apiKey", None))
        signature = sent.pop("signature", None)
        signed = {name: _text(value) for name, value in params.items() if name != "signature"}
        payload = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
        auth.check_signature(self._credentials, payload, "" if signature is None else f"signature={signature}")
        read = Params(urlencode(sent))
        timestamp_ms = mandatory("timestamp", read.integer("timestamp"))
        recv_window_ms = read.integer("recvWindow") or auth.RECV_WINDOW_MS_DEFAULT
        read.check_all_read()
        auth.check_timestamp(self._now_ns(), timestamp_ms, recv_window_ms)
        if self.subscription is not None:
            raise VenueError(SUBSCRIPTION_ACTIVE)
        self.subscription = self._subscribed
        self._subscribed += 1
        return {"subscriptionId": self.subscription}

    def _unsubscribe(self, params: Json) -> Json:
        if self.subscription is None or params.get("subscriptionId", self.subscription) != self.subscription:
            raise VenueError(SUBSCRIPTION_INACTIVE)
        self.subscription = None
        return {}

    def _active(self) -> list[int]:
        return [] if self.subscription is None else [self.subscription]

    def _now_ns(self) -> int:
        """As this client sees the venue's clock."""
        return self._clock_ns() + self._skew_ns

    def _answered(self, number: Any, status: int, content: Json) -> Json:
        self._note_status(status)
        return {"id": number, "status": status, **content, "rateLimits": self._limits.weight_rows(self._clock_ns())}

    def _told(self, error: VenueError) -> Json:
        told: Json = {"code": error.code, "msg": error.text}
        if error.retry_after_s:
            now_ms = wire.ms(self._now_ns())
            told["data"] = {"serverTime": now_ms, "retryAfter": now_ms + error.retry_after_s * 1_000}
        return told


def _parsed(text: str) -> Json:
    try:
        request = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        raise VenueError(BAD_JSON, "syntax", "valid JSON") from None
    if not isinstance(request, dict):
        raise VenueError(BAD_JSON, "value", "an object")
    if not isinstance(request.get("id"), str | int | None):
        raise VenueError(BAD_JSON, "'id'", "an integer, a string or null")
    return request


def _text(value: Any) -> str:
    """As the value stands in what is signed."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
