"""A wish on its way in, as its router keeps it until the book has taken it."""

from __future__ import annotations

from functools import cached_property

import msgspec

from core import ids, intent
from core.ids import IdempotencyKey, PayloadHash
from core.intent import IntentRequest


class Submission(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a client sent; `at_ns` is when it arrived. Its hash and keys are worked out once."""

    request_id: str
    request: IntentRequest
    wait: bool
    at_ns: int

    @cached_property
    def payload_hash(self) -> PayloadHash:
        return intent.payload(self.request)

    @cached_property
    def key(self) -> IdempotencyKey:
        return intent.idempotency_key(self.request, self.payload_hash, self.at_ns)

    @cached_property
    def alternate_key(self) -> IdempotencyKey | None:
        if self.request.key or self.request.signal_id:
            return None
        return ids.previous_content_key(self.payload_hash, self.at_ns)
