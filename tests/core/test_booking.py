"""Booking trades: positions at average cost, fees in any currency, dust, and a ledger that agrees with all of it."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import events, ledger
from core.booking import book_trade
from core.intent import Side
from core.market import MarketRules
from core.records import Balance, LedgerTransaction, Position, PositionState
from tests.builders import SYMBOL, T0, dec, fill, rules
from tests.fakes import MemoryBook

OPENING = {"BTC": dec(5), "USDT": dec(1_000_000), "BNB": dec(10)}


class Account:
    """A book with money, into which trades are booked one after the other."""

    def __init__(self, market: MarketRules | None = None) -> None:
        self.book = MemoryBook()
        self.market = market or rules()
        self.number = 0
        with self.book.transaction():
            for currency, total in OPENING.items():
                self.book.put_balance(Balance(currency=currency, total=total))
            self.book.append_ledger(
                LedgerTransaction(at_ns=T0, kind="opening", text="", postings=ledger.opening(OPENING))
            )

    def trade(self, side: Side, qty: str | Decimal, price: str | Decimal, **changes: Any) -> Position:
        self.number += 1
        traded = fill(f"t{self.number}", side=side, qty=dec(qty), price=dec(price), **changes)
        with self.book.transaction():
            book_trade(self.book, traded, self.market, late=False)
        return self.position

    def buy(self, qty: str, price: str, **changes: Any) -> Position:
        return self.trade(Side.BUY, qty, price, **changes)

    def sell(self, qty: str, price: str, **changes: Any) -> Position:
        return self.trade(Side.SELL, qty, price, **changes)

    @property
    def position(self) -> Position:
        found = self.book.position(SYMBOL)
        assert found is not None
        return found

    def total(self, currency: str) -> Decimal:
        balance = self.book.balance(currency)
        assert balance is not None
        return balance.total

    def accounts(self) -> dict[tuple[str, str], Decimal]:
        """Ledger balances by (account, currency)."""
        sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for transaction in self.book.ledger():
            assert set(ledger.sums(transaction.postings).values()) <= {0}
            for posting in transaction.postings:
                sums[posting.account, posting.currency] += posting.amount
        return sums


def assert_ledger_agrees(account: Account) -> None:
    """The ledger's accounts say the same as balances and position do."""
    sums = account.accounts()
    for balance in account.book.balances():
        held = sums[f"Assets:Venue:{balance.currency}", balance.currency]
        dust = sums[f"Assets:Dust:{balance.currency}", balance.currency]
        assert held + dust == balance.total, balance.currency
    position = account.position
    assert sums["Equity:Trading:BTCUSDT", "USDT"] == position.cost
    assert sums["Assets:Dust:BTC", "BTC"] == position.dust_qty
    for currency, fee in position.fees.items():
        assert sums["Expenses:Fees:BTCUSDT", currency] == fee
    quote_fees = position.fees.get("USDT", Decimal(0))
    assert -sums["Income:Pnl:BTCUSDT", "USDT"] - quote_fees == position.realized_pnl
    assert sums["Equity:Inventory:BTCUSDT", "BTC"] == position.inventory_sold_qty


# ── cost and result ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cost_of_a_position_is_the_weighted_average() -> None:
    """Two buys at 40 000 and 50 000 of 1 and 3: the average is 47 500."""
    account = Account()
    account.buy("1", "40000")
    position = account.buy("3", "50000")
    assert (position.qty, position.cost, position.average_cost) == (dec(4), dec(190_000), dec(47_500))


def test_a_sale_takes_out_its_share_of_the_cost() -> None:
    """Selling a quarter leaves the average cost as it was and realizes the difference."""
    account = Account()
    account.buy("4", "40000")
    position = account.sell("1", "45000")
    assert (position.qty, position.cost, position.average_cost) == (dec(3), dec(120_000), dec(40_000))
    assert position.realized_pnl == dec(5000)
    assert position.unrealized_pnl == dec(15_000)


def test_the_last_sale_leaves_no_cost() -> None:
    """Whatever the rounding before, a position that is sold out costs nothing."""
    account = Account()
    account.buy("3", "33333.33")
    for _ in range(3):
        position = account.sell("1", "40000")
    assert (position.qty, position.cost) == (0, 0)
    assert position.realized_pnl == dec("20000.01")


def test_a_fee_in_quote_reduces_the_result() -> None:
    """B4: fees in quote are paid in quote and are part of the realized result."""
    account = Account()
    account.buy("1", "40000", fee="40", fee_currency="USDT")
    position = account.sell("1", "41000", fee="41", fee_currency="USDT")
    assert position.realized_pnl == dec(1000 - 81)
    assert account.total("USDT") == OPENING["USDT"] + 1000 - 81


def test_a_fee_in_base_reduces_what_can_be_sold() -> None:
    """B4: buying 1 with a fee of 0.001 in base leaves 0.999 for what 1 cost."""
    account = Account()
    position = account.buy("1", "40000", fee="0.001", fee_currency="BTC")
    assert (position.qty, position.cost) == (dec("0.999"), dec(40_000))
    assert account.total("BTC") == OPENING["BTC"] + dec("0.999")


def test_a_fee_in_a_third_currency_stays_in_its_own() -> None:
    """B4: a fee in BNB touches neither quantity, nor cost, nor the result in quote."""
    account = Account()
    account.buy("1", "40000", fee="0.05", fee_currency="BNB")
    position = account.sell("1", "40000", fee="0.05", fee_currency="BNB")
    assert (position.realized_pnl, position.fees) == (0, {"BNB": dec("0.10")})
    assert account.total("BNB") == dec("9.90")


