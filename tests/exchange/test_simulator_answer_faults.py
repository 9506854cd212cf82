"""Faults of the connection, the answer and the clock, over real HTTP: what the client gets, and what is true."""

from __future__ import annotations

import http.client
import time
from typing import Any

import pytest

from exchange.simulator.answers import NOT_NUMBERS, garbled
from exchange.simulator.faults import Faults
from exchange.simulator.plan import Kind, Shape
from tests.exchange.conftest import Venue

CLOSED = (http.client.RemoteDisconnected, ConnectionResetError)
T0 = 1_700_000_000_000_000_000
NS_PER_MS = 1_000_000
AN_ORDER = {"orderId": 7, "clientOrderId": "x", "executedQty": "0.50000000", "fills": [{"qty": "0.50000000"}]}

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture
def tidy(venue: Venue) -> Any:
    """No order of one test rests in the next."""
    yield
    venue.ask("DELETE", "/_sim/faults")
    for order in venue.read("openOrders"):
        venue.cancel(order["clientOrderId"])


# ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_body_hides_an_order_that_is_placed(venue: Venue) -> None:
    """200 with nothing; the order rests; the next answer is whole."""
    venue.set_faults({"empty_body": {"on": ["place"], "nth": [1]}})
    answer = venue.place("empty")
    assert (answer.status, answer.body) == (200, "")
    assert venue.order("empty") is not None
    assert venue.place("whole").body["clientOrderId"] == "whole"


def test_a_page_hides_an_order_that_is_placed(venue: Venue) -> None:
    """200 with HTML; the order rests; the next answer is JSON."""
    venue.set_faults({"html_body": {"on": ["place"], "nth": [1]}})
    answer = venue.place("page")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.body.startswith("<html>")
    assert venue.order("page") is not None
    assert venue.place("json").body["clientOrderId"] == "json"


@pytest.mark.parametrize("shape", Shape)
def test_a_garbled_answer_hides_an_order_that_is_placed(venue: Venue, shape: Shape) -> None:
    """200 with JSON of another shape; the order rests; the next answer is well."""
    venue.set_faults({"garbled_body": {"on": ["place"], "nth": [1], "shapes": [shape]}})
    answer = venue.place(f"garbled-{shape}")
    assert answer.status == 200
    order = venue.order(f"garbled-{shape}")
    assert order is not None
    assert answer.body != venue.place("next").body
    assert venue.look_up(f"garbled-{shape}").body["orderId"] == order["orderId"]


def test_the_shapes_are_what_they_are_called() -> None:
    """A list for an object and the reverse; fields that are missing; amounts that are none; null."""
    assert garbled(AN_ORDER, Shape.CONTAINER, 5) == [AN_ORDER]
    assert garbled([AN_ORDER], Shape.CONTAINER, 5) == {"data": [AN_ORDER]}
    assert garbled(AN_ORDER, Shape.NULL, 5) is None
    for drawn in range(50):
        assert garbled(AN_ORDER, Shape.FIELDS, drawn).keys() < AN_ORDER.keys()
        word = NOT_NUMBERS[drawn % len(NOT_NUMBERS)]
        assert garbled(AN_ORDER, Shape.AMOUNTS, drawn) == AN_ORDER | {"executedQty": word, "fills": [{"qty": word}]}


@pytest.mark.parametrize("shape", Shape)
def test_an_answer_without_content_is_garbled_too(shape: Shape) -> None:
    """An empty list never leaves as it is."""
    assert garbled([], shape, 1) != []


def test_the_seed_chooses_the_shape() -> None:
    """The same seed garbles alike; over many requests every shape occurs."""

    def shapes(seed: int) -> list[Shape | None]:
        faults = Faults()
        faults.set({"garbled_body": 1, "seed": seed})
        return [breakage.shape for _ in range(60) if (breakage := faults.plan(Kind.PLACE, T0).after)]

    assert shapes(1) == shapes(1) != shapes(2)
    assert set(shapes(1)) == set(Shape)


# ── outage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_outage_swallows_every_request(venue: Venue) -> None:
    """From the second order on nothing is answered or executed, whatever the kind; once it is over all is well."""
    venue.set_faults({"outage": {"ms": 600_000, "on": ["place"], "nth": [2]}})
    assert venue.place("earlier").status == 200
    with pytest.raises(CLOSED):
        venue.place("swallowed")
    with pytest.raises(CLOSED):
        venue.cancel("earlier")
    with pytest.raises(CLOSED):
        venue.ask("GET", "/api/v3/ping")
    assert venue.order("swallowed") is None
    order = venue.order("earlier")
    assert order is not None
    assert order["status"] == "NEW"
    venue.ask("DELETE", "/_sim/faults")
    assert venue.place("later").status == 200


