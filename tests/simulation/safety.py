"""What must be true after every step, whatever has happened (design §5).

The venue's truth and the committed book are looked at directly; nothing that an actor believes is used.

* nobody outside is told anything about an intent that a crash at this moment would lose;
* what leaves for the venue is in the committed book as the current attempt, to the digit, and of the present epoch;
* at the venue a client id is used once, an intent has one live order at most, and what its orders have filled and may
  still fill is never more than it wants; no order comes to life that the book has given up;
* each trade is booked once and as it happened; the book's totals are the opening and its trades, nothing else;
* what comes into force by a replacement is what was asked for last, and each attempt is for all that is wanted then;
* every open intent holds the worst case of what is left, an ended one nothing; what is held adds up;
* a wish is refused or accepted, never one after the other, however often it is asked about;
* an intent ends when its orders are over and all that the venue shows of them is booked, and moves again only by a
  late fill that is flagged;
* the trail has no hole: events count up, every transition begins where the one before ended;
* what is not ours is listed as external and nothing else is, none of it is touched or booked, and its trades add up;
* no cursor of trades stands behind a trade that the book does not have; no order was proven absent that is there;
* nothing is bought while the account's data is gone, and it is not called that where everything is answered;
* no risk limit is exceeded, and nothing reaches the venue that an operator was told is stopped;
* trading is narrowed, and an alarm of drift raised, only when nothing explains a difference; nothing leaves then that
  the trading state forbids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from core import events, holdings, private_data, reconcile, risk_figures, trading
from core.events import AnyEvent
from core.ids import ClientOrderId, ExchangeOrderId, IntentId, TradeId
from core.intent import Side, TimeInForce
from core.lifecycle import State, is_terminal
from core.money import ZERO, text
from core.records import AttemptRecord, IntentRecord, PrivateDataState, TradingState
from core.settings import Settings
from exchange.simulator.orders import Order, Trade
from messages.intents import IntentAnswered, IntentCancelNoted, IntentDone, IntentReplaceNoted
from storage.tables import Reader
from tests.simulation.machine import Process
from tests.simulation.shared_book import SharedBook
from tests.simulation.terms import Terms, worst_case
from tests.simulation.venue import MARKETS, MARKETS_OF_THE_HAND, Venue

CLIENT = "client"
"""Name of every process outside of the daemon."""
OPERATOR = "operator"
"""Who alone lets trading go on."""
NEVER_TRUE = frozenset(
    {
        "FILL_MISMATCH", "LEDGER_DRIFT", "STRAY_ORDER", "ORDER_MISSING", "ORDER_STILL_OPEN", "ORDER_REAPPEARED",
        "DUPLICATE_AT_VENUE", "OVERFILL",
    }
)  # fmt: skip
"""Alerts whose reason never comes about in this world."""


class Safety:
    """Collects what was broken; the first entry ends the run."""

    def __init__(self, book: SharedBook, venue: Venue, settings: Settings) -> None:
        self.stopped: TradingState | None = None
        """What the operator was told that trading is, while nobody has been asked to let it go on."""
        self.is_fair = False
        """Nothing goes wrong in this run: no message is lost, nobody dies, and the venue answers."""
        self.violations: list[str] = []
        self.on_move: Callable[[State], None] = lambda _state: None
        """Hears the state that an intent comes into."""
        self.late_fills = 0
        self.ended: dict[IntentId, int] = {}
        """Where in the outbox an intent's end stands."""
        self.compared: set[IntentId] = set()
        """Intents that have the result of a comparison."""
        self._book = book
        self._venue = venue
        self._read_lag_ns = settings.exchange.read_lag
        """So long after it may be seen, everybody sees a fill that the venue kept back."""
        self._limits = settings.risk
        self._opening = venue.totals()
        self._totals = dict(self._opening)
        """What the book must have, by currency."""
        self._sequence = 0
        self._is_blind = False
        """The account's data is gone, by the last event that was looked at."""
        self._states: dict[IntentId, State] = {}
        self._booked: set[tuple[str, str]] = set()
        self._orders_seen = dict.fromkeys(MARKETS, 0)
        self._owners: dict[str, IntentId] = {}
        """Of the venue's orders, by client id."""
        self._orders_of: dict[IntentId, list[Order]] = defaultdict(list)
        self._cursors: dict[str, str] = {}
        self.terms = Terms(self.broken)

    def broken(self, what: str) -> None:
        self.violations.append(what)

    def trading_stopped(self, state: TradingState) -> None:
        """The operator is told that it is so."""
        self.stopped = state
        with self._book.view() as view:
            for record in view.open_intents():
                works_on = record.intent.side is Side.BUY and not record.cancel_requested
                if works_on and state is TradingState.REDUCING:
                    self.broken(f"trading was told to be {state}, and {record.intent.intent_id} goes on buying")

    # ── what leaves ───────────────────────────────────────────────────────────────────────────────────────────────

    def leaves(self, _sender: Process, receiver: Any, message: Any) -> None:
        """A message leaves a part of the daemon."""
        if receiver.name != CLIENT:
            return
        match message:
            case IntentAnswered():
                told = message.answer.record
            case IntentDone() | IntentCancelNoted():
                told = message.record
            case IntentReplaceNoted():
                told = message.result.record
            case _:
                return
        if told is None:
            return
        with self._book.view() as view:
            record = view.intent(told.intent.intent_id)
        if record is None or record.revision < told.revision:
            kept = "nothing" if record is None else f"revision {record.revision}"
            self.broken(
                f"{told.intent.intent_id} {told.state} revision {told.revision} was told to a client, "
                f"and the committed book has {kept} of it"
            )

    def order_leaves(self, order: Mapping[str, str]) -> None:
        """A placement leaves the gateway for the venue."""
        client_id = order["newClientOrderId"]
        with self._book.view() as view:
            attempt = view.attempt_by_client_id(ClientOrderId(client_id))
            record = view.intent(attempt.intent_id) if attempt else None
            epoch, standing = view.epoch(), trading.standing(view).state
            is_blind = private_data.standing(view).is_gone
        if attempt is None or record is None:
            self.broken(f"order {client_id} is sent and is not in the committed book")
            return
        if record.attempts != attempt.attempt or record.state not in {State.SENDING, State.UNKNOWN}:
            self.broken(f"attempt {attempt.attempt} is sent, and its intent is {record.state} in {record.attempts}")
        if epoch is None or epoch.number != attempt.epoch:
            self.broken(f"order {client_id} of epoch {attempt.epoch} is sent in {epoch}")
        may_leave = standing is TradingState.ACTIVE or (standing is TradingState.REDUCING and attempt.side is Side.SELL)
        if not may_leave:
            self.broken(f"{attempt.side} {client_id} is sent while trading is {standing}")
        if is_blind and attempt.side is Side.BUY:
            self.broken(f"{client_id} is sent to buy while the account's data is gone")
        if _wanted(attempt) != {name: order.get(name) for name in _wanted(attempt)}:
            self.broken(f"order {client_id} is sent as {dict(order)}, and the book has {_wanted(attempt)}")

    def cancel_leaves(self, cancel: Mapping[str, str]) -> None:
        """A cancel leaves the gateway for the venue."""
        client_id = cancel.get("origClientOrderId", "")
        with self._book.view() as view:
            attempt = view.attempt_by_client_id(ClientOrderId(client_id))
        if attempt is None:
            self.broken(f"a cancel is sent of {dict(cancel)}, which is not ours")

    # ── the venue ─────────────────────────────────────────────────────────────────────────────────────────────────

    def venue_changed(self) -> None:
        if self._venue.has_banned:
            self.broken("the venue has banned the daemon for asking beyond its limits")
        for symbol in MARKETS:
            orders = self._venue.orders(symbol)
            for order in orders[self._orders_seen[symbol] :]:
                if (symbol, order.id) not in self._venue.foreign:
                    self._order_came(order)
            self._orders_seen[symbol] = len(orders)
        touched = self._venue.foreign_meddled_with()
        if touched is not None:
            self.broken(f"order {touched.client_order_id} is not ours, and is canceled")
        with self._book.view() as view:
            for intent_id, orders in self._orders_of.items():
                record = view.intent(intent_id)
                if record is not None:
                    self._check_orders(record, orders)

    def _order_came(self, order: Order) -> None:
        client_id = order.client_order_id
        with self._book.view() as view:
            attempt = view.attempt_by_client_id(ClientOrderId(client_id))
            record = view.intent(attempt.intent_id) if attempt else None
        if attempt is None or record is None:
            self.broken(f"the venue has order {client_id}, and the committed book has not")
            return
        is_stopped = self.stopped is TradingState.HALTED or (self.stopped and attempt.side is Side.BUY)
        if is_stopped:
            self.broken(f"{attempt.side} {client_id} comes to the venue after trading was told to be {self.stopped}")
        if client_id in self._owners:
            self.broken(f"the venue has two orders {client_id} of {attempt.intent_id}")
        if attempt.attempt != record.attempts or record.state not in {State.SENDING, State.UNKNOWN}:
            self.broken(
                f"order {client_id}, attempt {attempt.attempt} of {attempt.intent_id}, comes to life at the venue "
                f"when the book has {record.state} in attempt {record.attempts}"
            )
        self._owners[client_id] = attempt.intent_id
        self._orders_of[attempt.intent_id].append(order)

    def _check_orders(self, record: IntentRecord, orders: list[Order]) -> None:
        live = [order for order in orders if order.is_open]
        if len(live) > 1:
            self.broken(f"{record.intent.intent_id} has {len(live)} live orders at the venue")
        reach = sum((order.executed for order in orders), ZERO) + sum((order.remaining for order in live), ZERO)
        if reach > record.qty:
            self.broken(
                f"orders of {record.intent.intent_id} have filled or may fill {text(reach)} of {text(record.qty)}"
            )

    # ── the book ──────────────────────────────────────────────────────────────────────────────────────────────────

    def committed(self) -> None:
        """A transaction is durable."""
        with self._book.view() as view:
            told = list(view.events(after=self._sequence))
            for sequence, event in told:
                if sequence != self._sequence + 1:
                    self.broken(f"the outbox has {sequence} after {self._sequence}")
                self._sequence = sequence
                self._take_in(view, event, [each for _, each in told])
            moved = {event.intent_id for _, event in told if isinstance(event, events.StateChanged)}
            for intent_id in dict.fromkeys(event.intent_id for _, event in told if event.intent_id):
                self._check_intent(view, intent_id, moved=intent_id in moved)
            self._check_money(view)
            self._check_limits(view)
            self._check_external(view)
            self._check_cursors(view)

    def _take_in(self, view: Reader, event: AnyEvent, batch: list[AnyEvent]) -> None:
        self.terms.take_in(view, event)
        match event:
            case events.StateChanged():
                self._moved(event, batch)
            case events.RiskLimitsEval() if event.intent_id and any(check.hit for check in event.checks):
                self.broken(f"{event.intent_id} is accepted beyond a limit: {event.checks}")
            case events.OrderIntent():
                self._accepted(view, event)
            case events.IntentRefused() if event.intent_id and view.intent(event.intent_id) is not None:
                self.broken(f"{event.intent_id} is refused after it was accepted")
            case events.OrderFill():
                self._filled(event)
            case events.OrderDone() if event.intent_id is not None:
                self.ended.setdefault(event.intent_id, self._sequence)
            case events.LedgerEntry():
                sums: dict[str, Decimal] = defaultdict(Decimal)
                for posting in event.postings:
                    sums[posting.currency] += posting.amount
                if any(sums.values()):
                    self.broken(f"a ledger entry does not balance: {dict(sums)}")
            case _:
                self._take_in_findings(view, event)

    def _accepted(self, view: Reader, event: events.OrderIntent) -> None:
        if self._is_blind and event.intent.side is Side.BUY:
            self.broken(f"{event.intent_id} is accepted to buy while the account's data is gone")
        if view.refusal(event.intent.intent_id) is not None:
            self.broken(f"{event.intent_id} is accepted after it was refused")

    def _take_in_findings(self, view: Reader, event: AnyEvent) -> None:
        """What the reconciler has found must be so."""
        match event:
            case events.AbsenceProven():
                if event.client_order_id in self._owners:
                    self.broken(f"order {event.client_order_id} is proven absent, and the venue has it")
            case events.ExternalOrderSeen():
                if (event.symbol, int(event.exchange_order_id)) not in self._venue.foreign:
                    self.broken(f"order {event.exchange_order_id} of {event.symbol} is listed as external, and is ours")
            case events.ReconciliationResult(code=reconcile.MISMATCH):
                self.broken(f"{event.intent_id} is called a mismatch: {text(event.qty_delta)} more at the venue")
            case events.ReconciliationResult() if event.intent_id is not None:
                self.compared.add(event.intent_id)
            case events.TradingStateChanged():
                self._trading_changed(view, event)
            case events.PrivateDataChanged():
                self._is_blind = event.to_state is PrivateDataState.GONE
            case events.AlertFired():
                self._alarmed(event)

    def _alarmed(self, event: events.AlertFired) -> None:
        is_false = event.code == "BALANCE_DRIFT" and not self._venue.transferred
        is_blind_in_vain = event.code == private_data.GONE and self.is_fair
        if event.code in NEVER_TRUE or is_false or is_blind_in_vain:
            self.broken(f"false alarm {event.code}: {event.text}")

    def _trading_changed(self, view: Reader, event: events.TradingStateChanged) -> None:
        """By the daemon only because of drift, and only when there is some; the reason is what is missing, exactly."""
        if event.by == OPERATOR:
            return
        drift = view.drift()
        alarmed = {} if drift is None else drift.alarmed
        if not alarmed or alarmed != self._venue.transferred:
            self.broken(
                f"trading is {event.to_state} by the {event.by} for {_texts(alarmed)} ({event.reason}); "
                f"unexplained is {_texts(self._venue.transferred)}"
            )

    def _moved(self, event: events.StateChanged, batch: list[AnyEvent]) -> None:
        assert event.intent_id is not None
        before = self._states.get(event.intent_id, State.NEW)
        if event.from_state is not before:
            self.broken(f"{event.intent_id} goes from {event.from_state} and was {before}")
        self._states[event.intent_id] = event.to_state
        self.on_move(event.to_state)
        if is_terminal(before) and not any(
            isinstance(each, events.AlertFired) and each.code == "LATE_FILL" and each.intent_id == event.intent_id
            for each in batch
        ):
            self.broken(f"{event.intent_id} had ended {before} and becomes {event.to_state} without an alert")

    def _filled(self, event: events.OrderFill) -> None:
        trade_key = (event.symbol, event.trade_id)
        if trade_key in self._booked:
            self.broken(f"trade {event.trade_id} of {event.symbol} is booked twice")
            return
        self._booked.add(trade_key)
        self.late_fills += event.late
        number = int(event.trade_id)
        trades = self._venue.trades(event.symbol)
        if not 0 < number <= len(trades):
            self.broken(f"trade {event.trade_id} of {event.symbol} is booked, and the venue has no such trade")
            return
        trade = trades[number - 1]
        owner = self._owners.get(self._venue.orders(event.symbol)[trade.order_id - 1].client_order_id)
        booked = (event.qty, event.price, event.quote_qty, event.fee, event.fee_currency, event.maker, event.intent_id)
        true = (
            trade.qty, trade.price, trade.quote_qty, trade.commission, trade.commission_asset, trade.maker, owner
        )  # fmt: skip
        if booked != true:
            self.broken(f"trade {event.trade_id} of {event.symbol} is booked as {booked}, and was {true}")
        self._settle(trade)

    def _settle(self, trade: Trade) -> None:
        for currency, amount in self._venue.changes_of(trade).items():
            self._totals[currency] = self._totals.get(currency, ZERO) + amount

    def _check_intent(self, view: Reader, intent_id: IntentId, *, moved: bool) -> None:
        record = view.intent(intent_id)
        if record is None and view.refusal(intent_id) is not None:
            return
        if record is None:
            self.broken(f"the trail tells of {intent_id}, which the book does not have")
            return
        if record.state is not self._states.get(intent_id):
            self.broken(f"{intent_id} is {record.state}, and its trail ends in {self._states.get(intent_id)}")
        booked = sum((fill.qty for fill in view.fills(intent_id)), ZERO)
        if booked != record.filled_qty:
            self.broken(f"{intent_id} counts {text(record.filled_qty)} filled and has fills of {text(booked)}")
        held = view.reservation(intent_id)
        if is_terminal(record.state):
            if held is not None:
                self.broken(f"{intent_id} is {record.state} and holds {text(held.amount)} {held.currency}")
            if moved:  # else it ended before, and a late fill may have come since
                self._check_end(record)
            return
        needed = worst_case(view, record)
        if held is None or held.amount < needed:
            amount = "nothing" if held is None else f"{text(held.amount)} {held.currency}"
            self.broken(f"{intent_id} is {record.state} and holds {amount}, its rest may need {text(needed)}")

    def _check_end(self, record: IntentRecord) -> None:
        """It has ended: nothing of it lives at the venue, and what the venue shows of it is booked."""
        shown = ZERO
        for order in self._orders_of.get(record.intent.intent_id, ()):
            if order.is_open:
                self.broken(f"{record.intent.intent_id} is {record.state}, and its {order.client_order_id} is live")
            hidden = self._venue.hidden.get((order.symbol, order.id))
            if hidden is not None and self._venue.clock_ns() < hidden.until_ns + self._read_lag_ns:
                shown += hidden.shown.executed
            else:
                shown += order.executed
        if shown > record.filled_qty:
            self.broken(
                f"{record.intent.intent_id} is {record.state} with {text(record.filled_qty)} booked, "
                f"and the venue shows {text(shown)}"
            )

    def _check_money(self, view: Reader) -> None:
        balances = {balance.currency: balance for balance in view.balances()}
        if not balances:
            return  # before the opening
        totals = {currency: balance.total for currency, balance in balances.items() if balance.total}
        if totals != {currency: total for currency, total in self._totals.items() if total}:
            self.broken(f"the book has {_texts(totals)}, its opening and trades make {_texts(self._totals)}")
        short = [balance for balance in balances.values() if balance.free < 0]
        if short and not self.late_fills:
            self.broken(f"more is held than there is: {short}")
        for problem in holdings.violations(view):
            self.broken(problem)

    def _check_limits(self, view: Reader) -> None:
        """At no commit is there more than the risk limits allow, counted from the records themselves."""
        for problem in risk_figures.violations(view):
            self.broken(problem)
        limits, records = self._limits, list(view.open_intents())
        if limits.max_open_orders and len(records) > limits.max_open_orders:
            self.broken(f"{len(records)} intents are open, the limit is {limits.max_open_orders}")
        held = {position.symbol for position in view.positions() if position.qty > position.dust_qty}
        held |= {record.intent.symbol for record in records if record.intent.side is Side.BUY}
        if limits.max_positions and len(held) > limits.max_positions and not self.late_fills:
            self.broken(f"{sorted(held)} are held or being bought, the limit is {limits.max_positions}")

    def _check_external(self, view: Reader) -> None:
        """Noted is what somebody else did, nothing of ours, and the sums are those of what is noted."""
        totals: dict[str, Decimal] = defaultdict(Decimal)
        noted = 0
        for symbol, trade in self._venue.foreign_trades():
            kept = view.external_trade(symbol, TradeId(str(trade.id)))
            if kept is None:
                continue
            noted += 1
            changes = self._venue.changes_of(trade)
            if kept.changes != changes:
                self.broken(
                    f"external trade {trade.id} of {symbol} is noted as {_texts(kept.changes)}, was {_texts(changes)}"
                )
            for currency, amount in changes.items():
                totals[currency] += amount
            if view.external_order(symbol, ExchangeOrderId(str(trade.order_id))) is None:
                self.broken(f"external trade {trade.id} of {symbol} is noted without its order")
        if noted != view.count("external_trades"):
            self.broken(f"{view.count('external_trades')} external trades are noted, and {noted} of them are true")
        told = {total.currency: total.amount for total in view.external_totals() if total.amount}
        if told != {currency: total for currency, total in totals.items() if total}:
            self.broken(f"external trades are summed up as {_texts(told)}, and make {_texts(totals)}")

    def _check_cursors(self, view: Reader) -> None:
        """Whatever a cursor has passed over is in the book."""
        for symbol in MARKETS_OF_THE_HAND:
            cursor = view.trade_cursor(symbol)
            if cursor is None or self._cursors.get(symbol) == cursor.trade_id:
                continue
            self._cursors[symbol] = cursor.trade_id
            for trade in self._venue.trades(symbol)[: int(cursor.trade_id)]:
                trade_id = TradeId(str(trade.id))
                if view.fill(symbol, trade_id) is None and view.external_trade(symbol, trade_id) is None:
                    self.broken(f"the cursor of {symbol} is at {cursor.trade_id}, and trade {trade_id} is not booked")


def _wanted(attempt: AttemptRecord) -> dict[str, str | None]:
    """What the venue must be asked for."""
    post_only = attempt.tif is TimeInForce.PO
    return {
        "symbol": attempt.symbol.replace("/", ""),
        "side": attempt.side.upper(),
        "type": "LIMIT_MAKER" if post_only else "LIMIT",
        "timeInForce": None if post_only else str(attempt.tif),
        "quantity": text(attempt.qty),
        "price": text(attempt.price),
    }


def _texts(totals: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: text(total) for currency, total in sorted(totals.items())}
