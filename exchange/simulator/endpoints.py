"""The endpoints of the venue as one table: address, weight, whether it must be signed, and what it does.

An endpoint reads its parameters, asks the engine and returns JSON. It knows nothing of HTTP, keys, limits or faults.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from exchange.simulator import wire
from exchange.simulator.disorder import disordered
from exchange.simulator.errors import (
    BAD_COMBINATION,
    BAD_VALUE,
    ONE_OF_TWO_MISSING,
    PARAMETER_NOT_REQUIRED,
    TOO_LONG_A_TIME,
    VenueError,
)
from exchange.simulator.limits import RateLimits
from exchange.simulator.matching import MatchingEngine, OrderKey
from exchange.simulator.orders import ZERO, NewOrder, Order, OrderType, Side, TimeInForce, Trade
from exchange.simulator.owner import Owner
from exchange.simulator.params import CLIENT_ID_RANGE, SYMBOL_LIST_RANGE, SYMBOL_RANGE, Params, mandatory
from exchange.simulator.plan import Kind, Plan
from exchange.simulator.reads import HiddenFills, Reads, cancel_with_late_fill

LIMIT_DEFAULT: Final = 500
LIMIT_MAX: Final = 1_000
DEPTH_DEFAULT: Final = 100
DEPTH_MAX: Final = 5_000
_DAY_MS: Final = 86_400_000
_NS_PER_MS: Final = 1_000_000


class Call(NamedTuple):
    """One request on its way through an endpoint."""

    engine: MatchingEngine
    params: Params
    now_ns: int
    plan: Plan
    limits: RateLimits
    hidden: HiddenFills
    """Fills that no read shows yet."""
    owner: Owner = Owner()

    @property
    def shown_ns(self) -> int:
        """The venue's time, as it tells it."""
        return self.now_ns + self.plan.skew_ms * _NS_PER_MS

    @property
    def reads(self) -> Reads:
        return Reads(self.engine, self.hidden, self.now_ns, self.plan.lag_ms)


class Endpoint(NamedTuple):
    kind: Kind
    """What a fault calls it."""
    weight: Callable[[Params], int]
    run: Callable[[Call], Any]

    @property
    def signed(self) -> bool:
        """Whether key, signature and timestamp are needed."""
        return self.kind is not Kind.MARKET


class Prevention(StrEnum):
    EXPIRE_MAKER = wire.PREVENTION


# ── market data ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _ping(_call: Call) -> wire.Json:
    return {}


def _time(call: Call) -> wire.Json:
    return {"serverTime": wire.ms(call.shown_ns)}


def _exchange_info(call: Call) -> wire.Json:
    markets = [call.engine.market(symbol) for symbol in _symbols(call) or call.engine.markets]
    return wire.exchange_info(markets, call.limits.rows(), call.shown_ns)


def _depth(call: Call) -> wire.Json:
    symbol, limit = call.params.symbol(), call.params.integer("limit") or DEPTH_DEFAULT
    return wire.depth(call.engine.book(call.now_ns, symbol), min(limit, DEPTH_MAX))


def _price(call: Call) -> Any:
    return _per_symbol(call, lambda symbol: wire.price(symbol, call.engine.book(call.now_ns, symbol)))


def _book_ticker(call: Call) -> Any:
    return _per_symbol(call, lambda symbol: wire.book_ticker(symbol, call.engine.book(call.now_ns, symbol)))


def _day_ticker(call: Call) -> Any:
    def row(symbol: str) -> wire.Json:
        return wire.day_ticker(call.engine.market(symbol), call.engine.book(call.now_ns, symbol), call.now_ns)

    return _per_symbol(call, row)


def _per_symbol(call: Call, row: Callable[[str], wire.Json]) -> Any:
    """One object for `symbol`, a list for `symbols` or none."""
    one = call.params.text("symbol", SYMBOL_RANGE)
    if one is not None:
        return row(one)
    return [row(symbol) for symbol in _symbols(call) or call.engine.markets]


def _symbols(call: Call) -> list[str]:
    """Named by `symbol` or `symbols`; empty when all are meant."""
    one, several = call.params.text("symbol", SYMBOL_RANGE), call.params.text("symbols", SYMBOL_LIST_RANGE)
    if one is not None and several is not None:
        raise VenueError(BAD_COMBINATION)
    if several is not None:
        return msgspec.json.decode(several, type=list[str])
    return [] if one is None else [one]


# ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _place(call: Call) -> wire.Json:
    new, response_type = _new_order(call)
    order, trades = call.engine.place(call.now_ns, new, call.plan.fill_share)
    return wire.placed(order, disordered(trades, call.plan), response_type)


def _test_order(call: Call) -> wire.Json:
    call.engine.check(call.now_ns, _new_order(call)[0])
    return {}


