"""The ledger as a beancount file that `bean-check` accepts, with the book's balances as assertions in it.

Beancount checks that every transaction balances in every currency and that the assertions at the end hold, so a clean
`bean-check` says: the ledger alone explains every balance of the book.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from core.ids import NS_PER_S
from core.money import ZERO, text
from core.records import Balance, LedgerTransaction, Position
from storage.tables import Reader

FIRST_DAY = date(1970, 1, 1)


def export(view: Reader) -> Iterator[str]:
    """Lines of the file."""
    transactions = list(view.ledger())
    yield 'option "title" "intentd ledger"'
    yield ""
    accounts = sorted({(posting.account, posting.currency) for entry in transactions for posting in entry.postings})
    for account, currencies in _grouped(accounts):
        yield f"{FIRST_DAY} open {account} {','.join(commodity(currency) for currency in currencies)}"
    last_day = FIRST_DAY
    for entry in transactions:
        last_day = max(last_day, _day(entry.at_ns))
        yield ""
        yield from _transaction(entry)
    yield ""
    yield from _assertions(view.balances(), view.positions(), last_day + timedelta(days=1), {a for a, _ in accounts})


def commodity(currency: str) -> str:
    """A currency as beancount allows it: a capital first (`1INCH` becomes `X1INCH`)."""
    return currency if currency[:1].isalpha() else f"X{currency}"


def _grouped(accounts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    by_account: dict[str, list[str]] = {}
    for account, currency in accounts:
        by_account.setdefault(account, []).append(currency)
    yield from by_account.items()


def _transaction(entry: LedgerTransaction) -> Iterator[str]:
    yield f'{_day(entry.at_ns)} * "{entry.kind}" "{entry.text}"'
    if entry.intent_id:
        yield f'  intent: "{entry.intent_id}"'
    for posting in entry.postings:
        yield f"  {posting.account}  {text(posting.amount)} {commodity(posting.currency)}"


def _assertions(
    balances: Iterable[Balance], positions: Iterable[Position], day: date, accounts: set[str]
) -> Iterator[str]:
    dust: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for position in positions:
        base = position.symbol.split("/")[0]
        dust[base] += position.dust_qty
    for balance in balances:
        account = f"Assets:Venue:{balance.currency}"
        if account in accounts:
            tradable = balance.total - dust[balance.currency]
            yield f"{day} balance {account}  {text(tradable)} {commodity(balance.currency)}"


def _day(at_ns: int) -> date:
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).date()
