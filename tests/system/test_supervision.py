"""Whatever dies is replaced, whoever it is, and trading goes on from the book."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from decimal import Decimal
from typing import Any

import psutil
import pytest

from actors.client import Client
from actors.outgoing import HELD_MAX
from actors.system import process_lives
from core.intent import IntentRequest, Kind, Side
from storage.layout import StateFolder
from tests.system.harness import Daemon, until

NOTIFIED_S = 60.0
BIRTHS_S = 180.0
"""Some time-outs of half a minute, if a death comes where nobody can see it."""
TRADES_AGAIN_S = 60.0
"""Generous, for a machine that is slow; how fast it is shows `python -m benchmarks resilience`."""


def children(daemon: Daemon) -> dict[str, int]:
    """Name → pid of every part that is ready; empty while the engine does not answer."""
    status = daemon.ask("status")
    engine = status["engine"]
    return {child["name"]: child["pid"] for child in engine["children"]} if engine.get("children") else {}


def buy(daemon: Daemon, key: str) -> dict[str, Any]:
    """A market buy, asked for with the same key until it has ended."""

    def ended() -> dict[str, Any] | None:
        answer = daemon.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key=key, wait=True)
        return answer if answer.get("state") == "FILLED" else None

    return until(ended, f"{key} is filled", TRADES_AGAIN_S)  # type: ignore[no-any-return]


def orders(daemon: Daemon) -> list[dict[str, Any]]:
    return list(daemon.venue("orders"))


@pytest.mark.parametrize("name", ["portfolio", "gateway", "reconciler", "scribe", "router BTC/USDT"])
def test_a_part_that_is_killed_is_replaced(daemon: Daemon, name: str) -> None:
    """The others go on with the new one, and one intent is still one order."""
    daemon.start()
    buy(daemon, "before")
    killed = children(daemon)[name]
    os.kill(killed, signal.SIGKILL)
    until(lambda: children(daemon).get(name, killed) not in {killed, 0}, f"{name} is replaced")
    buy(daemon, "after")
    assert len({order["clientOrderId"] for order in orders(daemon)}) == len(orders(daemon)) == 2
    assert daemon.stop() == 0


def test_the_engine_itself_is_replaced(daemon: Daemon) -> None:
    """The launcher starts a new one; clients find it where they found the old one."""
    daemon.start()
    buy(daemon, "before")
    killed = children(daemon)["engine"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: (daemon.state / "run" / "engine.json").exists() and children(daemon).get("engine", killed) != killed,
          "the engine is replaced")  # fmt: skip
    buy(daemon, "after")
    assert len(orders(daemon)) == 2
    assert daemon.stop() == 0
    assert "died" in daemon.output
    assert daemon.processes.alive() == []


def test_no_part_outlives_its_engine_when_nobody_replaces_it(daemon: Daemon) -> None:
    """Nobody could halt it: the parts end with the engine, also when the launcher cannot see to that. Then it can."""
    daemon.start()
    buy(daemon, "before")
    assert daemon.process is not None
    parts = children(daemon)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    os.kill(parts["engine"], signal.SIGKILL)
    until(lambda: not any(map(process_lives, parts.values())), "all parts have ended")
    os.kill(daemon.process.pid, signal.SIGCONT)
    until(lambda: children(daemon).get("engine", parts["engine"]) != parts["engine"], "the engine is replaced")
    buy(daemon, "after")
    assert len(orders(daemon)) == 2
    assert daemon.stop() == 0


def test_the_simulator_is_replaced_where_it_was(daemon: Daemon) -> None:
    """On its own port and with what it had told anybody, so nobody needs to know."""
    daemon.start()
    buy(daemon, "before")
    port = int(daemon.engine_file["venue_url"].rpartition(":")[2])
    (killed,) = {c.pid for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"}
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    buy(daemon, "after")
    assert len(orders(daemon)) == 2
    assert daemon.stop() == 0


def test_what_a_killed_launcher_leaves_behind_is_swept_up(daemon: Daemon) -> None:
    """With launcher and engine killed no part trades on; the next start ends what is left and goes on from the book."""
    daemon.start()
    buy(daemon, "before")
    assert daemon.process is not None
    parts = children(daemon)
    os.kill(daemon.process.pid, signal.SIGKILL)
    os.kill(parts["engine"], signal.SIGKILL)
    daemon.process.wait()
    until(lambda: not any(map(process_lives, parts.values())), "all parts have ended")
    left = {process.pid for process in daemon.processes.alive()}
    assert left, "the actor system's own process"
    daemon.start()
    assert not left & {process.pid for process in daemon.processes.alive()}
    buy(daemon, "after")
    assert len(orders(daemon)) == 2
    assert daemon.stop() == 0
    assert daemon.processes.alive() == []


def test_a_second_launcher_is_refused_while_the_first_lives(daemon: Daemon) -> None:
    """Sweeping up is for orphans only."""
    daemon.start()
    second = Daemon(daemon.processes, daemon.state)
    with pytest.raises(AssertionError, match="already runs"):
        second.start()
    buy(daemon, "still-there")
    assert daemon.stop() == 0


@pytest.mark.parametrize("removed", [("lock",), ("lock", "crew")])
def test_a_launcher_that_lives_is_known_without_its_lock(daemon: Daemon, removed: tuple[str, ...]) -> None:
    """Somebody has removed the file; nobody may take its engine for an orphan, nor trade beside it."""
    daemon.start()
    there = children(daemon)
    for name in removed:
        (daemon.state / "run" / name).unlink()
    for _ in range(2):
        second = daemon.processes.run("run.py", "up", "--state", str(daemon.state))
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert f"already runs on {daemon.state} (pid {daemon.engine_file['pid']})" in second.stderr
    assert children(daemon) == there
    assert daemon.stop() == 0


def test_between_two_engines_commands_say_that_one_is_coming(daemon: Daemon) -> None:
    """Nobody is told to start a second one while the launcher lives."""
    daemon.start()
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    (daemon.state / "run" / "engine.json").unlink()  # as the launcher does before it starts a new one
    asked = daemon.ctl("stop")
    assert asked.returncode == 3
    assert f"is being started or stopped by pid {daemon.process.pid}; try again" in asked.stderr
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.stop() == 0


def test_an_engine_that_hangs_is_seen_in_the_status(daemon: Daemon) -> None:
    """With what the book holds, and exit code 3; before long it is replaced."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text('[engine]\nhang_timeout = "60s"\n')
    daemon.start("--config", str(config))
    engine = children(daemon)["engine"]
    os.kill(engine, signal.SIGSTOP)
    asked = daemon.ctl("status", "--json")
    assert asked.returncode == 3
    shown = json.loads(asked.stdout)
    assert (shown["engine"]["state"], shown["book"]["trading"]["state"]) == ("not answering", "ACTIVE")
    os.kill(engine, signal.SIGCONT)
    assert daemon.stop() == 0


