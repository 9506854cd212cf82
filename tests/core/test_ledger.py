"""The ledger: every transaction balances in every currency, and one that does not cannot be made."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import ledger
from core.errors import InvariantViolated
from core.intent import Side
from core.records import Posting
from tests.builders import dec, fill

amounts = st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False)


@given(st.sampled_from(Side), amounts, amounts, amounts, st.sampled_from(["BTC", "USDT", "BNB"]), amounts, amounts)
def test_every_fill_balances(
    side: Side, qty: Decimal, quote_qty: Decimal, fee: Decimal, currency: str, inventory: Decimal, pnl: Decimal
) -> None:
    """Whatever the trade, the fee's currency and the part that came from inventory, each currency sums to zero."""
    trade = fill(side=side, qty=qty, quote_qty=quote_qty, fee=fee, fee_currency=currency)
    postings = ledger.fill(trade, "BTC", "USDT", inventory_qty=inventory, inventory_quote=inventory, gross_pnl=pnl)
    assert set(ledger.sums(postings).values()) <= {0}
    assert all(posting.amount != 0 for posting in postings)


@given(st.dictionaries(st.sampled_from(["BTC", "USDT", "BNB", "ETH"]), amounts))
def test_opening_balances_balance(balances: dict[str, Decimal]) -> None:
    """What is there comes from the opening equity, currency by currency."""
    postings = ledger.opening(balances)
    assert set(ledger.sums(postings).values()) <= {0}
    assert {posting.currency: posting.amount for posting in postings if posting.account.startswith("Assets")} == {
        currency: amount for currency, amount in balances.items() if amount
    }


@given(amounts)
def test_dust_balances(change: Decimal) -> None:
    """Dust moves from one asset account to another."""
    assert set(ledger.sums(ledger.dust("BTC", change)).values()) <= {0}


def test_an_unbalanced_transaction_cannot_be_made() -> None:
    """One currency that is off is enough, and the error names it and by how much."""
    postings = [Posting("A", "BTC", dec(1)), Posting("B", "BTC", dec(-1)), Posting("A", "USDT", dec("0.01"))]
    with pytest.raises(InvariantViolated, match=r"0\.01 USDT"):
        ledger.balanced(postings)


def test_the_postings_of_a_buy() -> None:
    """A buy with a fee in base: what came, what it cost, what the fee took."""
    trade = fill(qty="0.01", price="50000", fee="0.00001", fee_currency="BTC")
    postings = ledger.fill(trade, "BTC", "USDT", inventory_qty=dec(0), inventory_quote=dec(0), gross_pnl=dec(0))
    assert {(posting.account, posting.amount) for posting in postings} == {
        ("Assets:Venue:BTC", dec("0.01")),
        ("Equity:Trading:BTCUSDT", dec("-0.01")),
        ("Assets:Venue:USDT", dec("-500")),
        ("Equity:Trading:BTCUSDT", dec("500")),
        ("Assets:Venue:BTC", dec("-0.00001")),
        ("Expenses:Fees:BTCUSDT", dec("0.00001")),
    }


def test_a_profit_is_negative_income() -> None:
    """Selling for 600 what cost 500: the trading account gives up its cost, income shows the profit."""
    trade = fill(side=Side.SELL, qty="0.01", price="60000")
    postings = ledger.fill(trade, "BTC", "USDT", inventory_qty=dec(0), inventory_quote=dec(0), gross_pnl=dec(100))
    in_quote = {posting.account: posting.amount for posting in postings if posting.currency == "USDT"}
    assert in_quote == {
        "Assets:Venue:USDT": dec(600),
        "Equity:Trading:BTCUSDT": dec(-500),
        "Income:Pnl:BTCUSDT": dec(-100),
    }
