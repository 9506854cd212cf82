"""What a message of the user data stream says. Pure.

A message is believed whole or not at all: what misses a field, has an amount that is no number or a status that nobody
knows is `Malformed`, and never a guess. Kinds of events that we have no use for are `Other`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, field

from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId, TradeId
from core.intent import Side
from core.reports import OrderSnapshot, Trade
from exchange.words import STATUSES

TRADE: Final = "TRADE"
ORDER_EVENT: Final = "executionReport"
ENDINGS: Final = frozenset({"eventStreamTerminated", "serverShutdown"})
NO_NAME: Final = frozenset({"", "null"})
"""What stands for the original client id where there is none."""


class Malformed(ValueError):
    """The text says what is wrong with the message."""


class Answer(NamedTuple):
    """To a request of ours."""

    id: Any
    status: int
    """As of HTTP."""
    code: int
    """Binance's; 0 when it is not an error."""
    text: str
    retry_after_ns: int = 0
    """Of a refusal for too many requests: until when it wants no more, ns UTC; 0: it does not say."""


class OrderEvent(NamedTuple):
    """Something happened to an order."""

    symbol: str
    """Our name of the market, e.g. `BTC/USDT`."""
    report: OrderSnapshot


class Ending(NamedTuple):
    """The venue will tell nothing more on this connection."""

    event: str


class Other(NamedTuple):
    """Nothing that concerns an order."""

    event: str


Message = Answer | OrderEvent | Ending | Other


class _ErrorData(msgspec.Struct):
    retry_after_ms: int = field(name="retryAfter", default=0)


class _Error(msgspec.Struct):
    code: int
    msg: str = ""
    data: _ErrorData | None = None


class _Envelope(msgspec.Struct):
    """Answer and event in one: which of them it is shows by what is there."""

    id: str | int | None = None
    status: int | None = None
    error: _Error | None = None
    event: msgspec.Raw = msgspec.Raw()
    e: str | None = None
    """Of an event that has no envelope."""


class _Head(msgspec.Struct):
    e: str


Number = Annotated[int, Meta(ge=0)]


class _ExecutionReport(msgspec.Struct, frozen=True):
    """The fields that we use, by Binance's letters."""

    symbol: str = field(name="s")
    client_order_id: str = field(name="c")
    original_client_order_id: str = field(name="C")
    side: Literal["BUY", "SELL"] = field(name="S")
    execution: str = field(name="x")
    status: str = field(name="X")
    order_id: Number = field(name="i")
    filled: Decimal = field(name="z")
    last_qty: Decimal = field(name="l")
    last_price: Decimal = field(name="L")
    last_quote_qty: Decimal = field(name="Y")
    time_ms: Number = field(name="T")
    trade_id: int = field(name="t")
    maker: bool = field(name="m")
    fee: Decimal | None = field(name="n")
    fee_asset: str | None = field(name="N")


_envelope: Final = msgspec.json.Decoder(_Envelope)
_head: Final = msgspec.json.Decoder(_Head)
_report: Final = msgspec.json.Decoder(_ExecutionReport)


def parse(text: str, symbol: Callable[[str], str], currency: Callable[[str], str]) -> Message:
    """One message. `symbol` and `currency` turn the venue's names into ours. Raises `Malformed`."""
    try:
        envelope = _envelope.decode(text)
        if envelope.event or envelope.e is not None:
            return _event(envelope.event or text, symbol, currency)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Malformed(str(error)) from None
    if envelope.status is None:
        raise Malformed("it is neither an answer nor an event")
    refusal = envelope.error or _Error(0)
    retry_after_ns = refusal.data.retry_after_ms * NS_PER_MS if refusal.data is not None else 0
    return Answer(envelope.id, envelope.status, refusal.code, refusal.msg, retry_after_ns)


def _event(content: str | msgspec.Raw, symbol: Callable[[str], str], currency: Callable[[str], str]) -> Message:
    kind = _head.decode(content).e
    if kind in ENDINGS:
        return Ending(kind)
    if kind != ORDER_EVENT:
        return Other(kind)
    event = _report.decode(content)
    _check(event)
    order_id = ExchangeOrderId(str(event.order_id))
    report = OrderSnapshot(
        client_order_id=_client_order_id(event),
        exchange_order_id=order_id,
        status=STATUSES[event.status],
        venue_status=event.status,
        filled_qty=event.filled,
        trades=_trades(event, order_id, currency),
        source="stream",
    )
    return OrderEvent(symbol(event.symbol), report)


def _check(event: _ExecutionReport) -> None:
    amounts = (event.filled, event.last_qty, event.last_price, event.last_quote_qty)
    if not all(amount.is_finite() and amount >= 0 for amount in amounts):
        raise Malformed("an amount is not a number, or below zero")
    if event.fee is not None and not event.fee.is_finite():
        raise Malformed("the fee is not a number")
    if event.status not in STATUSES:
        raise Malformed(f"nobody knows the status {event.status[:40]!r}")
    if not event.symbol or not event.client_order_id:
        raise Malformed("it names no order")
    if event.execution == TRADE and not (
        event.trade_id >= 0 and 0 < event.last_qty <= event.filled and event.last_price
    ):
        raise Malformed("a trade without an id, a quantity or a price, or of more than is filled")


def _client_order_id(event: _ExecutionReport) -> ClientOrderId:
    """Of the order: when somebody cancels it, `c` names the cancel, and `C` the order."""
    original = event.original_client_order_id
    return ClientOrderId(event.client_order_id if original in NO_NAME else original)


def _trades(event: _ExecutionReport, order_id: ExchangeOrderId, currency: Callable[[str], str]) -> tuple[Trade, ...]:
    """The trade that the event tells of, if it is one.

    One whose fee is not named is left out; that it is missing shows in what is filled, so it will be asked for.
    """
    if event.execution != TRADE or event.fee is None or not event.fee_asset:
        return ()
    trade = Trade(
        trade_id=TradeId(str(event.trade_id)),
        exchange_order_id=order_id,
        qty=event.last_qty,
        price=event.last_price,
        quote_qty=event.last_quote_qty,
        fee=event.fee,
        fee_currency=currency(event.fee_asset),
        maker=event.maker,
        venue_ns=event.time_ms * NS_PER_MS,
        side=Side.BUY if event.side == "BUY" else Side.SELL,
    )
    return (trade,)
