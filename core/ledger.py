"""The double-entry ledger: the postings for each kind of event. Every transaction sums to zero in every currency.

| account | holds |
|---|---|
| `Assets:Venue:<CUR>` | what is at the venue |
| `Assets:Dust:<CUR>` | the part of it that is too small to be traded |
| `Equity:Opening:<CUR>` | where opening balances come from |
| `Equity:Trading:<SYM>` | the other side of open positions; in quote it equals their cost |
| `Equity:Inventory:<SYM>` | the other side of sales of what intentd had not bought |
| `Income:Pnl:<SYM>` | realized results before fees; negative is a profit, as in any ledger |
| `Expenses:Fees:<SYM>` | fees, each in the currency it was charged in |

Trading accounts in place of conversion prices keep each currency balanced on its own (Selinger, "Tutorial on
Multiple Currency Accounting", section 4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from core.errors import InvariantViolated
from core.intent import Side
from core.money import ZERO
from core.records import FillRecord, Posting


def opening(balances: dict[str, Decimal]) -> tuple[Posting, ...]:
    """Opening balances by currency."""
    postings: list[Posting] = []
    for currency, amount in sorted(balances.items()):
        postings += [
            Posting(f"Assets:Venue:{currency}", currency, amount),
            Posting(f"Equity:Opening:{currency}", currency, -amount),
        ]
    return balanced(postings)


def fill(
    trade: FillRecord, base: str, quote: str, *, inventory_qty: Decimal, inventory_quote: Decimal, gross_pnl: Decimal
) -> tuple[Posting, ...]:
    """One trade. `inventory_*`: what of a sale intentd had not bought; `gross_pnl`: the result of the rest."""
    symbol = account_part(trade.symbol)
    sign = 1 if trade.side is Side.BUY else -1
    trading_qty = trade.qty - inventory_qty
    trading_quote = trade.quote_qty - inventory_quote
    postings = [
        Posting(f"Assets:Venue:{base}", base, sign * trade.qty),
        Posting(f"Equity:Trading:{symbol}", base, -sign * trading_qty),
        Posting(f"Equity:Inventory:{symbol}", base, -sign * inventory_qty),
        Posting(f"Assets:Venue:{quote}", quote, -sign * trade.quote_qty),
        Posting(f"Equity:Trading:{symbol}", quote, sign * trading_quote + gross_pnl),
        Posting(f"Equity:Inventory:{symbol}", quote, sign * inventory_quote),
        Posting(f"Income:Pnl:{symbol}", quote, -gross_pnl),
        Posting(f"Assets:Venue:{trade.fee_currency}", trade.fee_currency, -trade.fee),
        Posting(f"Expenses:Fees:{symbol}", trade.fee_currency, trade.fee),
    ]
    return balanced(postings)


def dust(currency: str, change: Decimal) -> tuple[Posting, ...]:
    """`change` of the quantity that is too small to be traded."""
    return balanced(
        [
            Posting(f"Assets:Dust:{currency}", currency, change),
            Posting(f"Assets:Venue:{currency}", currency, -change),
        ]
    )


def balanced(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    """The postings without empty ones. Raises `InvariantViolated` if a currency does not sum to zero."""
    kept = tuple(posting for posting in postings if posting.amount != 0)
    for currency, total in sums(kept).items():
        if total != 0:
            raise InvariantViolated(f"ledger transaction is off by {total} {currency}: {kept}")
    return kept


def sums(postings: Iterable[Posting]) -> dict[str, Decimal]:
    """Sum of the amounts by currency."""
    totals: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for posting in postings:
        totals[posting.currency] += posting.amount
    return dict(totals)


def account_part(symbol: str) -> str:
    """`BTC/USDT` as a part of an account's name: `BTCUSDT`."""
    return symbol.replace("/", "")
