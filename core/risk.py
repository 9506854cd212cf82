"""The risk limits (K1): what is measured, against which setting, and for which side.

Evaluated inside the accepting transaction, where everything that was accepted before is seen: two wishes cannot slip
past a limit together. Every check that applies is recorded (`risk_limits_eval`), and a refusal names the limit.

| limit | value | blocks |
|---|---|---|
| `max_order_notional` | the order's quantity × price | both |
| `max_open_orders` | open intents, with this one | both |
| `max_exposure_pct` | (positions' value + quote money held, with this one) ÷ equity | buys |
| `max_positions` | symbols held or being bought, with this one | buys |
| `max_position_notional` | of this symbol: position's value + its open buys, with this one | buys |
| `max_daily_drawdown_pct` | (equity at the day's opening − equity now) ÷ equity at the day's opening | buys |
| `max_trades_per_day` | intents of the UTC day that traded or still may, with this one | buys |
| `symbol_cooldown` | seconds since the symbol last traded; 0 while an open intent buys it | buys |
| `cash_target` | free quote money that would be left | buys |
| `min_sell_profit_pct` | (price it will get at least ÷ average cost) − 1 | sells |

A replacement of a working intent's order (`core/replacing.py`) is measured by what it needs more than the intent holds
already; limits that count intents have counted it, and one that needs no more is stopped by nothing that limits growth.

A sale is what gets one out of a position, so what limits growth never stands in its way. Money is counted per quote
currency, symbols and intents over the whole account. A setting of 0 switches a limit off. Figures: `risk_figures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from core import events, holdings, risk_figures
from core.concern import Concern
from core.ids import NS_PER_S
from core.intent import Intent, Side
from core.market import MarketRules
from core.money import ONE, ZERO, text
from core.planning import OrderPlan, Refusal, reservation_for
from core.records import Position, RiskCheck, RiskFigures
from core.settings import RiskSettings
from core.unit_of_work import BookReader, UnitOfWork

PCT_GRID: Final = Decimal("0.000001")
"""Shares are quotients; they are told with so many digits, and compared before they are cut."""


AHEAD_NS: Final = 60 * NS_PER_S
"""A clock that is put right by less only makes a wait longer; one that was a year ahead must not block for a year."""


class Wish(NamedTuple):
    """A planned wish, and the book it meets."""

    book: BookReader
    figures: RiskFigures
    intent: Intent
    plan: OrderPlan
    rules: MarketRules
    now_ns: int
    reserved: Decimal
    """What it would hold; of a replacement, what it would hold more."""

    @property
    def position(self) -> Position:
        return self.book.position(self.rules.symbol) or Position(symbol=self.rules.symbol)


class Limit(NamedTuple):
    name: str
    sides: tuple[Side, ...]
    measure: Callable[[Wish], Decimal | None]
    """None: there is nothing to compare."""
    is_floor: bool = False
    """The value must not be below the setting; else, not above."""
    of_growth: bool = False
    """It measures what is held more than before."""
    of_order: bool = False
    """It measures the order itself."""


def evaluate(
    book: BookReader, intent: Intent, plan: OrderPlan, rules: MarketRules, settings: RiskSettings, now_ns: int
) -> tuple[RiskCheck, ...]:
    """Every limit that is switched on and applies to this side, in the order of `LIMITS`."""
    figures = risk_figures.of(book, rules.quote, now_ns)
    reserved = reservation_for(intent.side, plan.qty, plan.price, rules)[1]
    return _checked(LIMITS, Wish(book, figures, intent, plan, rules, now_ns, reserved), settings)


def evaluate_replacement(
    book: BookReader,
    intent: Intent,
    plan: OrderPlan,
    rules: MarketRules,
    settings: RiskSettings,
    now_ns: int,
    *,
    more: Decimal,
) -> tuple[RiskCheck, ...]:
    """The same for a replacement that holds `more` than before, in the reservation's currency, and sends `plan`."""
    figures = risk_figures.of(book, rules.quote, now_ns)
    limits = tuple(limit for limit in LIMITS if limit.of_order or (limit.of_growth and more > 0))
    return _checked(limits, Wish(book, figures, intent, plan, rules, now_ns, more), settings)


