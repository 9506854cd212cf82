"""The vocabulary of the actors: frozen structs, one module per conversation.

Class names are unique over all modules, since thespian dispatches on the bare name. A command is in the imperative, an
answer in the past tense. A message carries facts and correlation, no methods. Addresses of actors are opaque (`Any`).
"""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all messages."""
