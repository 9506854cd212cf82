"""The client's lanes against a venue with small limits, over HTTP: it never has a reason to refuse us."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from core.errors import StartupFailed
from core.events import RateLimitHit
from core.ids import NS_PER_S
from core.meter import Earlier
from core.predecessor import Left
from core.rates import Lane, Pass, Rates, Stop
from core.records import AttemptRecord
from core.reports import NotPlaced, OrderSnapshot, QueryFailed
from core.settings import from_mapping
from exchange import lanes
from exchange.binance import TraceRecord
from exchange.client import VenueClient
from exchange.lanes import Lanes, NoRoom
from exchange.simulator.process import SimulatorProcess
from tests.exchange.conftest import Venue
from tests.exchange.test_client import attempt, nothing, resting

WEIGHT, ORDERS = 400, 10
WINDOW_NS = 10 * NS_PER_S
"""Of orders."""
WAIT_S = 2.0
"""For room; then a question fails, and an order is told to come again."""


@pytest.fixture
def small(tmp_path: Any) -> Iterator[Venue]:
    """A venue of its own for each test: what others have used would count."""
    limits = ("--weight-limit", str(WEIGHT), "--order-limit", str(ORDERS))
    with SimulatorProcess.start(state=tmp_path / "venue.journal", seed=7, arguments=limits) as process:
        yield Venue(process)


class Asked:
    """A client at work, and what the venue has answered."""

    def __init__(self, venue: Venue, wait_s: float = WAIT_S) -> None:
        exchange = {"base_url": venue.base_url, "timeout_ms": 60_000, "recv_window_ms": 60_000}
        engine = {"request_timeout": f"{int(wait_s * 2_000)}ms"}
        self.lines: list[str] = []
        self.stops: list[tuple[int, Stop]] = []
        settings = from_mapping({"exchange": exchange, "engine": engine})
        self.client = VenueClient(settings, {}, self.lines.append, time.time_ns)
        self.client.on_rate_limit_hit = lambda status, stop: self.stops.append((status, stop))

    def run(self, work: Callable[[VenueClient], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            try:
                await self.client.start()
                return await work(self.client)
            finally:
                await self.client.close()

        return asyncio.run(whole())

    @property
    def statuses(self) -> Counter[int]:
        return Counter(json.loads(line)["status"] for line in self.lines)


async def place_many(client: VenueClient, count: int) -> list[Any]:
    return await asyncio.gather(*(client.place(attempt(number), nothing) for number in range(count)))


def test_a_slow_answer_to_the_first_order_holds_up_no_other(small: Venue) -> None:
    """It goes ahead, for its answer shows what is used; but a venue that is slow, or silent, gets the others, too."""
    asked = Asked(small)
    slow = {"latency_ms": {"probability": 1, "on": ["place"], "min": 4_400, "max": 4_400}}

    async def go_on(client: VenueClient) -> list[Any]:
        small.set_faults(slow)
        return await place_many(client, 4)

    assert [type(report) for report in asked.run(go_on)] == [OrderSnapshot] * 4


def test_orders_beyond_the_limit_do_not_leave(small: Venue) -> None:
    """Forty at once: as many as the venue allows are placed, the others are told when to come; no 429."""
    asked, first_window = Asked(small), time.time_ns() // WINDOW_NS
    reports = asked.run(lambda client: place_many(client, 40))
    windows = 1 + time.time_ns() // WINDOW_NS - first_window
    held = [report for report in reports if isinstance(report, NotPlaced)]
    placed = [report for report in reports if isinstance(report, OrderSnapshot)]
    assert len(placed) + len(held) == 40
    assert ORDERS <= len(placed) <= windows * ORDERS
    assert {(report.code, report.retryable, report.never_left) for report in held} == {("RATE_LIMITED", True, True)}
    assert all(report.retry_after_ns > 0 for report in held)
    assert set(asked.statuses) == {200}
    assert len(small.orders()) == len(placed)


def test_what_others_use_counts(small: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has used up the orders: our first one, which goes alone, is refused, and no second one leaves."""
    monkeypatch.setattr(lanes, "PROBE_S", 3_600)  # the first one's answer is waited for, however late it comes
    for number in range(ORDERS):
        assert small.place(f"theirs{number}").status == 200
    asked = Asked(small)
    reports = asked.run(lambda client: place_many(client, 20))
    refused = [report for report in reports if isinstance(report, NotPlaced)]
    assert asked.statuses[429] <= 1  # 0: ten seconds were over meanwhile
    if asked.statuses[429]:
        assert Counter(report.never_left for report in refused) == {False: 1, True: 19}
        ((status, stop),) = asked.stops
        assert (status, stop.lanes) == (429, (Lane.PLACE,))


