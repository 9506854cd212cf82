"""Who may ask: API key, HMAC-SHA256 signature and timestamp, as Binance checks them.

The key and secret open this simulator and nothing else. They come from the environment or are the defaults below; never
from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from exchange.simulator.errors import (
    BAD_SIGNATURE,
    KEY_FORMAT,
    KEY_UNKNOWN,
    PARAMETER_MISSING,
    RECV_WINDOW_TOO_LARGE,
    TIMESTAMP_EARLY,
    TIMESTAMP_LATE,
    VenueError,
)

SIM_API_KEY: Final = "sim-key-intentd"
SIM_API_SECRET: Final = "sim-secret-intentd"  # noqa: S105  (opens the simulator and nothing else)
KEY_VARIABLE: Final = "INTENTD_SIM_API_KEY"
SECRET_VARIABLE: Final = "INTENTD_SIM_API_SECRET"  # noqa: S105  (the name of a variable)

ENGINE_KEY_VARIABLE: Final = "INTENTD_API_KEY"
ENGINE_SECRET_VARIABLE: Final = "INTENTD_API_SECRET"  # noqa: S105  (the name of a variable)

RECV_WINDOW_MS_DEFAULT: Final = 5_000
RECV_WINDOW_MS_MAX: Final = 60_000
EARLY_MS_MAX: Final = 1_000
NS_PER_MS: Final = 1_000_000

_KEY_FORMAT: Final = re.compile(r"[A-Za-z0-9_-]{6,128}")
_SIGNATURE: Final = re.compile(r"(?:^|&)signature=([^&]*)")


class Credentials(NamedTuple):
    key: str
    secret: str

    def __repr__(self) -> str:
        return "Credentials(…)"


def credentials_from(environment: Mapping[str, str]) -> Credentials:
    """The simulator's own variables, else those of an engine in the same environment, else the defaults."""

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    return Credentials(
        first(KEY_VARIABLE, ENGINE_KEY_VARIABLE) or SIM_API_KEY,
        first(SECRET_VARIABLE, ENGINE_SECRET_VARIABLE) or SIM_API_SECRET,
    )


def check_key(credentials: Credentials, key: str | None) -> None:
    """Raises `VenueError` unless the header X-MBX-APIKEY is the account's."""
    if key is not None and hmac.compare_digest(key.encode(), credentials.key.encode()):
        return
    raise VenueError(KEY_UNKNOWN if key is not None and _KEY_FORMAT.fullmatch(key) else KEY_FORMAT)


def check_signature(credentials: Credentials, query: str, body: str) -> None:
    """Raises `VenueError` unless the last `signature` is that of all the rest, exactly as it was sent."""
    found = [*_SIGNATURE.finditer(query), *_SIGNATURE.finditer(body)]
    if not found or not found[-1][1]:
        raise VenueError(PARAMETER_MISSING, "signature")
    signed = _SIGNATURE.sub("", query) + _SIGNATURE.sub("", body)
    expected = hmac.new(credentials.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(found[-1][1].lower().encode(), expected.encode()):
        raise VenueError(BAD_SIGNATURE)


def check_timestamp(now_ns: int, timestamp_ms: int, recv_window_ms: int) -> None:
    """Raises `VenueError` unless the request is valid at this moment; asked again just before matching."""
    now_ms = now_ns // NS_PER_MS
    if recv_window_ms > RECV_WINDOW_MS_MAX:
        raise VenueError(RECV_WINDOW_TOO_LARGE)
    if timestamp_ms >= now_ms + EARLY_MS_MAX:
        raise VenueError(TIMESTAMP_EARLY)
    if now_ms - timestamp_ms > recv_window_ms:
        raise VenueError(TIMESTAMP_LATE)
