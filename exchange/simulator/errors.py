"""What the venue says when it refuses a request: codes, HTTP statuses and texts, as data.

Texts are Binance's own, since ccxt chooses some of its error classes by them. Where a text names something, it holds a
`{}`. Source: developers.binance.com, "Error codes for Binance SPOT".
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Refusal(NamedTuple):
    """One entry of the table."""

    code: int
    status: int
    """HTTP."""
    text: str


class VenueError(Exception):
    """A request was refused and changed nothing."""

    def __init__(self, refusal: Refusal, *details: object, retry_after_s: int = 0) -> None:
        """`details` fill the text's gaps. `retry_after_s` 0: the answer has no such header."""
        self.code = refusal.code
        self.status = refusal.status
        self.text = refusal.text.format(*details) if details else refusal.text
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code} {self.text}")


UNKNOWN: Final = Refusal(-1000, 500, "An unknown error occurred while processing the request.")
TIMEOUT: Final = Refusal(
    -1007, 504, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
)

WEIGHT_EXCEEDED: Final = Refusal(
    -1003,
    429,
    "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API.",
)
BANNED: Final = Refusal(
    -1003,
    418,
    "Way too much request weight used; IP banned until {}. "
    "Please use WebSocket Streams for live updates to avoid bans.",
)
ORDERS_EXCEEDED: Final = Refusal(-1015, 429, "Too many new orders; current limit is {} orders per {}.")

TIMESTAMP_LATE: Final = Refusal(-1021, 400, "Timestamp for this request is outside of the recvWindow.")
TIMESTAMP_EARLY: Final = Refusal(-1021, 400, "Timestamp for this request was 1000ms ahead of the server's time.")
BAD_SIGNATURE: Final = Refusal(-1022, 400, "Signature for this request is not valid.")
RECV_WINDOW_TOO_LARGE: Final = Refusal(-1131, 400, "'recvWindow' must be less than 60000.")
KEY_FORMAT: Final = Refusal(-2014, 401, "API-key format invalid.")
KEY_UNKNOWN: Final = Refusal(-2015, 401, "Invalid API-key, IP, or permissions for action.")

ILLEGAL_CHARACTERS: Final = Refusal(-1100, 400, "Illegal characters found in parameter '{}'; legal range is '{}'.")
DUPLICATE_PARAMETER: Final = Refusal(-1101, 400, "Duplicate values for parameter '{}' detected.")
PARAMETER_MISSING: Final = Refusal(-1102, 400, "Mandatory parameter '{}' was not sent, was empty/null, or malformed.")
ONE_OF_TWO_MISSING: Final = Refusal(-1102, 400, "Param '{}' or '{}' must be sent, but both were empty/null!")
PARAMETERS_UNREAD: Final = Refusal(
    -1104, 400, "Not all sent parameters were read; read '{}' parameter(s) but was sent '{}'."
)
PARAMETER_EMPTY: Final = Refusal(-1105, 400, "Parameter '{}' was empty.")
PARAMETER_NOT_REQUIRED: Final = Refusal(-1106, 400, "Parameter '{}' sent when not required.")
TOO_PRECISE: Final = Refusal(-1111, 400, "Parameter '{}' has too much precision.")
BAD_TIME_IN_FORCE: Final = Refusal(-1115, 400, "Invalid timeInForce.")
BAD_ORDER_TYPE: Final = Refusal(-1116, 400, "Invalid orderType.")
BAD_SIDE: Final = Refusal(-1117, 400, "Invalid side.")
BAD_SYMBOL: Final = Refusal(-1121, 400, "Invalid symbol.")
TOO_LONG_A_TIME: Final = Refusal(-1127, 400, "More than 24 hours between startTime and endTime.")
BAD_COMBINATION: Final = Refusal(-1128, 400, "Combination of optional parameters invalid.")
BAD_JSON: Final = Refusal(-1135, 400, "Invalid {} in JSON request; expected {}.")
UNSUPPORTED: Final = Refusal(-1020, 400, "This operation is not supported.")
BAD_VALUE: Final = Refusal(-1130, 400, "Data sent for parameter '{}' is not valid.")

FILTER_FAILURE: Final = Refusal(-1013, 400, "Filter failure: {}")
INSUFFICIENT_BALANCE: Final = Refusal(-2010, 400, "Account has insufficient balance for requested action.")
DUPLICATE_ORDER: Final = Refusal(-2010, 400, "Duplicate order sent.")
WOULD_TAKE: Final = Refusal(-2010, 400, "Order would immediately match and take.")
CANCEL_UNKNOWN: Final = Refusal(-2011, 400, "Unknown order sent.")
NO_SUCH_ORDER: Final = Refusal(-2013, 400, "Order does not exist.")
SUBSCRIPTION_ACTIVE: Final = Refusal(-2035, 400, "User Data Stream subscription already active.")
SUBSCRIPTION_INACTIVE: Final = Refusal(-2036, 400, "User Data Stream subscription not active.")

INJECTABLE: Final[dict[int, VenueError]] = {
    -1003: VenueError(WEIGHT_EXCEEDED, 6000, retry_after_s=1),
    -1013: VenueError(FILTER_FAILURE, "NOTIONAL"),
    -1015: VenueError(ORDERS_EXCEEDED, 100, "10 SECOND", retry_after_s=1),
    -1021: VenueError(TIMESTAMP_LATE),
    -1022: VenueError(BAD_SIGNATURE),
    -1102: VenueError(PARAMETER_MISSING, "timestamp"),
    -1111: VenueError(TOO_PRECISE, "quantity"),
    -1121: VenueError(BAD_SYMBOL),
    -2010: VenueError(INSUFFICIENT_BALANCE),
    -2014: VenueError(KEY_FORMAT),
    -2015: VenueError(KEY_UNKNOWN),
}
"""Refusals that the `reject` fault may give without a reason of their own: proven not placed, each of them."""
