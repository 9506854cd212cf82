"""The vocabulary of the actors: frozen structs, one module per conversation.

Class names are unique over all modules, since thespian dispatches on the bare name. A command is in the imperative, an
answer in the past tense. A message carries facts and correlation, no methods. Addresses of actors are opaque (`Any`).
"""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all messages."""


class ClientRequest(Message, frozen=True, kw_only=True):
    """Base of what comes from outside the engine. It is checked field by field before anybody acts on it."""

    request_id: str
    """The client's own, unique; comes back with every answer."""


class RequestRefused(Message, frozen=True, kw_only=True):
    """Nothing was done. Answer to any `ClientRequest`."""

    request_id: str
    reason: str
    is_passing: bool = False
    """A part that it takes is not ready just now; else it is malformed, or not allowed."""
