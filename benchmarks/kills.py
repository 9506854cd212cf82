"""The first half of `resilience`: kill one part under load, and see how long trading takes to go on.

A round has an engine of its own, in which each part is killed once: a part that dies again within half a minute is
started again a little later each time (`core/supervision.py`), and that is not what is asked here. Just before each
kill the same is measured without one. What counts are intents that were submitted *after* the kill: an order that was
on its way when the part died may reach the venue a moment later, and proves nothing. One that was lost with the gateway
stays in doubt for as long as `exchange.read_lag` and `recv_window_ms` ask for; it holds up nobody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import psutil

from actors.children import CLASSES, router_name
from actors.client import Client
from benchmarks.daemon import Daemon
from benchmarks.errors import BenchmarkFailed
from benchmarks.session import Session
from benchmarks.stream import Asked, Stream
from benchmarks.venue import Arrived, Order, arrived, orders, start_venue
from core.ids import NS_PER_MS, client_order_id
from core.settings import RouterSettings

SYMBOLS = 4
ROUTER = "router"
KINDS = (*CLASSES, ROUTER)
"""Everything that the engine supervises; of the routers one."""
NOBODY = "nobody"
"""The kind of the measurement without a kill."""
CALM_NS = 500 * NS_PER_MS
"""Of undisturbed stream before each kill, with every part ready."""
LOOK_NS = 100 * NS_PER_MS
READY = "ready"
STATUS_TIMEOUT_S = 10.0
OUTAGE_MAX_S = 60.0
ATTEMPTS_MAX = 1 + RouterSettings().max_retries


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """What one kill cost."""

    kind: str
    answered_ns: int
    """From the kill until the first intent submitted after it is accepted, as the strategy hears it."""
    at_venue_ns: int
    """From the kill until the first order of an intent submitted after it is at the venue; a router's of its symbol."""

    @property
    def lasted_ns(self) -> int:
        return max(self.answered_ns, self.at_venue_ns)


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One moment that is measured from."""

    kind: str
    symbol: str | None
    """Only orders of this symbol count; None: any."""
    at_ns: int
    """Monotonic."""
    at_wall_ns: int
    """The same moment, ns UTC: the venue's clock."""
    intents: Sequence[Asked]
    """What was submitted after it, while it was watched."""


def measure(session: Session, rounds: int, every_ns: int) -> list[Outage]:
    """Each kind once a round, and without a kill as often as with one."""
    session.progress.step(f"kills, {rounds} of each part", rounds * len(KINDS))
    return [outage for _ in range(rounds) for outage in _round(session, every_ns)]


def _round(session: Session, every_ns: int) -> list[Outage]:
    with (
        start_venue(session.processes, SYMBOLS) as venue,
        Daemon(session.processes, session.folder(), venue.base_url) as daemon,
    ):
        client = daemon.connect()
        try:
            hunt = Hunt(session, client, every_ns)
            kills = []
            for kind in KINDS:
                hunt.until_calm()
                kills += [hunt.watch(NOBODY), hunt.watch(kind)]
                session.progress.advance()
            return outages(kills, arrived(venue))
        finally:
            client.close()
            daemon.crash()  # what is still in doubt would hold up a stop in order


class Hunt:
    """One engine under load."""

    def __init__(self, session: Session, client: Client, every_ns: int) -> None:
        self._session = session
        self._client = client
        wanted = orders(SYMBOLS, SYMBOLS)
        self._first: Order = wanted[0]
        self._stream = Stream(client, wanted, every_ns)
        self._dead_pid = 0

    def watch(self, kind: str) -> Kill:
        """Kill a part of this kind, now, and watch until trading goes on."""
        symbol = self._first.symbol if kind == ROUTER else None
        victim = None if kind == NOBODY else self._victim(router_name(self._first.symbol) if kind == ROUTER else kind)
        at_ns, at_wall_ns, position = time.monotonic_ns(), time.time_ns(), len(self._stream.submitted)
        if victim is not None:
            victim.kill()
            self._dead_pid = victim.pid
        first = self._stream.submit(self._first)
        self._stream.flow_until(
            lambda: bool(first.accepted_ns) and any(map(_ended_of(symbol), self._stream.submitted[position:])),
            f"trading goes on after a kill of the {kind}",
            OUTAGE_MAX_S,
        )
        intents = self._stream.submitted[position:]
        return Kill(kind=kind, symbol=symbol, at_ns=at_ns, at_wall_ns=at_wall_ns, intents=intents)

    def until_calm(self) -> None:
        """Until every part is ready, the last one killed replaced, the stream caught up, and a little longer."""
        deadline = time.monotonic() + OUTAGE_MAX_S
        while (missing := {*KINDS} - self._ready_kinds()) or self._stream.is_behind:
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"not calm again after a kill; not ready: {', '.join(sorted(missing)) or 'none'}")
            self._stream.flow_for(LOOK_NS)
        self._stream.flow_for(CALM_NS)

    def _ready_kinds(self) -> set[str]:
        """Kinds of which every part is ready."""
        children = self._client.status(STATUS_TIMEOUT_S).children
        missing = [child for child in children if child.state != READY or child.pid == self._dead_pid]
        return {_kind_of(child.name) for child in children} - {_kind_of(child.name) for child in missing}

    def _victim(self, name: str) -> psutil.Process:
        children = self._client.status(STATUS_TIMEOUT_S).children
        return self._session.processes.ours(next((child.pid for child in children if child.name == name), 0))


def _kind_of(name: str) -> str:
    return ROUTER if name.startswith(router_name("")) else name


def _ended_of(symbol: str | None) -> Callable[[Asked], bool]:
    return lambda asked: asked.is_over and symbol in {None, asked.request.symbol}


def outages(kills: Sequence[Kill], at_venue: Sequence[Arrived]) -> list[Outage]:
    """By the strategy's clock for the answers, by the venue's for the orders. Raises `BenchmarkFailed`."""
    came_ms = {order.client_order_id: order.at_ms for order in at_venue}
    return [_outage(kill, came_ms) for kill in kills]


def _outage(kill: Kill, came_ms: dict[str, int]) -> Outage:
    """The venue tells whole milliseconds, so its times are taken a millisecond later than it says."""
    counted = [asked for asked in kill.intents if kill.symbol in {None, asked.request.symbol}]
    first = min((came for asked in counted if (came := _came(asked, came_ms)) is not None), default=None)
    if first is None or not kill.intents[0].accepted_ns:
        raise BenchmarkFailed(f"nothing came to the venue after the kill of the {kill.kind}")
    return Outage(
        kind=kill.kind,
        answered_ns=kill.intents[0].accepted_ns - kill.at_ns,
        at_venue_ns=(first + 1) * NS_PER_MS - kill.at_wall_ns,
    )


def _came(asked: Asked, came_ms: dict[str, int]) -> int | None:
    """When the intent's first order came to the venue."""
    if asked.intent_id is None:
        return None
    ids = (client_order_id(asked.intent_id, attempt) for attempt in range(1, ATTEMPTS_MAX + 1))
    return min((came_ms[one] for one in ids if one in came_ms), default=None)
