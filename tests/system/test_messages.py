"""Messages from clients that are not ours: malformed ones are answered, and nothing breaks or changes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from actors.client import Client, new_request_id
from actors.inbox import AHEAD_MAX
from actors.outgoing import CLIENT_HELD_MAX
from core.book import OpeningOutcome
from core.errors import IntentdError
from core.intent import IntentRequest, Kind, Side
from core.settings import SystemBase
from messages.admin import AskStatus, FindRouter, RouterFound
from messages.intents import CancelIntent, IntentAnswered, IntentCancelNoted, SubmitIntent
from storage.layout import StateFolder
from tests.system.harness import Daemon, until

TIMEOUT_S = 60.0
SOUND = IntentRequest(symbol="BTC/USDT", side=Side.BUY, kind=Kind.MARKET, quote_budget=Decimal(20))


@pytest.fixture
def client(running: Daemon) -> Iterator[Client]:
    connected = Client.connect(StateFolder(running.state))
    yield connected
    connected.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"side": 5},
        {"quote_budget": "lots"},
        {"symbol": None},
        {"key": 7},
        {"reduce_only": "yes"},
        {"reason": 5},
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(running: Daemon, client: Client, changes: dict[str, Any]) -> None:
    """The answer names the field; no intent comes of it and the engine goes on."""
    before = running.ask("status")["book"]
    router = client.router("BTC/USDT", TIMEOUT_S)
    with pytest.raises(IntentdError, match=next(iter(changes))):
        client.submit(router, msgspec.structs.replace(SOUND, **changes), wait=False, timeout_s=TIMEOUT_S)
    assert running.ask("status")["book"] == before
    assert running.ctl("status").returncode == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"quote_budget": Decimal("NaN")},
        {"quote_budget": Decimal("1E-1999")},
        {"quote_budget": Decimal(-1)},
        {"qty": Decimal(1)},
        {"symbol": "BTC-USDT"},
        {"reason": "x" * 501},
        {"reason": "\ud800"},
        {"key": "auto:stolen"},
        {"limit_price": Decimal(1)},
    ],
)
def test_a_value_out_of_range_is_refused_with_the_rule(client: Client, changes: dict[str, Any]) -> None:
    """Well-typed nonsense is a refusal with the code INVALID."""
    router = client.router("BTC/USDT", TIMEOUT_S)
    answer = client.submit(router, msgspec.structs.replace(SOUND, **changes), wait=False, timeout_s=TIMEOUT_S)
    assert answer.outcome is OpeningOutcome.REFUSED
    assert answer.refusal is not None
    assert answer.refusal.code == "INVALID"


@pytest.mark.parametrize("symbol", ["", "btc", "\ud800/USDT", "A" * 5_000, "NOPE/USDT"])
def test_a_symbol_that_is_none_is_refused(running: Daemon, client: Client, symbol: str) -> None:
    """The engine answers for every text, records none that is no symbol, and goes on."""
    request_id = new_request_id()
    client.tell(client._engine, FindRouter(request_id=request_id, symbol=symbol))
    found = client.await_answer(RouterFound, request_id, TIMEOUT_S)
    assert found.router is None
    assert found.refusal.code in {"INVALID", "UNKNOWN_SYMBOL"}
    assert running.ctl("status").returncode == 0


@pytest.mark.parametrize("intent_id", ["", "nope", "x" * 2_000, "\ud800"])
def test_a_cancel_of_nothing_is_answered(client: Client, intent_id: str) -> None:
    """A cancel of what is not there is refused, whatever the text."""
    router = client.router("BTC/USDT", TIMEOUT_S)
    request_id = new_request_id()
    client.tell(router, CancelIntent(request_id=request_id, intent_id=intent_id, reason="test"))  # type: ignore[arg-type]
    noted = client.await_answer(IntentCancelNoted, request_id, TIMEOUT_S)
    assert noted.record is None
    assert noted.refusal.code in {"INVALID", "UNKNOWN_INTENT"}


def test_a_wish_for_another_symbol_is_not_taken_by_this_router(client: Client) -> None:
    """A router answers for its own symbol only."""
    router = client.router("BTC/USDT", TIMEOUT_S)
    request_id = new_request_id()
    other = msgspec.structs.replace(SOUND, symbol="ETH/USDT")
    client.tell(router, SubmitIntent(request_id=request_id, request=other, wait=False))
    answered = client.await_answer(IntentAnswered, request_id, TIMEOUT_S)
    assert answered.answer.refusal.code == "INVALID"


def test_a_client_that_does_not_read_holds_up_nobody(running: Daemon, client: Client) -> None:
    """Far more questions than answers are held for, to engine and router; all others are answered as before."""
    deaf = Client.connect(StateFolder(running.state))
    router = deaf.router("BTC/USDT", TIMEOUT_S)
    wrong = msgspec.structs.replace(SOUND, quote_budget=Decimal(-1))
    for _ in range(CLIENT_HELD_MAX + AHEAD_MAX + 1_000):
        deaf.send_intent(router, wrong, wait=False)
        deaf.tell(deaf._engine, AskStatus(request_id=new_request_id()))
    assert client.status(TIMEOUT_S).state == "running"
    for symbol in ("ETH/USDT", "BTC/USDT"):
        other = client.router(symbol, TIMEOUT_S)
        bought = client.submit(other, msgspec.structs.replace(SOUND, symbol=symbol), wait=True, timeout_s=TIMEOUT_S)
        assert bought.record is not None
    if running.engine_file["system_base"] == SystemBase.UNIX:
        log = running.state / "logs" / "intentd.jsonl"
        until(lambda: log.read_text().count("client_too_slow") >= 2, "it is told of")
        assert log.read_text().count("client_too_slow") == 2, "by the engine and the router, once each"
    deaf.close()
