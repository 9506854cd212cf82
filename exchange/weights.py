"""What each request costs of the account's weight per minute, as Binance states it; the simulator charges the same.

`tests/exchange/test_weights.py` holds the two together.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple

Endpoint = tuple[str, str]
"""Method and the end of the path."""

PLACE: Final = ("POST", "order")
CANCEL: Final = ("DELETE", "order")
ORDER: Final = ("GET", "order")
OPEN_ORDERS: Final = ("GET", "openOrders")
ALL_ORDERS: Final = ("GET", "allOrders")
MY_TRADES: Final = ("GET", "myTrades")
ACCOUNT: Final = ("GET", "account")
BOOK_TICKER: Final = ("GET", "ticker/bookTicker")
KEY_RIGHTS: Final = ("GET", "account/apiRestrictions")
EXCHANGE_INFO: Final = ("GET", "exchangeInfo")
TIME: Final = ("GET", "time")


class Weight(NamedTuple):
    usual: int
    cheap: int = 0
    """With the parameter `cheap_with`."""
    cheap_with: str = ""


WEIGHTS: Final[dict[Endpoint, Weight]] = {
    PLACE: Weight(1),
    CANCEL: Weight(1),
    ORDER: Weight(4),
    OPEN_ORDERS: Weight(80, 6, "symbol"),
    ALL_ORDERS: Weight(20),
    MY_TRADES: Weight(20, 5, "orderId"),
    ACCOUNT: Weight(20),
    BOOK_TICKER: Weight(4, 2, "symbol"),
    KEY_RIGHTS: Weight(1),
    EXCHANGE_INFO: Weight(20),
    TIME: Weight(1),
}


def weight_of(endpoint: Endpoint, parameters: Container[str] = ()) -> int:
    """Of one request with these parameters."""
    weight = WEIGHTS[endpoint]
    return weight.cheap if weight.cheap_with and weight.cheap_with in parameters else weight.usual
