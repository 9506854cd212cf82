"""Modes live and observe with real processes: nothing is sent that no operator has armed, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from exchange.simulator.process import SimulatorProcess
from tests.exchange.conftest import Venue
from tests.system.harness import MARK_VARIABLE, Completed, Daemon, until

KEY, SECRET = "key-of-the-live-account", "secret-of-the-live-account"
BLOCKED = "ORDER_BLOCKED_LIVE_TRADING"
PLACEMENTS = "POST /api/v3/order"
ARMED_S = 2
SLOW_RETRIES = "[router]\nbackoff_ms = 20000\n"
"""Long enough for a command and the end of what it arms, on a machine that is slow."""


@contextmanager
def connected(daemon: Daemon, mode: str, *options: str, more: str = "") -> Iterator[Venue]:
    """The daemon's settings are for this mode and a venue of its own, at an address that they name."""
    environment = {MARK_VARIABLE: daemon.processes.mark, "INTENTD_SIM_API_KEY": KEY, "INTENTD_SIM_API_SECRET": SECRET}
    daemon.extra |= {"INTENTD_API_KEY": KEY, "INTENTD_API_SECRET": SECRET}
    with SimulatorProcess.start(seed=11, arguments=options, environment=environment) as process:
        exchange = f'[exchange]\nbase_url = "{process.base_url}"\n'
        config(daemon).write_text(f'[engine]\nmode = "{mode}"\n{exchange}{more}')
        yield Venue(process)


def config(daemon: Daemon) -> Any:
    return daemon.state.parent / "intentd.toml"


def start(daemon: Daemon) -> None:
    daemon.start("--config", str(config(daemon)))


def buy(daemon: Daemon, key: str) -> dict[str, Any]:
    return daemon.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key=key, wait=True)


def rest(daemon: Daemon, key: str) -> str:
    """A buy below the market, which works until it is canceled."""
    answer = daemon.submit(symbol="ETH/USDT", side="buy", qty="0.02", limit="2000", tif="GTC", key=key)
    until(lambda: intent(daemon, answer["intent_id"])["state"] == "SENT", "it rests")
    return str(answer["intent_id"])


def cancel(daemon: Daemon, intent_id: str) -> None:
    assert daemon.ctl("cancel", intent_id).returncode == 0
    until(lambda: intent(daemon, intent_id)["state"] == "CANCELED", "it is canceled")


