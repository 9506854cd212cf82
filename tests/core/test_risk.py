"""The risk limits: what each measures, whom it stops, and that nothing slips past."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import events, risk, risk_figures
from core.book import OpeningOutcome, OpeningResult, open_intent
from core.event_streams import AUDIT_STREAM, stream_of
from core.intent import IntentRequest, Side
from core.planning import Refusal
from core.records import RiskCheck
from core.reports import OrderStatus
from core.settings import UNLIMITED, RiskSettings, from_mapping
from tests.builders import SECOND, T0, Desk, dec, not_placed, opening, quote, request, rules, sell, snapshot

DAY_NS = risk_figures.DAY_NS


def desk(**limits: Any) -> Desk:
    """10 000 USDT and a bitcoin, and these limits alone."""
    plain = dict.fromkeys(RiskSettings.__struct_fields__, 0)
    return Desk(limits=from_mapping({"risk": plain | limits}).risk)


def refused(result: OpeningResult) -> Refusal:
    assert result.outcome is OpeningOutcome.REFUSED, result
    assert result.refusal is not None
    return result.refusal


def checks(at: Desk) -> list[RiskCheck]:
    """Of the latest wish."""
    told: list[events.RiskLimitsEval] = at.events(events.RiskLimitsEval)
    return list(told[-1].checks) if told else []


def test_the_defaults_are_those_of_the_specification() -> None:
    """K1 names them."""
    shipped = RiskSettings()
    assert (
        shipped.max_exposure_pct,
        shipped.max_positions,
        shipped.max_daily_drawdown_pct,
        shipped.max_trades_per_day,
    ) == (dec("0.80"), 10, dec("0.08"), 120)


def test_every_setting_has_a_limit_and_a_remedy() -> None:
    """None of the section is read and then ignored."""
    names = [limit.name for limit in risk.LIMITS]
    assert sorted(names) == sorted(RiskSettings.__struct_fields__) == sorted(risk.REMEDIES)


WISHES: dict[str, tuple[Any, list[IntentRequest], IntentRequest, str]] = {
    # limit: (setting, wishes that are filled before, the wish that it stops, the value that it is stopped with)
    "max_order_notional": (499, [], request(), "500"),
    "max_open_orders": (1, [], request(key="second"), "2"),
    "max_exposure_pct": ("0.05", [], request(), "0.05005"),
    "max_positions": (1, [], request(key="other"), "2"),
    "max_position_notional": (900, [request(key="first", qty=dec("0.01"))], request(), "1000.4"),
    "max_trades_per_day": (1, [request(key="first")], request(), "2"),
    "symbol_cooldown": ("60s", [request(key="first")], request(), "0"),
    "cash_target": (9_600, [], request(), "9499.5"),
    "min_sell_profit_pct": ("0.01", [request(key="first")], sell(), "-0.0002"),
}


@pytest.mark.parametrize("name", WISHES)
def test_a_limit_stops_what_is_beyond_it(name: str) -> None:
    """By name, with the value and the setting; without the limit the same wish is accepted."""
    setting, before, wish, value = WISHES[name]
    at = busy_desk(name, setting, before)
    refusal = refused(at.submit(wish))
    assert refusal.code == f"RISK_{name.upper()}"
    assert f"risk limit {name}: {value} would be" in refusal.reason
    (hit,) = [check for check in checks(at) if check.hit]
    assert (hit.limit, hit.value) == (name, dec(value))
    assert busy_desk(name, 0, before).submit(wish).outcome is OpeningOutcome.ACCEPTED


@pytest.mark.parametrize("name", sorted(WISHES.keys() - {"symbol_cooldown", "min_sell_profit_pct"}))
def test_what_is_just_within_a_limit_is_accepted(name: str) -> None:
    """A limit is what may be reached."""
    _, before, wish, value = WISHES[name]
    reached = dec(value) if "." in value else int(value)
    assert busy_desk(name, reached, before).submit(wish).outcome is OpeningOutcome.ACCEPTED


def test_a_symbol_may_be_bought_again_when_it_has_cooled_down() -> None:
    """After the whole wait, not a moment before; one that never traded need not wait."""
    at = desk(symbol_cooldown="60s")
    at.filled(request(key="first"))
    at.later(59.9)
    assert refused(at.submit(request(key="k1"))).code == "RISK_SYMBOL_COOLDOWN"
    at.later(0.1)
    assert at.submit(request(key="k2")).outcome is OpeningOutcome.ACCEPTED


@pytest.mark.parametrize(("set_back_s", "waits"), [(30, True), (86_400, False)])
def test_a_clock_that_was_ahead_does_not_block_a_symbol_until_then(set_back_s: int, *, waits: bool) -> None:
    """Put right by a little, the wait is longer by that; put right by a day, the symbol is as if never traded."""
    at = desk(symbol_cooldown="60s")
    at.filled(request(key="first"))
    at.later(-set_back_s)
    again = at.submit(request(key="again"))
    assert (refused(again).code == "RISK_SYMBOL_COOLDOWN") if waits else again.outcome is OpeningOutcome.ACCEPTED


def test_a_sale_must_bring_what_it_cost_and_the_profit() -> None:
    """Measured at what it gets at least."""
    at = desk(min_sell_profit_pct="0.01")
    at.filled(request(key="first"))
    dear = sell(limit_price=dec("50499.99"), key="k1")
    assert refused(at.submit(dear)).code == "RISK_MIN_SELL_PROFIT_PCT"
    assert at.submit(sell(limit_price=dec("50500"), key="k2", qty=dec("0.005"))).outcome is OpeningOutcome.ACCEPTED
    high = quote("50500", "50510")  # a sale at the market may get the collar's price, and no better one
    assert refused(at.submit(sell(key="k3", qty=dec("0.005")), high)).code == "RISK_MIN_SELL_PROFIT_PCT"


def busy_desk(name: str, setting: Any, before: list[IntentRequest]) -> Desk:
    """With this limit, and what has happened before."""
    at = desk(**{name: setting})
    for earlier in before:
        at.filled(earlier)
    if name == "max_open_orders":
        at.accept(request(key="open"))
    if name == "max_positions":
        hold_something_else(at)
    return at


def hold_something_else(at: Desk) -> None:
    market = at.market
    at.market = rules(symbol="ETH/USDT", base="ETH")
    at.filled(request(symbol="ETH/USDT", key="eth"))
    at.market = market


def test_a_sale_is_stopped_by_nothing_that_limits_growth() -> None:
    """One must always get out: every limit on buys is over, and the sale is accepted."""
    at = Desk(USDT="10000", BTC="1")
    at.filled(request(key="first"))
    at.limits = from_mapping(
        {
            "risk": {
                "max_exposure_pct": "0.001",
                "max_positions": 1,
                "max_position_notional": 1,
                "max_daily_drawdown_pct": "0.0001",
                "max_trades_per_day": 1,
                "symbol_cooldown": "1h",
                "cash_target": 1_000_000,
            }
        }
    ).risk
    assert at.submit(request(key="no")).outcome is OpeningOutcome.REFUSED
    assert at.submit(sell(key="out")).outcome is OpeningOutcome.ACCEPTED


def test_money_that_is_being_spent_is_exposed_already() -> None:
    """Two buys in one commit do not slip past together, though nothing is filled yet."""
    at = desk(max_exposure_pct="0.08")
    at.accept(request(key="k1"))
    assert refused(at.submit(request(key="k2"))).code == "RISK_MAX_EXPOSURE_PCT"


def test_a_symbol_that_is_being_bought_is_a_position_already() -> None:
    """And its second buy is no second position."""
    at = desk(max_positions=1)
    at.accept(request(key="k1"))
    at.accept(request(key="k2"))
    at.market = rules(symbol="ETH/USDT", base="ETH")
    assert refused(at.submit(request(symbol="ETH/USDT", key="k3"))).code == "RISK_MAX_POSITIONS"


def test_what_is_sold_or_never_bought_is_a_position_no_longer() -> None:
    """Closed, or ended without a fill: there is room again."""
    at = desk(max_positions=1)
    first = at.accept(request(key="k1"))
    at.apply(not_placed(first))
    hold_something_else(at)
    assert refused(at.submit(request(key="k2"))).code == "RISK_MAX_POSITIONS"
    at.market = rules(symbol="ETH/USDT", base="ETH")
    at.filled(sell(symbol="ETH/USDT", key="out"))
    at.market = rules()
    assert at.submit(request(key="k3")).outcome is OpeningOutcome.ACCEPTED


def test_what_never_traded_is_no_trade_of_the_day() -> None:
    """An intent that ended with nothing filled gives its place back; one that fills late takes it again."""
    at = desk(max_trades_per_day=1)
    first = at.accept(request(key="k1"))
    assert refused(at.submit(request(key="k2"))).code == "RISK_MAX_TRADES_PER_DAY"
    at.apply(snapshot(first, OrderStatus.CANCELED))
    at.later()
    second = at.accept(request(key="k3"))
    at.apply(snapshot(second, OrderStatus.CANCELED))
    at.apply(snapshot(first, OrderStatus.CANCELED, [at.trade("0.004")]))
    assert risk_figures.of(at.book, "USDT", at.now_ns).trades == 1


def test_a_day_ends_at_midnight_utc() -> None:
    """Trades and losses of yesterday count no more."""
    at = desk(max_trades_per_day=1, max_daily_drawdown_pct="0.01")
    at.filled(request(key="k1"))
    assert at.submit(request(key="k2")).outcome is OpeningOutcome.REFUSED
    at.now_ns = (T0 // DAY_NS + 1) * DAY_NS - 1
    assert at.submit(request(key="k3")).outcome is OpeningOutcome.REFUSED
    at.now_ns += 1
    assert at.submit(request(key="k4")).outcome is OpeningOutcome.ACCEPTED


def test_a_clock_that_is_set_back_opens_no_day_again() -> None:
    """Else the day's trades would be forgotten."""
    at = desk(max_trades_per_day=1)
    at.filled(request(key="k1"))
    at.now_ns -= DAY_NS
    assert refused(at.submit(request(key="k2"))).code == "RISK_MAX_TRADES_PER_DAY"


