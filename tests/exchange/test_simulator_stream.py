"""The simulator's WebSocket API on the wire: what it answers, what it sends by itself, and how it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from exchange.simulator.auth import SIM_API_SECRET
from exchange.simulator.process import SimulatorProcess
from tests.exchange.conftest import UNLIMITED, Venue
from tests.exchange.streaming import DEADLINE_S, STOPPED_S, Wire, signed, wired, within

SUBSCRIBE = "userDataStream.subscribe.signature"
Work = Callable[[Wire], Awaitable[Any]]


def talk(venue: Venue, work: Work, *, subscribed: bool = True) -> Any:
    """What `work` returns, with a connection of its own."""

    async def connected() -> Any:
        async with wired(venue.base_url) as wire:
            if subscribed:
                await wire.subscribe()
            return await work(wire)

    return within(connected())


async def place(venue: Venue, name: str, **changes: Any) -> None:
    """An order that is over at once."""
    answer = await asyncio.to_thread(venue.place, name, **({"timeInForce": "IOC"} | changes))
    assert answer.status == 200


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_requests_are_answered_with_their_id(venue: Venue) -> None:
    """Whatever kind of id it is; with or without params and version."""

    async def work(wire: Wire) -> list[Any]:
        ids: list[Any] = [1, "a", None]
        for number in ids:
            await wire.socket.send_json({"id": number, "method": "v3/ping", "params": {}})
        answers = [await wire.hear() for _ in ids]
        asked_ms = time.time_ns() // 1_000_000
        assert asked_ms <= (await wire.ask("time"))["result"]["serverTime"] <= time.time_ns() // 1_000_000
        return answers

    answers = talk(venue, work, subscribed=False)
    assert answers == [{"id": number, "status": 200, "result": {}, "rateLimits": []} for number in (1, "a", None)]


def test_a_subscription_can_be_listed_and_ended(venue: Venue) -> None:
    """There is one on a connection; the next has another id. Nothing is told without one."""

    async def work(wire: Wire) -> list[Any]:
        answers = [await wire.ask("session.subscriptions"), await wire.ask(SUBSCRIBE, signed())]
        answers += [await wire.ask("session.subscriptions"), await wire.ask(SUBSCRIBE, signed(recvWindow=4_000))]
        answers += [await wire.ask("userDataStream.unsubscribe", {"subscriptionId": 9})]
        answers += [await wire.ask("userDataStream.unsubscribe", {"subscriptionId": 0})]
        await place(venue, "unheard")
        answers += [await wire.ask("userDataStream.unsubscribe"), await wire.ask(SUBSCRIBE, signed())]
        return [answer.get("result", answer.get("error", {}).get("code")) for answer in answers]

    assert talk(venue, work, subscribed=False) == [
        [], {"subscriptionId": 0}, [{"subscriptionId": 0}], -2035, -2036, {}, -2036, {"subscriptionId": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        (signed(secret="another"), 400, -1022),
        (signed() | {"signature": "ü"}, 400, -1022),
        ({k: v for k, v in signed().items() if k != "signature"}, 400, -1102),
        (signed(apiKey="some-other-key"), 401, -2015),
        (signed(apiKey=None), 401, -2014),
        (signed(apiKey="?"), 401, -2014),
        (signed(timestamp=None), 400, -1102),
        (signed(timestamp="soon"), 400, -1100),
        (signed(timestamp=1), 400, -1021),
        (signed(recvWindow=60_001), 400, -1131),
        (signed(extra=1), 400, -1104),
        ([], 400, -1135),
    ],
)
def test_a_subscription_is_checked_as_any_signed_request(venue: Venue, params: Any, status: int, code: int) -> None:
    """With the codes and statuses of HTTP, and nothing is subscribed."""

    async def work(wire: Wire) -> Any:
        answer = await wire.ask(SUBSCRIBE, params)
        assert (await wire.ask("session.subscriptions"))["result"] == []
        return answer

    answer = talk(venue, work, subscribed=False)
    assert (answer["status"], answer["error"]["code"]) == (status, code)
    assert answer["error"]["msg"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", -1135), ("{", -1135), ("7", -1135), ("[]", -1135), ('{"id": {}, "method": "ping"}', -1135),
        ('{"id": 1}', -1135), ('{"id": 1, "method": 7}', -1135), ('{"id": 1, "method": "order.place"}', -1020),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(venue: Venue, text: str, code: int) -> None:
    """And the connection stays."""

    async def work(wire: Wire) -> Any:
        await wire.socket.send_str(text)
        answer = await wire.hear()
        assert (await wire.ask("ping"))["status"] == 200
        return answer

    answer = talk(venue, work, subscribed=False)
    assert (answer["status"], answer["error"]["code"]) == (400, code)


def test_a_plain_request_finds_nothing_at_the_streams_path(venue: Venue) -> None:
    """It is for websockets."""
    assert venue.ask("GET", "/ws-api/v3").status == 404


def test_weights_are_charged_and_told() -> None:
    """Two for a connection, two for a subscription, one for the rest; too much is a 429 with the time to wait."""
    with SimulatorProcess.start(arguments=["--weight-limit", "6"]) as process:
        venue = Venue(process)

        async def work(wire: Wire) -> list[Any]:
            return [await wire.ask(SUBSCRIBE, signed())] + [await wire.ask("ping") for _ in range(4)]

        answers = talk(venue, work, subscribed=False)
        assert answers[0]["rateLimits"][0] | {"count": 0} == {
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6, "count": 0,
        }  # fmt: skip
        refused = [answer for answer in answers if answer["status"] == 429]
        assert refused  # two at most, if the minute has just turned
        assert all(answer["error"]["code"] == -1003 for answer in refused)
        assert all(answer["error"]["data"]["retryAfter"] > answer["error"]["data"]["serverTime"] for answer in refused)


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_orders_are_told_as_they_are_answered(venue: Venue) -> None:
    """The last event of each order, and its trades, are what REST says at the end."""

    async def work(wire: Wire) -> list[Any]:
        await place(venue, "taker", quantity="0.3", price="70000")
        await place(venue, "rest", timeInForce="GTC")
        await asyncio.to_thread(venue.cancel, "rest")
        return await wire.until("FILLED", "taker") + await wire.until("CANCELED", "rest")

    events = talk(venue, work)
    for name in ("taker", "rest"):
        life, order = [event for event in events if name in {event["c"], event["C"]}], venue.look_up(name).body
        assert (life[-1]["X"], life[-1]["z"], life[-1]["Z"], life[-1]["i"]) == (
            order["status"], order["executedQty"], order["cummulativeQuoteQty"], order["orderId"],
        )  # fmt: skip
        trades = [(e["t"], e["L"], e["l"], e["n"], e["N"], e["Y"], e["T"], e["m"]) for e in life if e["x"] == "TRADE"]
        names = ("id", "price", "qty", "commission", "commissionAsset", "quoteQty", "time", "isMaker")
        rows = [row for row in venue.read("myTrades") if row["orderId"] == order["orderId"]]
        assert trades == [tuple(row[key] for key in names) for row in rows]


def test_a_price_move_is_told_without_anybody_asking(venue: Venue) -> None:
    """A resting order's trade comes by itself."""

    async def work(wire: Wire) -> Any:
        bid, _ = await asyncio.to_thread(venue.best, "BTCUSDT")
        await place(venue, "waits", timeInForce="GTC", price=f"{bid - 10:f}")
        await asyncio.to_thread(venue.move, "BTCUSDT", f"{bid - 500:f}")
        life = await wire.until("FILLED", "waits")
        await asyncio.to_thread(venue.move, "BTCUSDT", f"{bid:f}")
        return life

    assert talk(venue, work)[-1]["m"] is True


