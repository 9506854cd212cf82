"""A clock that is set, the venue's or ours: real requests are refused for their time, and then claim the right one."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from core import timestamps
from core.errors import VenueSilent
from core.reports import NotPlaced, OrderSnapshot, OutcomeUnknown, QueryFailed
from exchange.client import VenueClient
from tests.exchange.conftest import Venue
from tests.exchange.test_client import ask, attempt, nothing, resting


async def read_anew(client: VenueClient) -> None:
    """Until the doubt is over."""
    was_read = asyncio.Event()
    client.on_clock_read = was_read.set
    async with asyncio.timeout(10):
        if client.timestamps.is_doubted:
            await was_read.wait()


def requests_of(lines: list[str], path: str) -> list[dict[str, Any]]:
    return [record for record in map(json.loads, lines) if record["path"].endswith(path)]


@pytest.mark.parametrize("skew_ms", [20_000, -20_000])
def test_an_order_after_a_clock_jump_claims_the_venues_time(venue: Venue, skew_ms: int) -> None:
    """The one that was refused was not placed; the next one is, and there is one order at the venue."""
    lines: list[str] = []
    numbers = (40_000 + skew_ms, 40_001 + skew_ms)

    async def jump(client: VenueClient) -> Any:
        venue.set_faults({"clock_skew": {"ms": skew_ms}})
        refused = await client.place(resting(numbers[0]), nothing)
        is_doubted = client.timestamps.is_doubted
        await read_anew(client)
        placed = await client.place(resting(numbers[1]), nothing)
        return refused, is_doubted, placed, client.timestamps.correction_ns, await client.balances()

    refused, is_doubted, placed, correction_ns, balances = ask(venue, jump, lines)
    assert isinstance(refused, NotPlaced)
    assert (refused.code, refused.retryable, refused.wrong_time) == ("InvalidNonce", True, True)
    assert is_doubted
    assert isinstance(placed, OrderSnapshot)
    assert abs(correction_ns - skew_ms * 1_000_000) < 400_000_000
    assert not isinstance(balances, QueryFailed)
    assert len(requests_of(lines, "/time")) == 1
    names = [resting(number).client_order_id for number in numbers]
    assert [venue.order(name) is not None for name in names] == [False, True]


def test_many_that_are_refused_at_once_read_the_clock_once(venue: Venue) -> None:
    """Questions are refused, too, and are answered again afterwards."""
    lines: list[str] = []

    async def jump(client: VenueClient) -> Any:
        venue.set_faults({"clock_skew": {"ms": 20_000}})
        found = await asyncio.gather(*(client.balances() for _ in range(8)))
        await read_anew(client)
        return found, await client.balances()

    found, after = ask(venue, jump, lines)
    assert all(isinstance(totals, QueryFailed) for totals in found)
    assert not isinstance(after, QueryFailed)
    assert len(requests_of(lines, "/time")) == 1


def test_a_clock_that_is_put_right_again_is_followed(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back: the correction ends with the reason for it."""
    monkeypatch.setattr(timestamps, "READ_EVERY_NS", 0)

    async def jump(client: VenueClient) -> Any:
        found = []
        for skew_ms in (20_000, 0):
            venue.set_faults({"clock_skew": {"ms": skew_ms}} if skew_ms else {})
            found.append(await client.balances())
            await read_anew(client)
            found.append(await client.balances())
        return found, client.timestamps.correction_ns

    found, correction_ns = ask(venue, jump)
    assert [isinstance(totals, QueryFailed) for totals in found] == [True, False, True, False]
    assert correction_ns == 0


def test_a_clock_that_is_too_far_off_is_told_with_each_refusal(venue: Venue) -> None:
    """Five minutes: nothing is made up for, and the trail says what to do."""

    async def jump(client: VenueClient) -> Any:
        venue.set_faults({"clock_skew": {"ms": 300_000}})
        first = await client.place(resting(41_001), nothing)
        await read_anew(client)
        return first, await client.place(resting(41_002), nothing), client.timestamps.correction_ns

    first, second, correction_ns = ask(venue, jump)
    assert correction_ns == 0
    assert isinstance(first, NotPlaced)
    assert isinstance(second, NotPlaced)
    assert second.wrong_time
    assert second.reason.endswith("more than 60 s is not made up for: set the clock")


def test_a_venue_that_refuses_and_shows_the_right_time_is_asked_once_a_second(venue: Venue) -> None:
    """It goes on refusing, whatever it is told; the doubt ends each time, and orders go on being tried meanwhile."""
    lines: list[str] = []

    async def insist(client: VenueClient) -> Any:
        venue.set_faults({"clock_skew": {"ms": 20_000, "on": ["place"]}})
        reports = []
        for number in range(42_001, 42_021):
            reports.append(await client.place(resting(number), nothing))
            await read_anew(client)
        return reports

    reports = ask(venue, insist, lines)
    assert [report.wrong_time for report in reports] == [True] * 20
    asked_ns = [record["at_ns"] for record in requests_of(lines, "/time")]
    assert asked_ns
    assert all(later - earlier >= 900_000_000 for earlier, later in pairwise(asked_ns))


def test_a_lost_answer_is_no_refusal_of_the_time(venue: Venue) -> None:
    """With a wrong clock, too, only what the venue has said counts as not placed."""

    async def jump(client: VenueClient) -> Any:
        venue.set_faults({"answer_lost": {"on": ["place"]}})
        return await client.place(attempt(43_001), nothing), client.timestamps.is_doubted

    report, is_doubted = ask(venue, jump)
    assert isinstance(report, OutcomeUnknown)
    assert not is_doubted


def test_a_start_with_a_clock_that_is_too_far_off_says_what_to_do(venue: Venue) -> None:
    """The venue answers; it is the clock that has to be set."""

    async def start_again(client: VenueClient) -> Any:
        venue.set_faults({"clock_skew": {"ms": 300_000}})
        for _ in range(2):
            with pytest.raises(VenueSilent) as silent:
                await client.start()
            await read_anew(client)
        return str(silent.value)

    told = ask(venue, start_again)
    assert told.startswith("the venue refuses the time of our requests (InvalidNonce")
    assert told.endswith("more than 60 s is not made up for: set the clock)")


def test_a_start_with_a_wrong_clock_comes_through(venue: Venue) -> None:
    """The first look at the account is refused, which passes: whoever starts asks again, with the venue's time."""

    async def start_again(client: VenueClient) -> Any:
        venue.set_faults({"clock_skew": {"ms": 20_000}})
        with pytest.raises(VenueSilent):
            await client.start()
        await read_anew(client)
        return await client.start()

    assert ask(venue, start_again).totals
