"""What machines and people get to read."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.ids import IntentId
from core.records import Posting
from tools.beancount import commodity
from tools.output import amount, cell, jsonable


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0E-8", "0"),
        ("1E+3", "1000"),
        ("0.00100", "0.001"),
        ("-0.5", "-0.5"),
        ("0.3333333333333333333333", "0.333333333333"),
        ("123456789012345678.123456789012", "123456789012345678.123456789012"),
    ],
)
def test_amounts_are_plain_digits(value: str, shown: str) -> None:
    """No exponent, no trailing zeros, at most twelve decimals."""
    assert amount(Decimal(value)) == shown


def test_json_has_texts_for_amounts() -> None:
    """No reader can turn an amount into a float, at any depth."""
    value = {"a": Decimal("0.10"), "b": [Posting("Assets:X", "BTC", Decimal(1))], "c": IntentId("i"), "d": None}
    assert jsonable(value) == {
        "a": "0.1",
        "b": [{"account": "Assets:X", "currency": "BTC", "amount": "1"}],
        "c": "i",
        "d": None,
    }


def test_cells_are_short() -> None:
    """Nothing is a dash, yes and no are words, fees name their currency."""
    assert [cell(None), cell(value=True), cell({}), cell({"BNB": Decimal("0.10")})] == ["-", "yes", "-", "0.1 BNB"]


@pytest.mark.parametrize(("currency", "name"), [("BTC", "BTC"), ("1INCH", "X1INCH"), ("USDT", "USDT")])
def test_commodities_begin_with_a_capital(currency: str, name: str) -> None:
    """beancount refuses a commodity that begins with a digit."""
    assert commodity(currency) == name