def test_a_transfer_is_told(venue: Venue) -> None:
    """With the balance that it leaves."""

    async def work(wire: Wire) -> list[Any]:
        await asyncio.to_thread(venue.process.transfer, "XRP", Decimal("1.5"))
        return [(await wire.hear())["event"] for _ in range(2)]

    update, position = talk(venue, work)
    assert (update["e"], update["a"], update["d"]) == ("balanceUpdate", "XRP", "1.50000000")
    assert [row["a"] for row in position["B"]] == ["XRP"]
    assert position["B"][0]["f"] == venue.balances()["XRP"]["free"]


def test_an_event_is_saved_before_it_is_told(tmp_path: Any) -> None:
    """A venue that is killed in the moment of an event knows of it afterwards."""

    async def one(venue: Venue) -> Any:
        async with wired(venue.base_url) as wire:
            await wire.subscribe()
            asking = asyncio.create_task(place(venue, "saved"))
            event = (await wire.hear())["event"]
            venue.process.kill()
            await asyncio.gather(asking, return_exceptions=True)
            return event

    state = tmp_path / "venue.journal"
    with SimulatorProcess.start(state=state) as process:
        event = within(one(Venue(process)))
    with SimulatorProcess.start(state=state) as process:
        assert Venue(process).look_up("saved").body["orderId"] == event["i"]


