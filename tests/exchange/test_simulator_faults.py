"""Faults: rules are checked, seeded and counted, and each does to a request what its name says."""

from __future__ import annotations

import asyncio
import http.client
import time
from typing import Any

import ccxt
import pytest

from exchange.simulator.faults import FAULTS, FaultError, Faults
from exchange.simulator.plan import Kind, Plan
from tests.exchange.conftest import Venue, connected

BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "IOC", "quantity": "0.001"}


def plans(rules: dict[str, Any], kinds: list[Kind]) -> list[Plan]:
    faults = Faults()
    faults.set(rules)
    return [faults.plan(kind, 0) for kind in kinds]


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_rules_nothing_happens() -> None:
    """Every plan is empty."""
    assert plans({}, [Kind.PLACE, Kind.CANCEL]) == [Plan(), Plan()]


def test_chances_are_seeded() -> None:
    """The same seed picks the same requests; another one picks others; about as many as the probability says."""
    rules = {"partial_fill": 0.3, "reject": {"probability": 0.2, "codes": [-2010, -1013]}}

    def outline(seed: int) -> list[tuple[object, object]]:
        made = plans({**rules, "seed": seed}, [Kind.PLACE] * 1_000)
        return [(plan.fill_share, plan.refusal and plan.refusal.code) for plan in made]

    assert outline(1) == outline(1) != outline(2)
    assert 250 < sum(share is not None for share, _ in outline(1)) < 350
    assert {code for _, code in outline(1)} == {None, -2010, -1013}


def test_a_script_counts_requests_of_its_kinds_only() -> None:
    """`nth` 2 of cancels is the second cancel, whatever came in between."""
    kinds = [Kind.CANCEL, Kind.PLACE, Kind.ORDER, Kind.CANCEL, Kind.CANCEL]
    made = plans({"close_connection": {"on": ["cancel"], "nth": [2]}}, kinds)
    assert [plan.after is not None for plan in made] == [False, False, False, True, False]


def test_a_fault_may_have_several_rules() -> None:
    """A list of rules applies each of them."""
    made = plans({"latency_ms": [{"ms": 5}, {"ms": 7, "on": ["place"]}]}, [Kind.PLACE, Kind.ORDER])
    assert [plan.delay_ms for plan in made] == [12, 5]


def test_latency_is_drawn_between_its_bounds() -> None:
    """Both bounds occur, and nothing beyond them."""
    delays = {plan.delay_ms for plan in plans({"latency_ms": {"min": 5, "max": 8}}, [Kind.PLACE] * 200)}
    assert delays == {5, 6, 7, 8}


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ([], "rules are an object"),
        ({"latency": 5}, "there is no fault latency; did you mean latency_ms?"),
        ({"zzz": 5}, "there is no fault zzz; there are answer_lost, backend_timeout"),
        ({"latency_ms": -1}, "latency_ms: Expected `int` >= 0"),
        ({"latency_ms": {"min": 9, "max": 3}}, "max 3 is below min 9"),
        ({"latency_ms": {"milliseconds": 3}}, "its parameters are on, probability, nth, ms, min, max"),
        ({"reject": 1.5}, "reject: Expected `float` <= 1"),
        ({"reject": {"codes": [-1]}}, r"codes \[-1\] are none of -2015"),
        ({"reject": {"on": ["placing"]}}, "reject: Invalid enum value 'placing'"),
        ({"reject": {"nth": [0]}}, "reject: Expected `int` >= 1"),
        ({"partial_fill": "often"}, "partial_fill: Expected `object`, got `str`"),
        ({"cancel_crosses_fill": {"share": 0}}, "cancel_crosses_fill: Expected `float` > 0.0"),
        ({"garbled_body": {"shapes": []}}, "shapes is empty; there are container, fields, amounts, null"),
        ({"lagging_reads": {"on": ["trades", "place"]}}, "lagging_reads does nothing on place; it is for order, open"),
        ({"rate_limited": {"status": 503}}, "rate_limited: Invalid enum value 503"),
        ({"seed": "x"}, "seed is 'x'; it must be a whole number"),
    ],
)
def test_a_wrong_rule_is_refused_and_changes_nothing(rules: Any, complaint: str) -> None:
    """The text says where and what would be right, and the rules before stay in force."""
    faults = Faults()
    faults.set({"latency_ms": 3})
    with pytest.raises(FaultError, match=complaint):
        faults.set(rules)
    assert faults.plan(Kind.PLACE, 0).delay_ms == 3


def test_every_fault_applies_with_its_defaults() -> None:
    """A bare probability of 1, or number, is enough for each."""
    for name, fault in FAULTS.items():
        assert plans({name: 1}, [fault().on[0]]) != [Plan()], name


# ── on the wire ───────────────────────────────────────────────────────────────────────────────────────────────────────


