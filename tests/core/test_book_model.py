"""A stateful model of the book: whatever wishes, reports, cancels and retries come, in whatever order, it stays sound.

The machine keeps its own truth of what the venue did to each order. Reports are cut from that truth: complete or with
lagging trades, repeated, older than what was told before, of earlier attempts, after the end. After every step the
book must agree with itself, and at the end, when the whole truth is told, with the venue.
"""

from __future__ import annotations

from decimal import Decimal

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core import book as rules_of_book
from core import events, ledger, risk_figures
from core.book import OpeningOutcome
from core.holdings import violations
from core.ids import NS_PER_MS, IntentId
from core.intent import Kind, Side, TimeInForce
from core.lifecycle import TERMINAL, TRANSITIONS, State
from core.planning import OrderPlan, Refusal, plan_retry
from core.records import AttemptRecord
from core.reports import OrderStatus, Trade
from tests.builders import SYMBOL, Desk, dec, not_placed, quote, request, snapshot, unknown

STEP = dec("0.00001")
FEE = dec("0.001")
CLOSING = [OrderStatus.EXPIRED, OrderStatus.EXPIRED, OrderStatus.CANCELED]
TIFS = [TimeInForce.IOC, TimeInForce.IOC, *TimeInForce]  # only IOC orders are tried again


class VenueOrder:
    """What the venue did with an attempt: the truth that reports are cut from."""

    def __init__(self, attempt: AttemptRecord) -> None:
        self.attempt = attempt
        self.trades: list[Trade] = []
        self.status = OrderStatus.OPEN
        self.seen = False

    @property
    def filled(self) -> Decimal:
        return sum((trade.qty for trade in self.trades), Decimal(0))

    @property
    def rest(self) -> Decimal:
        return self.attempt.qty - self.filled