def test_a_flood_of_questions_leaves_room_for_cancels_and_orders(small: Venue) -> None:
    """Questions wait for their part of the minute, and then fail unsent; an order and a cancel pass meanwhile."""
    asked = Asked(small, wait_s=5)

    async def flood(client: VenueClient) -> Any:
        order = resting(1)
        questions = [asyncio.ensure_future(client.balances()) for _ in range(50)]
        await asyncio.wait(questions, return_when=asyncio.FIRST_COMPLETED)
        placed = await client.place(order, nothing)
        note = await client.cancel(order)
        waiting = sum(not question.done() for question in questions)
        return placed, note, waiting, await asyncio.gather(*questions)

    placed, note, waiting, answers = asked.run(flood)
    assert isinstance(placed, OrderSnapshot), placed
    assert (note, waiting > 0) == ("accepted", True)
    failed = [answer for answer in answers if isinstance(answer, QueryFailed)]
    assert 0 < len(failed) < 50
    assert all("nothing was sent" in answer.reason for answer in failed)
    assert set(asked.statuses) == {200}


def test_a_ban_is_sat_out(small: Venue) -> None:
    """After a 418 nothing at all leaves before its end: neither orders nor questions nor cancels."""
    small.set_faults({"rate_limited": {"nth": [1], "status": 418, "retry_after_s": 60, "on": ["place"]}})
    asked = Asked(small)

    async def go_on(client: VenueClient) -> Any:
        first = await client.place(attempt(1), nothing)
        seen = len(asked.lines)
        rest = await asyncio.gather(client.place(attempt(2), nothing), client.cancel(attempt(1)), client.balances())
        return first, rest, len(asked.lines) - seen

    first, (second, note, balances), sent = asked.run(go_on)
    assert (first.never_left, second.never_left, second.code) == (False, True, "RATE_LIMITED")
    assert "nothing was sent" in note
    assert isinstance(balances, QueryFailed)
    assert (sent, asked.statuses[418], [status for status, _ in asked.stops]) == (0, 1, [418])


def test_a_client_that_starts_during_a_ban_asks_nothing(small: Venue) -> None:
    """It says why it cannot start, and each further request would make the ban longer."""
    asked, now_ns = Asked(small), time.time_ns()
    reason = "the venue answered 418: banned"
    hit = RateLimitHit(at_ns=now_ns, status=418, lanes=tuple(Lane), until_ns=now_ns + 60 * NS_PER_S, reason=reason)
    asked.client.go_on_with(Left(hit, ()))
    with pytest.raises(StartupFailed, match=reason):
        asked.run(lambda client: client.balances())
    assert asked.lines == []


