"""Launcher and tools ↔ engine."""

from __future__ import annotations

from typing import Any

from core.account import Account
from core.planning import Refusal
from core.settings import OnStop, Settings
from core.stopping import StopReport
from messages import ClientRequest, Message
from messages.venue import GatewayHealth


class StartEngine(Message, frozen=True, kw_only=True):
    """Start every part. Answers: `EngineBorn` at once, then `EngineStarted` or `EngineStopped` with the reason."""

    settings: Settings
    state_root: str
    """The state folder."""
    session_id: str
    """Names this run of the engine in the logs."""
    launcher_pid: int
    """When this process is gone, nobody can stop the engine any more, so it stops itself."""
    venue_was_reached: bool = False
    """By an engine before this one, of the same launcher and with the same settings."""


class EngineBorn(Message, frozen=True, kw_only=True):
    """The engine's first word to its launcher: it begins to start."""

    pid: int


class EngineStarted(Message, frozen=True, kw_only=True):
    pid: int
    """Of the engine's own process; when it is gone, nobody leads the others."""
    process_group: int
    """Of every actor process, for the launcher's last resort."""
    markets: int
    """How many symbols can be traded."""


class EngineStopped(Message, frozen=True, kw_only=True):
    """The engine is over, or could not start. Goes to the launcher and to whoever asked for the stop."""

    reason: str
    failed: bool
    """True: it did not stop because somebody asked for it."""
    passing: bool = False
    """True: a part has said what keeps it from starting: a cause from outside, which can pass by itself."""
    venue_silent: bool = False
    """True: it is that the venue does not answer; there is nothing to be mended here."""
    forced: bool = False
    """True: somebody did not want to wait until what was in flight had settled."""
    report: StopReport | None = None
    """How the stop went; None where there was no graceful one."""


class StopEngine(ClientRequest, frozen=True, kw_only=True):
    """Refuse new intents, let what is in flight settle, compare, flush and stop. Answer: `EngineStopped`.

    The first one decides about working orders; whoever comes later hears how it ended.
    """

    reason: str
    on_stop: OnStop | None = None
    """What becomes of working orders; None: what the settings say."""
    force: bool = False
    """At once, with everything in flight as it is; also where a graceful stop lasts already."""


class StopBegun(Message, frozen=True, kw_only=True):
    """Engine → launcher: a graceful stop has begun. Should the engine die now, it is not to be replaced."""

    reason: str


class StopDelayed(Message, frozen=True, kw_only=True):
    """Engine → launcher: the stop still lasts."""

    waits_for: str
    """In words, for whoever watches."""


class FindRouter(ClientRequest, frozen=True, kw_only=True):
    """The router of a symbol, started if need be. Answer: `RouterFound`."""

    symbol: str
    to_cancel: bool = False
    """Nothing new shall be asked of it: then it is told by a halted engine, too."""


class RouterFound(Message, frozen=True, kw_only=True):
    request_id: str
    symbol: str
    router: Any
    """Its address; None with a refusal."""
    refusal: Refusal | None


class AskStatus(ClientRequest, frozen=True, kw_only=True):
    """How is everybody? Answer: `StatusReported`."""


class ChildStatus(Message, frozen=True, kw_only=True):
    name: str
    pid: int
    state: str
    """`starting`, `ready`, or `down: …` with the reason while it waits for its restart."""


class StatusReported(Message, frozen=True, kw_only=True):
    request_id: str
    state: str
    """`starting`, `running`, `halted`, `stopping`, `failed`."""
    reason: str
    """Why it is halted, stopping or failed."""
    mode: str
    session_id: str
    started_ns: int
    """ns UTC."""
    restarts: int
    """Parts that were replaced since the start."""
    children: tuple[ChildStatus, ...]
    """The engine itself first."""
    markets: int
    gateway: GatewayHealth | None = None
    """The last that the gateway has told of itself; None before the first word."""
    account: Account | None = None
    """The one that the gateway was connected to last; None before the first time."""
