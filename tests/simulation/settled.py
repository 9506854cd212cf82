"""What must be true in the end, when the trouble is over and some time has passed.

Every intent is terminal, every client knows how its wishes ended, nothing is held, and the book is the venue: the same
trades, the same balances to the last digit, but for what somebody else has done on the account. Those orders are
listed, and the daemon's own comparison finds no difference.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.ids import CLIENT_ORDER_ID_PREFIX
from core.lifecycle import is_terminal
from core.money import ZERO, text
from tests.simulation.outsider import Outsider, is_by_hand
from tests.simulation.shared_book import SharedBook
from tests.simulation.strategy import Strategy
from tests.simulation.venue import MARKETS, Venue


def unsettled(book: SharedBook, venue: Venue, strategies: Iterable[Strategy], outsider: Outsider) -> list[str]:
    """What is not as it must be, one line each."""
    wrong = [
        f"the client does not know how {wish.request.key} ended: {wish.record.state if wish.record else 'no answer'}"
        for strategy in strategies
        for wish in strategy.wishes
        if not wish.is_over
    ]
    with book.view() as view:
        wrong += [
            f"{record.intent.intent_id} is {record.state} ({record.end_reason})"
            for record in view.intents()
            if not is_terminal(record.state)
        ]
        wrong += [f"{left.intent_id} still holds {text(left.amount)} {left.currency}" for left in view.reservations()]
        booked = {(fill.symbol, fill.trade_id) for fill in view.fills()}
        known = {attempt.client_order_id for attempt in view.all_attempts()}
        totals = {balance.currency: balance.total for balance in view.balances()}
        listed = {order.client_order_id for order in view.external_orders()}
    others = {(symbol, order.id) for symbol in MARKETS for order in venue.orders(symbol) if is_by_hand(order)}
    traded = {
        (symbol, str(trade.id))
        for symbol in MARKETS
        for trade in venue.trades(symbol)
        if (symbol, trade.order_id) not in others
    }
    wrong += [f"trade {trade_id} of {symbol} is not booked" for symbol, trade_id in sorted(traded - booked)]
    wrong += [f"trade {trade_id} of {symbol} is booked only" for symbol, trade_id in sorted(booked - traded)]
    for symbol in MARKETS:
        for order in venue.orders(symbol):
            if order.is_open and order.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
                wrong.append(f"{order.client_order_id} is live at the venue")
            if order.client_order_id not in known and not is_by_hand(order):
                wrong.append(f"{order.client_order_id} is at the venue and not in the book")
    wrong += [
        f"{order.client_order_id} is not listed as somebody else's"
        for order in outsider.orders()
        if (order.executed or order.is_open) and order.client_order_id not in listed
    ]
    true = venue.totals()
    for currency, amount in outsider.changes().items():
        true[currency] = true.get(currency, ZERO) - amount
    wrong += [
        f"{currency}: the venue has {text(true.get(currency, ZERO))}, the book {text(totals.get(currency, ZERO))}"
        for currency in sorted(true.keys() | totals.keys())
        if true.get(currency, ZERO) != totals.get(currency, ZERO)
    ]
    return wrong
