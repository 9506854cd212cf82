"""intentctl: positions, budget, ledger."""

from __future__ import annotations

import time
from collections import defaultdict
from decimal import Decimal
from typing import Any

import click

from core.budget import Budget, budgets_of
from core.money import ZERO
from storage.tables import Reader
from tools import beancount, views
from tools.options import Shared, book, shared_options
from tools.output import print_json, print_table


@click.command()
@shared_options
def positions(shared: Shared) -> int:
    """List positions: what intentd bought and has not sold, at average cost, with results.

    \b
    Example: intentctl positions --json
    """
    with book(shared.folder) as view:
        rows = [views.position(record) for record in view.positions()]
    if shared.json:
        print_json(rows)
        return 0
    print_positions(rows)
    return 0


def print_positions(rows: list[dict[str, Any]]) -> None:
    columns = ("symbol", "state", "qty", "average_cost", "last_price", "realized_pnl", "unrealized_pnl", "fees")
    print_table("Positions", columns, [[row[column] for column in columns] for row in rows])


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also currencies of which nothing is held or in use.")
@shared_options
def budget(shared: Shared, *, everything: bool) -> int:
    """Show per currency what is there, what is held for open intents, and whether the venue agrees.

    \b
    Example: intentctl budget
    """
    with book(shared.folder) as view:
        found = budgets_of(view, time.time_ns())
    budgets = [entry for entry in found if everything or entry.my_budget or entry.reserved_budget or entry.budget_drift]
    if shared.json:
        print_json(budgets)
        return 0
    print_budgets(budgets)
    return 0


def print_budgets(budgets: list[Budget]) -> None:
    columns = ("currency", "my_budget", "reserved_budget", "expected_available", "budget_drift", "health")
    print_table("Budget", columns, [[getattr(entry, column) for column in columns] for entry in budgets])


@click.command()
@click.option("--beancount", "as_beancount", is_flag=True, help="Print the whole ledger as a beancount file.")
@shared_options
def ledger(shared: Shared, *, as_beancount: bool) -> int:
    """Show the double-entry ledger: what stands in each account, and that everything balances.

    \b
    Examples:
      intentctl ledger
      intentctl ledger --beancount > book.beancount && bean-check book.beancount
    """
    with book(shared.folder) as view:
        lines = list(beancount.export(view)) if as_beancount else []
        summary = ledger_summary(view)
    if as_beancount:  # after the snapshot: a pager that is left open must not keep it
        click.echo("\n".join(lines))
        return 0
    if shared.json:
        print_json(summary)
        return 0
    print_ledger(summary)
    return 0


def print_ledger(summary: dict[str, Any]) -> None:
    rows = [(entry["account"], entry["amount"], entry["currency"]) for entry in summary["accounts"]]
    verdict = "balanced" if summary["balanced"] else "NOT BALANCED"
    print_table("Ledger", ("account", "amount", "currency"), rows, f"{summary['transactions']} transactions, {verdict}")


def ledger_summary(view: Reader) -> dict[str, Any]:
    """Sums by account, whether each currency sums to zero, and whether the ledger explains the book's balances."""
    accounts: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    totals: dict[str, Decimal] = defaultdict(lambda: ZERO)
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    count = 0
    for transaction in view.ledger():
        count += 1
        for posting in transaction.postings:
            accounts[posting.account, posting.currency] += posting.amount
            totals[posting.currency] += posting.amount
            if posting.account.startswith("Assets:"):
                held[posting.currency] += posting.amount
    explained = all(held[balance.currency] == balance.total for balance in view.balances())
    return {
        "balanced": explained and all(total == 0 for total in totals.values()),
        "transactions": count,
        "accounts": [
            {"account": account, "currency": currency, "amount": amount}
            for (account, currency), amount in sorted(accounts.items())
            if amount != 0
        ],
    }


COMMANDS = (positions, budget, ledger)
