"""The daemon as a process: start, exclusivity, sockets, memory, secrets, stop and start again."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib import request

import psutil
import pytest

from exchange.simulator.process import SimulatorProcess
from tests.damage import spoil
from tests.system.harness import ROOT, Daemon, Marked, until

RSS_MB_MAX = 40
GATEWAY_RSS_MB_MAX = 125
MB = 1 << 20
START_S = 60.0


def test_no_actor_can_be_reached_from_another_machine(running: Daemon) -> None:
    """Every listening socket of every process is bound to the loopback address."""
    running.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key="sockets", wait=True)
    sockets = [
        connection.laddr.ip
        for process in running.processes.alive()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or connection.type.name == "SOCK_DGRAM"
    ]
    assert set(sockets) == {"127.0.0.1"}, "the simulator's at least"


def test_every_actor_is_small(running: Daemon) -> None:
    """Only the gateway carries ccxt; every other actor stays below 40 MB."""
    running.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key="memory", wait=True)
    sizes = {
        child["name"]: psutil.Process(child["pid"]).memory_info().rss / MB
        for child in running.ask("status")["engine"]["children"]
    }
    assert sizes.pop("gateway") < GATEWAY_RSS_MB_MAX
    assert {name: size for name, size in sizes.items() if size >= RSS_MB_MAX} == {}
    assert {"engine", "portfolio", "reconciler", "scribe", "router BTC/USDT"} <= sizes.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process name itself in a file")
def test_the_parts_can_be_told_apart_in_a_list_of_processes(running: Daemon) -> None:
    """By a short name of their own; Linux keeps 15 bytes of it."""
    running.submit(symbol="BTC/USDT", side="buy", quote="20", market=True, key="names", wait=True)
    names = {
        child["name"]: (Path("/proc") / str(child["pid"]) / "comm").read_text().strip()
        for child in running.ask("status")["engine"]["children"]
    }
    assert names["engine"] == "intentd:engine"
    assert names["gateway"] == "intentd:gateway"
    assert names["router BTC/USDT"] == "intentd:router"
    assert len(set(names.values())) == len(names)


def test_a_second_engine_is_refused_with_the_pid_of_the_first(running: Daemon) -> None:
    """Another `up` on the same folder exits 2 in one line that names the holder, and disturbs nothing."""
    assert running.process is not None
    second = running.processes.run("run.py", "up", "--state", str(running.state))
    assert second.returncode == 2
    assert f"pid {running.process.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert running.ctl("status").returncode == 0


def test_the_state_folder_is_private(running: Daemon) -> None:
    """Folders below the state folder are 0700 and files 0600."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in running.state.rglob("*")}
    assert {path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()


def test_reading_works_from_the_book_while_the_engine_is_down(daemon: Daemon) -> None:
    """After a stop the same lists are printed; submitting says that no engine runs, with exit code 3."""
    daemon.start()
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="down-1", wait=True)
    up = {command: daemon.ask(command) for command in ("intents", "orders", "positions")}
    assert daemon.stop() == 0
    assert daemon.processes.alive() == []
    assert {command: daemon.ask(command) for command in up} == up
    assert daemon.ctl("status").returncode == 3
    late = daemon.ctl("submit", "--symbol", "BTC/USDT", "--side", "buy", "--quote", "30", "--market")
    assert (late.returncode, late.stdout) == (3, "")
    assert "intentd up" in late.stderr


