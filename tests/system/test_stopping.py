"""Stopping with real processes: what becomes of orders, what is compared, what a silent venue and a dead part cost."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.system.harness import COMMAND_TIMEOUT_S, Daemon, until

SYMBOL = "SOL/USDT"
FOREVER = "[engine]\nstop_timeout = '1h'\n"
"""Who waits until the time of a stop is over waits far longer than a command may take."""
OPEN_ORDERS = 100
EVERYTHING = ["place", "cancel", "order", "open_orders", "all_orders", "trades", "account"]
SILENT = {"late_answer": {"ms": 600_000, "on": EVERYTHING}}
POLLING = "[exchange]\nuser_stream = false\n"
"""So that the stream does not tell what the placement's answer does not."""
UNPROVEN = "[exchange]\nread_lag = '10m'\n"
"""That an order is absent cannot be proven so soon, however slow the machine."""
UNKNOWN = {"server_error": {"probability": 1, "on": ["place"], "point": "before"}}


def start(daemon: Daemon, settings: str = "") -> None:
    config = daemon.state.parent / "intentd.toml"
    config.write_text(settings)
    daemon.start("--config", str(config))


def rest(daemon: Daemon, key: str, **options: Any) -> str:
    """An order that stays where it is; returns its intent's id."""
    wish = {"symbol": SYMBOL, "side": "buy", "qty": "0.1", "limit": "100", "tif": "GTC", "key": key} | options
    intent_id = str(daemon.submit(**wish)["intent_id"])
    until(lambda: daemon.ask("show", intent_id)["state"] == "SENT", "the order rests")
    return intent_id


def open_at_venue(daemon: Daemon) -> list[dict[str, Any]]:
    return [order for order in daemon.venue("orders") if order["status"] in {"NEW", "PARTIALLY_FILLED"}]


def on_the_wire(daemon: Daemon) -> None:
    """An order that is not answered for long: a stop waits for it as long as it may."""
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 600_000}})
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")
    until(lambda: len(daemon.venue("orders")) == 2, "the venue has the order")


def stop(daemon: Daemon, *options: str) -> tuple[int, dict[str, Any]]:
    """`intentctl stop`, and until every process has ended; its exit code and its JSON."""
    done = daemon.ctl("stop", *options, "--json")
    assert done.stdout, done.stderr
    until(lambda: not daemon.processes.alive(), "everything has stopped")
    shown: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, shown


def ended(daemon: Daemon) -> tuple[int, list[str]]:
    """The daemon's own exit code and the lines on its stderr."""
    assert daemon.process is not None
    _, err = daemon.process.communicate(timeout=COMMAND_TIMEOUT_S)
    return daemon.process.returncode, err.splitlines()


def audit(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    lines = (daemon.state / "logs" / "audit" / "order_audit.jsonl").read_text().splitlines()
    return [told for told in map(json.loads, lines) if told["event"] == event]


# ── working orders ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_working_orders_are_kept_and_the_stop_says_so(daemon: Daemon) -> None:
    """By default: they stay at the venue, book and venue agree, and the audit stream's last word tells all of it."""
    start(daemon)
    rest(daemon, "r")
    code, shown = stop(daemon)
    report = shown["report"]
    assert (code, report["open"], report["working"], report["agrees"]) == (0, {"SENT": 1}, 1, True)
    assert report["compared"]["orders"] == 1
    code, lines = ended(daemon)
    assert code == 0
    assert {"open intents: 1 SENT", "working orders kept at the venue: 1"} <= set(lines)
    assert lines[-1] == "stopped"
    assert [told["report"]["open"] for told in audit(daemon, "stop_reconciled")] == [{"SENT": 1}]
    start(daemon)
    assert len(open_at_venue(daemon)) == 1
    assert daemon.ask("verify")["agrees"] is True
    assert daemon.stop() == 0


def test_working_orders_are_canceled_where_the_settings_say_so(daemon: Daemon) -> None:
    """Buys and sells, of every symbol, followed to their ends: no order and no reservation is left, verify is clean."""
    start(daemon, "[engine]\non_stop = 'cancel'\n")
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="b", wait=True)
    ids = [rest(daemon, "one"), rest(daemon, "two", symbol="ETH/USDT", qty="0.01", limit="2000")]
    ids.append(rest(daemon, "three", symbol="BTC/USDT", side="sell", qty="0.0004", limit="90000"))
    assert daemon.stop() == 0
    assert "intents ended: 3" in daemon.output
    assert {daemon.ask("show", intent_id)["state"] for intent_id in ids} == {"CANCELED"}
    assert daemon.ask("status")["book"]["reservations"] == 0
    reasons = {daemon.ask("show", intent_id)["reason"] for intent_id in ids}
    assert all(reason.startswith("ENGINE_STOPS: ") for reason in reasons), reasons
    start(daemon)
    assert open_at_venue(daemon) == []
    assert daemon.ask("verify")["agrees"] is True
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("setting", "option", "state"), [("keep", "--cancel-open", "CANCELED"), ("cancel", "--keep-open", "SENT")]
)
def test_one_stop_may_do_otherwise_than_the_settings(daemon: Daemon, setting: str, option: str, state: str) -> None:
    """For this once; what it did stands in its answer."""
    start(daemon, f"[engine]\non_stop = '{setting}'\n")
    intent_id = rest(daemon, "r")
    code, shown = stop(daemon, option)
    assert (code, shown["report"]["on_stop"]) == (0, "cancel" if state == "CANCELED" else "keep")
    assert daemon.ask("show", intent_id)["state"] == state