def intent(daemon: Daemon, intent_id: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.ask("show", intent_id)
    return found


def was_blocked(daemon: Daemon, key: str) -> bool:
    """It came to its end without having left, and its money is free."""
    answer = buy(daemon, key)
    ended = intent(daemon, answer["intent_id"])
    assert (ended["state"], ended["filled_qty"], ended["attempts"]) == ("REJECTED", "0", 1)
    return bool(ended["reason"].startswith(f"{BLOCKED}: ") and "intentctl arm" in ended["reason"])


def arming(daemon: Daemon) -> dict[str, Any]:
    shown: dict[str, Any] = daemon.ask("status")["arming"]
    return shown


def arm(daemon: Daemon, *, for_text: str = "8h", confirm: str | None = None) -> Completed:
    confirm = arming(daemon)["fingerprint"] if confirm is None else confirm
    return daemon.ctl("arm", "--for", for_text, "--confirm", confirm, "--reason", "a test")


def audit(daemon: Daemon, *kinds: str) -> list[dict[str, Any]]:
    """What is written of it by now; the last line may be half."""
    whole = (daemon.state / "logs" / "audit" / "order_audit.jsonl").read_text().rpartition("\n")[0]
    return [event for event in map(json.loads, whole.splitlines()) if event["event"] in kinds]


def alerts(daemon: Daemon) -> list[str]:
    return [event["code"] for event in audit(daemon, "alert_fired")]


def gateway_pid(daemon: Daemon) -> int:
    """0 while there is none that is ready."""
    children = daemon.ask("status")["engine"]["children"]
    return next((child["pid"] for child in children if child["name"] == "gateway" and child["state"] == "ready"), 0)


def kill_gateway(daemon: Daemon) -> None:
    killed = gateway_pid(daemon)
    os.kill(killed, signal.SIGKILL)
    until(lambda: gateway_pid(daemon) not in {0, killed}, "the gateway is replaced")


def money(daemon: Daemon) -> dict[str, tuple[str, str]]:
    """Total and held, by currency."""
    return {entry["currency"]: (entry["my_budget"], entry["reserved_budget"]) for entry in daemon.ask("budget")}


def path_of(daemon: Daemon, intent_id: str) -> list[str]:
    """Its states; fails where there is a gap between two."""
    changes = [event for event in daemon.ask("trace", intent_id) if event["event"] == "state_changed"]
    path = [changes[0]["from_state"], *(change["to_state"] for change in changes)]
    assert [change["from_state"] for change in changes] == path[:-1]
    return path


def test_live_trading_lasts_as_long_as_it_is_armed_whoever_dies(daemon: Daemon) -> None:
    """Blocked until armed for the right account; armed over kill -9 of the gateway and of the launcher; blocked again
    after a disarming, and after the next start, while what works at the venue can be canceled."""
    with connected(daemon, "live") as venue:
        start(daemon)
        assert was_blocked(daemon, "before")
        assert arm(daemon, confirm="0123456789ab").returncode != 0
        assert (arming(daemon)["armed"], was_blocked(daemon, "wrong")) == (False, True)
        assert venue.orders() == []

        assert arm(daemon).returncode == 0
        shown = arming(daemon)
        assert (shown["armed"], shown["by"], shown["reason"], shown["warnings"]) == (True, "operator", "a test", [])
        assert buy(daemon, "armed")["state"] == "FILLED"
        kill_gateway(daemon)
        until(lambda: buy(daemon, "after-the-gateway")["state"] == "FILLED", "the next gateway sends")

        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.communicate()
        assert arming(daemon)["armed"]
        start(daemon)
        assert arming(daemon) == shown
        assert buy(daemon, "after-the-launcher")["state"] == "FILLED"
        working = rest(daemon, "rests")

        assert daemon.ctl("disarm", "--reason", "enough").returncode == 0
        assert was_blocked(daemon, "after")
        assert daemon.stop() == 0
        start(daemon)
        assert (arming(daemon)["armed"], arming(daemon)["reason"]) == (False, "enough")
        assert was_blocked(daemon, "after-a-start")
        cancel(daemon, working)
        assert len(venue.orders()) == 4
        assert daemon.ctl("verify").returncode == 0
        told = audit(daemon, "trading_armed", "trading_disarmed")
        assert [(event["event"], event["by"], event["reason"]) for event in told] == [
            ("trading_armed", "operator", "a test"),
            ("trading_disarmed", "operator", "enough"),
        ]
        assert daemon.stop() == 0


def test_an_arming_ends_by_the_clock(daemon: Daemon) -> None:
    """Orders are blocked from then on, retries of what was sent before, too; an alert says so once, over a restart, and
    a working order can be canceled."""
    with connected(daemon, "live", more=SLOW_RETRIES) as venue:
        start(daemon)
        assert arm(daemon).returncode == 0
        working = rest(daemon, "rests")
        venue.set_faults({"partial_fill": {"min": 0.5, "max": 0.6}})
        partial = daemon.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key="partial")["intent_id"]
        assert arm(daemon, for_text=f"{ARMED_S}s").returncode == 0
        until(lambda: "ARMING_EXPIRED" in alerts(daemon), "the end is told")
        assert not arming(daemon)["armed"]
        assert was_blocked(daemon, "after")
        ended = until(
            lambda: (now := intent(daemon, partial))["state"] == "PARTIAL_SUCCESS" and now, "the retry has ended"
        )
        assert ended["reason"].startswith(f"{BLOCKED}: ")
        assert ("RETRY" in path_of(daemon, partial), ended["attempts"]) == (True, 2)
        assert (intent(daemon, working)["state"], len(venue.orders())) == ("SENT", 2)
        cancel(daemon, working)
        assert daemon.stop() == 0
        start(daemon)
        assert was_blocked(daemon, "after-a-start")
        assert alerts(daemon).count("ARMING_EXPIRED") == 1
        assert daemon.ask("status")["book"]["reservations"] == 0
        assert daemon.stop() == 0


