"""Book against venue: what differs, each difference by its name (`core/verdict.py`). Nothing is changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from core import drift, reconcile
from core.balances import contradictions
from core.ids import ExchangeOrderId, TradeId
from core.leftovers import is_unwanted
from core.lifecycle import State
from core.money import ZERO, text
from core.open_orders import OVER, followed, is_external
from core.records import ExternalOrder, FillRecord
from core.reports import OpenOrder, Trade
from core.settling import external_order, opening_ns
from core.unit_of_work import BookReader
from core.verdict import Difference


def of_fills(
    book: BookReader, symbol: str, trades: Iterable[Trade], orders: Mapping[ExchangeOrderId, OpenOrder]
) -> list[Difference]:
    """Every fill of a symbol against every trade since the book began. `orders` tells the names of unknown orders."""
    found: list[Difference] = []
    booked = {fill.trade_id: fill for fill in book.fills_of(symbol)}
    began_ns = opening_ns(book)
    nameless: dict[ExchangeOrderId, list[TradeId]] = defaultdict(list)
    for trade in trades:
        fill = booked.pop(trade.trade_id, None)
        if fill is not None:
            found += _of_fill(symbol, fill, trade)
            continue
        owner = owner_of(book, symbol, trade.exchange_order_id, orders)
        if owner:
            found.append(
                Difference(
                    kind="fill_missing", subject=trade.trade_id, symbol=symbol, intent_id=owner, venue=_figures(trade)
                )
            )
        elif trade.venue_ns >= began_ns and is_nameless(book, symbol, trade.exchange_order_id, orders):
            nameless[trade.exchange_order_id].append(trade.trade_id)
    found += [
        Difference(kind="order_nameless", subject=order_id, symbol=symbol, venue=f"{len(ids)} trades")
        for order_id, ids in nameless.items()
    ]
    found += [
        Difference(
            kind="fill_unknown", subject=fill.trade_id, symbol=symbol, intent_id=fill.intent_id, book=_figures(fill)
        )
        for fill in booked.values()
    ]
    return found


def owner_of(
    book: BookReader, symbol: str, order_id: ExchangeOrderId, orders: Mapping[ExchangeOrderId, OpenOrder]
) -> str:
    """The intent of an order; empty if it is not ours."""
    known = book.order(symbol, order_id)
    if known is not None:
        return known.intent_id
    named = orders.get(order_id)
    attempt = book.attempt_by_client_id(named.client_order_id) if named and named.client_order_id else None
    return attempt.intent_id if attempt is not None else ""


def is_nameless(
    book: BookReader, symbol: str, order_id: ExchangeOrderId, orders: Mapping[ExchangeOrderId, OpenOrder]
) -> bool:
    """Whether nobody has told the order's name."""
    named = orders.get(order_id)
    has_name = named is not None and bool(named.client_order_id)
    return not has_name and book.order(symbol, order_id) is None and book.external_order(symbol, order_id) is None


def _of_fill(symbol: str, fill: FillRecord, trade: Trade) -> list[Difference]:
    if _figures(fill) == _figures(trade) and fill.exchange_order_id == trade.exchange_order_id:
        return []
    return [
        Difference(
            kind="fill_differs",
            subject=trade.trade_id,
            symbol=symbol,
            intent_id=fill.intent_id,
            book=f"{_figures(fill)}, order {fill.exchange_order_id}",
            venue=f"{_figures(trade)}, order {trade.exchange_order_id}",
        )
    ]


def _figures(trade: Trade | FillRecord) -> str:
    return (
        f"{text(trade.qty)} at {text(trade.price)}, {text(trade.quote_qty)} in quote, "
        f"fee {text(trade.fee)} {trade.fee_currency}"
    )


def of_orders(book: BookReader, listed: Iterable[OpenOrder]) -> list[Difference]:
    """The account's open orders against the book's working ones."""
    found: list[Difference] = []
    names = set()
    for order in listed:
        names.add(order.client_order_id)
        attempt = book.attempt_by_client_id(order.client_order_id) if order.client_order_id else None
        if attempt is not None and (attempt.status in OVER or is_unwanted(book, attempt)):
            found.append(
                Difference(
                    kind="order_open",
                    subject=order.client_order_id,
                    symbol=order.symbol,
                    intent_id=attempt.intent_id,
                    book=str(attempt.status) if attempt.status in OVER else "wanted by no intent",
                    venue=f"open, filled {text(order.filled_qty)}",
                )
            )
    found += [
        Difference(
            kind="order_missing",
            subject=attempt.client_order_id,
            symbol=attempt.symbol,
            intent_id=attempt.intent_id,
            book=f"working, filled {text(attempt.filled_qty)}",
            venue="not open",
        )
        for attempt in followed(book)
        if attempt.client_order_id not in names
    ]
    return found


def external_among(
    book: BookReader, listed: Iterable[OpenOrder], now_ns: int
) -> dict[tuple[str, ExchangeOrderId], ExternalOrder]:
    """Every order that is not ours: noted before, or open now."""
    found = {(order.symbol, order.exchange_order_id): order for order in book.external_orders()}
    for order in listed:
        if is_external(book, order):
            found.setdefault((order.symbol, order.exchange_order_id), external_order(order, order.symbol, now_ns))
    return found


def of_strays(external: Iterable[ExternalOrder]) -> list[Difference]:
    return [
        Difference(
            kind="order_stray",
            subject=order.client_order_id,
            symbol=order.symbol,
            book="no such attempt",
            venue=f"order {order.exchange_order_id}",
        )
        for order in external
        if order.is_stray
    ]


def of_balances(book: BookReader, venue: Mapping[str, Decimal], external: Mapping[str, Decimal]) -> list[Difference]:
    """Totals by currency. `external`: what trades that are not ours have done to them."""
    totals = {balance.currency: balance.total for balance in book.balances()}
    left = drift.unexplained(reconcile.balance_drift(totals, venue), external, drift.known(book))
    return [
        Difference(
            kind="balance",
            subject=currency,
            book=text(totals.get(currency, ZERO)),
            venue=f"{text(venue.get(currency, ZERO))}, unexplained {text(amount)}",
            amount=amount,
        )
        for currency, amount in sorted(left.items())
    ]


def of_book(book: BookReader) -> list[Difference]:
    """What the book says against itself, and what it does not know."""
    sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
    assets: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for posting in (posting for row in book.ledger() for posting in row.postings):
        sums[posting.currency] += posting.amount
        if posting.account.startswith("Assets:"):
            assets[posting.currency] += posting.amount
    found = [
        Difference(kind="reservation" if "reserv" in line else "ledger", subject=line.split(":")[0], book=line)
        for line in contradictions(book, sums, assets)
    ]
    found += [
        Difference(
            kind="unresolved",
            subject=record.intent.intent_id,
            symbol=record.intent.symbol,
            intent_id=record.intent.intent_id,
            book=str(record.state),
            venue="not known yet",
        )
        for record in book.open_intents()
        if record.state is State.UNKNOWN
    ]
    return found