def test_selling_what_was_not_bought_makes_no_result() -> None:
    """Inventory has no known cost: it is sold, counted, and makes neither profit nor loss."""
    account = Account()
    account.buy("1", "40000")
    position = account.sell("3", "50000")
    assert (position.qty, position.cost) == (0, 0)
    assert (position.realized_pnl, position.inventory_sold_qty) == (dec(10_000), dec(2))
    assert_ledger_agrees(account)


def test_the_venues_own_notional_is_booked() -> None:
    """The venue truncates price × qty; what it says is what was paid."""
    account = Account()
    position = account.buy("0.33333", "33333.33", quote_qty="11110.98")
    assert position.cost == dec("11110.98")
    assert account.total("USDT") == OPENING["USDT"] - dec("11110.98")


def test_no_position_means_no_cost() -> None:
    """A position whose quantity a fee in base brought to zero keeps no cost that nothing could ever take out."""
    account = Account()
    account.buy("1", "40000")
    position = account.sell("0.999", "41000", fee="0.001", fee_currency="BTC")
    assert (position.qty, position.cost) == (0, 0)


# ── states and dust ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_states_of_a_position() -> None:
    """B5: OPEN, PARTIAL_EXIT, CLOSED, and OPEN again with a new opening time."""
    account = Account()
    states = [account.buy("1", "40000", booked_ns=1)]
    states += [account.sell("0.5", "40000", booked_ns=2), account.sell("0.5", "40000", booked_ns=3)]
    states += [account.buy("1", "40000", booked_ns=4)]
    assert [position.state for position in states] == ["OPEN", "PARTIAL_EXIT", "CLOSED", "OPEN"]
    assert [position.opened_ns for position in states] == [1, 1, 1, 4]


def test_buying_more_after_a_partial_exit_opens_fully() -> None:
    """A position that is built up again is OPEN; it keeps its opening time."""
    account = Account()
    account.buy("1", "40000", booked_ns=1)
    account.sell("0.5", "40000", booked_ns=2)
    position = account.buy("1", "40000", booked_ns=3)
    assert (position.state, position.opened_ns) == (PositionState.OPEN, 1)


def test_selling_inventory_alone_opens_nothing() -> None:
    """A sale of what intentd never bought leaves the position NEW."""
    account = Account()
    position = account.sell("1", "40000")
    assert (position.state, position.qty) == (PositionState.NEW, 0)


def test_what_is_too_small_to_sell_is_dust() -> None:
    """B4: a remainder below the venue's minimum closes the position and moves to the dust account."""
    account = Account()
    account.buy("1", "40000")
    position = account.sell("0.99995", "40000")
    assert (position.state, position.dust_qty) == (PositionState.CLOSED, dec("0.00005"))
    assert account.accounts()["Assets:Dust:BTC", "BTC"] == dec("0.00005")
    assert_ledger_agrees(account)


def test_dust_becomes_money_again() -> None:
    """A buy on top of dust takes it back out of the dust account and reopens the position."""
    account = Account()
    account.buy("1", "40000")
    account.sell("0.99995", "40000")
    position = account.buy("1", "40000")
    assert (position.state, position.dust_qty, position.qty) == (PositionState.OPEN, 0, dec("1.00005"))
    assert account.accounts()["Assets:Dust:BTC", "BTC"] == 0
    assert_ledger_agrees(account)


def test_a_first_fill_that_is_tiny_does_not_close_the_position() -> None:
    """B5: a position that was never open is not CLOSED because its first fill was below the venue's minimum."""
    account = Account()
    position = account.buy("0.00001", "40000")
    assert position.state is not PositionState.CLOSED


# ── everything together ───────────────────────────────────────────────────────────────────────────────────────────────

trades = st.tuples(
    st.sampled_from(Side),
    st.decimals(min_value="0.00001", max_value=2, places=5, allow_nan=False),
    st.decimals(min_value="1000", max_value=90_000, places=2, allow_nan=False),
    st.sampled_from(["0", "0.00075", "0.001"]),
    st.sampled_from(["BTC", "USDT", "BNB"]),
)


@given(st.lists(trades, max_size=12))
def test_ledger_balances_and_position_agree(history: list[tuple[Side, Decimal, Decimal, str, str]]) -> None:
    """After any history: ledger = balances, trading account = cost, nothing negative, and the events tell the same."""
    account = Account()
    for side, qty, price, rate, currency in history:
        worth = {"BTC": qty, "USDT": qty * price, "BNB": qty * price / 500}[currency]
        position = account.trade(side, qty, price, fee=worth * dec(rate), fee_currency=currency)
        assert position.qty >= 0
        assert position.cost >= 0
        assert_ledger_agrees(account)
    if history:
        told = [event for _, event in account.book.events() if isinstance(event, events.PositionUpdated)]
        assert (len(told), told[-1].qty) == (len(history), account.position.qty)


@pytest.mark.parametrize("currency", ["BTC", "USDT", "BNB"])
def test_money_is_conserved(currency: str) -> None:
    """Buying and selling the same at one price costs exactly the fees, in their own currency."""
    account = Account()
    account.buy("1", "40000", fee="0.01", fee_currency=currency)
    account.sell("1", "40000", fee="0.01", fee_currency=currency)
    lost = {name: before - account.total(name) for name, before in OPENING.items()}
    assert lost == {name: dec("0.02") if name == currency else 0 for name in OPENING}