def test_arming_shows_what_would_be_armed_and_refuses_what_cannot_be_meant(daemon: Daemon) -> None:
    """Nothing of it changes anything; every error is one line that says what is wrong."""
    with connected(daemon, "live", "--key-not-ip-restricted") as venue:
        start(daemon)
        shown = daemon.ctl("arm", "--for", "2h", "--json")
        told = json.loads(shown.stdout)
        fingerprint = told["fingerprint"]
        assert (shown.returncode, told["armed"], told["mode"], told["venue"]) == (2, False, "live", venue.base_url)
        assert told["key"] == {
            "may_withdraw": False,
            "may_trade": True,
            "may_transfer": False,
            "is_ip_restricted": False,
        }
        assert told["command"].endswith(f"arm --for 2h --confirm {fingerprint}")
        assert told["command"].split()[1:3] == ["--state", str(daemon.state)]
        for_people = daemon.ctl("arm").stdout
        assert f"arm --for 8h --confirm {fingerprint}" in for_people
        assert KEY not in for_people + shown.stdout
        for words in (
            ("--for", "2h", "--confirm", "0123456789ab"),
            ("--for", "2h", "--confirm", KEY),
            ("--for", "8d", "--confirm", fingerprint),
            ("--for", "0s", "--confirm", fingerprint),
            ("--for", "soon", "--confirm", fingerprint),
            ("--for", "-1h", "--confirm", fingerprint),
            ("--confirm", fingerprint),
            ("--for", "2h", "--confirm", fingerprint, "--reason", " "),
        ):
            done = daemon.ctl("arm", *words)
            assert (done.returncode in {1, 2}, done.stdout, "Traceback" in done.stderr) == (True, "", False), words
            assert "Error: " in done.stderr.splitlines()[-1]
        assert (arming(daemon)["armed"], arming(daemon)["by"]) == (False, None)
        assert audit(daemon, "trading_armed") == []
        assert "address" in arming(daemon)["warnings"][0]
        kill_gateway(daemon)
        assert alerts(daemon) == ["KEY_NOT_IP_RESTRICTED"]
        assert daemon.stop() == 0
    assert daemon.ctl("arm").returncode == daemon.ctl("disarm").returncode == 3


@pytest.mark.parametrize("mode", ["live", "observe"])
def test_a_key_that_may_withdraw_ends_the_start(daemon: Daemon, mode: str) -> None:
    """In one line that says what to do, with exit code 2."""
    with connected(daemon, mode, "--key-may-withdraw"):
        done = daemon.processes.run(
            "run.py", "up", "--state", str(daemon.state), "--config", str(config(daemon)), extra=daemon.extra
        )
    assert done.returncode == 2
    assert "this API key may withdraw; make one that may only read and trade" in done.stderr
    assert "Traceback" not in done.stderr


def test_observe_walks_the_whole_way_but_the_send(daemon: Daemon) -> None:
    """Accepted, reserved, written, and ended where it would have left; the venue has seen no order of ours, while
    prices, the account, its stream and the comparison with it are real."""
    with connected(daemon, "observe") as venue:
        start(daemon)
        until(lambda: (daemon.ask("status")["stream"] or {}).get("is_live"), "the stream is live")
        before = money(daemon)
        wishes = {
            "market": {"symbol": "BTC/USDT", "side": "buy", "quote": "20", "market": True},
            "rests": {"symbol": "ETH/USDT", "side": "buy", "qty": "0.02", "limit": "2000", "tif": "GTC"},
            "sells": {"symbol": "ETH/USDT", "side": "sell", "qty": "0.02", "market": True},
        }
        for key, wish in wishes.items():
            answer = daemon.submit(**wish, key=key, wait=True)
            assert path_of(daemon, answer["intent_id"]) == ["NEW", "RESERVED", "SENDING", "ERROR", "REJECTED"]
            assert intent(daemon, answer["intent_id"])["reason"].startswith("OBSERVE_MODE: ")
            assert daemon.submit(**wish, key=key, wait=True)["duplicate"]
        kill_gateway(daemon)
        assert path_of(daemon, buy(daemon, "after-the-gateway")["intent_id"])[-1] == "REJECTED"
        assert money(daemon) == before
        assert daemon.ask("status")["book"]["reservations"] == 0
        assert (venue.orders(), PLACEMENTS in venue.ask("GET", "/_sim/stats").body["requests"]) == ([], False)

        by_hand = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        assert venue.ask_signed("POST", "/api/v3/order", by_hand, key=KEY, secret=SECRET).status == 200
        verdict = until(lambda: (now := daemon.ask("verify"))["external"] and now, "what others trade is seen")
        assert verdict["agrees"]
        requests = venue.ask("GET", "/_sim/stats").body["requests"]
        assert (requests[PLACEMENTS], "DELETE /api/v3/order" in requests) == (1, False)
        shown = daemon.ctl("arm")
        assert (shown.returncode, "observe needs no arming" in shown.stdout) == (2, True)
        for words in (("arm", "--for", "1h", "--confirm", arming(daemon)["fingerprint"]), ("disarm",)):
            assert "only live trading" in daemon.ctl(*words).stderr
        assert daemon.stop() == 0
