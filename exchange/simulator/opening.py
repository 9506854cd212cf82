"""How a market opens, and how a saved one goes on. Pure, like the engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from core.money import floor_to
from exchange.simulator.account import FeePlan
from exchange.simulator.matching import MatchingEngine, OriginRecord, Record
from exchange.simulator.symbols import COUNT_DEFAULT, QUOTE, Market
from exchange.simulator.symbols import markets as first_markets

SEED_DEFAULT: Final = 1
QUOTE_AMOUNT: Final = Decimal(100_000)
BASE_VALUE: Final = Decimal(20_000)
"""Of each base asset, in quote."""


class OpeningError(Exception):
    """A saved state does not fit what is asked for; the text says why and what to do."""


def open_market(
    *,
    seed: int = SEED_DEFAULT,
    now_ns: int,
    symbols: int = COUNT_DEFAULT,
    fees: FeePlan = FeePlan.MIXED,
    balances: Mapping[str, Decimal] | None = None,
) -> MatchingEngine:
    """A new venue with `symbols` markets. `balances` by asset replace the usual ones."""
    return carry_on([], seed=seed, now_ns=now_ns, symbols=symbols, fees=fees, balances=balances or {})


def carry_on(
    saved: list[Record],
    *,
    seed: int | None,
    now_ns: int,
    symbols: int,
    fees: FeePlan,
    balances: Mapping[str, Decimal],
) -> MatchingEngine:
    """The venue with these records, a new one if there are none. Raises `OpeningError`.

    `seed` None: the saved one. `balances` are for a new venue only; assets that a saved one lacks get the usual amount.
    """
    origin = next((record for record in saved if isinstance(record, OriginRecord)), None)
    if origin is not None and seed not in {None, origin.seed}:
        raise OpeningError(f"the state was begun with seed {origin.seed}, not {seed}; name that seed or another file")
    markets = first_markets(symbols)
    unknown = {name for record in saved if (name := getattr(record, "symbol", None)) and name not in markets}
    if unknown:
        raise OpeningError(f"the state knows {min(unknown)}, which the first {symbols} symbols leave out; ask for more")
    if origin is None:
        origin = OriginRecord(seed=SEED_DEFAULT if seed is None else seed, opened_ns=now_ns)
    engine = MatchingEngine(markets, origin, fees, {**_usual_balances(markets), **({} if saved else balances)})
    engine.restore(saved)
    return engine


def _usual_balances(markets: Mapping[str, Market]) -> dict[str, Decimal]:
    """Something of everything."""
    bases = {market.base: floor_to(BASE_VALUE / market.price, market.step) for market in markets.values()}
    return {QUOTE: QUOTE_AMOUNT, **bases}