def _new_order(call: Call) -> tuple[NewOrder, wire.ResponseType]:
    params = call.params
    symbol = call.engine.market(params.symbol()).symbol
    side, kind = mandatory("side", params.word("side", Side)), mandatory("type", params.word("type", OrderType))
    time_in_force = params.word("timeInForce", TimeInForce)
    new = NewOrder(
        symbol=symbol,
        side=side,
        type=kind,
        time_in_force=time_in_force or TimeInForce.GTC,
        price=params.decimal("price") or ZERO,
        qty=params.decimal("quantity") or ZERO,
        quote_qty=params.decimal("quoteOrderQty") or ZERO,
        client_order_id=params.text("newClientOrderId", CLIENT_ID_RANGE) or "",
    )
    _check_shape(params, kind)
    params.integer("strategyId")
    params.integer("strategyType")
    params.word("selfTradePreventionMode", Prevention)
    # Binance tells all of a market or limit order, and of a post-only order no more than its id
    usual = wire.ResponseType.ACK if kind is OrderType.LIMIT_MAKER else wire.ResponseType.FULL
    response_type = params.word("newOrderRespType", wire.ResponseType) or usual
    params.check_all_read()
    return new, response_type


_REQUIRED: Final = {
    OrderType.LIMIT: ("timeInForce", "quantity", "price"),
    OrderType.LIMIT_MAKER: ("quantity", "price"),
    OrderType.MARKET: (),
}
_NOT_REQUIRED: Final = {
    OrderType.LIMIT: ("quoteOrderQty",),
    OrderType.LIMIT_MAKER: ("timeInForce", "quoteOrderQty"),
    OrderType.MARKET: ("timeInForce", "price"),
}


def _check_shape(params: Params, kind: OrderType) -> None:
    """Whether the parameters are those of the order's type."""
    for name in _REQUIRED[kind]:
        mandatory(name, params.sent(name) or None)
    for name in _NOT_REQUIRED[kind]:
        if params.sent(name):
            raise VenueError(PARAMETER_NOT_REQUIRED, name)
    if kind is OrderType.MARKET:
        amounts = [name for name in ("quantity", "quoteOrderQty") if params.sent(name)]
        if not amounts:
            raise VenueError(ONE_OF_TWO_MISSING, "quantity", "quoteOrderQty")
        if len(amounts) > 1:
            raise VenueError(BAD_COMBINATION)


def _cancel(call: Call) -> wire.Json:
    key, cancel_id = _key(call), call.params.text("newClientOrderId", CLIENT_ID_RANGE) or ""
    call.params.check_all_read()
    engine, plan = call.engine, call.plan
    if plan.crossing_share is not None:
        engine.fill(call.now_ns, key, plan.crossing_share)
    if plan.late_fill is not None:
        order = cancel_with_late_fill(engine, call.hidden, call.now_ns, key, plan.late_fill, cancel_id)
    else:
        order = engine.cancel(call.now_ns, key, cancel_id)
    return wire.canceled(order, cancel_id)


def _order(call: Call) -> wire.Json:
    return wire.queried(call.reads.order(_key(call)))


def _key(call: Call) -> OrderKey:
    symbol = call.engine.market(call.params.symbol()).symbol
    number, client_id = call.params.integer("orderId"), call.params.text("origClientOrderId", CLIENT_ID_RANGE)
    if number is None and client_id is None:
        raise VenueError(ONE_OF_TWO_MISSING, "origClientOrderId", "orderId")
    return OrderKey(symbol, number, client_id)


def _open_orders(call: Call) -> list[wire.Json]:
    symbol = call.params.text("symbol", SYMBOL_RANGE)
    return [wire.queried(order) for order in disordered(call.reads.open_orders(symbol), call.plan)]


# ── history and account ───────────────────────────────────────────────────────────────────────────────────────────────


def _all_orders(call: Call) -> list[wire.Json]:
    symbol, first, limit = call.params.symbol(), call.params.integer("orderId"), _limit(call)
    start_ms, end_ms = _period(call)
    orders = call.reads.orders(symbol)
    if first is not None:
        page = _from(orders, first)[:limit]
    else:
        page = _page(orders, lambda order: order.created_ns, start_ms, end_ms, limit)
    return [wire.queried(order) for order in disordered(page, call.plan)]


