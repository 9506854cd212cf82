"""The second half of `resilience`: start to ready, with nothing open and with many orders that rest at the venue.

Both books are left behind by a kill -9 of everything, and each start is one on what the kill before it left. The two
take turns. Nothing misbehaves: what is open rests at the venue as the book says, and has only to be taken up again.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from actors.children import symbol_of as symbol_of_router
from benchmarks.daemon import Daemon
from benchmarks.errors import BenchmarkFailed
from benchmarks.processes import until
from benchmarks.session import Session
from benchmarks.venue import NOTIONAL, arrived, start_venue, symbol_of
from core.intent import IntentRequest, Kind, Side, TimeInForce
from core.money import ceil_to, floor_to
from core.planning import Refusal
from exchange.simulator.process import SimulatorProcess
from exchange.simulator.symbols import Market, markets

SYMBOLS = 20
FAR = Decimal("0.8")
"""Of the price at which the market opened and to which it is drawn back: nothing fills there."""
ANSWER_TIMEOUT_S = 30.0
REST_TIMEOUT_S = 60.0
READY = "ready"
RESTING = "NEW"
"""The venue's word for an order that rests and is not filled."""


class Starts(msgspec.Struct, frozen=True, kw_only=True):
    """Nanoseconds to ready, of each start."""

    empty_ns: list[int]
    open_ns: list[int]


def measure(session: Session, starts: int, count: int) -> Starts:
    """With nothing open and with `count` open intents, in turn."""
    session.progress.step(f"starts with {count} open intents", 2 * starts)
    with start_venue(session.processes, SYMBOLS) as idle, start_venue(session.processes, SYMBOLS) as busy:
        empty, laden = session.folder() / "state", session.folder() / "state"
        _leave(session, idle, empty, 0)
        _leave(session, busy, laden, count)
        found = Starts(empty_ns=[], open_ns=[])
        for _ in range(starts):
            found.empty_ns.append(_start(session, idle, empty, 0))
            session.progress.advance()
            found.open_ns.append(_start(session, busy, laden, min(count, SYMBOLS)))
            session.progress.advance()
        if _resting(busy) != count:
            raise BenchmarkFailed(f"{count} orders should rest at the venue after the starts, {_resting(busy)} do")
        return found


def _leave(session: Session, venue: SimulatorProcess, state: Path, count: int) -> None:
    """A state folder as a crash leaves it, with so many orders at rest."""
    with Daemon(session.processes, session.folder(), venue.base_url, state=state) as daemon:
        client = daemon.connect()
        try:
            for request in requests(count):
                router = client.router(request.symbol, ANSWER_TIMEOUT_S)
                if isinstance(router, Refusal):
                    raise BenchmarkFailed(f"the engine has no router: {router.reason}")
                answer = client.submit(router, request, wait=False, timeout_s=ANSWER_TIMEOUT_S)
                if answer.record is None or answer.refusal is not None:
                    raise BenchmarkFailed(f"an order that shall rest was refused: {answer!r}")
            until(lambda: _resting(venue) == count, f"{count} orders rest at the venue", REST_TIMEOUT_S)
        finally:
            client.close()
            daemon.crash()


def _start(session: Session, venue: SimulatorProcess, state: Path, routers: int) -> int:
    """Until it says ready, which must be true of the routers of everything open."""
    with Daemon(session.processes, session.folder(), venue.base_url, state=state) as daemon:
        client = daemon.connect()
        try:
            children = client.status(ANSWER_TIMEOUT_S).children
        finally:
            client.close()
            daemon.crash()
        there = sum(1 for child in children if symbol_of_router(child.name) and child.state == READY)
        if there != routers:
            raise BenchmarkFailed(f"the engine said ready with {there} routers; the open intents need {routers}")
        return daemon.ready_ns


def _resting(venue: SimulatorProcess) -> int:
    return sum(1 for order in arrived(venue) if order.status == RESTING)


def requests(count: int) -> list[IntentRequest]:
    """Buys far below the market that rest, one symbol after the other."""
    traded = list(markets(SYMBOLS).values())
    return [_request(traded[number % SYMBOLS], number) for number in range(count)]


def _request(market: Market, number: int) -> IntentRequest:
    price = floor_to(market.price * FAR, market.tick)
    return IntentRequest(
        symbol=symbol_of(market),
        side=Side.BUY,
        kind=Kind.LIMIT,
        tif=TimeInForce.GTC,
        qty=ceil_to(NOTIONAL / price, market.step),
        limit_price=price,
        key=f"bench-rests-{number}",
        source="benchmarks",
    )
