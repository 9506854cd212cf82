"""Made-up intents and their fills, for books that no venue has seen: the facts go through the real rules of `core/`.

Intent number n is always the same. Symbols take turns, buys and sells alternate, each fills at once in one trade with a
fee of 0.1 % in what was received, as at Binance. Times are in the past, one intent a second.
"""

from __future__ import annotations

from decimal import Decimal

from benchmarks.errors import BenchmarkFailed
from benchmarks.venue import NOTIONAL, symbol_of
from core import ids
from core.book import Opening
from core.ids import NS_PER_MS, NS_PER_S, ExchangeOrderId, TradeId
from core.intent import Intent, IntentRequest, Kind, MarketSnapshot, Side, idempotency_key, payload
from core.market import MarketRules, Quote
from core.money import ceil_to, floor_to
from core.planning import OrderPlan, plan_first
from core.records import AttemptRecord
from core.reports import OrderSnapshot, OrderStatus, Trade
from core.settings import RouterSettings
from exchange.simulator.symbols import Market, markets

FEE = Decimal("0.001")
EVERY_NS = NS_PER_S
TAKES_NS = 25 * NS_PER_MS
QUOTE_GRID = Decimal("1e-8")


class Wishes:
    """The stream of intents that ends at `until_ns`, with `count` of them in all."""

    def __init__(self, symbols: int, count: int, until_ns: int) -> None:
        self._rules = [_rules(market) for market in markets(symbols).values()]
        self._prices = {
            rules.symbol: market.price for rules, market in zip(self._rules, markets(symbols).values(), strict=True)
        }
        self._began_ns = until_ns - count * EVERY_NS
        self._settings = RouterSettings()

    def at_ns(self, number: int) -> int:
        """When intent `number` was created."""
        return self._began_ns + number * EVERY_NS

    def opening(self, number: int) -> Opening:
        """What the router would ask the portfolio to open."""
        at_ns, rules = self.at_ns(number), self._rules[number % len(self._rules)]
        price, settings = self._prices[rules.symbol], self._settings
        side = Side.SELL if number // len(self._rules) % 2 else Side.BUY
        qty = max(ceil_to(NOTIONAL / price, rules.step), rules.min_qty)
        wish = IntentRequest(symbol=rules.symbol, side=side, kind=Kind.MARKET, qty=qty, key=f"bench-{number}")
        plan = plan_first(wish, rules, Quote(price - rules.tick, price, at_ns), settings)
        if not isinstance(plan, OrderPlan):
            raise BenchmarkFailed(f"intent {number} of the made-up book: {plan.reason}")
        return Opening(
            intent=_intent(wish, at_ns, price, rules),
            payload_hash=payload(wish),
            alternate_key=None,
            plan=plan,
            rules=rules,
            min_notional=settings.min_notional,
            retries_max=settings.max_retries,
            backoff_ms=settings.backoff_ms,
        )

    def fill(self, number: int, attempt: AttemptRecord) -> OrderSnapshot:
        """What the venue would answer to the attempt."""
        price = self._prices[attempt.symbol]
        base, quote = attempt.symbol.split("/")
        quote_qty = floor_to(attempt.qty * price, QUOTE_GRID)
        received = (attempt.qty, base) if attempt.side is Side.BUY else (quote_qty, quote)
        order_id = ExchangeOrderId(str(1_000_000 + number))
        trade = Trade(
            trade_id=TradeId(str(2_000_000 + number)),
            exchange_order_id=order_id,
            qty=attempt.qty,
            price=price,
            quote_qty=quote_qty,
            fee=floor_to(received[0] * FEE, QUOTE_GRID),
            fee_currency=received[1],
            maker=False,
            venue_ns=self.at_ns(number) + TAKES_NS,
        )
        return OrderSnapshot(
            client_order_id=attempt.client_order_id,
            exchange_order_id=order_id,
            status=OrderStatus.FILLED,
            venue_status="FILLED",
            filled_qty=attempt.qty,
            trades=(trade,),
            source="placement",
        )


def _intent(wish: IntentRequest, at_ns: int, price: Decimal, rules: MarketRules) -> Intent:
    content = payload(wish)
    key = idempotency_key(wish, content, at_ns)
    return Intent(
        intent_id=ids.intent_id(at_ns, wish.symbol, key, content),
        idempotency_key=key,
        symbol=wish.symbol,
        side=wish.side,
        kind=wish.kind,
        tif=wish.tif,
        created_ns=at_ns,
        qty=wish.qty,
        source="benchmarks",
        market_snapshot=MarketSnapshot(price - rules.tick, price, at_ns),
    )


def _rules(market: Market) -> MarketRules:
    """As `exchange/filters.py` reads them from the simulator."""
    return MarketRules(
        symbol=symbol_of(market),
        base=market.base,
        quote=market.quote,
        tick=market.tick,
        step=market.step,
        min_qty=market.min_qty,
        max_qty=market.max_qty,
        min_price=market.min_price,
        max_price=market.max_price,
        min_notional=market.min_notional,
        max_notional=market.max_notional,
        taker_fee=FEE,
    )