def test_a_stop_and_a_start_take_up_a_resting_order(daemon: Daemon) -> None:
    """A GTC order outlives a graceful stop; after the next start it fills when the market comes to it."""
    daemon.start()
    intent_id = daemon.submit(symbol="SOL/USDT", side="buy", qty="1", limit="100", tif="GTC", key="r")["intent_id"]
    until(lambda: daemon.ask("show", intent_id)["state"] == "SENT", "the order rests")
    assert daemon.ctl("stop").returncode == 0
    until(lambda: not daemon.processes.alive(), "everything has stopped")
    daemon.start()
    daemon.venue("price", "PUT", {"symbol": "SOLUSDT", "mid": "99"})
    until(lambda: daemon.ask("show", intent_id)["state"] == "FILLED", "the order is filled")
    repeat = daemon.submit(symbol="SOL/USDT", side="buy", qty="1", limit="100", tif="GTC", key="r")
    assert (repeat["intent_id"], repeat["duplicate"]) == (intent_id, True)
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_lost_terminal_stop_gracefully(daemon: Daemon, number: signal.Signals) -> None:
    """SIGINT and SIGHUP end the daemon with exit code 0, the book flushed and no process left."""
    daemon.start()
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="int-1", wait=True)
    assert daemon.process is not None
    daemon.process.send_signal(number)
    daemon.process.communicate(timeout=START_S)
    assert daemon.process.returncode == 0
    assert daemon.processes.alive() == []
    last = json.loads((daemon.state / "logs" / "orders" / "order.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "order_done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_during_the_start_is_obeyed_at_once(processes: Marked, tmp_path: Path, number: signal.Signals) -> None:
    """It waits for nobody, a venue that never answers least of all: exit code 130, and never ready."""
    config = tmp_path / "intentd.toml"
    with socket.create_server(("127.0.0.1", 0)) as venue:
        venue.settimeout(START_S)
        exchange = f"[exchange]\ntimeout_ms = 600000\nbase_url = 'http://127.0.0.1:{venue.getsockname()[1]}'\n"
        config.write_text(f"[engine]\nstart_timeout = '1h'\nstop_timeout = '1h'\n{exchange}")
        up = processes.start("run.py", "up", "--state", str(tmp_path / "state"), "--config", str(config))
        with venue.accept()[0]:
            up.send_signal(number)
            out, err = up.communicate(timeout=START_S)
    assert (up.returncode, out, err.split()) == (130, "", ["stopped"])
    assert processes.alive() == []


@contextlib.contextmanager
def unavailable_venue(answers: int | None) -> Iterator[tuple[str, list[str]]]:
    """A front of the simulator's that says 503 so often, or for ever; yields its address and what was asked."""
    asked: list[str] = []
    with SimulatorProcess.start() as simulator:

        class Front(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                if answers is None or len(asked) <= answers:
                    self.send_error(503)
                    return
                call = request.Request(simulator.base_url + self.path, headers=dict(self.headers))  # noqa: S310
                with request.urlopen(call, timeout=START_S) as answer:  # noqa: S310
                    body = answer.read()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_a_venue_that_is_away_for_a_moment_is_asked_again(daemon: Daemon, tmp_path: Path) -> None:
    """A 503 ends no start; who waits for it is told once, and not to check any keys."""
    with unavailable_venue(2) as (url, asked):
        config = tmp_path / "intentd.toml"
        config.write_text(f"[exchange]\nbase_url = '{url}'\n")
        daemon.start("--config", str(config))
        assert daemon.stop() == 0
    assert len(asked) > 2
    assert daemon.output.count("the venue does not answer (") == daemon.output.count("trying again") == 1
    assert "503" in daemon.output
    assert "keys" not in daemon.output


def test_a_venue_that_stays_away_is_no_usage_error(processes: Marked, tmp_path: Path) -> None:
    """When `engine.start_timeout` is over the start ends with exit code 75: to be tried again, nothing to be mended."""
    with unavailable_venue(None) as (url, asked):
        config = tmp_path / "intentd.toml"
        config.write_text(f"[engine]\nstart_timeout = '10s'\n[exchange]\nbase_url = '{url}'\n")
        done = processes.run("run.py", "up", "--config", str(config), "--state", str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (75, "")
    first, last = done.stderr.splitlines()
    assert "trying again" in first
    assert last.startswith("Error: the venue does not answer (")
    assert "keys" not in done.stderr
    assert len(asked) > 1
    assert processes.alive() == []


SECRETS = {"key": "PLANTEDapiKEY0123456789", "secret": "PLANTEDapiSECRET+/=9876543210"}


def test_a_planted_secret_is_found_nowhere(processes: Marked, tmp_path: Path) -> None:
    """API key and secret stand in no file below the state folder and in no output, failures included."""
    extra = {
        "INTENTD_API_KEY": SECRETS["key"],
        "INTENTD_API_SECRET": SECRETS["secret"],
        "INTENTD_SIM_API_KEY": SECRETS["key"],
        "INTENTD_SIM_API_SECRET": SECRETS["secret"],
    }
    daemon = Daemon(processes, tmp_path / "state", extra)
    daemon.start()
    assert (
        daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="s1", wait=True)["state"] == "FILLED"
    )
    daemon.venue("faults", "PUT", {"reject": {"probability": 1, "codes": [-2010]}})
    refused = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="s2", wait=True)
    assert refused["state"] == "REJECTED"
    shown = [daemon.ctl(*words).stdout for words in (("config",), ("status",), ("show", refused["intent_id"]))]
    assert daemon.stop() == 0
    haystack = [daemon.output, *shown, *(path.read_bytes().decode("latin-1") for path in _files(daemon.state))]
    assert len(haystack) > 8
    for secret in SECRETS.values():
        assert not any(secret in text for text in haystack)
    assert "signature=" not in (daemon.state / "logs" / "tracer" / "exchange.jsonl").read_text()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[router]\nslipage_bps = 5\n", ("slipage_bps", "slippage_bps")),
        ("[router]\nmax_retries = 'x'\n", ("max_retries", "'x'")),
        ("[engine]\nmode = 'testnet'\n", ("INTENTD_API_KEY",)),
        ("[engine]\nmode = 'live'\n", ("INTENTD_API_KEY",)),
        ("this is no toml", ("not TOML",)),
        ("[exchange]\nbase_url = 'nonsense'\n", ("nonsense",)),
        ("[exchange]\nbase_url = 'http://127.0.0.1:9'\ntimeout_ms = 500\n", ("venue cannot be used",)),
    ],
)
def test_settings_that_cannot_be_used_are_one_line_and_exit_2(
    processes: Marked, tmp_path: Path, settings: str, words: tuple[str, ...]
) -> None:
    """`up` refuses broken settings with the value and the remedy, without a traceback or a process left."""
    file = tmp_path / "intentd.toml"
    file.write_text(settings)
    done = processes.run("run.py", "up", "--config", str(file), "--state", str(tmp_path / "state"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(word in done.stderr for word in words), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert processes.alive() == []


@pytest.mark.parametrize("command", [("run.py", "up"), ("run.py", "demo"), ("-m", "tools.intentctl", "intents")])
def test_an_empty_state_folder_is_not_the_current_one(
    processes: Marked, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A variable that is not set, in a script, must not make an engine where somebody happens to be."""
    first, *rest = command
    done = processes.run(str(ROOT / first) if first == "run.py" else first, *rest, "--state", "", cwd=tmp_path)
    assert done.returncode == 2
    assert "'' is no folder; name one" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_used_is_named(processes: Marked, tmp_path: Path) -> None:
    """A file where the folder should be is one line and exit code 2."""
    blocked = tmp_path / "state"
    blocked.write_text("in the way")
    done = processes.run("run.py", "up", "--state", str(blocked))
    assert done.returncode == 2
    assert str(blocked) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_that_has_lost_its_book_is_refused(daemon: Daemon) -> None:
    """Its keys are gone with it, and would be bought again: one line, exit code 2, to the commands too."""
    daemon.start()
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="once", wait=True)
    assert daemon.stop() == 0
    (daemon.state / "book" / "data.mdb").unlink()
    again = daemon.processes.run("run.py", "up", "--state", str(daemon.state))
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1)
    assert f"the book in {daemon.state / 'book'} is gone" in again.stderr
    assert daemon.ctl("intents").returncode == 2
    assert not (daemon.state / "book" / "data.mdb").exists()


def test_a_damaged_book_stops_trading_and_every_start(daemon: Daemon) -> None:
    """The engine halts and says why, no order leaves, commands fail, and a start ends in one line."""
    daemon.start()
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="before", wait=True)
    assert spoil(daemon.state / "book" / "data.mdb", b"BTC") > 0
    daemon.ctl("submit", "--symbol", "ETH/USDT", "--side", "buy", "--quote", "30", "--market", "--timeout", "1")
    engine = until(lambda: (now := daemon.ask("status")["engine"])["state"] == "halted" and now, "the engine halts")
    assert f"the book {daemon.state / 'book'} is damaged" in engine["reason"]
    listed = daemon.ctl("intents", "--json")
    assert (listed.returncode, listed.stdout) == (2, "")
    assert "is damaged" in listed.stderr
    assert len(daemon.venue("orders")) == 1
    daemon.stop()
    again = daemon.processes.run("run.py", "up", "--state", str(daemon.state))
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1), again.stderr
    assert "is damaged" in again.stderr
    assert daemon.processes.alive() == []


def test_a_book_of_another_mode_is_refused(processes: Marked, tmp_path: Path) -> None:
    """A simulator's book is never used with the testnet."""
    state = tmp_path / "state"
    demo = processes.run("run.py", "demo", "--intents", "4", "--json", "--state", str(state))
    assert demo.returncode == 0
    file = tmp_path / "intentd.toml"
    file.write_text("[engine]\nmode = 'testnet'\n")
    extra = {"INTENTD_API_KEY": "k", "INTENTD_API_SECRET": "s"}
    done = processes.run("run.py", "up", "--config", str(file), "--state", str(state), extra=extra)
    assert done.returncode == 2
    assert "binance/sim" in done.stderr
    assert isinstance(done, subprocess.CompletedProcess)


def test_without_its_launcher_the_engine_ends_itself(daemon: Daemon) -> None:
    """kill -9 of the launcher leaves no actor and no simulator behind, and the folder can be used again."""
    daemon.start()
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="orphan", wait=True)
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.communicate(timeout=START_S)
    until(lambda: not daemon.processes.alive(), "every part has ended")
    daemon.start()
    assert [intent["state"] for intent in daemon.ask("intents")] == ["FILLED"]
    assert daemon.stop() == 0


def test_a_late_answer_is_unknown_and_then_found(daemon: Daemon, tmp_path: Path) -> None:
    """An order whose answer comes after the time-out is UNKNOWN, is looked up, and is booked exactly once."""
    settings = tmp_path / "intentd.toml"
    settings.write_text("[exchange]\ntimeout_ms = 3000\nuser_stream = false\n")  # which would tell before that
    daemon.start("--config", str(settings))
    daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="warm", wait=True)
    daemon.venue("faults", "PUT", {"late_answer": {"on": ["place"], "ms": 60_000}})
    late = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="late", wait=True)
    assert late["state"] == "FILLED"
    path = [e["to_state"] for e in daemon.ask("trace", late["intent_id"]) if e["event"] == "state_changed"]
    assert path == ["RESERVED", "SENDING", "UNKNOWN", "FILLED"]
    placed = [order for order in daemon.venue("orders") if order["symbol"] == "BTCUSDT"]
    assert len(placed) == 2
    assert daemon.stop() == 0