def _checked(limits: Iterable[Limit], wish: Wish, settings: RiskSettings) -> tuple[RiskCheck, ...]:
    checks = []
    for limit in limits:
        threshold = threshold_of(settings, limit.name)
        value = limit.measure(wish) if threshold and wish.intent.side in limit.sides else None
        if value is not None:
            is_hit = value < threshold if limit.is_floor else value > threshold
            checks.append(RiskCheck(limit.name, _shown(value), threshold, is_hit))
    return tuple(checks)


def blocking(checks: tuple[RiskCheck, ...]) -> Refusal | None:
    """The first limit that is hit, as a refusal that names it (K2)."""
    hit = next((check for check in checks if check.hit), None)
    if hit is None:
        return None
    relation = "below" if hit.limit in _FLOORS else "above"
    return Refusal(
        f"RISK_{hit.limit.upper()}",
        f"risk limit {hit.limit}: {text(hit.value)} would be {relation} {text(hit.threshold)}; {REMEDIES[hit.limit]}",
    )


def judge(
    book: UnitOfWork, intent: Intent, rules: MarketRules, checks: tuple[RiskCheck, ...], now_ns: int
) -> Refusal | None:
    """Record what was looked at (K1); the refusal if a limit is hit."""
    refusal = blocking(checks)
    if checks:
        book.append_event(
            events.RiskLimitsEval(
                at_ns=now_ns,
                intent_id=None if refusal else intent.intent_id,
                symbol=rules.symbol,
                side=intent.side,
                idempotency_key=intent.idempotency_key,
                checks=checks,
            )
        )
    return refusal


def drawdown(book: BookReader, currency: str, settings: RiskSettings, now_ns: int) -> Concern | None:
    """Why trading must be narrowed: the day has lost too much in this quote currency. None: it has not."""
    most = settings.max_daily_drawdown_pct
    figures = risk_figures.of(book, currency, now_ns)
    lost = _drawdown(book, figures, currency)
    if not most or lost <= most:
        return None
    return Concern(
        code="DAILY_DRAWDOWN",
        text=f"{currency} has lost {text(_shown(lost))} of the day's opening equity, the limit is {text(most)}",
    )


def accept_drawdown(book: UnitOfWork, settings: RiskSettings, now_ns: int) -> None:
    """An operator lets trading go on: what has narrowed it was seen, and the day's loss is measured anew."""
    figures = book.risk_figures()
    for currency in figures.quotes if figures is not None else ():
        if drawdown(book, currency, settings, now_ns) is not None:
            risk_figures.forgive(book, currency, now_ns)


def threshold_of(settings: RiskSettings, name: str) -> Decimal:
    """A setting as a number: durations in seconds."""
    value = getattr(settings, name)
    return Decimal(value) / NS_PER_S if name == "symbol_cooldown" else Decimal(value)


def _shown(value: Decimal) -> Decimal:
    return value if value == value.to_integral_value() else value.quantize(PCT_GRID)


def _order_notional(wish: Wish) -> Decimal:
    return wish.plan.qty * wish.plan.price


def _open_orders(wish: Wish) -> Decimal:
    return Decimal(wish.book.open_count() + 1)


def _exposure(wish: Wish) -> Decimal:
    """Money that is held in the quote currency counts whole: what is filled tomorrow is exposed today."""
    quote = wish.rules.quote
    balance = wish.book.balance(quote)
    held = balance.reserved if balance else ZERO
    equity = risk_figures.equity(wish.book, wish.figures, quote)
    exposed = wish.figures.quotes[quote].positions_value + held + wish.reserved
    return exposed / equity if equity > 0 else ONE


