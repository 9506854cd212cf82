"""The demo is the promise in one command."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path

from tests.system.harness import Marked, until

KEYS = {
    "intents",
    "terminal",
    "by_state",
    "refused",
    "duplicates_answered",
    "conflicts",
    "orders_at_venue",
    "duplicate_orders_at_venue",
    "reservations_left",
    "ledger_balanced",
    "fills_venue",
    "fills_booked",
    "balance_drift",
    "latency_ms",
    "elapsed_s",
}


def test_demo_ends_with_book_and_venue_equal(processes: Marked, tmp_path: Path) -> None:
    """A demo of 60 intents exits 0 with one JSON object in which nothing is lost, doubled, left over or off."""
    done = processes.run("run.py", "demo", "--intents", "60", "--seed", "5", "--json", "--state", str(tmp_path / "s"))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures.keys() >= KEYS
    assert figures["terminal"] == figures["intents"] == 60 == sum(figures["by_state"].values())
    assert figures["duplicate_orders_at_venue"] == figures["reservations_left"] == 0
    assert figures["ledger_balanced"] is True
    assert figures["fills_venue"] == figures["fills_booked"] > 0
    assert set(figures["balance_drift"].values()) == {"0"}
    assert min(figures["refused"], figures["duplicates_answered"], figures["conflicts"], figures["replaced"]) > 0
    assert figures["brakes"] == {"REDUCING": "TRADING_REDUCING", "HALTED": "TRADING_HALTED"}
    assert figures["stop"] == {"agrees": True, "clean": True}
    assert processes.alive() == []


def test_the_ledger_of_a_demo_passes_bean_check(processes: Marked, tmp_path: Path) -> None:
    """`intentctl ledger --beancount` is a file that bean-check accepts without a word."""
    state, book = tmp_path / "state", tmp_path / "book.beancount"
    demo = processes.run("run.py", "demo", "--intents", "40", "--seed", "2", "--json", "--state", str(state))
    assert demo.returncode == 0, demo.stderr
    ledger = processes.run("-m", "tools.intentctl", "ledger", "--beancount", "--state", str(state))
    book.write_text(ledger.stdout)
    checked = processes.run("-m", "beancount.scripts.check", str(book))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert ledger.stdout.count('* "fill"') == json.loads(demo.stdout)["fills_booked"]


def test_the_same_seed_gives_the_same_intents(processes: Marked, tmp_path: Path) -> None:
    """Two demos with one seed ask for the same things under the same keys."""
    asked = []
    for name in ("one", "two"):
        state = str(tmp_path / name)
        demo = processes.run("run.py", "demo", "--intents", "12", "--seed", "9", "--json", "--state", state)
        assert demo.returncode == 0, demo.stderr
        listed = json.loads(processes.run("-m", "tools.intentctl", "intents", "--json", "--state", state).stdout)
        fields = ("key", "symbol", "side", "kind", "tif", "quote_budget", "limit_price")
        asked.append(sorted(tuple(intent[field] for field in fields) for intent in listed))
    assert asked[0] == asked[1]


def test_an_interrupted_demo_leaves_nothing_behind(processes: Marked, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a demo ends it with code 130, no process and no temporary file."""
    extra = {"TMPDIR": str(tmp_path)}
    demo = processes.start("run.py", "demo", "--intents", "5000", extra=extra)
    until(lambda: list(tmp_path.glob("*/logs/orders/order.jsonl")), "the engine writes its order stream")
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    until(lambda: not processes.alive(), "no process is left")
    assert list(tmp_path.iterdir()) == []
    assert tempfile.gettempdir() != str(tmp_path)


def test_a_demo_never_touches_a_book_that_is_there(processes: Marked, tmp_path: Path) -> None:
    """A second demo on the same state folder is refused, and the first one's book is as it was."""
    state = str(tmp_path / "state")
    assert processes.run("run.py", "demo", "--intents", "4", "--json", "--state", state).returncode == 0
    book = (tmp_path / "state" / "book" / "data.mdb").read_bytes()
    again = processes.run("run.py", "demo", "--intents", "4", "--json", "--state", state)
    assert again.returncode == 2
    assert "holds a book already" in again.stderr
    assert (tmp_path / "state" / "book" / "data.mdb").read_bytes() == book
