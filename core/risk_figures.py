"""What the risk limits are measured by, kept in step with the book by whoever changes it.

| figure | is |
|---|---|
| `holding` | how many symbols have a position that is more than dust |
| `buying` | by symbol, how many open intents buy |
| `trades` | intents accepted on this UTC day that have filled something, or still may |
| `positions_value` | per quote currency, the sum of position × its latest known price (`Position.last_price`) |
| `equity` | per quote currency, its balance + `positions_value` |
| `opening_equity` | `equity` when the first thing of the UTC day happened |

All of it follows from the book alone, so it survives restarts, and `violations` checks it against the book. Sums are
kept and not made anew for each wish: what a wish costs must not grow with the number of positions. What the account
held before intentd (its inventory) is nobody's position and counts for nothing here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from core.ids import NS_PER_S
from core.intent import Side
from core.money import ZERO, text
from core.records import IntentRecord, Position, PositionState, QuoteFigures, RiskFigures
from core.unit_of_work import BookReader, UnitOfWork

DAY_NS: Final = 86_400 * NS_PER_S
CLOCK_BACK_DAYS: Final = 1
"""A clock that is put right may be so far back, and the day goes on."""
HELD: Final = frozenset({PositionState.OPEN, PositionState.PARTIAL_EXIT})


def day_of(at_ns: int) -> int:
    """The UTC day, counted from 1970-01-01."""
    return at_ns // DAY_NS


def of(book: BookReader, currency: str, now_ns: int) -> RiskFigures:
    """As they stand now, `currency` among the quote currencies. On a new day nothing was traded yet, and it opens with
    what is there. A clock that is set back a little does not open the day before again; one that was far ahead does."""
    figures = book.risk_figures() or _counted(book)
    if currency not in figures.quotes:
        figures = _with_quote(figures, currency, QuoteFigures(opening_equity=_balance(book, currency)))
    today = day_of(now_ns)
    if figures.day - CLOCK_BACK_DAYS <= today <= figures.day:
        return figures
    quotes = {
        name: replace(quote, opening_equity=_balance(book, name) + quote.positions_value)
        for name, quote in figures.quotes.items()
    }
    return replace(figures, day=today, trades=0, quotes=quotes)


def equity(book: BookReader, figures: RiskFigures, currency: str) -> Decimal:
    """The currency's balance, and the positions that it was paid for."""
    return _balance(book, currency) + figures.quotes[currency].positions_value


def accepted(book: UnitOfWork, record: IntentRecord, currency: str, now_ns: int) -> None:
    """A wish became an intent; `currency` is its symbol's quote currency."""
    figures = of(book, currency, now_ns)
    symbol, buying = record.intent.symbol, figures.buying
    if record.intent.side is Side.BUY:
        buying = buying | {symbol: buying.get(symbol, 0) + 1}
    book.put_risk_figures(replace(figures, trades=figures.trades + 1, buying=buying))


def ended(book: UnitOfWork, record: IntentRecord, now_ns: int) -> None:
    """An intent became terminal. One of today that has filled nothing was no trade."""
    figures, symbol = _figures_of(book, record, now_ns), record.intent.symbol
    buying = figures.buying
    if record.intent.side is Side.BUY and symbol in buying:
        buying = {name: count - (name == symbol) for name, count in buying.items() if name != symbol or count > 1}
    trades = figures.trades
    if record.filled_qty == 0 and _day_accepted(record) == figures.day:
        trades = max(0, trades - 1)  # an intent that is older than these figures was never counted
    book.put_risk_figures(replace(figures, buying=buying, trades=trades))


def filled_late(book: UnitOfWork, record: IntentRecord, now_ns: int) -> None:
    """An intent that had ended with nothing filled has filled something after all: it was a trade."""
    figures = _figures_of(book, record, now_ns)
    if _day_accepted(record) == figures.day:
        book.put_risk_figures(replace(figures, trades=figures.trades + 1))


def forgive(book: UnitOfWork, currency: str, now_ns: int) -> None:
    """An operator has seen what the day has lost in this currency; from here on it is measured anew."""
    figures = of(book, currency, now_ns)
    anew = replace(figures.quotes[currency], opening_equity=equity(book, figures, currency))
    book.put_risk_figures(_with_quote(figures, currency, anew))