def _positions(wish: Wish) -> Decimal:
    return Decimal(risk_figures.positions_with(wish.book, wish.figures, wish.rules.symbol))


def _position_notional(wish: Wish) -> Decimal:
    symbol = wish.rules.symbol
    buying = ZERO
    if symbol in wish.figures.buying:
        for record in wish.book.open_intents(symbol):
            held = wish.book.reservation(record.intent.intent_id)
            if record.intent.side is Side.BUY and held is not None:
                buying += held.amount
    return wish.position.value + buying + wish.reserved


def _drawdown_of_wish(wish: Wish) -> Decimal:
    return _drawdown(wish.book, wish.figures, wish.rules.quote)


def _drawdown(book: BookReader, figures: RiskFigures, currency: str) -> Decimal:
    """0 when nothing was lost; a share of the day's opening equity."""
    opening = figures.quotes[currency].opening_equity
    lost = opening - risk_figures.equity(book, figures, currency)
    return max(ZERO, lost / opening) if opening > 0 else ZERO


def _trades(wish: Wish) -> Decimal:
    return Decimal(wish.figures.trades + 1)


def _cooldown(wish: Wish) -> Decimal | None:
    """None: the symbol was never traded, or by a clock that was far ahead and is right again."""
    if wish.rules.symbol in wish.figures.buying:
        return ZERO
    traded_ns = wish.position.updated_ns
    if not traded_ns or traded_ns - wish.now_ns > AHEAD_NS:
        return None
    return Decimal(max(0, wish.now_ns - traded_ns)) / NS_PER_S


def _cash_left(wish: Wish) -> Decimal:
    return holdings.free(wish.book, wish.rules.quote) - wish.reserved


def _profit(wish: Wish) -> Decimal | None:
    """None: nothing of it was bought here, so nobody knows what it cost."""
    average_cost = wish.position.average_cost
    if not average_cost:
        return None
    return wish.plan.price / average_cost - ONE


BOTH: Final = (Side.BUY, Side.SELL)
BUYS: Final = (Side.BUY,)
SELLS: Final = (Side.SELL,)
LIMITS: Final = (
    Limit("max_order_notional", BOTH, _order_notional, of_order=True),
    Limit("max_open_orders", BOTH, _open_orders),
    Limit("max_exposure_pct", BUYS, _exposure, of_growth=True),
    Limit("max_positions", BUYS, _positions),
    Limit("max_position_notional", BUYS, _position_notional, of_growth=True),
    Limit("max_daily_drawdown_pct", BUYS, _drawdown_of_wish),
    Limit("max_trades_per_day", BUYS, _trades),
    Limit("symbol_cooldown", BUYS, _cooldown, is_floor=True),
    Limit("cash_target", BUYS, _cash_left, is_floor=True, of_growth=True),
    Limit("min_sell_profit_pct", SELLS, _profit, is_floor=True, of_order=True),
)
"""In the order in which they are looked at; the first that is hit names the refusal."""
_FLOORS: Final = frozenset(limit.name for limit in LIMITS if limit.is_floor)
REMEDIES: Final = {
    "max_order_notional": "split it, or raise the setting",
    "max_open_orders": "wait until some have ended, cancel some, or raise the setting",
    "max_exposure_pct": "ask for less, sell something, or raise the setting",
    "max_positions": "close a position first, or raise the setting",
    "max_position_notional": "ask for less, or raise the setting",
    "max_daily_drawdown_pct": "only sells are taken; look at what was lost, then `intentctl resume`",
    "max_trades_per_day": "wait for the next UTC day, or raise the setting",
    "symbol_cooldown": "wait, or lower the setting",
    "cash_target": "ask for less, or lower the setting",
    "min_sell_profit_pct": "ask for a higher price, or lower the setting",
}
"""What to do, by limit."""
