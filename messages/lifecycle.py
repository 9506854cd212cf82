"""Engine ↔ its children: start, readiness, stop."""

from __future__ import annotations

from typing import Any

import msgspec

from core.health import EngineHealth
from core.market import MarketRules
from core.settings import Settings
from messages import Message


class ConfigureChild(Message, frozen=True, kw_only=True):
    """The first message to every child: everything it needs to start. Answer: `ChildReady` or `ChildFailed`."""

    settings: Settings
    state_root: str
    """The state folder."""
    session_id: str
    """Names this run of the engine in the logs."""
    engine_pid: int = 0
    """Of the process that has forked the child, which ends with it; 0: it has none of its own."""
    portfolio: Any = None
    """Address; None for the portfolio itself."""
    gateway: Any = None
    reconciler: Any = None
    routers: dict[str, Any] = msgspec.field(default_factory=dict)
    """Addresses by symbol; only for a portfolio that takes the place of one that died."""
    venue_was_reached: bool = False
    """With these settings, by a gateway before this one: the address is right, whoever answers there at the moment."""
    stream_is_live: bool = False
    """Whether the user stream tells what happens to orders."""
    rules: MarketRules | None = None
    """Of its symbol; only for a router."""


class ChildBorn(Message, frozen=True, kw_only=True):
    """A child has got its configuration and begins to start: its first word."""

    name: str
    """`portfolio`, `gateway`, `router BTC/USDT`, …"""
    pid: int


class ChildReady(Message, frozen=True, kw_only=True):
    """The child has its state and can work."""

    name: str
    """`portfolio`, `gateway`, `router BTC/USDT`, …"""
    pid: int
    open_symbols: tuple[str, ...] = ()
    """Symbols with open intents; only from the portfolio."""


class ChildFailed(Message, frozen=True, kw_only=True):
    """The child cannot work; it says why and waits for its end."""

    name: str
    pid: int
    reason: str
    damaged: bool = False
    """The book is: another part would find the same, and nobody may trade on it."""
    passing: bool = False
    """The cause is from outside and can pass by itself (`core.errors.PASSING`)."""
    venue_silent: bool = False
    """It is that the venue does not answer just now; there is nothing to be mended here."""


class StartDelayed(Message, frozen=True, kw_only=True):
    """The gateway asks the venue again; to the engine, and from there to who waits for its start."""

    reason: str


class Rewire(Message, frozen=True, kw_only=True):
    """A part was replaced; this is where everybody is now. What was asked of the old one must be asked again."""

    replaced: str
    """Name of the new part."""
    portfolio: Any
    gateway: Any
    reconciler: Any
    routers: dict[str, Any]
    """By symbol."""


class StreamChanged(Message, frozen=True, kw_only=True):
    """Engine → routers and reconciler: the user stream tells what happens to orders from now on, or does not."""

    is_live: bool
    """It tells."""


class GatewayGone(Message, frozen=True, kw_only=True):
    """The gateway has died; until the next one introduces itself there is nobody to hand an order to."""


class Beat(Message, frozen=True, kw_only=True):
    """Engine → scribe: write down how everything is. No answer; one that is lost is followed by the next."""

    engine: EngineHealth
    """What the engine knows."""


class Probe(Message, frozen=True, kw_only=True):
    """Are you there? Answer: `Alive`."""


class Alive(Message, frozen=True, kw_only=True):
    name: str


class PrepareStop(Message, frozen=True, kw_only=True):
    """Finish what is in flight, flush, and answer `StopPrepared`."""


class StopPrepared(Message, frozen=True, kw_only=True):
    name: str


class RestartDue(Message, frozen=True, kw_only=True):
    """A timer's payload inside the engine: start this part again."""

    name: str


class QuietDue(Message, frozen=True, kw_only=True):
    """A timer's payload inside the engine: nothing that was sent before a halt can reach the venue any more."""

    request_id: str


class Tick(Message, frozen=True, kw_only=True):
    """A timer's payload inside one actor; `generation` tells a stale one."""

    name: str
    generation: int = 0