def test_a_part_that_hangs_is_replaced(daemon: Daemon) -> None:
    """It is stopped, so it does not die by itself; its silence is noticed."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text('[engine]\nhang_timeout = "3s"\n')
    daemon.start("--config", str(config))
    buy(daemon, "before")
    stopped = children(daemon)["portfolio"]
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    until(lambda: children(daemon).get("portfolio", stopped) not in {stopped, 0}, "the portfolio is replaced")
    assert time.monotonic() - began > 1.5
    buy(daemon, "after")
    assert daemon.stop() == 0
    assert daemon.processes.alive() == []


def test_who_waits_for_a_part_that_hangs_is_not_replaced(daemon: Daemon) -> None:
    """A router with more for the portfolio than can be held stands still, and goes on with its successor."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text('[engine]\nhang_timeout = "6s"\n')  # the others must not seem to hang because they are slow
    daemon.start("--config", str(config))
    buy(daemon, "before")
    there = children(daemon)
    client = Client.connect(StateFolder(daemon.state))
    router = client.router("BTC/USDT", TRADES_AGAIN_S)
    os.kill(there["portfolio"], signal.SIGSTOP)
    wrong = IntentRequest(symbol="BTC/USDT", side=Side.BUY, kind=Kind.MARKET, quote_budget=Decimal(-1))
    for _ in range(3 * HELD_MAX):
        client.send_intent(router, wrong, wait=False)  # each is noted in the book
    until(lambda: children(daemon).get("portfolio", 0) not in {there["portfolio"], 0}, "the portfolio is replaced")
    buy(daemon, "after")
    assert children(daemon)["router BTC/USDT"] == there["router BTC/USDT"]
    client.close()
    assert daemon.stop() == 0