def test_a_hundred_working_orders_are_canceled_within_the_time(daemon: Daemon) -> None:
    """Each is canceled and looked up at the venue, all at once: one after the other, a poll each, would take longer."""
    start(daemon, "[engine]\nstop_timeout = '50s'\non_stop = 'cancel'\n[router]\norder_max_age = '1d'\n")
    submit_many(daemon, OPEN_ORDERS)
    code, shown = stop(daemon)
    report = shown["report"]
    assert (code, report["canceled"], report["uncanceled"], report["open"]) == (0, OPEN_ORDERS, 0, {})
    assert report["agrees"] is True


def submit_many(daemon: Daemon, count: int) -> None:
    client = daemon.processes.start("-m", "tests.system.resting_client", str(daemon.state), str(count))
    out, err = client.communicate(timeout=COMMAND_TIMEOUT_S)
    assert client.returncode == 0, err
    assert json.loads(out) == {"accepted": count}
    until(lambda: daemon.ask("status")["book"]["open"] == {"SENT": count}, "all of them rest", 60)


# ── in flight ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_on_the_wire_settles_first(daemon: Daemon) -> None:
    """The venue answers seconds late; the stop waits for it, and the fill is in the book."""
    start(daemon, POLLING + "timeout_ms = 60000\n" + FOREVER)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 12_000}})
    sent = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="late")
    assert sent["state"] == "SENDING"
    code, shown = stop(daemon)
    assert (code, shown["report"]["open"], shown["report"]["agrees"]) == (0, {}, True)
    assert shown["report"]["elapsed_s"] > 0.5  # however long it took until the engine heard of the stop
    path = [told["to_state"] for told in daemon.ask("trace", sent["intent_id"]) if told["event"] == "state_changed"]
    assert path == ["RESERVED", "SENDING", "FILLED"]


def test_an_unknown_intent_stays_open_and_is_told(daemon: Daemon) -> None:
    """Its absence cannot be proven so soon, so nothing is guessed: money held, balances not compared, exit code 0."""
    start(daemon, UNPROVEN)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", UNKNOWN)
    lost = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="lost")["intent_id"]
    until(lambda: daemon.ask("show", lost)["state"] == "UNKNOWN", "the outcome is unknown")
    code, shown = stop(daemon)
    report = shown["report"]
    assert (code, report["open"], report["compared"]["differences"]) == (0, {"UNKNOWN": 1}, [])
    assert any(f"{lost} is UNKNOWN" in reason for reason in report["compared"]["not_compared"])
    assert daemon.ask("status")["book"]["reservations"] == 1


# ── a venue that is silent ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_silent_venue_costs_the_comparison_and_not_the_exit(daemon: Daemon) -> None:
    """In `stop_timeout`, with exit code 0, saying what was not compared; meanwhile one line says what lasts."""
    start(daemon, POLLING + "timeout_ms = 600000\n[engine]\nstop_timeout = '4s'\n")
    rest(daemon, "r")
    daemon.venue("faults", "PUT", SILENT)
    code, shown = stop(daemon)
    report = shown["report"]
    assert (report["not_done"], report["compared"]["differences"], report["uncanceled"]) == ([], [], 0)
    assert (code, report["clean"], report["agrees"], report["open"]) == (0, True, False, {"SENT": 1})
    assert {reason.split(":")[0] for reason in report["compared"]["not_compared"]} >= {"balances", "trades"}
    code, lines = ended(daemon)
    assert code == 0
    assert "waiting for the comparison with the venue" in lines


def test_orders_that_a_silent_venue_does_not_cancel_are_told(daemon: Daemon) -> None:
    """The wish is durable: exit code 4 now, and the next start cancels."""
    start(daemon, POLLING + "[engine]\nstop_timeout = '3s'\non_stop = 'cancel'\n")
    intent_id = rest(daemon, "r")
    daemon.venue("faults", "PUT", SILENT)
    code, shown = stop(daemon)
    report = shown["report"]
    assert (code, report["uncanceled"], report["open"]) == (4, 1, {"CANCELING": 1})
    assert any(what.startswith("canceling") for what in report["not_done"])
    assert ended(daemon)[0] == 4
    start(daemon)
    until(lambda: daemon.ask("show", intent_id)["state"] == "CANCELED", "the next start has canceled it")
    assert daemon.stop() == 0