def _my_trades(call: Call) -> list[wire.Json]:
    symbol, limit = call.params.symbol(), _limit(call)
    order_id, first = call.params.integer("orderId"), call.params.integer("fromId")
    start_ms, end_ms = _period(call)
    if (order_id is not None or first is not None) and (start_ms is not None or end_ms is not None):
        raise VenueError(BAD_COMBINATION)
    trades = call.reads.trades(symbol)
    if order_id is not None:
        of_order = [trade for trade in trades if trade.order_id == order_id and trade.id >= (first or 0)]
        page = of_order[:limit]
    elif first is not None:
        page = _from(trades, first)[:limit]
    else:
        page = _page(trades, lambda trade: trade.time_ns, start_ms, end_ms, limit)
    return [wire.traded(trade) for trade in disordered(page, call.plan)]


Row = TypeVar("Row", Order, Trade)


def _from(rows: list[Row], first: int) -> list[Row]:
    """From an id on; not every id need be shown."""
    return rows[bisect_left(rows, first, key=lambda row: row.id) :]


def _page(
    rows: list[Row], time_ns: Callable[[Row], int], start_ms: int | None, end_ms: int | None, limit: int
) -> list[Row]:
    """From the start on, the oldest first; without a start the latest ones."""
    begin = 0 if start_ms is None else bisect_left(rows, start_ms * _NS_PER_MS, key=time_ns)
    end = len(rows) if end_ms is None else bisect_right(rows, (end_ms + 1) * _NS_PER_MS - 1, key=time_ns)
    return rows[begin:end][-limit:] if start_ms is None else rows[begin : min(end, begin + limit)]


def _period(call: Call) -> tuple[int | None, int | None]:
    start_ms, end_ms = call.params.integer("startTime"), call.params.integer("endTime")
    if start_ms is not None and end_ms is not None and end_ms - start_ms > _DAY_MS:
        raise VenueError(TOO_LONG_A_TIME)
    return start_ms, end_ms


def _limit(call: Call) -> int:
    limit = call.params.integer("limit")
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise VenueError(BAD_VALUE, "limit")
    return limit or LIMIT_DEFAULT


def _account(call: Call) -> wire.Json:
    omit_zero = call.params.text("omitZeroBalances", r"^(true|false)$") == "true"
    return wire.account(call.reads.balances(), call.now_ns, omit_zero=omit_zero, uid=call.owner.uid)


def _key_rights(call: Call) -> wire.Json:
    return wire.key_rights(call.owner)


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _flat(weight: int) -> Callable[[Params], int]:
    return lambda _params: weight


def _cheap_with(name: str, cheap: int, dear: int) -> Callable[[Params], int]:
    """Costs less when a parameter is sent."""
    return lambda params: cheap if params.sent(name) else dear


def _depth_weight(params: Params) -> int:
    limit = params.integer("limit") or DEPTH_DEFAULT
    return next((weight for largest, weight in ((100, 5), (500, 25), (1_000, 50)) if limit <= largest), 250)


ENDPOINTS: Final[dict[tuple[str, str], Endpoint]] = {
    ("GET", "/api/v3/ping"): Endpoint(Kind.MARKET, _flat(1), _ping),
    ("GET", "/api/v3/time"): Endpoint(Kind.MARKET, _flat(1), _time),
    ("GET", "/api/v3/exchangeInfo"): Endpoint(Kind.MARKET, _flat(20), _exchange_info),
    ("GET", "/api/v3/depth"): Endpoint(Kind.MARKET, _depth_weight, _depth),
    ("GET", "/api/v3/ticker/price"): Endpoint(Kind.MARKET, _cheap_with("symbol", 2, 4), _price),
    ("GET", "/api/v3/ticker/bookTicker"): Endpoint(Kind.MARKET, _cheap_with("symbol", 2, 4), _book_ticker),
    ("GET", "/api/v3/ticker/24hr"): Endpoint(Kind.MARKET, _cheap_with("symbol", 2, 80), _day_ticker),
    ("POST", "/api/v3/order"): Endpoint(Kind.PLACE, _flat(1), _place),
    ("POST", "/api/v3/order/test"): Endpoint(Kind.TEST, _flat(1), _test_order),
    ("DELETE", "/api/v3/order"): Endpoint(Kind.CANCEL, _flat(1), _cancel),
    ("GET", "/api/v3/order"): Endpoint(Kind.ORDER, _flat(4), _order),
    ("GET", "/api/v3/openOrders"): Endpoint(Kind.OPEN_ORDERS, _cheap_with("symbol", 6, 80), _open_orders),
    ("GET", "/api/v3/allOrders"): Endpoint(Kind.ALL_ORDERS, _flat(20), _all_orders),
    ("GET", "/api/v3/myTrades"): Endpoint(Kind.TRADES, _cheap_with("orderId", 5, 20), _my_trades),
    ("GET", "/api/v3/account"): Endpoint(Kind.ACCOUNT, _flat(20), _account),
    ("GET", "/sapi/v1/account/apiRestrictions"): Endpoint(Kind.ACCOUNT, _flat(1), _key_rights),
}
"""By method and path."""
