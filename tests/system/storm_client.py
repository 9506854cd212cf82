"""One client process of the storm: sends N submissions without waiting in between, prints all answers as JSON."""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from typing import Any

from actors.client import Client
from core.intent import IntentRequest, Kind, Side
from core.lifecycle import is_terminal
from messages.intents import IntentAnswered, IntentDone
from storage.layout import StateFolder
from tools import views
from tools.output import print_json

SYMBOL = "BTC/USDT"
TIMEOUT_S = 90.0


def main(state: str, count: int, prefix: str | None) -> None:
    client = Client.connect(StateFolder(state))
    router = client.router(SYMBOL, TIMEOUT_S)
    outcomes: dict[str, str] = {}
    ended: dict[str, Any] = {}
    pending = set()
    for number in range(count):
        key = "the-one" if prefix is None else f"{prefix}-{number}"
        request = IntentRequest(
            symbol=SYMBOL, side=Side.BUY, kind=Kind.MARKET, quote_budget=Decimal(25), key=key, source="storm"
        )
        pending.add(client.send_intent(router, request, wait=True))
    deadline = time.monotonic() + TIMEOUT_S
    while pending and time.monotonic() < deadline:
        message = client.next_message(1.0)
        if isinstance(message, IntentAnswered):
            outcomes[message.request_id] = message.answer.outcome
            if message.answer.record is not None and is_terminal(message.answer.record.state):
                ended[message.request_id] = message.answer.record
                pending.discard(message.request_id)
        elif isinstance(message, IntentDone):
            ended[message.request_id] = message.record
            pending.discard(message.request_id)
    print_json(
        [
            {"intent": views.intent(record), "duplicate": outcomes[request_id] == "duplicate"}
            for request_id, record in ended.items()
        ]
    )
    client.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
