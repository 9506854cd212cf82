"""Deterministic ids: the same inputs give the same id in every process and after every restart.

| id | form | made from |
|---|---|---|
| `IntentId` | `<created ms>-<SYMBOL without slash>-<8 hex>` | creation time, idempotency key, payload |
| `IdempotencyKey` | the caller's, else the signal's, else `auto:<hash>:<bucket>` | see `idempotency_keys` |
| `ClientOrderId` | `in` + 16 of `[a-z2-7]`: 18 characters, the portable limit across exchanges | intent id, attempt |
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Annotated, Final, NewType

from msgspec import Meta

IntentId = NewType("IntentId", str)
IdempotencyKey = NewType("IdempotencyKey", str)
PayloadHash = NewType("PayloadHash", str)
ClientOrderId = NewType("ClientOrderId", str)
ExchangeOrderId = NewType("ExchangeOrderId", str)
TradeId = NewType("TradeId", str)
AskedNs = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""When somebody outside has asked for something, ns UTC by his clock; the book keeps no larger number."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
CONTENT_BUCKET_NS = 60 * NS_PER_S
CLIENT_ORDER_ID_PREFIX = "in"
CLIENT_ORDER_ID_LENGTH_MAX = 18
_OUR_NAME: Final = re.compile(f"{CLIENT_ORDER_ID_PREFIX}[a-z2-7]{{16}}")


def payload_hash(parts: tuple[str, ...]) -> PayloadHash:
    """32 hex digits over the fields that make two wishes the same wish; the parts' order matters, their split too."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return PayloadHash(digest.hexdigest())


def intent_id(created_ns: int, symbol: str, key: IdempotencyKey, payload: PayloadHash) -> IntentId:
    """The id of an intent created at `created_ns` (UTC), e.g. `1697123456789-BTCUSDT-a3f5c2d1`."""
    inputs = payload_hash((str(created_ns), symbol, key, payload))
    return IntentId(f"{created_ns // NS_PER_MS}-{symbol.replace('/', '')}-{inputs[:8]}")


def client_order_id(intent: IntentId, attempt: int) -> ClientOrderId:
    """What the exchange knows attempt number `attempt` (from 1) of this intent by."""
    digest = hashlib.blake2b(f"{intent}/{attempt}".encode(), digest_size=10).digest()
    return ClientOrderId(CLIENT_ORDER_ID_PREFIX + base64.b32encode(digest).decode().lower())


def is_our_name(client_order_id: str) -> bool:
    """Whether an id looks like one of ours. Whether it is one, the book says."""
    return _OUR_NAME.fullmatch(client_order_id) is not None


def content_key(payload: PayloadHash, created_ns: int) -> IdempotencyKey:
    """The key of a wish that came without one: its content and the 60 s bucket of its creation."""
    return IdempotencyKey(f"auto:{payload}:{created_ns // CONTENT_BUCKET_NS}")


def previous_content_key(payload: PayloadHash, created_ns: int) -> IdempotencyKey:
    """The key the same wish would have had one bucket earlier: a repeat must not slip through at a bucket's edge."""
    return content_key(payload, created_ns - CONTENT_BUCKET_NS)
