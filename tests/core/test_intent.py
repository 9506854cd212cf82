"""Wishes: what cannot be meant is refused by name, and the same wish is recognised however it is written."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.errors import InvalidInput
from core.ids import content_key
from core.intent import Kind, Side, TimeInForce, idempotency_key, payload, validate
from tests.builders import T0, dec, request

HUGE_EXPONENT = Decimal("1E-1999999")
BAD_WISHES: dict[str, tuple[str, dict[str, Any]]] = {
    "no slash": ("symbol", {"symbol": "BTCUSDT"}),
    "lower case": ("symbol", {"symbol": "btc/usdt"}),
    "empty symbol": ("symbol", {"symbol": ""}),
    "half a symbol": ("symbol", {"symbol": "BTC/"}),
    "two slashes": ("symbol", {"symbol": "BTC/USDT/X"}),
    "symbol with a line": ("symbol", {"symbol": "BTC/USDT\n"}),
    "symbol with NUL": ("symbol", {"symbol": "BTC\0/USDT"}),
    "symbol that is too long": ("symbol", {"symbol": "B" * 21 + "/USDT"}),
    "no size": ("size", {"qty": None}),
    "two sizes": ("size", {"quote_budget": "50"}),
    "qty zero": ("qty", {"qty": "0"}),
    "qty below zero": ("qty", {"qty": "-1"}),
    "qty NaN": ("qty", {"qty": "NaN"}),
    "qty signaling NaN": ("qty", {"qty": "sNaN"}),
    "qty infinite": ("qty", {"qty": "Infinity"}),
    "qty too large": ("qty", {"qty": "1E+19"}),
    "qty too fine": ("qty", {"qty": "1E-19"}),
    "qty too fine beyond the precision": ("qty", {"qty": "1." + "0" * 80 + "1"}),
    "qty of a hopeless exponent": ("qty", {"qty": HUGE_EXPONENT}),
    "budget zero": ("quote_budget", {"qty": None, "quote_budget": "0"}),
    "budget NaN": ("quote_budget", {"qty": None, "quote_budget": "NaN"}),
    "reduce only buy": ("reduce_only", {"reduce_only": True}),
    "limit without price": ("limit_price", {"limit_price": None}),
    "price below zero": ("limit_price", {"limit_price": "-1"}),
    "price zero": ("limit_price", {"limit_price": "0"}),
    "price infinite": ("limit_price", {"limit_price": "Infinity"}),
    "market with price": ("limit_price", {"kind": Kind.MARKET}),
    "market that rests": ("tif", {"kind": Kind.MARKET, "limit_price": None, "tif": TimeInForce.GTC}),
    "slippage zero": ("max_slippage_bps", {"max_slippage_bps": "0"}),
    "slippage below zero": ("max_slippage_bps", {"max_slippage_bps": "-1"}),
    "slippage too large": ("max_slippage_bps", {"max_slippage_bps": "5000.1"}),
    "slippage NaN": ("max_slippage_bps", {"max_slippage_bps": "NaN"}),
    "slippage of a hopeless exponent": ("max_slippage_bps", {"max_slippage_bps": HUGE_EXPONENT}),
    "empty key": ("key", {"key": ""}),
    "key with a space": ("key", {"key": "a b"}),
    "key with NUL": ("key", {"key": "a\0b"}),
    "key beyond ASCII": ("key", {"key": "schlüssel"}),
    "key that is too long": ("key", {"key": "k" * 129}),
    "key of our own kind": ("key", {"key": "auto:x"}),
    "signal of our own kind": ("signal_id", {"signal_id": "auto:x"}),
    "signal with a line": ("signal_id", {"signal_id": "a\n"}),
    "decision with a space": ("decision_id", {"decision_id": " "}),
    "reason that is too long": ("reason", {"reason": "r" * 501}),
    "source that is too long": ("source", {"source": "s" * 501}),
    "reason that is no text": ("reason", {"reason": "bad byte \udcff"}),
    "source that is no text": ("source", {"source": "\ud800"}),
}


@pytest.mark.parametrize("name", BAD_WISHES)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    """The error names the field, and its text holds the rule and the remedy in one line."""
    field, changes = BAD_WISHES[name]
    with pytest.raises(InvalidInput) as error:
        validate(request(**changes))
    text = str(error.value)
    assert field == error.value.field
    assert error.value.rule
    assert error.value.remedy
    assert text.startswith(f"{field} = ")
    assert error.value.rule in text
    assert error.value.remedy in text
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tif": TimeInForce.GTC},
        {"tif": TimeInForce.PO},
        {"tif": TimeInForce.FOK},
        {"kind": Kind.MARKET, "limit_price": None},
        {"qty": None, "quote_budget": "50"},
        {"side": Side.SELL, "reduce_only": True},
        {"max_slippage_bps": "0.5"},
        {"max_slippage_bps": "5000"},
        {"qty": "1E-18"},
        {"qty": "1E+18"},
        {"key": "k" * 128, "signal_id": "s", "decision_id": "d"},
        {"key": "strategy-7:2024-01-01T00:00:00Z"},
        {"reason": "take profit at 1.005 — Ziel erreicht", "source": "s" * 500},
        {"symbol": "1INCH/USDT"},
    ],
)
def test_what_can_be_meant_is_taken(changes: dict[str, Any]) -> None:
    """A sound wish passes."""
    validate(request(**changes))


@pytest.mark.parametrize(
    "changes", [{"side": "buy"}, {"side": "hold"}, {"kind": "limit"}, {"tif": "IOC"}, {"qty": 0.01}, {"symbol": 5}]
)
def test_a_field_of_the_wrong_type_is_refused(changes: dict[str, Any]) -> None:
    """A struct made in Python is not checked by msgspec: the text `buy` must not pass for a side, or it may sell."""
    wish = msgspec.structs.replace(request(), **changes)
    with pytest.raises(InvalidInput):
        validate(wish)


def test_the_error_survives_a_process_boundary() -> None:
    """An InvalidInput can be pickled with all its parts."""
    before = InvalidInput("qty", "-1", "must be above zero", "turn it around")
    after = pickle.loads(pickle.dumps(before))
    assert (str(before), before.field, before.value) == (str(after), after.field, after.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"qty": "0.0010"}, {"qty": "0.001"}),
        ({"qty": "10"}, {"qty": "1E+1"}),
        ({"limit_price": "50000"}, {"limit_price": "50000.00"}),
        ({"max_slippage_bps": "5"}, {"max_slippage_bps": "5.0"}),
        ({"reason": "a", "source": "b"}, {"reason": "c", "source": "d"}),
        ({"key": "k1"}, {"key": "k2"}),
        ({"signal_id": "s1", "decision_id": "d1"}, {}),
    ],
)
def test_the_same_wish_has_the_same_payload(one: dict[str, Any], other: dict[str, Any]) -> None:
    """How a number is written, and who asks or why, make no other wish."""
    assert payload(request(**one)) == payload(request(**other))


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "ETH/USDT"},
        {"side": Side.SELL},
        {"kind": Kind.MARKET, "limit_price": None},
        {"qty": "0.02"},
        {"qty": None, "quote_budget": "0.01"},
        {"limit_price": "50001"},
        {"tif": TimeInForce.GTC},
        {"max_slippage_bps": "5"},
        {"reduce_only": True},
    ],
)
def test_another_wish_has_another_payload(changes: dict[str, Any]) -> None:
    """Every field that changes what is traded changes the payload."""
    assert payload(request()) != payload(request(**changes))


def test_the_key_is_the_callers_else_the_signals_else_the_content() -> None:
    """I3, in this order."""
    both, signal, none = request(key="k", signal_id="s"), request(signal_id="s"), request()
    assert idempotency_key(both, payload(both), T0) == "k"
    assert idempotency_key(signal, payload(signal), T0) == "s"
    assert idempotency_key(none, payload(none), T0) == content_key(payload(none), T0)


def test_amounts_stay_exact() -> None:
    """Validation changes nothing of the wish."""
    assert request(qty="0.00000001").qty == dec("1E-8")