def test_the_loss_of_a_day_is_measured_at_the_latest_price() -> None:
    """10 000 at the opening; half a bitcoin, bought at 10 000, is worth 4 500 at the next quote: 5 % are lost."""
    at = desk(max_daily_drawdown_pct="0.04")
    at.filled(request(qty=dec("0.5"), limit_price=dec("10000"), key="k1"), quote("9999", "10000"))
    wish = request(qty=dec("0.01"), limit_price=dec("9001"), key="k2")
    refusal = refused(at.submit(wish, quote("9000", "9001")))
    assert refusal.code == "RISK_MAX_DAILY_DRAWDOWN_PCT"
    assert "0.05 would be above 0.04" in refusal.reason
    concern = risk.drawdown(at.book, "USDT", at.limits, at.now_ns)
    assert concern is not None
    assert (concern.code, "0.05" in concern.text) == ("DAILY_DRAWDOWN", True)
    with at.book.transaction() as unit:
        risk.accept_drawdown(unit, at.limits, at.now_ns)
    assert risk.drawdown(at.book, "USDT", at.limits, at.now_ns) is None


def test_a_gain_is_no_drawdown() -> None:
    """Less than nothing was lost."""
    at = desk(max_daily_drawdown_pct="0.01")
    at.filled(request(key="k1"))
    assert at.submit(request(key="k2", limit_price=dec("60000")), quote("59990", "60000")).outcome is (
        OpeningOutcome.ACCEPTED
    )


def test_each_check_is_recorded_with_the_wish_accepted_or_not() -> None:
    """Limit, value, threshold, hit; under the intent's id once there is an intent."""
    at = desk(max_open_orders=1, max_order_notional=1_000)
    accepted = at.accept(request(key="k1"))
    at.submit(request(key="k2"))
    first, second = at.events(events.RiskLimitsEval)
    assert first.intent_id == accepted.intent_id
    assert list(first.checks) == [
        RiskCheck("max_order_notional", dec(500), dec(1_000), hit=False),
        RiskCheck("max_open_orders", dec(1), dec(1), hit=False),
    ]
    assert (second.intent_id, [check.hit for check in second.checks]) == (None, [False, True])
    assert stream_of(first) == AUDIT_STREAM


def test_a_limit_that_is_switched_off_is_not_measured() -> None:
    """Nothing is recorded then."""
    at = Desk(limits=UNLIMITED)
    at.accept()
    assert checks(at) == []


def test_a_repeat_is_answered_before_any_limit() -> None:
    """What was accepted is not refused for what it has used up itself."""
    at = desk(max_open_orders=1)
    first = at.accept(request(key="k1"))
    at.later()
    again = at.submit(request(key="k1"))
    assert again.outcome is OpeningOutcome.DUPLICATE
    assert again.record is not None
    assert again.record.intent.intent_id == first.intent_id


@given(
    wishes=st.lists(
        st.tuples(
            st.sampled_from(["BTC/USDT", "ETH/USDT", "XRP/USDT", "ADA/USDT"]),
            st.sampled_from([Side.BUY, Side.BUY, Side.SELL]),
            st.integers(1, 40),
            st.sampled_from(["wait", "fill", "part", "fail"]),
        ),
        max_size=25,
    ),
    positions=st.integers(1, 3),
    orders=st.integers(1, 5),
    exposure=st.sampled_from(["0.1", "0.3", "0.8"]),
)
def test_no_limit_is_ever_exceeded(
    wishes: list[tuple[str, Side, int, str]], positions: int, orders: int, exposure: str
) -> None:
    """Whatever comes in whatever order: after every step, counted from the records, each limit holds."""
    at = Desk(USDT="10000", BTC="9", ETH="9", XRP="9", ADA="9")
    at.limits = from_mapping(
        {"risk": {"max_positions": positions, "max_open_orders": orders, "max_exposure_pct": exposure}}
    ).risk
    for number, (symbol, side, thousandths, fate) in enumerate(wishes):
        at.later()
        at.market = rules(symbol=symbol, base=symbol.split("/")[0])
        wish = request(
            symbol=symbol,
            side=side,
            qty=Decimal(thousandths) / 1_000,
            limit_price=dec("50000" if side is Side.BUY else "49990"),
            key=str(number),
        )
        result = at.submit(wish)
        attempt = result.attempt
        if attempt is not None and fate == "fail":
            at.apply(not_placed(attempt))
        elif attempt is not None and fate != "wait":
            qty = attempt.qty if fate == "fill" else attempt.qty / 2
            status = OrderStatus.FILLED if fate == "fill" else OrderStatus.CANCELED
            at.apply(snapshot(attempt, status, [at.trade(str(qty), str(attempt.price))]))
        _check_limits(at, positions, orders, Decimal(exposure))


def _check_limits(at: Desk, positions: int, orders: int, exposure: Decimal) -> None:
    book = at.book
    open_intents = list(book.open_intents())
    buying = {record.intent.symbol for record in open_intents if record.intent.side is Side.BUY}
    held = {position.symbol for position in book.positions() if position.qty > position.dust_qty}
    worth = sum((position.qty * position.last_price for position in book.positions()), Decimal(0))
    balance = book.balance("USDT")
    assert balance is not None
    assert len(open_intents) <= orders
    assert len(buying | held) <= positions
    fee_room = Decimal("0.001")
    """What is sold later loses a fee, and so the equity; it was within the limit when it was bought."""
    assert (worth + balance.reserved) / (balance.total + worth) <= exposure + fee_room
    assert risk_figures.violations(book) == []


def test_a_book_that_is_older_than_the_figures_is_counted_once() -> None:
    """Its positions and open buys are what the limits see at the first wish."""
    at = desk(max_positions=1)
    at.filled(request(key="k1"))
    at.accept(request(key="k2"))
    kept = at.book.risk_figures()
    at.book._tables["standing"].pop("risk")
    counted = risk_figures.of(at.book, "USDT", at.now_ns)
    assert kept is not None
    assert (counted.holding, counted.buying) == (kept.holding, kept.buying)
    assert counted.quotes["USDT"].positions_value == kept.quotes["USDT"].positions_value
    at.now_ns += SECOND
    at.market = rules(symbol="ETH/USDT", base="ETH")
    assert refused(at.submit(request(symbol="ETH/USDT", key="k3"))).code == "RISK_MAX_POSITIONS"


def test_a_conversion_is_no_result_of_the_day() -> None:
    """Bitcoin that buys ether is sold for dollars: the account holds less of it, and has lost nothing."""
    narrow = from_mapping({"risk": {"max_daily_drawdown_pct": "0.05"}, "router": {"min_notional": "0.0001"}})
    at = Desk(limits=narrow.risk, settings=narrow.router, USDT="10000", BTC="1", ETH="5")
    at.market = rules(symbol="ETH/BTC", base="ETH", quote="BTC", min_notional="0.0001")
    at.filled(request(symbol="ETH/BTC", qty=dec("0.1"), limit_price=dec("0.05"), key="e1"), quote("0.0499", "0.05"))
    at.market = rules()
    at.filled(sell(qty=dec("0.5"), key="s1"))
    assert risk.drawdown(at.book, "BTC", at.limits, at.now_ns) is None
    at.market = rules(symbol="ETH/BTC", base="ETH", quote="BTC", min_notional="0.0001")
    wish = request(symbol="ETH/BTC", qty=dec("0.1"), limit_price=dec("0.05"), key="e2")
    assert at.submit(wish, quote("0.0499", "0.05")).outcome is OpeningOutcome.ACCEPTED


def test_a_clock_that_was_far_ahead_does_not_keep_its_day() -> None:
    """A wrong year at one wish; when the clock is right again, days go on as usual."""
    at = desk(max_trades_per_day=1)
    at.now_ns += 300 * DAY_NS
    at.filled(request(key="k1"))
    at.now_ns -= 300 * DAY_NS
    assert at.submit(request(key="k2")).outcome is OpeningOutcome.ACCEPTED


def test_a_wish_of_yesterday_that_is_accepted_today_gives_todays_place_back() -> None:
    """Its router's clock made it before midnight, the book counted it after."""
    at = desk(max_trades_per_day=1)
    at.now_ns = (T0 // DAY_NS + 1) * DAY_NS
    late = opening(request(key="k1"), at_ns=at.now_ns - 1)
    with at.book.transaction() as unit:
        first = open_intent(unit, late, at.limits, at.now_ns).attempt
    assert first is not None
    at.apply(snapshot(first, OrderStatus.CANCELED))
    assert at.submit(request(key="k2")).outcome is OpeningOutcome.ACCEPTED
