"""Which messages are handled before whatever else waits: a cancel or a halt must not stand behind thousands of wishes.

The transport lets these overtake all others on the road and in an inbox, and keeps the order among them. So nothing may
rest upon one of them coming after what was sent before it; on the whole way from whoever cancels to the venue, nothing
does: each step looks at the book, not at what it was told last.
"""

from __future__ import annotations

from typing import Final

from messages.book import CancelOpenIntents, CancelRequested, DisarmTrading, RequestCancel, SetTradingState
from messages.intents import CancelIntent
from messages.venue import CancelOrder

URGENT: Final = frozenset(
    {CancelIntent, RequestCancel, CancelRequested, CancelOrder, SetTradingState, DisarmTrading, CancelOpenIntents}
)
