"""Client ↔ router: wishes, cancels and what became of them."""

from __future__ import annotations

from core.effects import SubmitAnswer
from core.ids import IntentId
from core.intent import IntentRequest
from core.planning import Refusal
from core.records import IntentRecord
from core.replacing import NewTerms, ReplaceResult
from messages import ClientRequest, Message


class SubmitIntent(ClientRequest, frozen=True, kw_only=True):
    request: IntentRequest
    wait: bool
    """Also send `IntentDone` when the intent is terminal."""


class IntentAnswered(Message, frozen=True, kw_only=True):
    """Accepted, duplicate, refused or conflict. What is accepted is durable."""

    request_id: str
    answer: SubmitAnswer


class IntentDone(Message, frozen=True, kw_only=True):
    """The intent is terminal; only for requests with `wait` that were not answered with a terminal intent."""

    request_id: str
    record: IntentRecord


class CancelIntent(ClientRequest, frozen=True, kw_only=True):
    intent_id: IntentId
    reason: str
    """Free text for the audit trail."""


class IntentCancelNoted(Message, frozen=True, kw_only=True):
    """The wish to cancel is durable; how the intent ends is judged by what was filled."""

    request_id: str
    record: IntentRecord | None
    """As it stands now; None with a refusal."""
    refusal: Refusal | None


class ReplaceIntent(ClientRequest, frozen=True, kw_only=True):
    """Give a working intent another price or quantity. Answer: `IntentReplaceNoted`."""

    intent_id: IntentId
    terms: NewTerms
    """The newest that were asked for count; the same ones may be sent again."""


class IntentReplaceNoted(Message, frozen=True, kw_only=True):
    """The new terms are durable, or refused; they are in force when the present order is proven over."""

    request_id: str
    result: ReplaceResult
    """The intent as it stands, and the refusal if there is one."""