def test_an_order_that_is_not_answered_does_not_keep_the_others_at_the_venue(daemon: Daemon) -> None:
    """They are canceled and followed to their ends; that one is told, and stays for the next start."""
    start(daemon, POLLING + "[engine]\nstop_timeout = '8s'\non_stop = 'cancel'\n")
    resting = rest(daemon, "r")
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 600_000}})
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")
    until(lambda: len(daemon.venue("orders")) == 2, "the venue has the order")
    code, shown = stop(daemon)
    report = shown["report"]
    assert (code, report["canceled"], report["uncanceled"], report["open"]) == (4, 1, 1, {"SENDING": 1})
    assert daemon.ask("show", resting)["state"] == "CANCELED"


def test_a_difference_is_told_with_exit_code_4(daemon: Daemon) -> None:
    """Money has left the account by another way; two looks have found it."""
    start(daemon)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("transfer", "PUT", {"asset": "USDT", "amount": "-7"})
    assert daemon.stop() == 4
    assert "difference: balance USDT" in daemon.output
    assert "unexplained -7" in daemon.output


# ── by force ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_everything_at_once(daemon: Daemon, number: signal.Signals) -> None:
    """With an order on the wire whose answer takes long: exit code 130, no process, and nothing lost or doubled."""
    start(daemon, POLLING + FOREVER)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 600_000}})
    sent = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")["intent_id"]
    until(lambda: len(daemon.venue("orders")) == 2, "the venue has the order")
    process = daemon.process
    assert process is not None
    assert process.stderr is not None
    process.send_signal(number)
    first = process.stderr.readline()
    assert "once more ends everything at once" in first
    assert "waiting for orders on the wire" in process.stderr.readline()
    process.send_signal(number)
    code, lines = ended(daemon)
    assert (code, lines[-1]) == (130, "stopped")
    assert daemon.processes.alive() == []
    start(daemon)
    until(lambda: daemon.ask("show", sent)["state"] == "FILLED", "the order was found")
    assert len(daemon.venue("orders")) == 2
    assert daemon.ask("verify")["agrees"] is True
    assert daemon.stop() == 0


def test_two_stops_are_no_force_and_one_with_force_is(daemon: Daemon) -> None:
    """Who asks again hears how the first one ended; `--force` ends it, and the daemon's exit code is 130."""
    start(daemon, POLLING + FOREVER)
    on_the_wire(daemon)
    stops = [daemon.processes.start("-m", "tools.intentctl", "--state", str(daemon.state), "stop") for _ in range(2)]
    until(lambda: daemon.ask("status")["engine"]["state"] == "stopping", "the engine stops")
    unclear = daemon.ctl("stop", "--force", "--cancel-open")  # it cannot wait for cancels, and would keep what works
    assert (unclear.returncode, "--cancel-open" in unclear.stderr) == (2, True)
    forced = daemon.ctl("stop", "--force", "--json")
    assert (forced.returncode, json.loads(forced.stdout)["forced"]) == (0, True)
    assert ended(daemon)[0] == 130
    assert [(stop.communicate(timeout=COMMAND_TIMEOUT_S)[0][:16], stop.returncode) for stop in stops] == [
        ("stopped by force", 130)
    ] * 2
    assert daemon.processes.alive() == []


def test_a_stop_hears_soon_that_all_were_killed_and_nobody_will_answer(daemon: Daemon) -> None:
    """Exit code 3 with one line, long before its time is over; the last heartbeat still says stopping."""
    start(daemon, POLLING + FOREVER)
    on_the_wire(daemon)
    assert daemon.process is not None
    waiting = daemon.processes.start("-m", "tools.intentctl", "--state", str(daemon.state), "stop")
    until(lambda: daemon.ask("status")["engine"]["state"] == "stopping", "the engine stops")
    for pid in [daemon.process.pid, *pids(daemon).values()]:
        os.kill(pid, signal.SIGKILL)
    out, err = waiting.communicate(timeout=COMMAND_TIMEOUT_S)
    assert (waiting.returncode, out, err.count("\n")) == (3, "", 1), err
    assert f"launcher (pid {daemon.process.pid}) are gone, and nobody has told" in err
    assert daemon.ask("status")["health"]["engine"]["state"] == "stopping"


