"""The demo's stream: seeded, sized, and with everything in it that must not become an order."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from core.intent import Kind, TimeInForce, payload, validate
from tools.demo import brake_problems, reference_prices
from tools.demo_stream import Purpose, stream

SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"]


@pytest.mark.parametrize("count", [1, 60, 200])
def test_the_stream_has_the_asked_number_of_intents(count: int) -> None:
    """Exactly `count` wishes are meant to be accepted, all valid and under keys of their own."""
    wishes = [w for w in stream(count, SYMBOLS, reference_prices(), 3) if w.purpose is Purpose.INTENT]
    for wish in wishes:
        validate(wish.request)
    assert len({wish.request.key for wish in wishes}) == len(wishes) == count


def test_the_same_seed_gives_the_same_stream() -> None:
    """The stream is a function of its seed, and another seed gives another one."""
    prices = reference_prices()
    one, again, other = (list(stream(50, SYMBOLS, prices, seed)) for seed in (4, 4, 5))
    assert one == again
    assert one != other


def test_the_stream_is_mixed() -> None:
    """Sixty intents hold every kind of order, both sizes, repeats, conflicts and refusals."""
    wishes = list(stream(60, SYMBOLS, reference_prices(), 1))
    assert set(Counter(wish.purpose for wish in wishes)) == set(Purpose)
    intents = [wish.request for wish in wishes if wish.purpose is Purpose.INTENT]
    assert {request.tif for request in intents} == {TimeInForce.IOC, TimeInForce.GTC, TimeInForce.FOK}
    assert {request.kind for request in intents} == set(Kind)
    assert {request.qty is None for request in intents} == {True, False}
    assert {request.symbol for request in intents} == set(SYMBOLS)


def test_repeats_are_the_same_wish_and_conflicts_are_not() -> None:
    """A repeat has key and payload of an earlier wish, a conflict only its key."""
    known: dict[str | None, str] = {}
    for wish in stream(120, SYMBOLS, reference_prices(), 1):
        if wish.purpose is Purpose.INTENT:
            known[wish.request.key] = payload(wish.request)
        elif wish.purpose is Purpose.REPEAT:
            assert payload(wish.request) == known[wish.request.key]
        elif wish.purpose is Purpose.CONFLICT:
            assert payload(wish.request) != known[wish.request.key]


@pytest.mark.parametrize("count", [10, 5_000])
def test_the_stream_is_affordable(count: int) -> None:
    """All buys together stay within what the simulator's account opens with."""
    spent = Decimal(0)
    prices = reference_prices()
    for wish in stream(count, SYMBOLS, prices, 2):
        request = wish.request
        if wish.purpose is Purpose.INTENT and request.side == "buy":
            spent += request.quote_budget or (request.qty or Decimal(0)) * prices[request.symbol]
    assert spent < Decimal(100_000)


@pytest.mark.parametrize(("code", "wrong"), [("TRADING_HALTED", 0), ("", 1), ("INSUFFICIENT_FUNDS", 1)])
def test_a_buy_that_the_brakes_do_not_stop_fails_the_demo(code: str, wrong: int) -> None:
    """Refused for what trading is, or it is a failure: also when something else stood in the way."""
    assert len(brake_problems({"brakes": {"HALTED": code}})) == wrong
