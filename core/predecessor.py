"""What a gateway has to know of the one before it, which may have died a moment ago: read from the book when it starts.

The venue counts by account and goes on counting: a gateway that begins at zero sends its first order into a window that
is full. So what was placed lately is counted again, each placement where it was (`Meter.recall`). Where the book does
not say when an attempt was over, or whether it left, it counts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from core.events import OrderAck, OrderAttempt, OrderNotPlaced, OrderOutcomeUnknown, RateLimitHit
from core.evidence import SENT_WITHIN_NS
from core.ids import ClientOrderId
from core.meter import Earlier
from core.rates import TEN_SECONDS_NS
from core.unit_of_work import BookReader

LATELY_NS: Final = TEN_SECONDS_NS + SENT_WITHIN_NS
"""What was written earlier left, if it did, before the present window began."""
KINDS: Final = (OrderAttempt, OrderAck, OrderNotPlaced, OrderOutcomeUnknown)


class Left(NamedTuple):
    """What it has left behind."""

    hit: RateLimitHit | None
    """The last time that it was told that there were too many requests."""
    placed: tuple[Earlier, ...]
    """Orders of the last `LATELY_NS` that may have left, oldest first."""


def left(book: BookReader, now_ns: int) -> Left:
    """`now_ns` is UTC, of this machine."""
    hit = book.last_event(RateLimitHit)
    return Left(hit if isinstance(hit, RateLimitHit) else None, _placed(book, now_ns - LATELY_NS))


def _placed(book: BookReader, since_ns: int) -> tuple[Earlier, ...]:
    placed: list[Earlier] = []
    over: dict[ClientOrderId, int] = {}
    kept: set[ClientOrderId] = set()
    for event in book.latest_events(KINDS):
        if event.at_ns < since_ns:
            break
        match event:
            case OrderNotPlaced(client_order_id=name, never_left=True):
                kept.add(name)
            case OrderAttempt(client_order_id=name):
                if name not in kept:
                    placed.append(Earlier(event.at_ns, over.get(name)))
            case OrderAck(client_order_id=name) | OrderNotPlaced(client_order_id=name):
                over[name] = event.at_ns  # the first that was heard of it is the last that is met here
            case OrderOutcomeUnknown(client_order_id=name):
                over[name] = event.at_ns
    return tuple(reversed(placed))
