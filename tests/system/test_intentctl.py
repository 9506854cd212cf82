"""intentctl against a running engine: the contract of its answers and exit codes."""

from __future__ import annotations

import json

import pytest

from tests.system.harness import Daemon, until

SUBMIT_FIELDS = {"intent_id", "state", "duplicate", "refusal", "filled_qty", "avg_price", "fees", "latency_ms"}


def test_a_submitted_intent_is_filled_and_answered_in_one_object(running: Daemon) -> None:
    """`submit --wait --json` prints exactly the promised fields of a filled intent."""
    answer = running.submit(symbol="BTC/USDT", side="buy", quote="50", market=True, key="answer-1", wait=True)
    assert answer.keys() == SUBMIT_FIELDS
    assert (answer["state"], answer["duplicate"], answer["refusal"]) == ("FILLED", False, None)
    assert float(answer["filled_qty"]) > 0
    assert 0 < float(answer["filled_qty"]) * float(answer["avg_price"]) <= 50
    assert answer["latency_ms"] > 0


def test_the_same_key_is_sent_once(running: Daemon) -> None:
    """A repeat answers with the existing intent and sends nothing; another wish under the key is a conflict."""
    wish = {"symbol": "ETH/USDT", "side": "buy", "quote": "40", "market": True, "wait": True}
    first = running.submit(**wish, key="once-1")
    again = running.submit(**wish, key="once-1")
    assert again == first | {"duplicate": True}
    other = running.submit(**(wish | {"quote": "41"}), key="once-1")
    assert (other["intent_id"], other["refusal"]["code"]) == (None, "IdempotencyConflict")
    ours = [order for order in running.ask("orders") if order["intent_id"] == first["intent_id"]]
    assert len(ours) == 1


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"symbol": "NOPE/USDT", "quote": "50", "market": True}, "UNKNOWN_SYMBOL"),
        ({"symbol": "BTC/USDT", "quote": "1", "market": True}, "BELOW_MIN_NOTIONAL"),
        ({"symbol": "BTC/USDT", "qty": "0.0000001", "market": True}, "BELOW_MIN_QTY"),
        ({"symbol": "BTC/USDT", "qty": "9999999", "market": True}, "ABOVE_MAX_QTY"),
        ({"symbol": "BTC/USDT", "qty": "100", "market": True}, "INSUFFICIENT_FUNDS"),
    ],
)
def test_a_refusal_names_its_reason_and_changes_nothing(running: Daemon, wish: dict[str, str], code: str) -> None:
    """What cannot be done is refused with a code, a reason and exit 1; no intent and no reservation comes of it."""
    before = running.ask("status")["book"]
    words = [item for name, value in wish.items() for item in ([f"--{name}"] + ([] if value is True else [value]))]
    done = running.ctl("submit", "--side", "buy", *words, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["refusal"]["code"], answer["intent_id"]) == (1, code, None)
    assert running.ask("status")["book"] == before


@pytest.mark.parametrize(
    "words",
    [
        ("--symbol", "btcusdt", "--side", "buy", "--quote", "50", "--market"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--quote", "-5", "--market"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--quote", "nan", "--market"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--qty", "1", "--quote", "5", "--market"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--qty", "1", "--market", "--limit", "5"),
        ("--symbol", "BTC/USDT", "--side", "hold", "--qty", "1", "--market"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--qty", "1", "--market", "--tif", "GTC"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--qty", "1", "--market", "--key", "with space"),
        ("--symbol", "BTC/USDT", "--side", "buy", "--market"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(running: Daemon, words: tuple[str, ...]) -> None:
    """A malformed argument is named in one line without a traceback, with exit code 2."""
    done = running.ctl("submit", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_resting_order_is_canceled_by_intent_id(running: Daemon) -> None:
    """A GTC order far from the market rests, holds its money, and ends CANCELED with everything released."""
    answer = running.submit(
        symbol="SOL/USDT", side="buy", qty="1", limit="100", tif="GTC", key="rest-1", max_slippage_bps="20"
    )
    intent_id = answer["intent_id"]
    until(lambda: running.ask("show", intent_id)["state"] == "SENT", "the order rests")
    usdt = next(entry for entry in running.ask("budget") if entry["currency"] == "USDT")
    assert float(usdt["reserved_quote_total"]) >= 100
    assert running.ctl("cancel", intent_id).returncode == 0
    until(lambda: running.ask("show", intent_id)["state"] == "CANCELED", "it is canceled")
    assert running.ask("status")["book"]["reservations"] == 0
    assert [
        order["status"] for order in running.venue("orders") if order["clientOrderId"] == _client_id(running, intent_id)
    ] == ["CANCELED"]


def _client_id(running: Daemon, intent_id: str) -> str:
    return str(running.ask("show", intent_id)["orders"][0]["client_order_id"])


def test_the_trace_goes_from_new_to_the_end_without_a_gap(running: Daemon) -> None:
    """The state changes of an intent form one path from NEW to a terminal state."""
    answer = running.submit(symbol="XRP/USDT", side="sell", qty="50", market=True, key="trace-1", wait=True)
    changes = [e for e in running.ask("trace", answer["intent_id"]) if e["event"] == "state_changed"]
    path = [changes[0]["from_state"], *(change["to_state"] for change in changes)]
    assert path[:3] == ["NEW", "RESERVED", "SENDING"]
    assert path[-1] == answer["state"]
    assert [change["from_state"] for change in changes] == path[:-1]


def test_options_stand_before_or_after_the_command(running: Daemon) -> None:
    """`--state` and `--json` mean the same on either side of the subcommand."""
    state = str(running.state)
    before = running.processes.run("-m", "tools.intentctl", "--state", state, "--json", "positions")
    after = running.processes.run("-m", "tools.intentctl", "positions", "--state", state, "--json")
    assert before.returncode == after.returncode == 0
    assert isinstance(json.loads(before.stdout), list)
    assert [row["symbol"] for row in json.loads(before.stdout)] == [row["symbol"] for row in json.loads(after.stdout)]


def test_lists_are_lists_and_tables_are_plain_in_a_pipe(running: Daemon) -> None:
    """`orders`, `intents` and `positions` print JSON lists; piped tables hold no box drawing and no colour."""
    for command in ("orders", "intents", "positions"):
        assert isinstance(running.ask(command), list)
        plain = running.ctl(command).stdout
        assert plain.startswith("# ")
        assert not any(character in plain for character in "│━┃\x1b")


@pytest.mark.parametrize("name", ["nope", "x" * 2_000, "ä ö", "../../etc/passwd"])
def test_an_unknown_intent_is_one_line(running: Daemon, name: str) -> None:
    """`show`, `trace` and `cancel` of what is not there say so in one line with exit code 1."""
    for command in ("show", "trace", "cancel"):
        done = running.ctl(command, name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: there is no intent")
        assert len(done.stderr.strip().splitlines()) == 1


def test_lifting_a_quarantine_that_is_none_is_an_error(running: Daemon) -> None:
    """On stderr, like every other, so that no script takes it for done."""
    done = running.ctl("resume", "--symbol", "NOPE/X", "--reason", "looked at it")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: NOPE/X is not quarantined")
