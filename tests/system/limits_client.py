"""One client process that wants far more than its limits allow: N buys at once over many symbols.

Every second one rests below the market. Prints what became of each, by refusal code or `accepted`, as JSON.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from decimal import Decimal

from actors.client import Client
from core.intent import IntentRequest, Kind, Side, TimeInForce
from exchange.simulator.symbols import markets
from messages.intents import IntentAnswered
from storage.layout import StateFolder
from tools.output import print_json

SYMBOLS = 20
NOTIONAL = Decimal(100)
TIMEOUT_S = 60.0
PATIENT = Decimal("0.98")


def main(state: str, count: int) -> None:
    client = Client.connect(StateFolder(state))
    traded = [(f"{market.base}/{market.quote}", market.price) for market in markets().values()][:SYMBOLS]
    routers = {symbol: client.router(symbol, TIMEOUT_S) for symbol, _ in traded}
    asked: dict[str, str] = {}
    for number in range(count):
        symbol, price = traded[number % SYMBOLS]
        asked[client.send_intent(routers[symbol], wish(number, symbol, price), wait=False)] = symbol
    answers: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while asked and time.monotonic() < deadline:
        message = client.next_message(1.0)
        if isinstance(message, IntentAnswered) and asked.pop(message.request_id, None):
            refusal = message.answer.refusal
            answers[refusal.code if refusal else "accepted"] += 1
            if refusal:
                reasons[refusal.code] = refusal.reason
    print_json({"answers": answers, "reasons": reasons, "unanswered": len(asked)})
    client.close()


def wish(number: int, symbol: str, price: Decimal) -> IntentRequest:
    common = {"symbol": symbol, "side": Side.BUY, "quote_budget": NOTIONAL, "key": f"greedy-{number}"}
    if number % 2:
        return IntentRequest(kind=Kind.MARKET, **common)  # type: ignore[arg-type]
    limit = (price * PATIENT).quantize(Decimal(1).scaleb(price.adjusted() - 3))
    return IntentRequest(kind=Kind.LIMIT, limit_price=limit, tif=TimeInForce.GTC, **common)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
