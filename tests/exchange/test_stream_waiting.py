"""The user stream between connections: how long it waits, how it closes, what it never tells."""

from __future__ import annotations

import asyncio
import gc
import json
import select
import time
from typing import Any

import msgspec
import pytest
from aiohttp import web

from actors.pumped_loop import PumpedLoop
from exchange.binance import stream_address
from exchange.credentials import Credentials
from exchange.stream import Connected
from exchange.stream_connection import StreamLost, StreamTiming, connected
from tests.exchange.conftest import Venue
from tests.exchange.streaming import (
    DEADLINE_S,
    PATIENT,
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

    until_ms = time.time_ns() // 1_000_000 + 3_600_000
    data = {"serverTime": until_ms - 3_600_000, "retryAfter": until_ms}
    refusal = json.dumps({"id": 1, "status": 418, "error": {"code": -1003, "msg": "too much", "data": data}})
    assert (within(waits(limited)), within(waits(banned)), within(waits(down))) == (7, 0, None)
    assert 3_000 < (within(waits(Stage(says(refusal)).handle)) or 0) <= 3_600


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

    timing = msgspec.structs.replace(PATIENT, close_s=3_600, backoff_first_s=3_600, backoff_max_s=3_600)

    async def watch() -> None:
        async with served(Stage(script).handle) as address:
            for place in (address, "http://127.0.0.1:1"):
                owner = Owner()
                stream = stream_of(place, owner, timing=timing)
                task = asyncio.create_task(stream.run())
                await owner.until(lambda owner=owner: bool(owner.lines))  # type: ignore[misc]
                told = len(owner.states)
                await stream.close()
                assert task.done()
                assert len(owner.states) == told

    within(watch())  # whatever it might wait for takes an hour


def test_closing_does_not_wait_for_a_silent_venue(venue: Venue) -> None:
    """Which says nothing any more, whatever it is told."""
    venue.set_faults({"stream_silent": {"nth": [1]}})

    async def watch() -> None:
        owner = Owner()
        stream = stream_of(venue.base_url, owner)
        task = asyncio.create_task(stream.run())
        await owner.connections(1)
        await asyncio.to_thread(venue.place, "mute", timeInForce="IOC")
        await stream.close()
        assert task.done()

    within(watch())


def test_a_venue_is_asked_to_agree_for_a_moment(venue: Venue) -> None:
    """Where nobody else listens on the connection, too."""
    venue.set_faults({"stream_silent": {"on": ["stream"]}})

    async def watch() -> float:
        timing = msgspec.structs.replace(PATIENT, close_s=0.05)
        async with connected(stream_address(venue.base_url, sandbox=False), None, timing) as connection:
            begun = time.monotonic()
            await connection.close()
            return time.monotonic() - begun

    assert within(watch()) < 9  # without our limit aiohttp would wait for 10 s


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
    deadline, is_placed = time.monotonic() + DEADLINE_S, False
    while not any(report.venue_status == "EXPIRED" for _, report in owner.reports):
        assert time.monotonic() < deadline
        if owner.states and not is_placed:
            is_placed = venue.place("pumped", timeInForce="IOC").status == 200
        wait_s = loop.pump()
        select.select([loop.fileno()], [], [], min(1, 1 if wait_s is None else wait_s))
    loop.complete(stream.close(), DEADLINE_S)
    assert len(ended) == 1
    loop.close()


def test_a_pumped_loop_may_end_under_it(venue: Venue, recwarn: pytest.WarningsRecorder) -> None:
    """A gateway that cannot wait closes its loop; nothing is told, and nothing is left behind."""
    gc.collect()
    recwarn.clear()  # of what others have left behind
    loop, owner, ended = PumpedLoop(), Owner(), []
    loop.start(stream_of(venue.base_url, owner).run(), ended.append)
    deadline = time.monotonic() + DEADLINE_S
    while not owner.states:
        assert time.monotonic() < deadline
        loop.pump()
        select.select([loop.fileno()], [], [], 0.1)
    loop.close()
    assert [task.cancelled() for task in ended] == [True]
    assert [type(state) for state in owner.states] == [Connected]
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