class BookMachine(RuleBasedStateMachine):
    """One symbol, one account."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(USDT="20000", BTC="0.5", BNB="3")
        self.venue: list[VenueOrder] = []
        self.absent: set[str] = set()
        self.keys = 0

    @initialize()
    def start_with_an_order(self) -> None:
        self.note(self.desk.accept(request(key="first")))

    def note(self, attempt: AttemptRecord) -> None:
        self.venue.append(VenueOrder(attempt))

    def pick(self, data: st.DataObject) -> VenueOrder:
        return data.draw(st.sampled_from(self.venue[-6:]), label="order")

    def latest(self, order: VenueOrder) -> AttemptRecord:
        return self.desk.attempt(order.attempt.intent_id, order.attempt.attempt)

    # ── what clients do ───────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        side=st.sampled_from(Side),
        kind=st.sampled_from(Kind),
        tif=st.sampled_from(TIFS),
        steps=st.integers(11, 5_000),
        reduce_only=st.booleans(),
        again=st.booleans(),
    )
    def open(self, side: Side, kind: Kind, tif: TimeInForce, steps: int, reduce_only: bool, again: bool) -> None:
        """A wish, maybe with a key that was used before; in the same millisecond it would be the same message."""
        self.keys += not again
        self.desk.now_ns += NS_PER_MS
        wish = request(
            side=side,
            kind=kind,
            tif=tif if kind is Kind.LIMIT else TimeInForce.IOC,
            qty=steps * STEP,
            limit_price=None if kind is Kind.MARKET else dec("50000" if side is Side.BUY else "49990"),
            reduce_only=reduce_only and side is Side.SELL,
            key=f"k{self.keys}",
        )
        before = len(list(self.desk.book.intents()))
        result = self.desk.submit(wish)
        accepted = result.outcome is OpeningOutcome.ACCEPTED
        assert accepted == (result.attempt is not None)
        assert len(list(self.desk.book.intents())) == before + accepted
        if result.attempt is not None:
            self.note(result.attempt)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Somebody wants an intent gone."""
        self.desk.cancel(self.pick(data).attempt.intent_id)

    # ── what the venue does ───────────────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), share=st.integers(1, 4), currency=st.sampled_from(["BTC", "USDT", "BNB"]))
    def trade(self, data: st.DataObject, share: int, currency: str) -> None:
        """An order fills, in part or completely; fees come in any currency. Also an order the book thinks is over."""
        order = self.pick(data)
        if order.rest <= 0 or order.attempt.client_order_id in self.absent:
            return
        qty = min(order.rest, max(STEP, (order.attempt.qty * share / 4) // STEP * STEP))
        price = order.attempt.price
        fee = {"BTC": qty * FEE, "USDT": qty * price * FEE, "BNB": dec("0.0001")}[currency]
        order.trades.append(self.desk.trade(str(qty), str(price), fee=fee, fee_currency=currency))
        if order.rest == 0:
            order.status = OrderStatus.FILLED

    @rule(data=st.data(), status=st.sampled_from(CLOSING))
    def close(self, data: st.DataObject, status: OrderStatus) -> None:
        """An order ends at the venue."""
        order = self.pick(data)
        if order.status is OrderStatus.OPEN:
            order.status = status

    # ── what the book is told ─────────────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), lag=st.integers(0, 2))
    def report(self, data: st.DataObject, lag: int) -> None:
        """The order as it stands, with the newest trades missing."""
        order = self.pick(data)
        self.tell(order, order.trades[: len(order.trades) - lag], order.status, order.filled)

    @rule(data=st.data(), known=st.integers(0, 3))
    def report_older(self, data: st.DataObject, known: int) -> None:
        """An answer from the past: still open, with the first trades alone."""
        order = self.pick(data)
        first = order.trades[:known]
        if sum((trade.qty for trade in first), Decimal(0)) < order.attempt.qty:
            self.tell(order, first, OrderStatus.OPEN, sum((trade.qty for trade in first), Decimal(0)))

    @rule(data=st.data())
    def report_reversed(self, data: st.DataObject) -> None:
        """The same trades in another order of arrival."""
        order = self.pick(data)
        self.tell(order, order.trades[::-1], order.status, order.filled)

    def tell(self, order: VenueOrder, trades: list[Trade], status: OrderStatus, filled: Decimal) -> None:
        if order.attempt.client_order_id in self.absent:
            return
        order.seen = True
        report = snapshot(order.attempt, status, trades, filled=filled)
        once = self.desk.apply(report)
        told = len(list(self.desk.book.events()))
        twice = self.desk.apply(report)
        assert (once.state, once.filled_qty, told) == (
            twice.state,
            twice.filled_qty,
            len(list(self.desk.book.events())),
        )

    @rule(data=st.data())
    def lose_track(self, data: st.DataObject) -> None:
        """A time-out."""
        self.desk.apply(unknown(self.pick(data).attempt))

    @rule(data=st.data(), retryable=st.booleans())
    def refuse(self, data: st.DataObject, retryable: bool) -> None:
        """Proof that an order was not placed; only true of orders that the venue did nothing with."""
        order = self.pick(data)
        if order.trades or order.seen:
            return
        self.absent.add(order.attempt.client_order_id)
        self.desk.apply(not_placed(order.attempt, retryable=retryable))

    # ── what the router does ──────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), bid=st.sampled_from(["49000", "49990", "51000"]))
    def retry(self, data: st.DataObject, bid: str) -> None:
        """The next attempt of an intent in RETRY, or its end when the rest is too small."""
        intent_id = data.draw(st.sampled_from(self.waiting()), label="intent")
        record = self.desk.record(intent_id)
        top = quote(bid, str(dec(bid) + 10), self.desk.now_ns)
        plan = plan_retry(record, self.desk.market, top, self.desk.settings)
        with self.desk.book.transaction() as unit:
            if isinstance(plan, Refusal):
                rules_of_book.give_up(unit, intent_id, plan, self.desk.now_ns, record.amendments)
                return
            assert isinstance(plan, OrderPlan)
            begun = rules_of_book.begin_attempt(unit, intent_id, record.attempts + 1, plan, self.desk.now_ns)
        if begun.attempts > record.attempts:
            self.note(self.desk.attempt(intent_id, begun.attempts))
        else:  # an operator has not looked yet at why the symbol is quarantined
            assert begun.state in TERMINAL

    def waiting(self) -> list[IntentId]:
        return [found.intent.intent_id for found in self.desk.book.open_intents() if found.state is State.RETRY]

    @rule(seconds=st.integers(1, 90))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.desk.later(seconds)

    @rule()
    def lift_quarantine(self) -> None:
        """An operator has looked."""
        with self.desk.book.transaction() as unit:
            rules_of_book.lift_quarantine(unit, SYMBOL, "looked", self.desk.now_ns)

    # ── what must hold ────────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def reservations_and_balances_agree(self) -> None:
        """No contradiction; each open intent holds one reservation, each terminal one none."""
        assert violations(self.desk.book) == []
        for record in self.desk.book.intents():
            held = self.desk.book.reservation(record.intent.intent_id)
            assert (held is None) == (record.state in TERMINAL)

    @invariant()
    def risk_figures_agree(self) -> None:
        """What limits are measured by is what the records say; every intent here is of the same day."""
        book = self.desk.book
        assert risk_figures.violations(book) == []
        figures = risk_figures.of(book, "USDT", self.desk.now_ns)
        traded = [record for record in book.intents() if record.filled_qty or record.state not in TERMINAL]
        assert figures.trades == len(traded)
        assert book.open_count() == sum(1 for record in book.intents() if record.state not in TERMINAL)

    @invariant()
    def the_ledger_agrees(self) -> None:
        """Each transaction balances; all of them together are the balances and the position's cost."""
        sums: dict[tuple[str, str], Decimal] = {}
        for entry in self.desk.book.ledger():
            assert set(ledger.sums(entry.postings).values()) <= {0}
            for posting in entry.postings:
                where = posting.account, posting.currency
                sums[where] = sums.get(where, Decimal(0)) + posting.amount
        for balance in self.desk.book.balances():
            venue = sums.get((f"Assets:Venue:{balance.currency}", balance.currency), 0)
            assert balance.total == venue + sums.get((f"Assets:Dust:{balance.currency}", balance.currency), 0)
        position = self.desk.book.position(SYMBOL)
        assert sums.get(("Equity:Trading:BTCUSDT", "USDT"), 0) == (position.cost if position else 0)

    @invariant()
    def quantities_are_sums_of_fills(self) -> None:
        """Intent, attempt and money say the same as the fills, each booked once."""
        for record in self.desk.book.intents():
            fills = list(self.desk.book.fills(record.intent.intent_id))
            assert record.filled_qty == sum(fill.qty for fill in fills)
            assert record.filled_notional == sum(fill.quote_qty for fill in fills)
            for attempt in self.desk.book.attempts(record.intent.intent_id):
                own = [fill.qty for fill in fills if fill.attempt == attempt.attempt]
                assert attempt.filled_qty == sum(own)
                assert attempt.filled_qty <= attempt.qty
            assert (record.state is State.FILLED) <= (record.filled_qty >= record.qty)

    @invariant()
    def trails_have_no_gap(self) -> None:
        """F6, I7: every trail begins with NEW, follows the table, and ends where the record stands."""
        for record in self.desk.book.intents():
            state = State.NEW
            trail = self.desk.book.trail(record.intent.intent_id)
            for event in trail:
                if isinstance(event, events.StateChanged):
                    assert event.from_state is state
                    assert TRANSITIONS[state][event.cause] is event.to_state
                    state = event.to_state
            assert state is record.state

    @invariant()
    def ends_are_told_once(self) -> None:
        """Each ended intent has one `order_done`, each open one none."""
        for record in self.desk.book.intents():
            told = [
                event for event in self.desk.book.trail(record.intent.intent_id) if isinstance(event, events.OrderDone)
            ]
            assert len(told) == (record.state in TERMINAL)

    @invariant()
    def late_fills_are_never_silent(self) -> None:
        """F4: as many alerts as reports with late fills, at least one where a fill is marked late."""
        late = {event.intent_id for event in self.desk.events(events.OrderFill) if event.late}
        alerted = {event.intent_id for event in self.desk.events(events.AlertFired)}
        assert late <= alerted

    def teardown(self) -> None:
        """When the whole truth has been told, the book has all of it: position, money and states."""
        for order in self.venue:
            if order.attempt.client_order_id in self.absent:
                continue
            if order.status is OrderStatus.OPEN:
                order.status = OrderStatus.CANCELED
            self.tell(order, order.trades, order.status, order.filled)
        fills = list(self.desk.book.fills())
        assert len(fills) == sum(len(order.trades) for order in self.venue)
        for record in self.desk.book.open_intents():
            assert record.state is State.RETRY, record
        self.reservations_and_balances_agree()
        self.the_ledger_agrees()
        self.quantities_are_sums_of_fills()
        self.trails_have_no_gap()


BookMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)
TestBookMachine = BookMachine.TestCase