def test_an_engine_that_dies_in_its_start_costs_no_patience(daemon: Daemon) -> None:
    """The launcher looks whether it lives, and tells systemd meanwhile that it lives itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = str(daemon.state.parent / "notify")
        systemd.bind(address)
        systemd.settimeout(NOTIFIED_S)
        daemon.extra["NOTIFY_SOCKET"] = address
        config = daemon.state.parent / "intentd.toml"
        config.write_text('[engine]\nstart_timeout = "1h"\n')
        daemon.start("--config", str(config))
        assert systemd.recv(100) == b"READY=1"
        killed: list[int] = []
        began = time.monotonic()
        while len(killed) < 3 and time.monotonic() - began < TRADES_AGAIN_S:
            for pid in starts(daemon)[len(killed) :]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            systemd.recv(100)  # raises when nothing is said for too long
        until(lambda: systemd.recv(100) and children(daemon).get("engine", 0) not in {0, *killed},
              "the engine is replaced")  # fmt: skip
        assert len(killed) == 3
        buy(daemon, "after")
        assert daemon.stop() == 0


def test_a_portfolio_that_dies_too_often_halts_trading_until_an_operator_resumes(daemon: Daemon) -> None:
    """The halt is in the book although its writer is dead; resume starts the parts, and then trading."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text("[engine]\nrestarts_max = 2\n")
    daemon.start("--config", str(config))
    buy(daemon, "before")
    killed: set[int] = set()
    for _ in range(3):
        pid = until(lambda: children(daemon).get("portfolio", 0) not in {0, *killed} and children(daemon)["portfolio"],
                    "the portfolio is there")  # fmt: skip
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    status = until(lambda: (now := daemon.ask("status"))["engine"]["state"] == "halted" and now, "the engine is halted")
    assert status["book"]["trading"]["state"] == "HALTED"
    assert "RESTARTS_EXHAUSTED" in status["book"]["trading"]["reason"]
    first = daemon.ctl("resume", "--reason", "mended")
    assert first.returncode == 1
    assert "still HALTED" in first.stderr
    until(lambda: children(daemon).get("portfolio", 0) not in {0, *killed}, "the portfolio is started again")
    until(lambda: daemon.ctl("resume", "--reason", "mended").returncode == 0, "trading goes on")
    buy(daemon, "after")
    assert len(orders(daemon)) == 2
    assert daemon.stop() == 0
    audit = (daemon.state / "logs" / "audit" / "order_audit.jsonl").read_text()
    assert audit.count('"code":"RESTARTS_EXHAUSTED"') == 1


def test_an_engine_that_dies_too_often_ends_the_daemon_with_a_halt(daemon: Daemon) -> None:
    """Whoever starts it again finds trading halted."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text("[engine]\nrestarts_max = 1\n")
    daemon.start("--config", str(config))
    assert daemon.process is not None
    killed: list[int] = []
    while len(killed) < 2:
        for pid in starts(daemon)[len(killed) :]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        until(lambda: len(starts(daemon)) > len(killed) or len(killed) == 2, "the engine starts again")
    out, err = daemon.process.communicate(timeout=TRADES_AGAIN_S)
    assert daemon.process.returncode == 1
    assert "trading is halted" in out + err
    assert daemon.ask("status")["book"]["trading"]["state"] == "HALTED"
    assert daemon.processes.alive() == []


def starts(daemon: Daemon) -> list[int]:
    """Pids of the engines that have begun to start."""
    lines = (daemon.state / "logs" / "intentd.jsonl").read_text().splitlines()
    return [entry["pid"] for entry in map(json.loads, lines) if entry["event"] == "engine_starting"]


@pytest.mark.timeout(BIRTHS_S + 2 * TRADES_AGAIN_S)
def test_an_actor_system_that_dies_at_each_birth_ends_the_daemon_with_a_halt(daemon: Daemon) -> None:
    """Before the engine is asked for, while it is made, or after: never in a traceback, and the halt is in the book."""
    config = daemon.state.parent / "intentd.toml"
    config.write_text("[engine]\nrestarts_max = 2\n")
    daemon.start("--config", str(config))
    launcher, deadline = daemon.process, time.monotonic() + BIRTHS_S
    assert launcher is not None
    while launcher.poll() is None and time.monotonic() < deadline:
        there = {process.pid: process for process in daemon.processes.alive()}
        for process in there.values():
            with contextlib.suppress(psutil.Error):
                if process.pid != launcher.pid and process.ppid() not in there:  # only the admin has lost its parent
                    process.kill()
    out, err = launcher.communicate(timeout=TRADES_AGAIN_S)
    assert launcher.returncode == 1
    assert "Traceback" not in err
    assert "trading is halted" in (out + err).splitlines()[-1]
    assert daemon.ask("status")["book"]["trading"]["state"] == "HALTED"
    assert daemon.processes.alive() == []