# ── the connection ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_pings_and_cuts_who_does_not_answer() -> None:
    """Three unanswered pings are enough; whoever answers stays, for longer than another is borne."""
    with SimulatorProcess.start(arguments=["--ping-interval", "1"]) as process:

        async def deaf() -> list[WSMsgType]:
            async with wired(process.base_url, autoping=False) as wire:
                kinds = [(await wire.socket.receive(DEADLINE_S)).type]
                while kinds[-1] is WSMsgType.PING:
                    kinds.append((await wire.socket.receive(DEADLINE_S)).type)
                return kinds

        async def attentive() -> bool:
            async with wired(process.base_url, autoping=False) as wire:
                for _ in range(5):
                    assert (await wire.socket.receive(DEADLINE_S)).type is WSMsgType.PING
                    await wire.socket.pong()
                return (await wire.ask("ping"))["status"] == 200

        async def both() -> list[Any]:
            return await asyncio.gather(deaf(), attentive())

        assert within(both()) == [[WSMsgType.PING] * 3 + [WSMsgType.CLOSED], True]


def test_a_slow_reader_is_cut_off() -> None:
    """Who does not read is not waited for: others hear everything, and the venue holds a bounded amount for it."""
    with SimulatorProcess.start(arguments=UNLIMITED) as process:
        venue = Venue(process)

        async def flood() -> int:
            async with wired(venue.base_url) as quick, wired(venue.base_url) as slow:
                await quick.subscribe()
                transport = slow.socket._conn.transport  # type: ignore[union-attr]
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                await slow.subscribe()
                transport.pause_reading()
                count = 0
                while venue.ask("GET", "/_sim/stats").body["subscriptions"] > 1:
                    for _ in range(20):
                        await place(venue, f"flood-{count}")
                        await quick.until("EXPIRED", f"flood-{count}")
                        count += 1
                return count

        assert within(flood(), 100) > 300


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_stop_ends_streams_cleanly_and_soon(is_silent: bool) -> None:
    """With a word to those who hear it, and without waiting for the others; status 0."""
    with SimulatorProcess.start() as process:
        venue = Venue(process)
        if is_silent:
            venue.set_faults({"stream_silent": {"on": ["stream"]}})

        async def listen() -> Any:
            async with wired(process.base_url) as wire:
                if not is_silent:
                    await wire.subscribe()
                hearing = asyncio.create_task(wire.socket.receive())
                status = await asyncio.to_thread(process.stop, STOPPED_S)
                await hearing
                return status, wire.socket.close_code

        assert within(listen()) == (0, 1006 if is_silent else 1001)


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def names_until_end(wire: Wire) -> list[str]:
    """Execution types that are heard until the connection ends."""
    heard = []
    while (message := await wire.socket.receive(DEADLINE_S)).type is WSMsgType.TEXT:
        heard.append(json.loads(message.data)["event"].get("x", "balances"))
    return heard


@pytest.mark.parametrize(("point", "heard"), [("before", []), ("after", ["NEW"])])
def test_a_stream_is_cut_before_or_after_an_event(venue: Venue, point: str, heard: list[str]) -> None:
    """Without a word; the order is as REST says."""
    venue.set_faults({"stream_cut": {"point": point, "nth": [1]}})

    async def work(wire: Wire) -> list[str]:
        await place(venue, f"cut-{point}")
        return await names_until_end(wire)

    assert talk(venue, work) == heard
    assert venue.look_up(f"cut-{point}").body["status"] == "EXPIRED"


def test_events_are_lost_and_repeated(venue: Venue) -> None:
    """Those and no others, by script."""
    venue.set_faults({"event_lost": {"nth": [1, 3]}, "event_twice": {"nth": [2, 4]}})

    async def work(wire: Wire) -> list[str]:
        await place(venue, "odd-a")
        await place(venue, "odd-b")
        # an order that finds nothing is NEW, EXPIRED, and the balances
        return [(await wire.hear())["event"].get("x", "balances") for _ in range(6)]

    assert talk(venue, work) == ["EXPIRED", "EXPIRED", "NEW", "NEW", "EXPIRED", "balances"]