def buy(venue: Venue, name: str) -> Any:
    price = str(venue.best("BTCUSDT")[1] * 1001 // 1000)
    return venue.ask_signed("POST", "/api/v3/order", {**BUY, "price": price, "newClientOrderId": name})


def test_rules_are_shown_and_cleared(venue: Venue) -> None:
    """GET tells what PUT set; DELETE ends it; a wrong PUT is a 400 with a hint."""
    rules = {"latency_ms": {"min": 1, "max": 2}, "seed": 4}
    assert venue.set_faults(rules).body == rules
    assert venue.ask("GET", "/_sim/faults").body == rules
    wrong = venue.set_faults({"rejct": 1})
    assert (wrong.status, wrong.body) == (400, {"error": "there is no fault rejct; did you mean reject?"})
    assert venue.ask("PUT", "/_sim/faults", b"{nonsense").status == 400
    assert venue.ask("DELETE", "/_sim/faults").body == {}
    assert venue.ask("GET", "/_sim/faults").body == {}


def test_latency_delays_an_answer(venue: Venue) -> None:
    """A request takes at least as long as told."""
    venue.set_faults({"latency_ms": 60})
    began = time.monotonic()
    venue.ask("GET", "/api/v3/ping")
    assert time.monotonic() - began >= 0.06


def test_a_request_that_waited_longer_than_its_window_is_not_executed(venue: Venue) -> None:
    """The timestamp is checked again just before matching."""
    venue.set_faults({"latency_ms": {"ms": 60, "on": ["place"]}})
    params = {**BUY, "price": "60000", "newClientOrderId": "late", "recvWindow": 20}
    answer = venue.ask_signed("POST", "/api/v3/order", params)
    assert answer.body["code"] == -1021
    assert venue.order("late") is None


def test_a_partial_fill_leaves_the_rest_unfilled(venue: Venue) -> None:
    """An immediate-or-cancel order expires with a part of its quantity."""
    venue.set_faults({"partial_fill": {"min": 0.5, "max": 0.5}})
    answer = buy(venue, "part").body
    assert (answer["status"], answer["executedQty"]) == ("EXPIRED", "0.00050000")


def test_a_rejected_order_is_not_placed(venue: Venue) -> None:
    """It is refused with the code, and the venue knows nothing of it; the next one is placed."""
    venue.set_faults({"reject": {"nth": [1], "codes": [-1013]}})
    assert buy(venue, "no").body == {"code": -1013, "msg": "Filter failure: NOTIONAL"}
    assert buy(venue, "yes").status == 200
    assert venue.order("no") is None


def test_a_lost_answer_leaves_an_executed_order(venue: Venue) -> None:
    """The connection ends without a byte, and the venue has the order."""
    venue.set_faults({"answer_lost": {"nth": [1]}})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        buy(venue, "lost")
    order = venue.order("lost")
    assert order is not None
    assert order["status"] == "FILLED"


def test_a_connection_closed_before_leaves_nothing(venue: Venue) -> None:
    """The connection ends without a byte, and the venue has not seen the order."""
    venue.set_faults({"close_connection": {"point": "before", "on": ["place"]}})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        buy(venue, "never")
    assert venue.order("never") is None


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [("server_error", ccxt.ExchangeNotAvailable), ("backend_timeout", ccxt.RequestTimeout)],
)
def test_an_error_of_the_server_tells_nothing(venue: Venue, fault: str, error: type[Exception], point: str) -> None:
    """The same failure for an order that was executed and for one that was not."""
    venue.set_faults({fault: {"point": point, "on": ["place"]}})
    name = f"{fault[:6]}{point}".replace("_", "")
    with pytest.raises(error):
        asyncio.run(place_with_ccxt(venue, name))
    assert (venue.order(name) is not None) == (point == "after")


def test_half_an_answer_names_no_order(venue: Venue) -> None:
    """ccxt returns from a truncated answer as if all were well, without an id."""
    venue.set_faults({"truncated_body": {"on": ["place"]}})
    order = asyncio.run(place_with_ccxt(venue, "half"))
    assert order.get("id") is None
    assert venue.order("half") is not None


def test_a_late_answer_comes_after_the_client_gave_up(venue: Venue) -> None:
    """The client times out, the order is executed."""
    venue.set_faults({"late_answer": {"ms": 600_000, "on": ["place"]}})
    with pytest.raises(ccxt.RequestTimeout):
        asyncio.run(place_with_ccxt(venue, "tooLate", patience_ms=1_000))
    assert venue.order("tooLate") is not None


async def place_with_ccxt(venue: Venue, name: str, patience_ms: int = 30_000) -> Any:
    """`patience_ms` is for the order; what comes before has its time."""
    price = str(venue.best("BTCUSDT")[1] * 1001 // 1000)
    async with connected(venue.base_url) as client:
        await client.load_markets()
        client.timeout = patience_ms
        params = {"newClientOrderId": name, "timeInForce": "IOC"}
        return await client.create_order("BTC/USDT", "limit", "buy", "0.001", price, params)
