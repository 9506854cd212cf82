"""Our end of the user data stream: what happens is told, every kind of loss is noticed, and nothing raises."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal

import msgspec
import pytest
from aiohttp import web

from core.reports import OrderStatus
from core.settings import from_mapping
from exchange.binance import stream_address
from exchange.client import VenueClient
from exchange.credentials import Credentials
from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from exchange.simulator.process import SimulatorProcess
from exchange.stream import Connected, Lost
from tests.exchange.conftest import Venue
from tests.exchange.streaming import (
    PATIENT,
    QUICK,
    STOPPED_S,
    SUBSCRIBED,
    Owner,
    Stage,
    says,
    served,
    streaming,
    within,
)
from tests.exchange.test_stream_events import TRADE

EVENT = json.dumps({"subscriptionId": 0, "event": TRADE})


# ── against the simulator ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_told_from_its_birth_to_its_end(venue: Venue) -> None:
    """NEW, its trades and its end come by themselves; the trades are those of `myTrades`."""

    async def watch() -> Owner:
        async with streaming(venue.base_url) as owner:
            await owner.connections(1)
            await asyncio.to_thread(venue.place, "walk", quantity="0.1", price="70000", timeInForce="IOC")
            await asyncio.to_thread(venue.place, "rest")
            await asyncio.to_thread(venue.cancel, "rest")
            await owner.report("rest", "CANCELED")
            return owner

    owner = within(watch())
    walk = [report for _, report in owner.reports if report.client_order_id == "walk"]
    assert (walk[0].venue_status, walk[0].trades, walk[-1].status) == ("NEW", (), OrderStatus.FILLED)
    told = {(trade.trade_id, trade.qty, trade.fee) for report in walk for trade in report.trades}
    rows = [row for row in venue.read("myTrades") if str(row["orderId"]) == walk[0].exchange_order_id]
    assert told == {(str(row["id"]), Decimal(row["qty"]), Decimal(row["commission"])) for row in rows}
    assert {symbol for symbol, _ in owner.reports} == {"BTCUSDT"}
    assert [type(state) for state in owner.states] == [Connected]


def test_the_clients_own_stream_uses_its_keys_and_our_names(venue: Venue) -> None:
    """`VenueClient.user_stream` is all that an owner needs; symbols are ours."""

    async def watch() -> Owner:
        settings, owner = from_mapping({"exchange": {"base_url": venue.base_url}}), Owner()
        client = VenueClient(settings, {}, owner.lines.append, time.time_ns)
        try:
            await client.start()
            stream = client.user_stream(owner.on_report, owner.on_state)
            running = asyncio.create_task(stream.run())
            await owner.connections(1)
            await asyncio.to_thread(venue.place, "named", timeInForce="IOC")
            await owner.report("named", "EXPIRED")
            await stream.close()
            assert running.done()
        finally:
            await client.close()
        return owner

    assert {symbol for symbol, _ in within(watch()).reports} == {"BTC/USDT"}


def test_a_cut_stream_comes_back_and_says_so(venue: Venue) -> None:
    """Each loss is told with its cause before the next connection is, and the event that was lost is not told."""
    venue.set_faults({"stream_cut": {"point": "before", "nth": [1]}})

    async def watch() -> Owner:
        async with streaming(venue.base_url) as owner:
            await owner.connections(1)
            await asyncio.to_thread(venue.place, "cut", timeInForce="IOC")
            await owner.connections(2)
            await asyncio.to_thread(venue.place, "whole", timeInForce="IOC")
            await owner.report("whole", "EXPIRED")
            return owner

    owner = within(watch())
    assert [type(state) for state in owner.states] == [Connected, Lost, Connected]
    assert "the venue closed the connection" in owner.lost[0].because
    assert owner.states[0].since_ns <= owner.lost[0].heard_ns <= owner.lost[0].since_ns
    assert "cut" not in {report.client_order_id for _, report in owner.reports}


def test_a_stream_outlives_its_venue(venue: Venue) -> None:
    """Refused connections, an outage and a killed venue are told once for each cause; then all is well."""
    venue.set_faults({"stream_refused": [{"nth": [1, 2]}, {"nth": [3], "status": 503}]})

    async def watch() -> Owner:
        async with streaming(venue.base_url) as owner:
            await owner.connections(1)
            return owner

    owner = within(watch())
    causes = [lost.because for lost in owner.lost]
    assert len(causes) == 2
    assert causes[0].startswith("no connection: ServerDisconnectedError")
    assert causes[1].startswith("no connection: WSServerHandshakeError: 503")
    assert {lost.heard_ns for lost in owner.lost} == {0}


def test_a_venue_that_is_stopped_is_a_loss_with_its_code() -> None:
    """It ends in order although somebody listens, and the listener learns why."""

    async def watch() -> Owner:
        with SimulatorProcess.start() as process:
            async with streaming(process.base_url) as owner:
                await owner.connections(1)
                assert await asyncio.to_thread(process.stop, STOPPED_S) == 0
                await owner.losses()
                return owner

    owner = within(watch())
    assert owner.lost[0].because == "the venue closed the connection: 1001 going away"


def test_silence_is_noticed_by_a_ping_that_nobody_answers(venue: Venue) -> None:
    """A connection that looks alive and says nothing is lost; one that answers pings, without events, is not."""
    venue.set_faults({"stream_silent": {"nth": [1]}})

    async def watch() -> Owner:
        async with streaming(venue.base_url, timing=QUICK) as owner:
            await owner.connections(1)
            await asyncio.to_thread(venue.place, "unheard", timeInForce="IOC")
            await owner.losses()
            await owner.connections(2)
            lost = len(owner.lost)
            await asyncio.to_thread(venue.place, "heard", timeInForce="IOC")
            await owner.report("heard", "EXPIRED")
            assert len(owner.lost) == lost == 1
            return owner

    assert "silent for 3.2 s, and our ping is not answered" in within(watch()).lost[0].because


def test_a_quiet_stream_is_no_lost_one(venue: Venue) -> None:
    """For longer than both deadlines together: pings are answered, so nothing is told but the connection."""

    async def watch() -> Owner:
        async with streaming(venue.base_url, timing=QUICK) as owner:
            await owner.connections(1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(owner.losses(), QUICK.quiet_s + QUICK.pong_s + 0.3)
            return owner

    assert [type(state) for state in within(watch()).states] == [Connected]


def test_a_stream_that_is_silent_from_the_start_is_never_connected(venue: Venue) -> None:
    """The subscription is not answered."""
    venue.set_faults({"stream_silent": {"on": ["stream"]}})

    async def watch() -> Owner:
        async with streaming(venue.base_url, timing=msgspec.structs.replace(PATIENT, answer_s=1)) as owner:
            await owner.losses()
            return owner

    assert [type(state) for state in within(watch()).states] == [Lost]


@pytest.mark.parametrize(
    ("keys", "word"),
    [(Credentials(SIM_API_KEY, "wrong"), "-1022"), (Credentials("wrong-key", SIM_API_SECRET), "-2015")],
)
def test_a_refused_subscription_is_a_loss_with_the_venues_words(venue: Venue, keys: Credentials, word: str) -> None:
    """And is told once, however often it is tried."""

    async def watch() -> Owner:
        async with streaming(venue.base_url, keys=keys) as owner:
            await owner.losses()
            await owner.until(lambda: sum('"sent"' in line for line in owner.lines) >= 3)
            return owner

    owner = within(watch())
    assert [type(state) for state in owner.states] == [Lost]
    assert f"the subscription was refused: {word}" in owner.lost[0].because


def test_a_wrong_clock_is_told_in_the_venues_words(venue: Venue) -> None:
    """-1021, as for every signed request."""
    venue.set_faults({"clock_skew": {"on": ["stream"], "ms": 60_000}})

    async def watch() -> Owner:
        async with streaming(venue.base_url) as owner:
            await owner.losses()
            return owner

    assert "-1021" in within(watch()).lost[0].because


def test_an_event_may_come_twice_or_late(venue: Venue) -> None:
    """Both copies are told: what is applied twice changes nothing. Later events wait for a late one, or do not."""
    venue.set_faults({"event_twice": {"nth": [1]}, "event_late": [{"nth": [3], "ms": 4_000, "overtaken": True}]})

    async def watch() -> list[str]:
        async with streaming(venue.base_url) as owner:
            await owner.connections(1)
            # NEW, position, CANCELED and position: the third is the first order's end
            await asyncio.to_thread(venue.place, "first")
            await asyncio.to_thread(venue.cancel, "first")
            await asyncio.to_thread(venue.place, "second", timeInForce="IOC")
            await owner.report("first", "CANCELED")
            return [f"{report.client_order_id} {report.venue_status}" for _, report in owner.reports]

    assert within(watch()) == ["first NEW", "first NEW", "second NEW", "second EXPIRED", "first CANCELED"]


# ── against a venue that says what we want ────────────────────────────────────────────────────────────────────────────


def lost_after(*texts: str) -> Owner:
    """What is told of a connection on which these came; the next one is quiet."""

    async def watch() -> Owner:
        stage = Stage(says(*texts), says(SUBSCRIBED))
        async with served(stage.handle) as address, streaming(address) as owner:
            await owner.losses()
            await owner.until(lambda: isinstance(owner.states[-1], Connected))
            return owner

    return within(watch())


@pytest.mark.parametrize(
    "text",
    [
        "{", "null", '{"event": {}}', EVENT.replace('"0.25000000"', '"NaN"'), EVENT.replace("PARTIALLY_FILLED", "WHO"),
        EVENT.replace('"z"', '"zz"'),
    ],
)  # fmt: skip
def test_what_is_malformed_is_never_a_guess(text: str) -> None:
    """It is told to nobody; the stream is lost and begins anew."""
    owner = lost_after(SUBSCRIBED, text)
    assert owner.lost[0].because.startswith("malformed: ")
    assert owner.reports == []
    assert [type(state) for state in owner.states] == [Connected, Lost, Connected]


@pytest.mark.parametrize("event", ["serverShutdown", "eventStreamTerminated"])
def test_the_venues_own_word_of_the_end_counts(event: str) -> None:
    """The connection is still there, and nothing will come on it."""
    owner = lost_after(SUBSCRIBED, EVENT, json.dumps({"event": {"e": event, "E": 1}}))
    assert owner.lost[0].because == f"the venue ends it: {event}"
    assert [report.client_order_id for _, report in owner.reports] == ["inours"]


def test_a_subscription_that_nobody_answers_is_a_loss() -> None:
    """Although other messages come."""

    async def chatty(socket: web.WebSocketResponse) -> None:
        while True:
            await socket.send_str('{"event": {"e": "somethingElse"}}')
            await asyncio.sleep(0.01)

    async def watch() -> Owner:
        timing = msgspec.structs.replace(PATIENT, answer_s=3)
        async with served(Stage(chatty).handle) as address, streaming(address, timing=timing) as owner:
            await owner.losses()
            return owner

    assert within(watch()).lost[0].because == "the subscription was not answered for 3 s"


def test_bytes_instead_of_text_are_malformed() -> None:
    """Binance sends text."""

    async def binary(socket: web.WebSocketResponse) -> None:
        await socket.send_str(SUBSCRIBED)
        await socket.send_bytes(b"\x00")

    async def watch() -> Owner:
        async with served(Stage(binary).handle) as address, streaming(address) as owner:
            await owner.losses()
            return owner

    assert within(watch()).lost[0].because == "malformed: the venue sent no text"


def test_nothing_follows_a_redirection() -> None:
    """With a `base_url`, keys go there and nowhere else, whatever an answer proposes."""

    async def watch() -> tuple[Owner, Stage]:
        elsewhere = Stage(says(SUBSCRIBED))
        async with served(elsewhere.handle) as other:

            async def redirect(_request: web.Request) -> web.StreamResponse:
                raise web.HTTPTemporaryRedirect(f"{other}/ws-api/v3")

            async with served(redirect) as address, streaming(address) as owner:
                await owner.losses()
                return owner, elsewhere

    owner, elsewhere = within(watch())
    assert "nothing was sent there" in owner.lost[0].because
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("base_url", "sandbox", "address"),
    [
        (None, False, "wss://ws-api.binance.com:443/ws-api/v3"),
        (None, True, "wss://ws-api.testnet.binance.vision/ws-api/v3"),
        ("http://127.0.0.1:8080", True, "ws://127.0.0.1:8080/ws-api/v3"),
        ("https://venue.example:444/api", False, "wss://venue.example:444/ws-api/v3"),
    ],
)
def test_the_stream_is_where_everything_is(base_url: str | None, sandbox: bool, address: str) -> None:
    """With a `base_url` nothing leads to the real host."""
    assert stream_address(base_url, sandbox=sandbox) == address