def test_an_engine_whose_launcher_is_killed_in_the_stop_still_answers(daemon: Daemon) -> None:
    """It stops by itself, so whoever has asked for the stop hears how it went."""
    start(daemon, POLLING + "[engine]\nstop_timeout = '6s'\n")
    on_the_wire(daemon)
    assert daemon.process is not None
    waiting = daemon.processes.start("-m", "tools.intentctl", "--state", str(daemon.state), "stop", "--json")
    until(lambda: daemon.ask("status")["engine"]["state"] == "stopping", "the engine stops")
    daemon.process.kill()
    out, err = waiting.communicate(timeout=COMMAND_TIMEOUT_S)
    assert waiting.returncode in {0, 4}, err
    assert sum(json.loads(out)["report"]["open"].values()) == 1


# ── a part that dies or hangs ─────────────────────────────────────────────────────────────────────────────────────────


def pids(daemon: Daemon) -> dict[str, int]:
    return {child["name"]: child["pid"] for child in daemon.ask("status")["engine"]["children"]}


@pytest.mark.parametrize("part", ["gateway", "portfolio", "router BTC/USDT"])
def test_a_part_that_is_killed_in_the_middle_is_not_waited_for(daemon: Daemon, part: str) -> None:
    """An order is on the wire; nobody is replaced, the stop is over long before its time, and the next start heals."""
    start(daemon, POLLING + FOREVER)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    known = pids(daemon)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 8_000}})
    sent = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")["intent_id"]
    until(lambda: len(daemon.venue("orders")) == 2, "the venue has the order")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGINT)
    until(lambda: daemon.ask("status")["engine"]["state"] == "stopping", "the engine stops")
    os.kill(known[part], signal.SIGKILL)
    code, lines = ended(daemon)
    assert code == 4, lines  # somebody shall look at why it died
    assert any(f"the {part} died" in line for line in lines), lines
    assert daemon.processes.alive() == []
    log = (daemon.state / "logs" / "intentd.jsonl").read_text()
    assert "child_replaced" not in log
    start(daemon)
    until(lambda: daemon.ask("show", sent)["state"] == "FILLED", "the order was found")
    assert len(daemon.venue("orders")) == 2
    assert daemon.ask("verify")["agrees"] is True
    assert daemon.stop() == 0


@pytest.mark.parametrize("part", ["gateway", "portfolio"])
def test_a_part_that_hangs_is_left_when_the_time_is_over(daemon: Daemon, part: str) -> None:
    """The stop ends when `stop_timeout` is over and says with whom it was not done; nothing is lost."""
    start(daemon, "[engine]\nhang_timeout = '1h'\nstop_timeout = '4s'\n")
    intent_id = rest(daemon, "r")
    os.kill(pids(daemon)[part], signal.SIGSTOP)
    code = daemon.stop()
    assert code == 4, daemon.output
    assert "cut short: " in daemon.output
    assert daemon.processes.alive() == []
    start(daemon)
    assert daemon.ask("show", intent_id)["state"] == "SENT"
    assert daemon.ask("verify")["agrees"] is True
    assert daemon.stop() == 0


def test_an_engine_that_is_killed_in_the_middle_is_not_replaced(daemon: Daemon) -> None:
    """Somebody wanted it gone: exit code 4, no process left, and the next start takes up what was on the wire."""
    start(daemon, POLLING + FOREVER)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 600_000}})
    sent = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")["intent_id"]
    until(lambda: len(daemon.venue("orders")) == 2, "the venue has the order")
    engine = pids(daemon)["engine"]
    asking = daemon.processes.start("-m", "tools.intentctl", "--state", str(daemon.state), "stop")
    until(lambda: daemon.ask("status")["engine"]["state"] == "stopping", "the engine stops")
    os.kill(engine, signal.SIGKILL)
    code, lines = ended(daemon)
    assert code == 4, lines
    assert any(line.startswith("not stopped in order") for line in lines)
    assert not any("starting a new one" in line for line in lines)
    asking.kill()
    asking.communicate(timeout=COMMAND_TIMEOUT_S)
    assert daemon.processes.alive() == []
    start(daemon)
    until(lambda: daemon.ask("show", sent)["state"] == "FILLED", "the order was found")
    assert daemon.stop() == 0


def test_new_intents_are_refused_and_known_ones_answered(daemon: Daemon) -> None:
    """While an order is on the wire: a new wish hears STOPPING, a repeat of an accepted one gets its intent."""
    start(daemon, POLLING + FOREVER)
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 600_000}})
    sent = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")["intent_id"]
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: daemon.ask("status")["engine"]["state"] == "stopping", "the engine stops")
    new = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="new")
    assert new["refusal"]["code"] == "STOPPING"
    known = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="sent")
    assert (known["intent_id"], known["duplicate"]) == (sent, True)
    daemon.process.send_signal(signal.SIGTERM)
    assert ended(daemon)[0] == 130
