"""The simulator as a process: it starts, says so, survives a crash with its state, and never outlives its launcher."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from exchange.simulator.process import SimulatorFailed, SimulatorProcess
from tests.exchange.conftest import Venue

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
REST = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "price": "50000"}


def await_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if condition():
            return True
        os.sched_yield()
    return False


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exchange.simulator", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_a_started_simulator_answers_and_stops(tmp_path: Path) -> None:
    """It listens on a port of its own, and ends with status 0 when told to."""
    with SimulatorProcess.start(state=tmp_path / "s") as process:
        assert Venue(process).ask("GET", "/api/v3/ping").status == 200
        assert process.is_running
        assert process.stop() == 0
    assert not process.is_running
    assert process.stop() == 0


def test_it_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    """Not one of its sockets is open to other machines."""
    with SimulatorProcess.start(state=tmp_path / "s") as process:
        listening = [each for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"]
        assert [(each.laddr.ip, each.laddr.port) for each in listening] == [("127.0.0.1", process.port)]


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """After kill -9 in the middle of trading, orders, trades and balances are those of the last answer."""
    with SimulatorProcess.start(state=tmp_path / "s", seed=3) as process:
        venue = Venue(process)
        for number in range(10):
            venue.ask_signed("POST", "/api/v3/order", {**BUY, "newClientOrderId": f"taken{number}"})
            venue.ask_signed("POST", "/api/v3/order", {**REST, "newClientOrderId": f"rests{number}"})
        venue.ask_signed("DELETE", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": "rests0"})
        before = (venue.orders(), venue.trades(), venue.balances())
        process.kill()
    with SimulatorProcess.start(state=tmp_path / "s", seed=3) as process:
        venue = Venue(process)
        assert (venue.orders(), venue.trades(), venue.balances()) == before
        number = venue.ask_signed("POST", "/api/v3/order", BUY).body["orderId"]
        assert number == len(before[0]) + 1


def test_an_occupied_port_is_named(tmp_path: Path) -> None:
    """One line, status 2, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            SimulatorFailed, match=f"ended with status 2: simulator: port {port} cannot be used: "
        ) as error:
            SimulatorProcess.start(port=port, state=tmp_path / "s")
    assert "Traceback" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--state", "/"], "/ is a folder; name a file in it"),
        (["--state", "foreign"], "foreign is not a simulator's state file; name another one"),
        (["--port", "70000"], "70000 is no port; choose 0 to 65535"),
        (["--symbols", "0"], "0 is out of range; choose 1 to 1000"),
        (["--balance", "USDT"], "'USDT' is no balance; write it like USDT=10000"),
        (["--fees", "none"], "invalid choice: 'none'"),
        (["--prot", "1"], "unrecognized arguments: --prot 1"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    """Status 2 and a text that says what to do; nothing listens."""
    (tmp_path / "foreign").write_text("my diary\n")
    result = run(*(str(tmp_path / text) if text == "foreign" else text for text in arguments))
    assert result.returncode == 2
    assert complaint in result.stderr.splitlines()[-1]
    assert result.stdout == ""


def test_a_state_of_another_seed_is_refused(tmp_path: Path) -> None:
    """A state goes on with its own seed, which need not be named."""
    SimulatorProcess.start(state=tmp_path / "s", seed=5).stop()
    with pytest.raises(SimulatorFailed, match="the state was begun with seed 5, not 6"):
        SimulatorProcess.start(state=tmp_path / "s", seed=6)
    SimulatorProcess.start(state=tmp_path / "s").stop()


def test_options_reach_the_market(tmp_path: Path) -> None:
    """Symbols, fees and balances are as asked for."""
    arguments = ["--symbols", "200", "--fees", "quote", "--balance", "USDT=75.5", "BTC=0"]
    with SimulatorProcess.start(state=tmp_path / "s", arguments=arguments) as process:
        venue = Venue(process)
        assert len(venue.ask("GET", "/api/v3/exchangeInfo").body["symbols"]) == 200
        assert venue.balances()["USDT"]["free"] == "75.50000000"
        assert venue.balances()["BTC"]["free"] == "0.00000000"
        fill = venue.ask_signed("POST", "/api/v3/order", BUY).body["fills"][0]
        assert fill["commissionAsset"] == "USDT"


def test_keys_come_from_the_environment() -> None:
    """With other credentials the usual ones are refused."""
    environment = {"INTENTD_SIM_API_KEY": "another-key", "INTENTD_SIM_API_SECRET": "another-secret"}
    with SimulatorProcess.start(environment=environment) as process:
        venue = Venue(process)
        assert venue.ask_signed("GET", "/api/v3/account", {}).body["code"] == -2015
        answer = venue.ask_signed("GET", "/api/v3/account", {}, key="another-key", secret="another-secret")
        assert answer.status == 200


def test_help_teaches_with_an_example() -> None:
    """Who asks for help sees how to start, how to look and how to misbehave."""
    text = run("--help").stdout
    assert "python -m exchange.simulator --port 8080" in text
    assert "/_sim/faults" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    """Ctrl-C and TERM are a normal end."""
    process = SimulatorProcess.start()
    os.kill(process.pid, number)
    assert await_true(lambda: not process.is_running)
    assert process.stop() == 0


def test_it_ends_when_its_launcher_is_killed(tmp_path: Path) -> None:
    """kill -9 of the launcher takes it along, even if a fork of the launcher lives on with its pipes."""
    script = """
import os, sys, time
from exchange.simulator.process import SimulatorProcess
process = SimulatorProcess.start()
heir = os.fork()
if heir == 0:
    time.sleep(60)
    os._exit(0)
print(process.pid, heir, flush=True)
time.sleep(60)
"""
    launcher = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    simulator, heir = (psutil.Process(int(pid)) for pid in launcher.stdout.readline().split())
    try:
        launcher.kill()
        launcher.wait()
        assert await_true(lambda: not simulator.is_running() or simulator.status() == psutil.STATUS_ZOMBIE)
        assert heir.is_running()
    finally:
        heir.kill()
        launcher.stdout.close()


def test_a_full_disk_ends_it_without_a_promise(tmp_path: Path) -> None:
    """What cannot be saved is not answered: the process ends, and the state is that of the last answer."""
    state = tmp_path / "s"
    with SimulatorProcess.start(state=state, seed=3) as process:
        venue = Venue(process)
        venue.ask_signed("POST", "/api/v3/order", {**BUY, "newClientOrderId": "saved"})
        before = (venue.orders(), venue.trades(), venue.balances())
        room = state.stat().st_size + 100
        psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (room, room))
        with suppress(OSError):  # the connection may end before the answer
            answer = venue.ask_signed("POST", "/api/v3/order", {**BUY, "newClientOrderId": "notSaved"})
            assert (answer.status, answer.body) == (500, "")
        assert await_true(lambda: not process.is_running)
        assert process.stop() == 3
    with SimulatorProcess.start(state=state, seed=3) as process:
        venue = Venue(process)
        assert (venue.orders(), venue.trades(), venue.balances()) == before
