"""What came of a number of orders, on either side."""

from __future__ import annotations

import msgspec


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    elapsed_ns: int
    """From the first order sent to the last one done."""
    latencies_ns: list[int]
    """Of each order, sent to done, as whoever wants it sees it."""