def test_chances_of_events_are_seeded(venue: Venue) -> None:
    """The same seed loses the same ones, another one others."""

    def heard(seed: int) -> list[int]:
        venue.set_faults({"event_lost": 0.5, "seed": seed})

        async def work(wire: Wire) -> list[int]:
            for number in range(12):
                await place(venue, f"seed{seed}-{number}")
            await asyncio.to_thread(venue.ask, "DELETE", "/_sim/faults")
            await place(venue, "last")
            first, kinds = 0, []
            while True:
                event = (await wire.hear())["event"]
                if event.get("c") == "last":
                    return kinds
                first = first or event.get("i", 0)
                kinds.append(len(event))

        return list(talk(venue, work))

    assert heard(1) == heard(1) != heard(2)


@pytest.mark.parametrize("rule", [{"latency_ms": {"ms": 80, "on": ["event"]}}, {"event_late": {"ms": 80, "nth": [1]}}])
def test_an_event_is_late_and_those_behind_it_wait(venue: Venue, rule: dict[str, Any]) -> None:
    """The venue's latency delays events, too; their order stays."""
    venue.set_faults(rule)

    async def work(wire: Wire) -> tuple[list[str], float]:
        begun = time.monotonic()
        await place(venue, "late")
        heard = [(await wire.hear())["event"].get("x") for _ in range(2)]
        return heard, time.monotonic() - begun

    heard, took_s = talk(venue, work)
    assert heard == ["NEW", "EXPIRED"]
    assert took_s >= 0.08


def test_latency_without_kinds_is_for_events_too(venue: Venue) -> None:
    """As it is for everything."""
    venue.set_faults({"latency_ms": 60})

    async def work(wire: Wire) -> float:
        asked = asyncio.create_task(asyncio.to_thread(venue.process.transfer, "USDT", Decimal(1)))  # waits for nothing
        begun = time.monotonic()
        await wire.hear()
        await asked
        return time.monotonic() - begun

    assert talk(venue, work) >= 0.05


def test_a_silent_stream_answers_nothing_and_then_ends(venue: Venue) -> None:
    """Not even a ping."""
    venue.set_faults({"stream_silent": {"nth": [1], "ms": 150}})

    async def work(wire: Wire) -> tuple[list[str], float]:
        begun = time.monotonic()
        await place(venue, "mute")
        await wire.socket.ping()
        return await names_until_end(wire), time.monotonic() - begun

    heard, took_s = talk(venue, work)
    assert heard == []
    assert took_s >= 0.15


@pytest.mark.parametrize("status", [None, 502])
def test_new_connections_are_refused(venue: Venue, status: int | None) -> None:
    """Without an answer or with a page of 5xx; what is connected stays."""

    async def work(wire: Wire) -> None:
        await asyncio.to_thread(venue.set_faults, {"stream_refused": {"status": status} if status else 1})
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.WSServerHandshakeError)):
            async with wired(venue.base_url):
                pass
        await place(venue, f"stays-{status}")
        await wire.until("EXPIRED", f"stays-{status}")

    talk(venue, work)


def test_an_outage_ends_streams_and_lets_none_begin(venue: Venue) -> None:
    """From the request on with which it begins, until it is over."""

    async def work(wire: Wire) -> list[str]:
        await asyncio.to_thread(venue.set_faults, {"outage": {"ms": 60_000, "nth": [1]}})
        with contextlib.suppress(ConnectionError):
            await asyncio.to_thread(venue.place, "down")
        heard = await names_until_end(wire)
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            async with wired(venue.base_url):
                pass
        await asyncio.to_thread(venue.ask, "DELETE", "/_sim/faults")
        async with wired(venue.base_url) as again:
            await again.subscribe()
        return heard

    assert talk(venue, work) == []


def test_who_has_subscribed_is_counted(venue: Venue) -> None:
    """And is forgotten when it is gone."""

    async def work(_wire: Wire) -> Any:
        return (await asyncio.to_thread(venue.ask, "GET", "/_sim/stats")).body["subscriptions"]

    assert talk(venue, work) == 1
    deadline = time.monotonic() + DEADLINE_S
    while venue.ask("GET", "/_sim/stats").body["subscriptions"]:
        assert time.monotonic() < deadline


def test_the_secret_is_nowhere_in_what_it_says(venue: Venue) -> None:
    """Neither in an answer nor in a refusal."""

    async def work(wire: Wire) -> list[Any]:
        return [await wire.ask(SUBSCRIBE, signed()), await wire.ask(SUBSCRIBE, signed(secret="x")), await wire.ask("x")]

    assert SIM_API_SECRET not in json.dumps(talk(venue, work, subscribed=False))
