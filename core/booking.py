"""Booking one trade: balances, reservation, position, dust and ledger, all or nothing, each trade once.

Position rules (B5): weighted average cost. A buy adds quantity net of a fee in base, at what was paid in quote; a sell
takes out its share of the cost. Fees in base and quote reduce the realized result when they are charged; a fee in a
third currency stays in its own. What is sold beyond what intentd had bought came from the account's inventory: its
cost is unknown, so it makes no result.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from core import events, holdings, ledger, risk_figures
from core.intent import Side
from core.market import MarketRules
from core.money import ZERO, share
from core.planning import is_dust
from core.records import FillRecord, LedgerTransaction, Position, PositionState, Posting
from core.unit_of_work import UnitOfWork


def book_trade(book: UnitOfWork, fill: FillRecord, rules: MarketRules, *, late: bool) -> None:
    """Book a trade that is not in the book yet; the caller has looked (`book.fill`)."""
    risk_figures.open_day(book, rules.quote, fill.booked_ns)
    book.put_fill(fill)
    sign = 1 if fill.side is Side.BUY else -1
    elsewhere = {rules.base: sign * fill.qty}
    if fill.fee_currency != rules.quote:
        elsewhere[fill.fee_currency] = elsewhere.get(fill.fee_currency, ZERO) - fill.fee
    risk_figures.converted(book, elsewhere, fill.booked_ns)
    holdings.change_total(book, rules.base, sign * fill.qty)
    holdings.change_total(book, rules.quote, -sign * fill.quote_qty)
    holdings.change_total(book, fill.fee_currency, -fill.fee)
    holdings.consume(book, fill.intent_id, *_used(fill, rules))
    book.append_event(_fill_event(fill, late=late))

    before = book.position(fill.symbol) or Position(symbol=fill.symbol)
    moved = _move(before, fill, rules)
    _post(
        book,
        fill,
        "fill",
        ledger.fill(
            fill,
            rules.base,
            rules.quote,
            inventory_qty=moved.inventory_qty,
            inventory_quote=moved.inventory_quote,
            gross_pnl=moved.gross_pnl,
        ),
    )
    after = _settle_dust(book, fill, moved.position, rules)
    risk_figures.moved(book, rules.quote, before, after, fill.booked_ns)
    book.put_position(after)
    book.append_event(
        events.PositionUpdated(
            at_ns=fill.booked_ns,
            intent_id=fill.intent_id,
            symbol=after.symbol,
            state=after.state,
            qty=after.qty,
            cost=after.cost,
            realized_pnl=after.realized_pnl,
        )
    )


def _used(fill: FillRecord, rules: MarketRules) -> tuple[str, Decimal]:
    """Which held currency the trade used, and how much of it."""
    currency, amount = (rules.quote, fill.quote_qty) if fill.side is Side.BUY else (rules.base, fill.qty)
    return currency, amount + (fill.fee if fill.fee_currency == currency else ZERO)


class _Move(NamedTuple):
    position: Position
    inventory_qty: Decimal
    inventory_quote: Decimal
    gross_pnl: Decimal


def _move(before: Position, fill: FillRecord, rules: MarketRules) -> _Move:
    fee_base = fill.fee if fill.fee_currency == rules.base else ZERO
    fee_quote = fill.fee if fill.fee_currency == rules.quote else ZERO
    fees = before.fees | {fill.fee_currency: before.fees.get(fill.fee_currency, ZERO) + fill.fee}
    reopens = fill.side is Side.BUY and before.state in {PositionState.NEW, PositionState.CLOSED}
    common = replace(
        before,
        fees=fees,
        eaten_qty=(ZERO if reopens else before.eaten_qty) + fee_base,
        last_price=fill.price,
        updated_ns=fill.booked_ns,
    )
    if fill.side is Side.BUY:
        bought = replace(
            common,
            qty=before.qty + fill.qty - fee_base,
            cost=before.cost + fill.quote_qty,
            realized_pnl=before.realized_pnl - fee_quote,
        )
        return _Move(bought, ZERO, ZERO, ZERO)
    own = min(before.qty, fill.qty)
    own_quote = share(fill.quote_qty, own, fill.qty)
    eaten = min(fee_base, before.qty - own)  # a fee in base takes its share of the cost with it
    cost_out = share(before.cost, own + eaten, before.qty) if own + eaten else ZERO
    sold = replace(
        common,
        qty=before.qty - own - eaten,
        cost=before.cost - cost_out,
        realized_pnl=before.realized_pnl + own_quote - cost_out - fee_quote,
        inventory_sold_qty=before.inventory_sold_qty + fill.qty - own,
    )
    return _Move(sold, fill.qty - own, fill.quote_qty - own_quote, own_quote - cost_out)


def _settle_dust(book: UnitOfWork, fill: FillRecord, position: Position, rules: MarketRules) -> Position:
    """Give the position its state, and move what became too small to trade (or is no longer) in the ledger."""
    small = is_dust(position.qty, fill.price, rules, ZERO)
    dust_qty = position.qty if small else ZERO
    change = dust_qty - position.dust_qty
    if change:
        _post(book, fill, "dust", ledger.dust(rules.base, change))
    if fill.side is Side.BUY:
        state = PositionState.OPEN
    elif position.state is PositionState.NEW:
        state = PositionState.NEW  # a sale of inventory opens nothing
    else:
        state = PositionState.CLOSED if small else PositionState.PARTIAL_EXIT
    reopened = state is PositionState.OPEN and position.state in {PositionState.NEW, PositionState.CLOSED}
    return replace(
        position,
        state=state,
        dust_qty=dust_qty,
        opened_ns=fill.booked_ns if reopened else position.opened_ns,
    )


def _post(book: UnitOfWork, fill: FillRecord, kind: str, postings: tuple[Posting, ...]) -> None:
    book.append_ledger(
        LedgerTransaction(
            at_ns=fill.booked_ns,
            kind=kind,
            text=f"{fill.side} {fill.symbol} trade {fill.trade_id}",
            postings=postings,
            intent_id=fill.intent_id,
            trade_id=fill.trade_id,
        )
    )
    book.append_event(events.LedgerEntry(at_ns=fill.booked_ns, intent_id=fill.intent_id, kind=kind, postings=postings))


def _fill_event(fill: FillRecord, *, late: bool) -> events.OrderFill:
    return events.OrderFill(
        at_ns=fill.booked_ns,
        intent_id=fill.intent_id,
        attempt=fill.attempt,
        symbol=fill.symbol,
        side=fill.side,
        exchange_order_id=fill.exchange_order_id,
        trade_id=fill.trade_id,
        qty=fill.qty,
        price=fill.price,
        quote_qty=fill.quote_qty,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        maker=fill.maker,
        source=fill.source,
        late=late,
    )
