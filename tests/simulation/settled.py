"""What must be true in the end, when the trouble is over and some time has passed.

Every intent is terminal and was compared with the venue, every client knows how its wishes ended, nothing is held, and
the book is the venue: the same trades, the same balances to the last digit. What somebody else did is listed, and is
the whole difference. If balances have changed without a trade, then that is the difference, and trading is halted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from core import private_data
from core.ids import ExchangeOrderId, TradeId
from core.lifecycle import is_terminal
from core.money import ZERO, text
from storage.tables import Reader
from tests.simulation.safety import Safety
from tests.simulation.shared_book import SharedBook
from tests.simulation.strategy import Strategy
from tests.simulation.venue import MARKETS, Venue


def unsettled(book: SharedBook, venue: Venue, safety: Safety, strategies: Iterable[Strategy]) -> list[str]:
    """What is not as it must be, one line each."""
    wrong = [
        f"the client does not know how {wish.request.key} ended: {wish.record.state if wish.record else 'no answer'}"
        for strategy in strategies
        for wish in strategy.wishes
        if not wish.is_over
    ]
    with book.view() as view:
        wrong += _unended(view)
        wrong += ["the account's data is still gone"] if private_data.standing(view).is_gone else []
        wrong += _uncompared(view, safety)
        wrong += _unlisted(view, venue)
        wrong += _unbooked(view, venue)
        wrong += _unlike(view, venue)
    return wrong


def _unended(view: Reader) -> list[str]:
    open_intents = [
        f"{record.intent.intent_id} is {record.state} ({record.end_reason})"
        for record in view.intents()
        if not is_terminal(record.state)
    ]
    held = [f"{left.intent_id} still holds {text(left.amount)} {left.currency}" for left in view.reservations()]
    return open_intents + held


def _uncompared(view: Reader, safety: Safety) -> list[str]:
    """Each ended intent has its result, and none is waited for any more."""
    compared = view.compared() or 0
    return [
        f"{intent_id} has ended and was not compared for good"
        for intent_id, sequence in safety.ended.items()
        if sequence > compared or intent_id not in safety.compared
    ]


def _unlisted(view: Reader, venue: Venue) -> list[str]:
    """Orders and trades of somebody else that the book has not noted."""
    wrong = [
        f"order {number} of {symbol} is not ours and not listed"
        for (symbol, number), order in venue.foreign.items()
        if (order.is_open or order.executed) and view.external_order(symbol, ExchangeOrderId(str(number))) is None
    ]
    return wrong + [
        f"trade {trade.id} of {symbol} is not ours and not noted"
        for symbol, trade in venue.foreign_trades()
        if view.external_trade(symbol, TradeId(str(trade.id))) is None
    ]


def _unbooked(view: Reader, venue: Venue) -> list[str]:
    booked = {(fill.symbol, fill.trade_id) for fill in view.fills()}
    known = {attempt.client_order_id for attempt in view.all_attempts()}
    foreign = {(symbol, str(trade.id)) for symbol, trade in venue.foreign_trades()}
    traded = {(symbol, str(trade.id)) for symbol in MARKETS for trade in venue.trades(symbol)} - foreign
    wrong = [f"trade {trade_id} of {symbol} is not booked" for symbol, trade_id in sorted(traded - booked)]
    wrong += [f"trade {trade_id} of {symbol} is booked only" for symbol, trade_id in sorted(booked - traded)]
    for symbol in MARKETS:
        for order in venue.orders(symbol):
            if (symbol, order.id) in venue.foreign:
                continue
            if order.is_open:
                wrong.append(f"{order.client_order_id} is live at the venue")
            if order.client_order_id not in known:
                wrong.append(f"{order.client_order_id} is at the venue and not in the book")
    return wrong


def _unlike(view: Reader, venue: Venue) -> list[str]:
    """Currencies in which the book and what explains a difference do not make what the venue has."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for amounts in (
        {balance.currency: balance.total for balance in view.balances()},
        {total.currency: total.amount for total in view.external_totals()},
        venue.transferred,
    ):
        for currency, amount in amounts.items():
            totals[currency] += amount
    true = venue.totals()
    return [
        f"{currency}: the venue has {text(true.get(currency, ZERO))}, the book explains {text(totals[currency])}"
        for currency in sorted(true.keys() | totals.keys())
        if true.get(currency, ZERO) != totals[currency]
    ]
