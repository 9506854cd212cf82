"""Bugs of the brakes: limits measured wrongly, a trading state that is told and not kept, sell-only that buys."""

from __future__ import annotations

from contextlib import ExitStack
from decimal import Decimal
from typing import Any

from actors.front_desk import FrontDesk
from core import departure, narrowing, private_data, risk, risk_figures
from core.account_watch import AccountWatch
from core.reports import QueryFailed
from tests.simulation.planted import bug, swap
from tests.simulation.weather import Mood


@bug("a limit is compared with what is there without the wish")
def limit_measured_without_the_wish(stack: ExitStack) -> None:
    swap(stack, risk, "LIMITS", tuple(map(_without_the_wish, risk.LIMITS)))


def _without_the_wish(limit: risk.Limit) -> risk.Limit:
    if limit.name != "max_open_orders":
        return limit
    return limit._replace(measure=lambda wish: Decimal(wish.book.open_count()))


@bug("only what is held already counts as a position, not what is being bought")
def what_is_being_bought_is_no_position(stack: ExitStack) -> None:
    swap(stack, risk_figures, "positions_with", lambda _book, figures, _symbol: figures.holding + 1)


@bug("an intent that ends is not taken out of the risk figures")
def ended_intent_stays_in_the_risk_figures(stack: ExitStack) -> None:
    swap(stack, risk_figures, "ended", lambda _book, _record, _now_ns: None)


@bug("a halt is told when it is durable, while orders are still on the wire")
def halt_told_before_the_wire_is_quiet(stack: ExitStack) -> None:
    def told(desk: Any, message: Any, _sender: Any) -> None:
        desk.hand_back(message.request_id, message)

    swap(stack, FrontDesk, "receiveMsg_TradingStateSet", told)


@bug("reducing lets working buys work")
def reducing_cancels_nothing(stack: ExitStack) -> None:
    swap(stack, narrowing, "after_change", lambda _book, *, cancel_open, now_ns: [])  # noqa: ARG005


@bug("a buy that waits leaves while the account's data is gone", Mood.BLIND)
def buys_while_private_data_is_gone(stack: ExitStack) -> None:
    look = departure.refusal

    def let_buys_pass(book: Any, attempt: Any, moment: Any) -> Any:
        refused = look(book, attempt, moment)
        return None if refused is not None and refused.code == private_data.GONE else refused

    swap(stack, departure, "refusal", let_buys_pass)


@bug("answers about the account are not heard")
def private_data_gone_though_they_are_read(stack: ExitStack) -> None:
    told = AccountWatch.told

    def deaf(watch: AccountWatch, asked_ns: int, _totals: Any, at: Any) -> Any:
        return told(watch, asked_ns, QueryFailed(reason="planted"), at)

    swap(stack, AccountWatch, "told", deaf)


@bug("the account's data is gone for good, whatever is read afterwards", Mood.BLIND)
def private_data_never_come_back(stack: ExitStack) -> None:
    told = AccountWatch.told

    def forget(watch: AccountWatch, asked_ns: int, totals: Any, at: Any) -> Any:
        return [] if watch._is_gone else told(watch, asked_ns, totals, at)

    swap(stack, AccountWatch, "told", forget)