def open_day(book: UnitOfWork, currency: str, now_ns: int) -> None:
    """Note what the day begins with, before anything of it changes that."""
    before, now = book.risk_figures(), of(book, currency, now_ns)
    if before != now:
        book.put_risk_figures(now)


def converted(book: UnitOfWork, changes: Mapping[str, Decimal], now_ns: int) -> None:
    """Money of these currencies came or went by a trade of something else: a conversion is no result of the day."""
    figures = book.risk_figures()
    for currency, amount in changes.items():
        if figures is not None and amount and currency in figures.quotes:
            figures = of(book, currency, now_ns)
            quote = figures.quotes[currency]
            shifted = replace(quote, opening_equity=quote.opening_equity + amount)
            book.put_risk_figures(_with_quote(figures, currency, shifted))


def moved(book: UnitOfWork, currency: str, before: Position, after: Position, now_ns: int) -> None:
    """A position gets another quantity, or another price. To be called before `after` is put."""
    figures = of(book, currency, now_ns)
    quote = figures.quotes[currency]
    worth = replace(quote, positions_value=quote.positions_value + after.value - before.value)
    holding = figures.holding + (after.state in HELD) - (before.state in HELD)
    book.put_risk_figures(_with_quote(replace(figures, holding=holding), currency, worth))


def mark(book: UnitOfWork, symbol: str, currency: str, price: Decimal, now_ns: int) -> None:
    """A newer price is known of what is held; quote per base."""
    before = book.position(symbol)
    if before is None or before.qty == 0 or before.last_price == price or price <= 0:
        return
    after = replace(before, last_price=price)
    moved(book, currency, before, after, now_ns)
    book.put_position(after)


def positions_with(book: BookReader, figures: RiskFigures, symbol: str) -> int:
    """How many symbols are held, or being bought, if this one is bought, too."""
    bought = {name for name in (*figures.buying, symbol) if not _is_held(book, name)}
    return figures.holding + len(bought)


def violations(book: BookReader) -> list[str]:
    """Every contradiction between the figures and the book; an empty list for a sound book."""
    kept, counted = book.risk_figures(), _counted(book)
    if kept is None:
        return []
    found = [
        f"risk figure {name} is {getattr(kept, name)}, the book says {getattr(counted, name)}"
        for name in ("holding", "buying")
        if getattr(kept, name) != getattr(counted, name)
    ]
    for currency in sorted(kept.quotes.keys() | counted.quotes.keys()):
        ours, theirs = (each.quotes.get(currency, QuoteFigures()).positions_value for each in (kept, counted))
        if ours != theirs:
            found.append(f"positions paid for in {currency} are worth {text(theirs)}, risk figures say {text(ours)}")
    return found


def _counted(book: BookReader) -> RiskFigures:
    """From the records themselves: for a book that is older than these figures, and to check them."""
    worth: dict[str, Decimal] = defaultdict(lambda: ZERO)
    holding = 0
    for position in book.positions():
        worth[_quote_of(book, position.symbol)] += position.value
        holding += position.state in HELD
    buying = Counter(record.intent.symbol for record in book.open_intents() if record.intent.side is Side.BUY)
    quotes = {
        currency: QuoteFigures(positions_value=value, opening_equity=_balance(book, currency) + value)
        for currency, value in worth.items()
    }
    return RiskFigures(holding=holding, buying=dict(buying), quotes=quotes)


def _day_accepted(record: IntentRecord) -> int:
    """By the clock of whoever accepted it, and counted it."""
    return day_of(record.marks.get("reserved", record.intent.created_ns))


def _figures_of(book: BookReader, record: IntentRecord, now_ns: int) -> RiskFigures:
    return of(book, _quote_of(book, record.intent.symbol), now_ns)


def _with_quote(figures: RiskFigures, currency: str, quote: QuoteFigures) -> RiskFigures:
    return replace(figures, quotes=figures.quotes | {currency: quote})


def _is_held(book: BookReader, symbol: str) -> bool:
    position = book.position(symbol)
    return position is not None and position.state in HELD


def _quote_of(book: BookReader, symbol: str) -> str:
    rules = book.market(symbol)
    assert rules is not None, f"the book has an intent of {symbol} without its market"
    return rules.quote


def _balance(book: BookReader, currency: str) -> Decimal:
    balance = book.balance(currency)
    return balance.total if balance else ZERO
