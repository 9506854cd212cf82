"""A client process that leaves N resting orders at the venue; prints how many were accepted as JSON."""

from __future__ import annotations

import sys
from decimal import Decimal

from actors.client import Client
from core.book import OpeningOutcome
from core.intent import IntentRequest, Kind, Side, TimeInForce
from messages.intents import IntentAnswered
from storage.layout import StateFolder
from tools.output import print_json

SYMBOLS = ("SOL/USDT", "ETH/USDT", "BTC/USDT")
PRICES = {"SOL/USDT": Decimal(100), "ETH/USDT": Decimal(2000), "BTC/USDT": Decimal(40000)}
"""Far below the market."""
NOTIONAL = Decimal(10)
TIMEOUT_S = 60.0


def main(state: str, count: int) -> None:
    client = Client.connect(StateFolder(state))
    for number in range(count):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        request = IntentRequest(
            symbol=symbol,
            side=Side.BUY,
            kind=Kind.LIMIT,
            qty=NOTIONAL / PRICES[symbol],
            limit_price=PRICES[symbol],
            tif=TimeInForce.GTC,
            key=f"rest-{number}",
        )
        client.send_intent(client.router(symbol, TIMEOUT_S), request, wait=False)
    answers = [client.next_message(TIMEOUT_S) for _ in range(count)]
    client.close()
    accepted = [
        message
        for message in answers
        if isinstance(message, IntentAnswered) and message.answer.outcome is OpeningOutcome.ACCEPTED
    ]
    print_json({"accepted": len(accepted)})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
