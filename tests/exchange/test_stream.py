"""Our end of the user data stream: what happens is told, every kind of loss is noticed, and nothing raises."""

from __future__ import annotations

import asyncio
import gc
import json
import select
import time
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from actors.pumped_loop import PumpedLoop
from core.reports import OrderStatus
from core.settings import from_mapping
from exchange.binance import stream_address
from exchange.client import VenueClient
from exchange.credentials import Credentials
from exchange.simulator.auth import SIM_API_KEY, SIM_API_SECRET
from exchange.simulator.process import SimulatorProcess
from exchange.stream import Connected, Lost
from exchange.stream_connection import StreamLost, StreamTiming
from tests.exchange.conftest import Venue
from tests.exchange.streaming import (
    QUICK,
    SUBSCRIBED,
    Handler,
    Owner,
    Script,
    Stage,
    says,
    served,
    stream_of,
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
    """It ends within moments although somebody listens, and the listener learns why."""

    async def watch() -> tuple[Owner, float]:
        with SimulatorProcess.start() as process:
            async with streaming(process.base_url) as owner:
                await owner.connections(1)
                begun = time.monotonic()
                assert await asyncio.to_thread(process.stop) == 0
                took_s = time.monotonic() - begun
                await owner.losses()
                return owner, took_s

    owner, took_s = within(watch(), 30)
    assert owner.lost[0].because == "the venue closed the connection: 1001 going away"
    assert took_s < 3


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

    assert "silent for 1.2 s, and our ping is not answered" in within(watch()).lost[0].because


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
        async with streaming(venue.base_url, timing=QUICK) as owner:
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
    venue.set_faults({"event_twice": {"nth": [1]}, "event_late": [{"nth": [3], "ms": 400, "overtaken": True}]})

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


def lost_after(*texts: str, timing: StreamTiming = QUICK) -> Owner:
    """What is told of a connection on which these came; the next one is quiet."""

    async def watch() -> Owner:
        stage = Stage(says(*texts), says(SUBSCRIBED))
        async with served(stage.handle) as address, streaming(address, timing=timing) as owner:
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
        for _ in range(1_000):
            await socket.send_str('{"event": {"e": "somethingElse"}}')
            await asyncio.sleep(0.01)

    async def watch() -> Owner:
        timing = StreamTiming(answer_s=1, backoff_first_s=0.01, close_s=0.1)
        async with served(Stage(chatty).handle) as address, streaming(address, timing=timing) as owner:
            await owner.losses()
            return owner

    assert within(watch()).lost[0].because == "the subscription was not answered for 1 s"


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


# ── waiting, closing, secrets ─────────────────────────────────────────────────────────────────────────────────────────


def test_waits_double_up_to_a_bound_and_half_of_each_is_drawn() -> None:
    """Whoever sends too much waits the longest at once, and as long as the venue asks on top, within bounds."""
    stream = stream_of("http://127.0.0.1:1", Owner(), timing=StreamTiming(backoff_first_s=1, backoff_max_s=6))
    lost = StreamLost("whatever")
    assert [stream._pause_s(lost) for _ in range(5)] == [0.75, 1.5, 3.0, 4.5, 4.5]
    stream = stream_of("http://127.0.0.1:1", Owner(), timing=StreamTiming(backoff_max_s=8), jitter=lambda: 0.0)
    assert stream._pause_s(StreamLost("too many", 0)) == 4.0
    assert stream._pause_s(StreamLost("too many", 60)) == 64.0
    assert stream._pause_s(StreamLost("too many", 10**9)) == 3_604.0
    assert [stream._pause_s(lost) for _ in range(2_000)][-1] == 4.0


def test_a_venue_that_has_had_enough_is_left_alone() -> None:
    """Whether it says so to the request or to the connection, and for how long."""

    async def waits(handle: Handler) -> float | None:
        async with served(handle) as address:
            stream = stream_of(address, Owner())
            return (await stream._live()).wait_s

    async def limited(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "7"})

    async def banned(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=418)

    async def down(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "7"})

    until_ms = time.time_ns() // 1_000_000 + 60_000
    data = {"serverTime": until_ms - 60_000, "retryAfter": until_ms}
    refusal = json.dumps({"id": 1, "status": 418, "error": {"code": -1003, "msg": "too much", "data": data}})
    assert (within(waits(limited)), within(waits(banned)), within(waits(down))) == (7, 0, None)
    assert 50 < (within(waits(Stage(says(refusal)).handle)) or 0) <= 60


def test_a_connection_that_lasted_makes_good_for_failures() -> None:
    """One that is cut at once does not: the waits go on growing."""

    async def cut(socket: web.WebSocketResponse) -> None:
        await socket.send_str(SUBSCRIBED)
        await socket.close()

    async def failures(stable_s: float) -> int:
        timing = StreamTiming(backoff_first_s=0.001, backoff_max_s=0.001, stable_s=stable_s)
        async with served(Stage(cut).handle) as address:
            owner = Owner()
            stream = stream_of(address, owner, timing=timing)
            task = asyncio.create_task(stream.run())
            await owner.losses(5)
            await stream.close()
            assert task.done()
            return stream._failures

    assert within(failures(0)) == 1
    assert within(failures(60)) >= 4


