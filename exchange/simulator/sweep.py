"""What an order meets on the other side of the book, without trading yet: every function here is pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from core.money import floor_to
from exchange.simulator.book import SyntheticBook
from exchange.simulator.orders import ZERO, NewOrder, OrderType, Side, TimeInForce
from exchange.simulator.symbols import Market


class Slice(NamedTuple):
    """A part of a level."""

    price: Decimal
    qty: Decimal
    depth: int
    """Of the level."""


def sweep(market: Market, book: SyntheticBook, new: NewOrder, fill_share: Decimal | None) -> list[Slice]:
    """What an order takes at once, the best price first. Changes nothing."""
    if new.type is OrderType.LIMIT_MAKER:
        return []
    limit = None if new.type is OrderType.MARKET else new.price
    if new.quote_qty > 0:
        slices = _levels_for_quote(market, book, new.side, new.quote_qty)
    else:
        slices = take_levels(book, new.side, limit, new.qty)
    takable = sum((piece.qty for piece in slices), ZERO)
    if new.time_in_force is TimeInForce.FOK and new.type is OrderType.LIMIT:
        return slices if takable == new.qty else []
    if fill_share is None:
        return slices
    return _first(slices, floor_to(takable * fill_share, market.step))


def _levels_for_quote(market: Market, book: SyntheticBook, side: Side, quote_qty: Decimal) -> list[Slice]:
    slices = []
    for level in book.levels(opposite(side)):
        qty = min(level.qty, floor_to(quote_qty / level.price, market.step))
        if qty <= 0:
            break
        slices.append(Slice(level.price, qty, level.depth))
        quote_qty -= qty * level.price
    return slices


def take_levels(book: SyntheticBook, side: Side, limit: Decimal | None, qty: Decimal) -> list[Slice]:
    slices = []
    for level in book.levels(opposite(side)):
        if qty <= 0 or (limit is not None and not crosses(side, limit, level.price)):
            break
        slices.append(Slice(level.price, min(qty, level.qty), level.depth))
        qty -= slices[-1].qty
    return slices


def _first(slices: list[Slice], qty: Decimal) -> list[Slice]:
    """The first `qty` of them."""
    kept = []
    for piece in slices:
        if qty <= 0:
            break
        kept.append(piece._replace(qty=min(piece.qty, qty)))
        qty -= kept[-1].qty
    return kept


def crosses(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Whether an order of this side and limit may trade at a price."""
    return price <= limit if side is Side.BUY else price >= limit


def opposite(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY
