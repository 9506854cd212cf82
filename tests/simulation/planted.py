"""Bugs to be found: each is a small wrong turn of the daemon, switched on within a context and nowhere else.

They are the mistakes that others have made (design, facts: "How others failed") and those that our own rules forbid. If
the simulation overlooks one of them, it would overlook the real thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any, Final
from unittest.mock import patch

import msgspec
from msgspec.structs import replace

import core.book
import core.outcomes
import exchange.client
from actors.gateway import Gateway
from actors.portfolio import Portfolio
from actors.reconciler import Reconciler
from core import balances, drift, evidence, fencing, holdings, inquiry, searching, settling, trading
from core import effects as do
from core.balances import Balances
from core.comparing import Comparisons
from core.concern import Concern
from core.evidence import Case, Testimony, Undecided
from core.ids import ClientOrderId
from core.inquiry import Inquiry
from core.intent import Side
from core.money import ZERO
from core.planning import reservation_for
from core.rates import Rates
from core.records import ExternalOrder
from core.reports import NotPlaced, OrderAbsent, OrderSnapshot, OrderStatus, QueryFailed
from core.routing import Router
from core.sweeping import Swept
from exchange import outcomes
from messages.venue import CancelOrder, PlaceOrder
from tests.simulation.weather import Mood


class Bug:
    """A wrong turn. `plant` enters the patches that make it into the stack that it is given."""

    def __init__(self, what: str, plant: Callable[[ExitStack], None], mood: Mood) -> None:
        self.what = what
        self.mood = mood
        """Of the runs in which it is looked for."""
        self._plant = plant

    @contextmanager
    def planted(self) -> Iterator[None]:
        with ExitStack() as stack:
            self._plant(stack)
            yield


BUGS: Final[dict[str, Bug]] = {}


def bug(what: str, mood: Mood = Mood.USUAL) -> Callable[[Callable[[ExitStack], None]], None]:
    def note(plant: Callable[[ExitStack], None]) -> None:
        BUGS[plant.__name__.strip("_").replace("_", " ")] = Bug(what, plant, mood)

    return note


def swap(stack: ExitStack, owner: Any, name: str, new: Any) -> None:
    stack.enter_context(patch.object(owner, name, new))


def _refused(report: Any, code: str) -> NotPlaced:
    return NotPlaced(client_order_id=report.client_order_id, code=code, reason="planted", retryable=True)


@bug("a time-out is taken for a failure, and the order is sent again")
def resend_after_unknown(stack: ExitStack) -> None:
    def take_for_failed(book: Any, record: Any, attempt: Any, report: Any, now_ns: int) -> Any:
        return core.outcomes._apply_not_placed(book, record, attempt, _refused(report, "Timeout"), now_ns)

    swap(stack, core.outcomes, "_apply_unknown", take_for_failed)


@bug("whatever the venue answers to a cancel, the order is taken to be gone")
def release_on_cancel_acknowledgement(stack: ExitStack) -> None:
    def believe(router: Router, client_order_id: Any) -> list[do.Effect]:
        wanted = (attempt for _, attempt in router.live.values() if attempt.client_order_id == client_order_id)
        attempt = next(wanted, None)
        if attempt is None or attempt.exchange_order_id is None:
            return []
        canceled = OrderSnapshot(
            client_order_id=client_order_id,
            exchange_order_id=attempt.exchange_order_id,
            status=OrderStatus.CANCELED,
            venue_status="CANCELED",
            filled_qty=attempt.filled_qty,
            trades=(),
            source="lookup",
        )
        return [do.Apply(canceled)]

    swap(stack, Router, "cancel_answered", believe)


@bug("a trade that is reported again is booked again")
def skip_trade_deduplication(stack: ExitStack) -> None:
    def book_all(snapshot: Any) -> Decimal:
        for trade in snapshot.report.trades:
            snapshot._book_one(trade)
        return sum((trade.qty for trade in snapshot.report.trades), ZERO)

    swap(stack, core.outcomes._Snapshot, "_book_trades", book_all)


@bug("one witness who does not see the order is proof enough, at once")
def absence_taken_as_proof(stack: ExitStack) -> None:
    def believe(case: Case, said: Testimony) -> Any:
        seen = evidence.sightings(case.attempt, said)
        answers = (said.order, said.open_orders, said.recent_orders, said.trades)
        if not seen and all(answer is None for answer in answers):
            return Undecided("nobody has answered")
        return seen or msgspec.structs.replace(case, last_sent_ns=0).proven(said.asked_ns)

    swap(stack, searching, "weigh", believe)


@bug("answers leave the portfolio before the commit")
def answer_before_commit(stack: ExitStack) -> None:
    within_for = Portfolio.within_for

    def hasty(portfolio: Portfolio, receiver_of: Any, step: Any) -> None:
        within_for(portfolio, receiver_of, step)
        told, portfolio.answers = portfolio.answers, []
        for address, answer in told:
            portfolio.send(address, answer)

    swap(stack, Portfolio, "within_for", hasty)


@bug("orders leave for the gateway before the commit")
def send_before_commit(stack: ExitStack) -> None:
    commit = Portfolio.commit

    def hasty(portfolio: Portfolio) -> None:
        leaving, portfolio.leaving = portfolio.leaving, []
        for attempt in leaving:
            portfolio.send(portfolio.gateway, PlaceOrder(attempt=attempt))
        commit(portfolio)

    swap(stack, Portfolio, "commit", hasty)


@bug("a buy reserves the price without the fee")
def fee_left_out_of_the_reservation(stack: ExitStack) -> None:
    whole = reservation_for

    def without(side: Side, qty: Decimal, worst_price: Decimal, rules: Any) -> tuple[str, Decimal]:
        return whole(side, qty, worst_price, replace(rules, taker_fee=ZERO))

    swap(stack, core.book, "reservation_for", without)


@bug("a fill that comes after the end is not booked")
def late_fill_ignored(stack: ExitStack) -> None:
    book_trades = core.outcomes._Snapshot._book_trades
    swap(
        stack,
        core.outcomes._Snapshot,
        "_book_trades",
        lambda snapshot: ZERO if snapshot.over_before else book_trades(snapshot),
    )


@bug("what was on its way when a part died is dropped as never sent")
def stale_intent_dropped_though_sent(stack: ExitStack) -> None:
    def drop(book: Any, record: Any, attempt: Any, report: Any, now_ns: int) -> Any:
        if "was started while" in report.reason:
            stale = replace(_refused(report, "STALE"), retryable=False)
            return core.outcomes._apply_not_placed(book, record, attempt, stale, now_ns)
        return apply_unknown(book, record, attempt, report, now_ns)

    apply_unknown = core.outcomes._apply_unknown
    swap(stack, core.outcomes, "_apply_unknown", drop)


@bug("nobody looks at the epoch", Mood.OUTLIVED)
def second_epoch_may_send(stack: ExitStack) -> None:
    blocked = Gateway.blocked

    def lenient(gateway: Gateway, attempt: Any) -> NotPlaced | None:
        refused = blocked(gateway, attempt)
        return None if refused is not None and refused.code == "FENCED" else refused

    swap(stack, Gateway, "blocked", lenient)
    swap(stack, fencing, "check", lambda _book, _mine: None)


@bug("a retry asks for the whole quantity again")
def retry_of_the_full_quantity(stack: ExitStack) -> None:
    send = core.book._send

    def whole(book: Any, record: Any, plan: Any, now_ns: int) -> Any:
        return send(book, record, replace(plan, qty=record.qty), now_ns)

    swap(stack, core.book, "_send", whole)


@bug("an order is over when the venue calls it so, whatever trades are missing")
def the_status_word_is_believed(stack: ExitStack) -> None:
    end_or_follow = core.outcomes._Snapshot._end_or_follow

    def believe(snapshot: Any) -> None:
        snapshot.attempt = replace(snapshot.attempt, venue_filled_qty=snapshot.attempt.filled_qty)
        end_or_follow(snapshot)

    swap(stack, core.outcomes._Snapshot, "_end_or_follow", believe)


@bug("a key is forgotten, so a client that asks again gets a second intent")
def key_forgotten(stack: ExitStack) -> None:
    find_known = core.book.find_known

    def forgetful(book: Any, key: Any, alternate_key: Any, created_ns: int) -> Any:
        known = find_known(book, key, alternate_key, created_ns)
        return known if known is not None and created_ns - known.created_ns < 1_000_000_000 else None

    swap(stack, core.book, "find_known", forgetful)


@bug("a placement that is delivered twice is sent twice")
def placement_sent_twice(stack: ExitStack) -> None:
    place = Gateway.receiveMsg_PlaceOrder

    def forgetful(gateway: Gateway, message: Any, sender: Any) -> None:
        gateway.handed.clear()
        place(gateway, message, sender)

    swap(stack, Gateway, "receiveMsg_PlaceOrder", forgetful)


@bug("a question that fails is taken for the answer that there is no such order")
def failed_query_taken_for_absence(stack: ExitStack) -> None:
    def absent(_error: Any, client_order_id: Any, _text: str) -> OrderAbsent:
        return OrderAbsent(client_order_id=client_order_id)

    def believe(case: Case, said: Testimony) -> Any:
        seen = evidence.sightings(case.attempt, said)
        if seen or not isinstance(said.order, OrderAbsent):
            return seen or Undecided("it was not looked up")
        return msgspec.structs.replace(case, last_sent_ns=0).proven(said.asked_ns)

    swap(stack, searching, "weigh", believe)
    swap(stack, outcomes, "lookup_failure", absent)


@bug("nobody keeps to the venue's limits, nor listens when it says that there were too many requests")
def asking_on_beyond_the_limits(stack: ExitStack) -> None:
    swap(stack, Rates, "_too_heavy", lambda *_: None)
    swap(stack, Rates, "_stopped", lambda *_: None)


@bug("a server error is taken for proof that nothing was placed")
def server_error_taken_as_definite(stack: ExitStack) -> None:
    swap(stack, exchange.client, "SERVER_ERRORS_FROM", 1_000)
    swap(stack, outcomes, "_is_definite", lambda _error: True)


@bug("an unknown outcome releases what was held for it")
def unknown_releases_its_money(stack: ExitStack) -> None:
    apply_unknown = core.outcomes._apply_unknown

    def careless(book: Any, record: Any, attempt: Any, report: Any, now_ns: int) -> Any:
        after = apply_unknown(book, record, attempt, report, now_ns)
        holdings.release(book, after.intent.intent_id)
        return after

    swap(stack, core.outcomes, "_apply_unknown", careless)


@bug("a router that starts anew looks at none of its open intents")
def open_intents_forgotten_at_a_start(stack: ExitStack) -> None:
    swap(stack, Router, "resume", lambda _router, _records, _now_ns: [])
    swap(stack, Router, "compare", lambda _router, _records, _now_ns: [])


# ── the reconciler ────────────────────────────────────────────────────────────────────────────────────────────────────


@bug("the cursor of trades passes over what the book was only sent")
def cursor_passes_over_a_trade(stack: ExitStack) -> None:
    take = settling._Sorter.take

    def forgetful(sorter: Any, trade: Any, *, is_old: bool) -> None:
        take(sorter, trade, is_old=is_old)
        sorter.last = trade

    swap(stack, settling._Sorter, "take", forgetful)
    swap(stack, settling, "_is_kept", lambda *_: True)


@bug("the cursor of trades does not wait for those that are reported late", Mood.RESTLESS)
def cursor_does_not_wait(stack: ExitStack) -> None:
    take = settling._Sorter.take
    swap(stack, settling._Sorter, "take", lambda sorter, trade, **_: take(sorter, trade, is_old=True))


@bug("a list that was not answered is taken for an empty one")
def failed_list_taken_for_an_empty_one(stack: ExitStack) -> None:
    answered = Inquiry.answered

    def believe(asked: Inquiry, purpose: str, answer: Any, *, complete: bool = True) -> Any:
        if isinstance(answer, QueryFailed):
            question = asked.pending[purpose]
            empty: Any = {} if isinstance(question, inquiry.AskBalances) else ()
            answer = answer if isinstance(question, inquiry.AskOrder) else empty
            complete = True
        return answered(asked, purpose, answer, complete=complete)

    swap(stack, Inquiry, "answered", believe)


@bug("trades of somebody else's order are booked as those of our last one")
def external_trades_booked_as_ours(stack: ExitStack) -> None:
    owner_of = settling._Sorter._owner

    def grab(sorter: Any, order_id: Any) -> Any:
        owner = owner_of(sorter, order_id)
        ours = [each for each in sorter.book.all_attempts() if each.symbol == sorter.symbol]
        return owner if owner is not None or not ours else ours[-1]

    swap(stack, settling._Sorter, "_owner", grab)


@bug("an order that the book does not know is canceled")
def external_order_canceled(stack: ExitStack) -> None:
    listed = Reconciler.receiveMsg_OpenOrdersFetched

    def clean_up(reconciler: Reconciler, message: Any, sender: Any) -> None:
        with reconciler.store.snapshot() as view:
            some = next(iter(view.all_attempts()), None)
            for order in message.orders if some is not None and isinstance(message.orders, tuple) else ():
                if view.attempt_by_client_id(order.client_order_id) is None:
                    attempt = replace(some, symbol=order.symbol, client_order_id=order.client_order_id)
                    reconciler.send(reconciler.gateway, CancelOrder(attempt=attempt))
        listed(reconciler, message, sender)

    swap(stack, Reconciler, "receiveMsg_OpenOrdersFetched", clean_up)


@bug("a trade of an order without a name is somebody else's")
def nameless_taken_for_external(stack: ExitStack) -> None:
    def external(sorter: Any, order_id: Any) -> ExternalOrder:
        named = sorter.orders.get(order_id)
        name = named.client_order_id if named is not None else ClientOrderId("")
        order = ExternalOrder(
            symbol=sorter.symbol, exchange_order_id=order_id, client_order_id=name, seen_ns=sorter.now_ns
        )
        return sorter.external_orders.setdefault(order_id, order)

    swap(stack, settling._Sorter, "_named_external", external)


@bug("a trade by hand that is seen again is added up again")
def external_trade_counted_twice(stack: ExitStack) -> None:
    swap(stack, settling, "_is_kept", lambda book, symbol, trade_id: book.fill(symbol, trade_id) is not None)
    swap(stack, settling, "is_noted", lambda _book, _symbol, _trade_id: False)


@bug("trades by hand explain nothing")
def external_trades_taken_for_drift(stack: ExitStack) -> None:
    unexplained = drift.unexplained
    swap(stack, balances, "unexplained", lambda found, _external, known: unexplained(found, {}, known))


@bug("the first look at a difference is enough, whatever trades are on their way into the book")
def drift_seen_once_is_enough(stack: ExitStack) -> None:
    judge = Balances._judge

    def hasty(own: Balances, left: dict[str, Decimal], at: Any) -> Any:
        effects = judge(own, left, at)
        concern = Concern(code="BALANCE_DRIFT", text="seen once", drift=left)
        return effects + (own._alarm.raised(concern, drift.NARROWS_AT) if left else [])

    swap(stack, Balances, "_judge", hasty)


@bug("a difference of balances is told before the venue's reads have caught up")
def drift_told_too_early(stack: ExitStack) -> None:
    begin = Balances.__init__
    swap(stack, Balances, "__init__", lambda self, *args: begin(self, *args[:-1], 0))
    swap(stack, Swept, "is_clean", property(lambda _swept: True))


@bug("drift is told, and trading goes on")
def drift_never_tightens_trading(stack: ExitStack) -> None:
    swap(stack, Portfolio, "receiveMsg_TightenTrading", lambda _portfolio, _message, _sender: None)


@bug("what halted trading is told to operators alone")
def halted_trading_goes_on(stack: ExitStack) -> None:
    swap(stack, trading, "refusal", lambda _book, _side: None)


@bug("what an operator has accepted alarms again")
def accepted_drift_alarms_again(stack: ExitStack) -> None:
    swap(stack, drift, "accept", lambda _book: None)


@bug("an ended intent is done with when the trades of its symbol were read, whether or not it was compared")
def ended_intent_never_compared(stack: ExitStack) -> None:
    swap(stack, Comparisons, "_answered", lambda *_: [])
    told = Comparisons.catch_up

    def catch_up(own: Comparisons, at: Any) -> None:
        told(own, at)
        for ended in own._ended.values():
            ended.is_told = ended.is_over = True

    swap(stack, Comparisons, "catch_up", catch_up)