@pytest.mark.parametrize("script", [says(SUBSCRIBED), says()])
def test_closing_takes_a_moment_and_tells_nothing(script: Script) -> None:
    """Also while a subscription is not answered, and while nobody is there at all."""

    async def watch() -> float:
        async with served(Stage(script).handle) as address:
            for place in (address, "http://127.0.0.1:1"):
                owner = Owner()
                stream = stream_of(place, owner)
                task = asyncio.create_task(stream.run())
                await owner.until(lambda owner=owner: bool(owner.lines))  # type: ignore[misc]
                told, begun = len(owner.states), time.monotonic()
                await stream.close()
                assert task.done()
                assert len(owner.states) == told
            return time.monotonic() - begun

    assert within(watch()) < 2


def test_closing_does_not_wait_for_a_silent_venue(venue: Venue) -> None:
    """It is asked to agree, for half a second at most."""
    venue.set_faults({"stream_silent": {"nth": [1]}})

    async def watch() -> float:
        owner = Owner()
        stream = stream_of(venue.base_url, owner)
        task = asyncio.create_task(stream.run())
        await owner.connections(1)
        await asyncio.to_thread(venue.place, "mute", timeInForce="IOC")
        begun = time.monotonic()
        await stream.close()
        assert task.done()
        return time.monotonic() - begun

    assert within(watch()) < 2


def test_what_a_callback_raises_is_its_owners_business() -> None:
    """The stream ends with it; the venue's misdeeds never do that."""

    async def watch() -> None:
        def broken(_symbol: str, _report: Any) -> None:
            raise ZeroDivisionError

        async with served(Stage(says(SUBSCRIBED, EVENT)).handle) as address:
            await stream_of(address, Owner(), on_report=broken).run()

    with pytest.raises(ZeroDivisionError):
        within(watch())


def test_no_secret_is_traced_or_told() -> None:
    """Key, secret and signature are in no line and no cause, even where the venue repeats them."""
    keys = Credentials("planted/key+Kq7", "planted/secret+Zx9")

    async def echo(socket: web.WebSocketResponse) -> None:
        request = stage.requests[-1]
        refusal = {"id": 1, "status": 401, "error": {"code": -2014, "msg": f"bad: {json.dumps(request)}"}}
        await socket.send_json(refusal)

    stage = Stage(echo)

    async def watch() -> Owner:
        async with served(stage.handle) as address, streaming(address, keys=keys) as owner:
            await owner.losses()
            return owner

    owner = within(watch())
    params = stage.requests[0]["params"]
    assert params["apiKey"] == keys.api_key
    everything = "\n".join([*owner.lines, *(lost.because for lost in owner.lost)])
    for secret in (keys.api_key, keys.api_secret, params["signature"], "planted"):
        assert secret not in everything
    assert [json.loads(line)["stream"] for line in owner.lines][:3] == ["sent", "received", "lost"]
    assert all(json.loads(line)["at_ns"] > 0 for line in owner.lines)


def test_it_lives_in_a_pumped_loop(venue: Venue) -> None:
    """As in the gateway: nothing waits but for the descriptor and the timer, and it ends with the loop."""
    loop, owner, ended = PumpedLoop(), Owner(), []
    stream = stream_of(venue.base_url, owner)
    loop.start(stream.run(), ended.append)
    deadline, is_placed = time.monotonic() + 10, False
    while not any(report.venue_status == "EXPIRED" for _, report in owner.reports):
        assert time.monotonic() < deadline
        if owner.states and not is_placed:
            is_placed = venue.place("pumped", timeInForce="IOC").status == 200
        wait_s = loop.pump()
        select.select([loop.fileno()], [], [], min(1, 1 if wait_s is None else wait_s))
    loop.complete(stream.close(), 5)
    assert len(ended) == 1
    loop.close()


def test_a_pumped_loop_may_end_under_it(venue: Venue, recwarn: pytest.WarningsRecorder) -> None:
    """A gateway that cannot wait closes its loop; nothing is told, and nothing is left behind."""
    gc.collect()
    recwarn.clear()  # of what others have left behind
    loop, owner, ended = PumpedLoop(), Owner(), []
    loop.start(stream_of(venue.base_url, owner).run(), ended.append)
    deadline = time.monotonic() + 10
    while not owner.states:
        assert time.monotonic() < deadline
        loop.pump()
        select.select([loop.fileno()], [], [], 0.1)
    loop.close()
    assert [task.cancelled() for task in ended] == [True]
    assert [type(state) for state in owner.states] == [Connected]
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
