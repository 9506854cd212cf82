"""Moments at which a process may be made to die: every write, send and receive that matters, by name.

The environment variable names a file. While it holds the name of a point (and which visit counts, from 1), the process
that gets there takes the file away and ends itself as kill -9 does; whoever takes its place finds no file and goes on.
Without the variable a point costs one comparison. `intentd crashpoints --run` visits them all.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

VARIABLE: Final = "INTENTD_CRASHPOINT_FILE"

WRITES: Final = {
    "portfolio commit: before": "everything of a batch is in the transaction, nothing is durable",
    "portfolio commit: after": "the batch is durable, nobody has been told",
    "portfolio commit: orders handed over": "the gateway has the orders, nobody else was told",
    "portfolio start: epoch": "a new epoch is durable, the portfolio is not ready yet",
    "gateway request: before": "the order was cleared for sending and has not left",
    "gateway request: after": "the venue has answered, nobody was told",
    "gateway cancel: before": "a cancel is about to leave",
    "gateway cancel: after": "a cancel was answered",
    "scribe write: before": "events were read and are not in the files",
    "scribe write: after": "events are in the files",
    "scribe heartbeat: in the stream": "a heartbeat is in its stream, and the one before is kept as the last",
}
"""Of the book, the files and the wire, with what is true at that moment."""

RECEIVES: Final = {
    "portfolio": (
        "OpenIntent", "BeginAttempt", "ApplyReport", "RequestCancel", "RecordOpeningBalances", "RecordEvents",
        "RecordRefusal", "SettleTrades", "TightenTrading", "SetTradingState", "GatewayGone", "Rewire", "PrepareStop",
        "CancelOpenIntents", "RequestReplace", "RecordPrivateData", "RecordClock",
    ),
    "gateway": (
        "PlaceOrder", "CancelOrder", "FetchOrder", "FetchQuote", "FetchOpenOrders", "FetchRecentOrders", "FetchTrades",
        "FetchBalances", "OpeningBalancesRecorded", "EndPlacing", "Rewire", "PrepareStop",
    ),
    "router": (
        "SubmitIntent", "CancelIntent", "IntentOpened", "AttemptBegun", "ReportApplied", "CancelRequested",
        "QuoteFetched", "OrderReported", "UnknownResolved", "CancelAttempted", "OpenOrdersFetched", "Rewire",
        "PrepareStop", "ReplaceIntent", "ReplaceRequested",
    ),
    "reconciler": (
        "ResolveUnknown", "OrderReported", "OpenOrdersFetched", "RecentOrdersFetched", "TradesFetched",
        "BalancesFetched", "VerifyBook", "ExpireStale", "CompareAtStop", "Rewire", "PrepareStop",
    ),
    "scribe": ("Beat", "PrepareStop"),
    "engine": (
        "StartEngine", "ChildReady", "GatewayReady", "FindRouter", "ChildActorExited", "VerifyBook", "SetTradingState",
        "StopEngine", "OpenIntentsCanceled", "ComparedAtStop",
    ),
}  # fmt: skip
"""Before the message is handled."""

SENDS: Final = {
    "portfolio": (
        "PlaceOrder", "IntentOpened", "AttemptBegun", "ReportApplied", "CancelRequested", "OpeningBalancesRecorded",
        "TradingStateSet", "OpenIntentsCanceled", "ReplaceRequested",
    ),
    "gateway": (
        "ApplyReport", "QuoteFetched", "OrderReported", "CancelAttempted", "OpenOrdersFetched", "RecentOrdersFetched",
        "TradesFetched", "BalancesFetched", "RecordOpeningBalances",
    ),
    "router": (
        "OpenIntent", "BeginAttempt", "ApplyReport", "RequestCancel", "CancelOrder", "FetchOrder", "FetchQuote",
        "ResolveUnknown", "IntentAnswered", "IntentDone", "IntentCancelNoted", "RequestReplace",
        "IntentReplaceNoted",
    ),
    "reconciler": (
        "UnknownResolved", "ApplyReport", "RecordEvents", "SettleTrades", "TightenTrading", "BookVerified",
        "ComparedAtStop", "ChildReady", "FetchOrder", "FetchOpenOrders", "FetchRecentOrders", "FetchTrades",
        "FetchBalances", "RecordPrivateData",
    ),
    "engine": ("ConfigureChild", "Rewire", "RouterFound", "EngineStarted", "EngineStopped"),
}  # fmt: skip
"""When the message has left this process."""


def receives(actor: str, message: str) -> str:
    return f"{actor} receives {message}"


def sends(actor: str, message: str) -> str:
    return f"{actor} sent {message}"


def points() -> list[str]:
    """The names of all points."""
    received = [receives(actor, message) for actor, messages in RECEIVES.items() for message in messages]
    sent = [sends(actor, message) for actor, messages in SENDS.items() for message in messages]
    return [*WRITES, *received, *sent]


_file: Final = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
armed: Final = _file is not None
"""Whether this process looks at all."""
_visits: dict[str, int] = {}


def reach(point: str) -> None:
    """This moment has come: die if it is the one."""
    if _file is None:
        return
    try:
        wanted, _, visit = _file.read_text().strip().rpartition("#")
    except OSError:
        return
    if wanted != point:
        return
    _visits[point] = _visits.get(point, 0) + 1
    if _visits[point] < int(visit):
        return
    try:
        _file.unlink()
    except FileNotFoundError:
        return  # somebody else was there first
    os.kill(os.getpid(), signal.SIGKILL)


def arm(file: Path, point: str, visit: int = 1) -> None:
    """The next process that gets to the point (for the `visit`-th time) dies there."""
    draft = file.with_suffix(".new")
    draft.write_text(f"{point}#{visit}")
    draft.replace(file)