def test_an_outage_ends_by_itself(venue: Venue) -> None:
    """After its time the same request is answered, though the rule is still there."""
    venue.set_faults({"outage": {"ms": 200, "nth": [1]}})
    with pytest.raises(CLOSED):
        venue.ask("GET", "/api/v3/ping")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            assert venue.ask("GET", "/api/v3/ping").body == {}
            break
        except CLOSED:
            continue
    else:
        pytest.fail("the outage of 200 ms lasted 60 s")


def test_an_outage_may_answer_with_pages(venue: Venue) -> None:
    """With a `status` every request gets a page of HTML, and nothing is executed."""
    venue.set_faults({"outage": {"ms": 600_000, "status": 502, "on": ["place"]}})
    answers = [venue.place("page502"), venue.ask("GET", "/api/v3/ping")]
    assert [(answer.status, answer.body[:6]) for answer in answers] == [(502, "<html>")] * 2
    assert venue.order("page502") is None


def test_an_outage_lasts_as_long_as_told() -> None:
    """From the request that it hits until so many milliseconds later, exclusive; without one the venue is up."""
    faults = Faults()
    faults.set({"outage": {"ms": 300, "nth": [2]}})
    faults.plan(Kind.PLACE, T0)
    assert faults.outage(T0) is None
    assert faults.plan(Kind.ORDER, T0).before is not None
    assert faults.outage(T0 + 300 * NS_PER_MS - 1) is not None
    assert faults.outage(T0 + 300 * NS_PER_MS) is None


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "words"), [(429, "Too much request weight used"), (418, "IP banned until")])
def test_a_rate_limit_refuses_before_the_order_is_placed(venue: Venue, status: int, words: str) -> None:
    """The status, -1003 and how long to wait; nothing is placed; the next one is."""
    venue.set_faults({"rate_limited": {"status": status, "retry_after_s": 3, "on": ["place"], "nth": [1]}})
    answer = venue.place(f"limited-{status}")
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (status, -1003, "3")
    assert words in answer.body["msg"]
    assert venue.order(f"limited-{status}") is None
    assert venue.place(f"free-{status}").status == 200


def test_a_ban_names_its_end(venue: Venue) -> None:
    """The text of a 418 tells the millisecond, `retry_after_s` from now, and reads are refused as orders are."""
    venue.set_faults({"rate_limited": {"status": 418, "retry_after_s": 60}})
    began_ms = time.time_ns() // NS_PER_MS
    answer = venue.ask_signed("GET", "/api/v3/account", {})
    until_ms = int(answer.body["msg"].partition("until ")[2].partition(".")[0])
    assert began_ms + 60_000 <= until_ms <= time.time_ns() // NS_PER_MS + 60_000


@pytest.mark.parametrize(
    ("skew_ms", "words"), [(30_000, "outside of the recvWindow"), (-30_000, "ahead of the server's time")]
)
def test_a_skewed_clock_refuses_what_is_signed(venue: Venue, skew_ms: int, words: str) -> None:
    """-1021, nothing placed; the venue tells its own time, and with that time it takes the order."""
    venue.set_faults({"clock_skew": {"ms": skew_ms}})
    name = f"skew{skew_ms}"
    answer = venue.place(name)
    assert (answer.status, answer.body["code"]) == (400, -1021)
    assert words in answer.body["msg"]
    assert venue.order(name) is None
    asked_ms = time.time_ns() // NS_PER_MS
    told_ms = venue.ask("GET", "/api/v3/time").body["serverTime"]
    assert asked_ms <= told_ms - skew_ms <= time.time_ns() // NS_PER_MS
    assert venue.place(name, timestamp=told_ms).status == 200


def test_a_clock_is_right_without_the_fault(venue: Venue) -> None:
    """It is skewed for the requests that are hit only."""
    venue.set_faults({"clock_skew": {"ms": 30_000, "on": ["place"], "nth": [1]}})
    assert venue.place("skewed").body["code"] == -1021
    assert venue.place("right").status == 200
    asked_ms = time.time_ns() // NS_PER_MS
    assert asked_ms <= venue.ask("GET", "/api/v3/time").body["serverTime"] <= time.time_ns() // NS_PER_MS


# ── no answer at all ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_venue_that_never_answers_orders_still_answers_questions(venue: Venue) -> None:
    """With an answer ten minutes late the client gives up; the order rests, and a look-up tells so at once."""
    venue.set_faults({"late_answer": {"ms": 600_000, "on": ["place"]}})
    with pytest.raises(TimeoutError):
        Venue(venue.process, timeout_s=2).place("silent")
    assert venue.look_up("silent").body["status"] == "NEW"