def test_a_client_knows_what_the_one_before_has_placed(small: Venue) -> None:
    """It is killed with a full window behind it: the first order of the next one waits, instead of a 429."""
    placed: list[Earlier] = []

    async def fill_up(client: VenueClient) -> list[Any]:
        into_s = time.time() % 10
        await asyncio.sleep(10.2 - into_s if into_s > 5 else 0)  # both clients shall meet the same window
        begun_ns = time.time_ns()
        reports = await place_many(client, ORDERS)
        placed.extend([Earlier(begun_ns, time.time_ns())] * ORDERS)
        return reports

    first, second = Asked(small), Asked(small)
    assert [type(report) for report in first.run(fill_up)] == [OrderSnapshot] * ORDERS
    second.client.go_on_with(Left(None, tuple(placed)))
    report = second.run(lambda client: client.place(attempt(ORDERS + 1), nothing))
    assert (report.code, report.never_left) == ("RATE_LIMITED", True)
    assert second.statuses[429] == 0


def test_limits_are_shown(small: Venue) -> None:
    """What is used of the venue's own limits, as it counts."""
    asked = Asked(small)

    async def look(client: VenueClient) -> Any:
        await client.place(attempt(1), nothing)
        return client.rate_figures()

    figures = asked.run(look)
    assert {row.name: row.limit for row in figures.limits} == {
        "weight_1m": WEIGHT, "orders_10s": ORDERS, "orders_1d": 200_000,
    }  # fmt: skip
    assert figures.limits[0].used >= 1
    assert figures.limits[2].used == 1


def test_a_blocked_order_leaves_its_room(small: Venue) -> None:
    """What is refused in the last moment was not sent, and the venue's count does not rise."""
    asked = Asked(small)

    def blocked(about: AttemptRecord) -> NotPlaced:
        return NotPlaced(client_order_id=about.client_order_id, code="TEST", reason="", retryable=True)

    async def try_often(client: VenueClient) -> Any:
        for number in range(3 * ORDERS):
            await client.place(attempt(number), lambda: blocked(attempt(number)))  # noqa: B023
        return await client.place(attempt(99), nothing)

    assert isinstance(asked.run(try_often), OrderSnapshot)


def test_an_order_that_did_not_leave_has_shown_nothing() -> None:
    """The next one goes ahead in its place, and the others wait for that one's answer."""

    async def go_ahead() -> list[bool]:
        lanes = Lanes(Rates(), time.time_ns, 10 * NS_PER_S, lambda _status, _stop: None)
        blocked = await lanes.enter_to_place("blocked", 1)
        assert isinstance(blocked, Pass)
        lanes.leave(blocked, None)
        ahead = await lanes.enter_to_place("ahead", 1)
        assert isinstance(ahead, Pass)
        other = asyncio.create_task(lanes.enter_to_place("other", 1))
        await asyncio.sleep(0)
        waited = not other.done()
        lanes.leave(ahead, answered(status=200))
        return [waited, isinstance(await other, Pass)]

    assert asyncio.run(go_ahead()) == [True, True]


def answered(status: int) -> TraceRecord:
    return TraceRecord(
        at_ns=time.time_ns(), method="POST", path="/api/v3/order", params="", latency_ns=1, status=status, error="",
        used_weight=1, order_count=1, order_count_day=1, code=None, retry_after_s=0, size=2,
    )  # fmt: skip


def test_when_nothing_is_placed_any_more_questions_that_wait_get_the_room() -> None:
    """At once; those for whom there is none hear why as soon as they were told to."""

    async def stop() -> tuple[Pass, str]:
        lanes = Lanes(Rates(), time.time_ns, 3_600 * NS_PER_S, lambda _status, _stop: None)
        await lanes.enter(Lane.SWEEP, 3_000)
        waiting = asyncio.ensure_future(lanes.enter(Lane.SWEEP, 1_000))
        await asyncio.sleep(0)
        assert not waiting.done()
        lanes.end_placing(NS_PER_S // 10)
        async with asyncio.timeout(60):
            passed = await waiting
            with pytest.raises(NoRoom) as caught:
                await lanes.enter(Lane.SWEEP, 1_000)
        return passed, str(caught.value)

    passed, reason = asyncio.run(stop())
    assert passed.lane is Lane.SWEEP
    assert "weight_1m: 4000 of 6000 used, 1800 kept for other lanes for 0.1 s; nothing was sent" in reason
