"""The other traders: a synthetic order book whose mid wanders, made of nothing but a seed and a number of ticks.

Every market tick (TICK_NS) the mid takes a random step of 0.7 basis points on average and the levels are filled up
anew, so prices move by about 1.6 basis points a second. A slow pull towards the opening price keeps them sane for
days. Levels are so thin that an order of some thousand USDT walks them, and one of 100 000 USDT empties them.

Guarantees: the same key and the same steps give the same book; the best bid is below the best ask; nothing here knows
what time it is. Prices are whole ticks and quantities whole steps, kept as integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from exchange.simulator.dice import roll
from exchange.simulator.orders import Side
from exchange.simulator.symbols import Market

TICK_NS: Final = 200_000_000
"""Length of a market tick."""
CATCH_UP_TICKS_MAX: Final = 3_000
"""After a longer silence (10 minutes) the market has been closed in between: the ticks before these are left out."""
LEVELS: Final = 20
"""By side."""

_FINE: Final = 1_000_000  # the mid is kept in millionths of a tick, or small steps would be lost on coarse markets
_WALK_BPS: Final = (175, 1_000)  # a quarter of the standard step, as a fraction: the popcount has a deviation of 4
_PULL_TICKS: Final = 40_000
_GAP_BPS: Final = Decimal("0.4")
_SIDE_STREAMS: Final = {Side.BUY: 1, Side.SELL: 2}
_NOTIONAL_MIN: Final = 100
_NOTIONAL_SPAN: Final = 6_000


class Level(NamedTuple):
    price: Decimal
    qty: Decimal
    depth: int
    """0 is the best."""


class WalkRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="walk"):
    """Where a walk has come to. What was taken from the levels of the current tick is not kept."""

    symbol: str
    tick: int
    mid: int


class SyntheticBook:
    """One symbol's walk and levels."""

    def __init__(self, market: Market, key: int) -> None:
        self._market = market
        self._key = key
        self._anchor = int(market.price / market.tick) * _FINE
        self._gap = max(1, round(market.price * _GAP_BPS / 10_000 / market.tick))
        self._tick = 0
        self._mid = self._anchor
        self._taken: dict[tuple[Side, int], Decimal] = {}

    # ── the walk ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def tick(self) -> int:
        """Ticks since the market opened."""
        return self._tick

    def skip_silence(self, tick: int) -> None:
        """Leave out what is too long before the tick that shall be reached."""
        self._tick = max(self._tick, tick - CATCH_UP_TICKS_MAX)

    def step(self) -> None:
        """The next tick."""
        self._tick += 1
        self._taken.clear()
        drawn = roll(self._key, self._tick).bit_count() - 32
        walk_bps, whole = _WALK_BPS
        self._mid += self._mid * drawn * walk_bps // (whole * 10_000) + (self._anchor - self._mid) // _PULL_TICKS

    def set_mid(self, price: Decimal) -> None:
        """Move the market to a price; it wanders on from there."""
        self._mid = max(2 * _FINE, int(price / self._market.tick * _FINE))
        self._taken.clear()

    def drawn_for(self, number: int) -> int:
        """A random number of 64 bits for something numbered, in this tick."""
        return roll(self._key ^ number << 8, self._tick)

    @property
    def mid(self) -> Decimal:
        return self._mid * self._market.tick / _FINE

    # ── the levels ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def best_bid(self) -> Decimal:
        return self._best(Side.BUY)

    @property
    def best_ask(self) -> Decimal:
        return self._best(Side.SELL)

    def levels(self, side: Side) -> Iterator[Level]:
        """What is left of one side, the best first; `side` BUY are the bids."""
        for index in range(LEVELS):
            price = self._price(side, index)
            qty = self._quantity(side, index, price) - self._taken.get((side, index), Decimal(0))
            if price > 0 and qty > 0:
                yield Level(price, qty, index)

    def take(self, side: Side, index: int, qty: Decimal) -> None:
        """Trade against a level; it is full again at the next tick."""
        self._taken[side, index] = self._taken.get((side, index), Decimal(0)) + qty

    def _best(self, side: Side) -> Decimal:
        """The best price with anything left; of a side that is empty, the price beyond its last level."""
        level = next(self.levels(side), None)
        return level.price if level is not None else self._price(side, LEVELS)

    def _price(self, side: Side, index: int) -> Decimal:
        spread = 1 if self._gap == 1 else 1 + roll(self._key, -self._tick) % 3
        bid = max(1, (self._mid // _FINE) - spread // 2)
        ticks = bid - index * self._gap if side is Side.BUY else bid + spread + index * self._gap
        return ticks * self._market.tick

    def _quantity(self, side: Side, index: int, price: Decimal) -> Decimal:
        drawn = roll(self._key ^ _SIDE_STREAMS[side], self._tick * LEVELS + index) % 1_000
        notional = (_NOTIONAL_MIN + _NOTIONAL_SPAN * drawn**3 // 1_000**3) * (10 + index) // 10
        steps = int(notional / (price * self._market.step)) if price > 0 else 0
        return max(1, steps) * self._market.step

    # ── the record ────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self) -> WalkRecord:
        return WalkRecord(symbol=self._market.symbol, tick=self._tick, mid=self._mid)

    def restore(self, record: WalkRecord) -> None:
        self._tick, self._mid = record.tick, record.mid
