"""The synthetic market: it moves mildly, is never crossed, and has the liquidity that the documentation promises."""

from __future__ import annotations

from decimal import Decimal
from statistics import pstdev

import pytest

from exchange.simulator.book import CATCH_UP_TICKS_MAX, SyntheticBook
from exchange.simulator.dice import key_of
from exchange.simulator.orders import Side
from exchange.simulator.symbols import QUOTE, markets

ALL = markets(200)


def book(symbol: str, seed: int = 1) -> SyntheticBook:
    return SyntheticBook(ALL[symbol], key_of(seed, symbol))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "XRPUSDT", "DOGEUSDT"])
def test_prices_move_by_a_few_basis_points_a_second(symbol: str) -> None:
    """Over five ticks, one second, the mid moves by 1 to 3 basis points, standard deviation."""
    walk = book(symbol)
    moves = []
    for _ in range(2_000):
        before = walk.mid
        for _ in range(5):
            walk.step()
        moves.append(float(walk.mid / before - 1) * 10_000)
    assert 1 < pstdev(moves) < 3
    assert max(map(abs, moves)) < 10


@pytest.mark.parametrize("symbol", list(ALL))
def test_the_book_is_never_crossed_and_on_the_grid(symbol: str) -> None:
    """Bids fall, asks rise, the best bid is below the best ask, all on tick and step."""
    walk, market = book(symbol), ALL[symbol]
    for _ in range(20):
        walk.step()
        bids, asks = list(walk.levels(Side.BUY)), list(walk.levels(Side.SELL))
        assert bids[0].price < asks[0].price
        assert [level.price for level in bids] == sorted((level.price for level in bids), reverse=True)
        assert [level.price for level in asks] == sorted(level.price for level in asks)
        assert all(level.price % market.tick == 0 and level.qty % market.step == 0 for level in bids + asks)


def test_days_of_walking_stay_near_the_opening_price() -> None:
    """The pull keeps a walk of 50 hours within some percent."""
    walk = book("BTCUSDT")
    for _ in range(900_000):
        walk.step()
    assert abs(walk.mid / 60_000 - 1) < Decimal("0.08")


def test_a_usual_order_fills_within_a_collar_of_20_basis_points() -> None:
    """There are always some thousand USDT within the collar, and never 200 000."""
    walk = book("ETHUSDT")
    for _ in range(200):
        walk.step()
        collar = walk.best_ask * Decimal("1.002")
        reachable = sum(level.price * level.qty for level in walk.levels(Side.SELL) if level.price <= collar)
        assert 10_000 < reachable < 200_000


def test_a_long_silence_is_skipped() -> None:
    """After days nobody waits for every tick to be walked."""
    walk = book("BTCUSDT")
    walk.skip_silence(10_000_000)
    assert walk.tick == 10_000_000 - CATCH_UP_TICKS_MAX


def test_two_hundred_markets_are_well_formed() -> None:
    """Names are unique, quoted in USDT, and amounts of quote have at most 8 decimals."""
    assert len(ALL) == 200
    for symbol, market in ALL.items():
        assert symbol == market.base + QUOTE
        assert market.price % market.tick == 0
        assert market.tick * market.step >= Decimal("1e-8")
        assert market.min_notional < market.price * market.market_max_qty
