"""The parameters of a request: parsed as they were sent, read once, checked for leftovers.

Each read names its parameter in the refusal, as Binance does. A parameter that nobody has read is an error in itself.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from exchange.simulator.errors import (
    BAD_ORDER_TYPE,
    BAD_SIDE,
    BAD_TIME_IN_FORCE,
    BAD_VALUE,
    DUPLICATE_PARAMETER,
    ILLEGAL_CHARACTERS,
    PARAMETER_EMPTY,
    PARAMETER_MISSING,
    PARAMETERS_UNREAD,
    Refusal,
    VenueError,
)
from exchange.simulator.orders import OrderType, Side, TimeInForce

DECIMAL_RANGE: Final = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
INTEGER_RANGE: Final = r"^[0-9]{1,20}$"
SYMBOL_RANGE: Final = r"^[A-Z0-9-_.]{1,20}$"
CLIENT_ID_RANGE: Final = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
SYMBOL_LIST_RANGE: Final = r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$'

_UNKNOWN_WORD: Final[dict[type[StrEnum], Refusal]] = {
    Side: BAD_SIDE,
    OrderType: BAD_ORDER_TYPE,
    TimeInForce: BAD_TIME_IN_FORCE,
}

Word = TypeVar("Word", bound=StrEnum)


class Params:
    """Methods return None for a parameter that was not sent, unless they are told that it is mandatory."""

    def __init__(self, query: str, body: str = "") -> None:
        """Raises `VenueError` for a parameter that was sent twice."""
        pairs = parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True)
        self._values: dict[str, str] = {}
        for name, value in pairs:
            if name in self._values:
                raise VenueError(DUPLICATE_PARAMETER, name)
            self._values[name] = value
        self._read: set[str] = set()

    def text(self, name: str, legal: str) -> str | None:
        """A value that matches `legal`, a regular expression. Raises `VenueError`."""
        self._read.add(name)
        value = self._values.get(name)
        if value is None:
            return None
        if value == "":
            raise VenueError(PARAMETER_EMPTY, name)
        if not re.fullmatch(legal, value):
            raise VenueError(ILLEGAL_CHARACTERS, name, legal)
        return value

    def decimal(self, name: str) -> Decimal | None:
        """A number above zero."""
        value = self.text(name, DECIMAL_RANGE)
        if value is None:
            return None
        if Decimal(value) <= 0:
            raise VenueError(BAD_VALUE, name)
        return Decimal(value)

    def integer(self, name: str) -> int | None:
        value = self.text(name, INTEGER_RANGE)
        return None if value is None else int(value)

    def word(self, name: str, words: type[Word]) -> Word | None:
        """One of the words."""
        value = self.text(name, r"^[A-Za-z_]{1,30}$")
        if value is None:
            return None
        if value not in set(words):
            raise VenueError(_UNKNOWN_WORD.get(words, BAD_VALUE), name)
        return words(value)

    def symbol(self) -> str:
        """The mandatory symbol."""
        return mandatory("symbol", self.text("symbol", SYMBOL_RANGE))

    def sent(self, name: str) -> bool:
        return name in self._values

    def check_all_read(self) -> None:
        """Raises `VenueError` if something was sent that nobody asked for."""
        unread = self._values.keys() - self._read
        if unread:
            raise VenueError(PARAMETERS_UNREAD, len(self._values) - len(unread), len(self._values))


Value = TypeVar("Value")


def mandatory(name: str, value: Value | None) -> Value:
    """The value of a parameter that must be there. Raises `VenueError`."""
    if value is None:
        raise VenueError(PARAMETER_MISSING, name)
    return value
