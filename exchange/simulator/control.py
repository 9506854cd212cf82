"""`/_sim/…`: the truth about the venue, for verdicts and tests, and the levers to move it. Not part of Binance.

GET  /_sim/orders  /_sim/trades  /_sim/balances      everything, without limits or keys
GET  /_sim/stats                                     requests seen and how they ended, and who listens
PUT  /_sim/price   {"symbol": "BTCUSDT", "mid": "61000"}
PUT  /_sim/transfer   {"asset": "USDT", "amount": "-100"}   a deposit or, if negative, a withdrawal
GET  /_sim/faults   PUT /_sim/faults {…}   DELETE /_sim/faults
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import web

from exchange.simulator import wire
from exchange.simulator.account import cut
from exchange.simulator.errors import VenueError
from exchange.simulator.faults import FaultError
from exchange.simulator.orders import Order
from exchange.simulator.server import Venue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BAD_REQUEST: Final = 400


class MovePrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    symbol: str
    mid: Decimal


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    amount: Decimal


class Control:
    """The handlers of one venue."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/orders", self._orders),
            web.get("/_sim/trades", self._trades),
            web.get("/_sim/balances", self._balances),
            web.get("/_sim/stats", self._stats),
            web.put("/_sim/price", self._price),
            web.put("/_sim/transfer", self._transfer),
            web.get("/_sim/faults", self._show_faults),
            web.put("/_sim/faults", self._set_faults),
            web.delete("/_sim/faults", self._clear_faults),
        ]

    async def _orders(self, _request: web.Request) -> web.Response:
        engine, now_ns = self._venue.engine, self._now_ns()
        rows = [_order_row(order) for symbol in engine.markets for order in engine.orders(now_ns, symbol)]
        return self._told(rows)

    async def _trades(self, _request: web.Request) -> web.Response:
        engine, now_ns = self._venue.engine, self._now_ns()
        return self._told([wire.traded(row) for symbol in engine.markets for row in engine.trades(now_ns, symbol)])

    async def _balances(self, _request: web.Request) -> web.Response:
        balances = self._venue.engine.balances(self._now_ns())
        return self._told(
            {row.asset: {"free": wire.amount(row.free), "locked": wire.amount(row.locked)} for row in balances}
        )

    async def _stats(self, _request: web.Request) -> web.Response:
        venue = self._venue
        requests, answers = (dict(sorted(counted.items())) for counted in (venue.requests, venue.answers))
        return _json({"requests": requests, "answers": answers, "subscriptions": venue.streams.subscriptions})

    async def _price(self, request: web.Request) -> web.Response:
        engine = self._venue.engine
        try:
            move = msgspec.json.decode(await request.read(), type=MovePrice)
            market = engine.market(move.symbol)
        except VenueError:
            return _error(f"there is no symbol {move.symbol}; symbols are written like BTCUSDT")
        except msgspec.DecodeError as error:
            return _error(f'{error}; send {{"symbol": "BTCUSDT", "mid": "61000"}}')
        if not move.mid.is_finite() or not market.min_price < move.mid < market.max_price:
            return _error(f"mid is {move.mid}; it must be between {market.min_price} and {market.max_price}")
        engine.set_mid(self._now_ns(), move.symbol, move.mid)
        return self._told({})

    async def _transfer(self, request: web.Request) -> web.Response:
        engine = self._venue.engine
        try:
            move = msgspec.json.decode(await request.read(), type=Transfer)
        except msgspec.DecodeError as error:
            return _error(f'{error}; send {{"asset": "USDT", "amount": "-100"}}')
        assets = {asset for market in engine.markets.values() for asset in (market.base, market.quote)}
        if move.asset not in assets:
            return _error(f"asset is {move.asset!r}; there are {', '.join(sorted(assets))}")
        if not move.amount.is_finite() or move.amount != cut(move.amount):
            return _error(f"amount is {move.amount}; it must be a number with at most 8 decimals")
        if not engine.transfer(move.asset, move.amount):
            return _error(f"amount is {move.amount}; so much {move.asset} is not free")
        return self._told({})

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return _json(self._venue.faults.rules)

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self._venue.faults.set(msgspec.json.decode(await request.read()))
        except (FaultError, msgspec.DecodeError) as error:
            return _error(str(error))
        self._venue.hidden.clear()
        return _json(self._venue.faults.rules)

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._venue.faults.clear()
        self._venue.hidden.clear()
        return _json({})

    def _told(self, content: Any) -> web.Response:
        """Looking lets the market move on, and what is told must be true after a crash, too."""
        self._venue.save()
        return _json(content)

    def _now_ns(self) -> int:
        return self._venue.clock_ns()


def _order_row(order: Order) -> wire.Json:
    return {**wire.queried(order), "locked": wire.amount(order.locked)}


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _error(text: str) -> web.Response:
    return web.Response(status=_BAD_REQUEST, body=msgspec.json.encode({"error": text}), content_type="application/json")
