"""The user stream with real processes: what it tells is booked, what it does not tell is found out, nothing twice."""

from __future__ import annotations

from typing import Any

from tests.system.harness import Daemon, until

RARELY = """
[router]
poll_interval = "10m"
stream_poll_interval = "10m"

[reconciler]
order_interval = "10m"
trades_interval = "10m"
open_orders_interval = "10m"
balance_interval = "10m"
"""
"""Nobody asks, so what is booked was told."""


def start(daemon: Daemon, config: str = RARELY) -> None:
    file = daemon.state.parent / "intentd.toml"
    file.write_text(config)
    daemon.start("--config", str(file))
    until(lambda: stream(daemon)["is_live"], "the stream is live")


def stream(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] | None = daemon.ask("status")["stream"]
    return found or {"is_live": False}


def rest(daemon: Daemon, key: str, limit: str = "9000") -> str:
    """A sale above the market."""
    answer = daemon.submit(symbol="ETH/USDT", side="sell", qty="0.02", limit=limit, tif="GTC", key=key)
    until(lambda: state_of(daemon, answer["intent_id"]) == "SENT", "it rests")
    return str(answer["intent_id"])


def state_of(daemon: Daemon, intent_id: str) -> str:
    return str(daemon.ask("show", intent_id)["state"])


def move(daemon: Daemon, mid: str) -> None:
    daemon.venue("price", "PUT", {"symbol": "ETHUSDT", "mid": mid})


def agrees(daemon: Daemon) -> bool:
    return bool(daemon.ask("verify")["agrees"])


def test_a_resting_order_is_filled_when_the_stream_tells(daemon: Daemon) -> None:
    """Though nobody asks for ten minutes; and its cancel is heard of in the same way."""
    start(daemon)
    filled, canceled = rest(daemon, "filled"), rest(daemon, "canceled", "9900")
    move(daemon, "9100")
    until(lambda: state_of(daemon, filled) == "FILLED", "the fill is heard of")
    assert {fill["source"] for fill in daemon.ask("show", filled)["fills"]} == {"stream"}
    assert daemon.ask("cancel", canceled)
    until(lambda: state_of(daemon, canceled) == "CANCELED", "the cancel is heard of")
    assert agrees(daemon)


def test_what_happens_while_the_stream_is_down_is_found_out_when_it_is_back(daemon: Daemon) -> None:
    """The venue cuts it before the event and refuses new ones for a while; the gap is closed by questions."""
    start(daemon)
    resting = rest(daemon, "resting")
    daemon.venue("faults", "PUT", {"stream_cut": {"probability": 1, "point": "before"}, "stream_refused": 1})
    move(daemon, "9100")
    until(lambda: not stream(daemon)["is_live"], "the loss is noticed")
    untold = {str(trade["id"]) for trade in daemon.venue("trades") if trade["symbol"] == "ETHUSDT"}
    daemon.venue("faults", "DELETE")  # what is traded from here on may be told by the stream that is back
    until(lambda: state_of(daemon, resting) == "FILLED", "the fill is found out")
    sources = {fill["source"] for fill in daemon.ask("show", resting)["fills"] if fill["trade_id"] in untold}
    assert untold
    assert sources
    assert sources <= {"lookup", "trades"}
    assert stream(daemon)["is_live"]
    assert agrees(daemon)


def test_an_order_whose_answer_is_lost_is_known_from_the_stream(daemon: Daemon) -> None:
    """Before anybody gives the answer up and asks; and it is sent once."""
    start(daemon, RARELY + "[exchange]\ntimeout_ms = 600000\n")
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 600_000}})
    answer = daemon.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key="late")
    until(lambda: state_of(daemon, answer["intent_id"]) == "FILLED", "the stream tells")
    assert {fill["source"] for fill in daemon.ask("show", answer["intent_id"])["fills"]} == {"stream"}
    assert len(daemon.venue("orders")) == 1
    daemon.venue("faults", "DELETE")
