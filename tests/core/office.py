"""The reconciler's brain between a desk, whose book it reads, and a small venue that answers its questions.

Everything happens at once, or when the test lets time pass: the clock is the desk's. What the brain wants is carried
out as the shell, the portfolio and the gateway would.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core import drift, inquiry, private_data, trading, wants
from core.book import expire_stale
from core.ids import NS_PER_S, ClientOrderId, ExchangeOrderId, TradeId
from core.inquiry import Effects, Moment, Question
from core.intent import Side, TimeInForce
from core.reconciling import SEARCH, Reconciliation
from core.records import AttemptRecord, IntentRecord, TradingState
from core.reports import OpenOrder, OrderAbsent, OrderSnapshot, OrderStatus, QueryFailed, Trade
from core.settings import ReconcilerSettings, RouterSettings, Settings
from core.settling import settle
from core.stopping import Compared
from tests.builders import SYMBOL, Desk, dec, request, unknown

STEP_NS = NS_PER_S // 2
DAY_NS = 24 * 3_600 * NS_PER_S


class VenueOrder:
    """As the venue has it."""

    def __init__(self, name: str, order_id: str, symbol: str, side: Side, created_ns: int) -> None:
        self.name, self.order_id = ClientOrderId(name), ExchangeOrderId(order_id)
        self.symbol, self.side, self.created_ns = symbol, side, created_ns
        self.status = OrderStatus.OPEN
        self.filled = Decimal(0)

    @property
    def line(self) -> OpenOrder:
        return OpenOrder(
            client_order_id=self.name,
            exchange_order_id=self.order_id,
            symbol=self.symbol,
            filled_qty=self.filled,
            status=self.status,
            venue_status=self.status.upper(),
        )


class Venue:
    """Orders, trades and balances, with pages, and the ways in which it may not tell."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._numbers = itertools.count(1001)
        self.orders: list[VenueOrder] = []
        self.trades: dict[str, list[Trade]] = defaultdict(list)
        self.totals = {balance.currency: balance.total for balance in desk.book.balances()}
        self.page = 1000
        self.silent: set[type] = set()
        """Kinds of questions that get no answer at all."""
        self.broken: set[type] = set()
        """Kinds that fail."""
        self.unasked: set[type] = set()
        """Kinds for which there is no room in the account's budget."""
        self.no_markets: set[str] = set()
        """Symbols that it has no market of."""
        self.hidden: set[str] = set()
        """Orders and trades, by id, that no read shows yet."""
        self.loses_cancels = False
        self.names_hidden: set[str] = set()
        """Orders, by id, that only look-ups show."""

    # ── what happens there ────────────────────────────────────────────────────────────────────────────────────────

    def place(self, attempt: AttemptRecord) -> VenueOrder:
        return self.outside(attempt.client_order_id, attempt.symbol, attempt.side)

    def outside(self, name: str, symbol: str = SYMBOL, side: Side = Side.BUY) -> VenueOrder:
        """An order that came by another way."""
        order = VenueOrder(name, str(next(self._numbers)), symbol, side, self._desk.now_ns)
        self.orders.append(order)
        return order

    def fill(
        self, order: VenueOrder, qty: str = "0.01", price: str = "50000", *, fee: str = "0", ends: bool = True
    ) -> Trade:
        """One trade; returns it. `ends`: the order is filled by it."""
        base, quote = order.symbol.split("/")
        sign = 1 if order.side is Side.BUY else -1
        trade = Trade(
            trade_id=TradeId(str(next(self._numbers))),
            exchange_order_id=order.order_id,
            qty=dec(qty),
            price=dec(price),
            quote_qty=dec(qty) * dec(price),
            fee=dec(fee),
            fee_currency=quote,
            maker=False,
            venue_ns=self._desk.now_ns,
            side=order.side,
        )
        self.trades[order.symbol].append(trade)
        order.filled += trade.qty
        order.status = OrderStatus.FILLED if ends else OrderStatus.OPEN
        self.move(base, sign * trade.qty)
        self.move(quote, -sign * trade.quote_qty - trade.fee)
        return trade

    def cancel(self, name: str) -> None:
        """Whatever is open under this name ends, if cancels are not lost."""
        for order in self.orders:
            if order.name == name and order.status is OrderStatus.OPEN and not self.loses_cancels:
                order.status = OrderStatus.CANCELED

    def move(self, currency: str, amount: Decimal | str) -> None:
        """A deposit, a withdrawal, or what a trade does."""
        self.totals[currency] = self.totals.get(currency, Decimal(0)) + dec(amount)

    # ── what it tells ─────────────────────────────────────────────────────────────────────────────────────────────

    def shown(self) -> list[VenueOrder]:
        return [order for order in self.orders if order.order_id not in self.hidden]

    def trades_of(self, order: VenueOrder) -> tuple[Trade, ...]:
        return tuple(
            trade
            for trade in self.trades[order.symbol]
            if trade.exchange_order_id == order.order_id and trade.trade_id not in self.hidden
        )

    def look_up(self, name: str) -> OrderSnapshot | OrderAbsent:
        order = next((each for each in self.shown() if each.name == name), None)
        if order is None:
            return OrderAbsent(client_order_id=ClientOrderId(name))
        trades = self.trades_of(order)
        return OrderSnapshot(
            client_order_id=order.name,
            exchange_order_id=order.order_id,
            status=order.status,
            venue_status=order.status.upper(),
            filled_qty=sum((trade.qty for trade in trades), Decimal(0)),
            trades=trades,
            source="lookup",
        )

    def failure(self, question: Question) -> QueryFailed | None:
        """Why it does not answer."""
        if isinstance(question, inquiry.AskTrades) and question.symbol in self.no_markets:
            return QueryFailed(reason=f"{question.symbol} is no market", is_no_market=True)
        if type(question) in self.unasked:
            return QueryFailed(reason="no room", never_left=True)
        return QueryFailed(reason="502") if type(question) in self.broken else None

    def answer(self, question: Question) -> tuple[Any, bool]:
        """The answer, and whether it is complete."""
        failed = self.failure(question)
        if failed is not None:
            return failed, False
        match question:
            case inquiry.AskOrder(attempt=attempt):
                return self.look_up(attempt.client_order_id), True
            case inquiry.AskOpenOrders(symbol=symbol):
                lines = [order.line for order in self.listed() if symbol in {None, order.symbol}]
                return tuple(line for line in lines if line.status is OrderStatus.OPEN), True
            case inquiry.AskOrders(symbol=symbol, from_order_id=first, since_ns=since_ns):
                orders = [order for order in self.listed() if order.symbol == symbol]
                wanted = [
                    order.line
                    for order in orders
                    if (int(order.order_id) >= int(first) if first else order.created_ns >= since_ns)
                ]
                return tuple(wanted[: self.page]), len(wanted) < self.page
            case inquiry.AskTrades(symbol=symbol, from_trade_id=begin, since_ns=since_ns):
                trades = [
                    trade
                    for trade in self.trades[symbol]
                    if trade.trade_id not in self.hidden
                    and (int(trade.trade_id) >= int(begin) if begin else trade.venue_ns >= since_ns)
                ]
                return tuple(trades[: self.page]), len(trades) < self.page
            case _:
                return {name: total for name, total in self.totals.items() if total}, True

    def listed(self) -> list[VenueOrder]:
        return [order for order in self.shown() if order.order_id not in self.names_hidden]


class Office:
    """The brain, and everybody around it."""

    def __init__(self, settings: Settings | None = None, desk: Desk | None = None, **own: Any) -> None:
        patient = RouterSettings(intent_stale_threshold=DAY_NS)  # intents wait for their outcome, whenever it comes
        self.settings = settings or Settings(reconciler=ReconcilerSettings(**own), router=patient)
        self.desk = desk or Desk()
        self.venue = Venue(self.desk)
        self.waiting: list[Question] = []
        """Asked and not answered."""
        self.asked: list[Question] = []
        """All of them."""
        self.said: list[wants.Say] = []
        self.told: list[wants.TellRouter] = []
        self.started: list[Any] = []
        self.verified: list[wants.Verified] = []
        self.closed: list[wants.Closed] = []
        self.canceled: list[str] = []
        """Orders that the venue was asked to cancel, each time."""
        self.answers_itself = True
        """The venue answers at once."""
        self._is_answering = False
        self.unwritten: list[Any] = []
        """What the portfolio was sent and has not come to."""
        self.writes_at_once = True
        self.restart()

    def restart(self) -> None:
        """A new brain on the same book; whoever would have got the answers is gone."""
        self.desk.now_ns += 1  # no two lives begin in the same nanosecond
        self.brain = Reconciliation(self.settings)
        self.waiting.clear()
        self.due_ns = {name: self.desk.now_ns + every for name, every in self.brain.intervals.items() if every}

    @property
    def read_lag_s(self) -> float:
        """So long the venue's reads may lag."""
        return self.settings.exchange.read_lag / NS_PER_S

    @property
    def book(self) -> Any:
        return self.desk.book

    def moment(self) -> Moment:
        with self.desk.book.snapshot() as view:
            return Moment(view, self.desk.now_ns)

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────

    def do(self, decide: Callable[[Moment], Effects]) -> Effects:
        """Let the brain decide, carry out what it wants, and let the venue answer."""
        effects = decide(self.moment())
        for effect in effects:
            self.carry_out(effect)
        if self.answers_itself:
            self.answer_all()
        return effects

    def start(self) -> None:
        self.do(self.brain.start)

    def tick(self, name: str = SEARCH) -> Effects:
        return self.do(lambda at: self.brain.tick(name, at))

    def resolve(self, attempt: AttemptRecord) -> Effects:
        return self.do(lambda at: self.brain.resolve(attempt, at))

    def verify(self, name: str = "v1") -> Any:
        """The verdict, when it is there."""
        self.do(lambda at: self.brain.verify(name, at))
        self.wait(self.read_lag_s + 1)
        return next((told.verdict for told in self.verified if name in told.request_ids), None)

    def close(self, within_s: float) -> Compared:
        """The last comparison, when it is there."""
        self.do(lambda at: self.brain.close(int(within_s * NS_PER_S), at))
        self.wait(within_s + 1)
        return self.closed[-1].compared

    def wait(self, seconds: float) -> None:
        """Time passes, and every check comes at its interval."""
        until_ns = self.desk.now_ns + int(seconds * NS_PER_S)
        while self.desk.now_ns < until_ns:
            self.desk.now_ns += STEP_NS
            for name, due_ns in self.due_ns.items():
                if due_ns <= self.desk.now_ns:
                    self.due_ns[name] += self.brain.intervals[name]
                    self.tick(name)

    # ── the venue's answers ───────────────────────────────────────────────────────────────────────────────────────

    def answer_all(self) -> None:
        """Every question that the venue does not pass over in silence."""
        if self._is_answering:
            return  # what is asked because of an answer is answered in the loop below
        self._is_answering = True
        while open_ones := [each for each in self.waiting if type(each) not in self.venue.silent]:
            self.answer(open_ones[0])
        self._is_answering = False

    def answer(self, question: Question) -> Effects:
        """With what the venue shows now."""
        if question in self.waiting:
            self.waiting.remove(question)
        return self.hand_in(question, *self.venue.answer(question))

    def hand_in(self, question: Question, answer: Any, complete: bool = True) -> Effects:
        """This answer, to this question, now."""
        purpose, brain = question.purpose, self.brain
        match question:
            case inquiry.AskOrder(attempt=attempt):
                return self.do(lambda at: brain.order_reported(purpose, attempt.client_order_id, answer, at))
            case inquiry.AskOpenOrders() | inquiry.AskOrders():
                return self.do(lambda at: brain.orders_listed(purpose, answer, at, complete=complete))
            case inquiry.AskTrades():
                return self.do(lambda at: brain.trades_listed(purpose, answer, at, complete=complete))
            case _:
                return self.do(lambda at: brain.balances_told(purpose, answer, at))

    def asked_of(self, kind: type) -> list[Any]:
        return [question for question in self.asked if isinstance(question, kind)]

    # ── what the brain wants ──────────────────────────────────────────────────────────────────────────────────────

    def carry_out(self, effect: Any) -> None:
        match effect:
            case (
                wants.Apply()
                | wants.TellRouter()
                | wants.Expire()
                | wants.Settle()
                | wants.Record()
                | wants.Tighten()
                | wants.NotePrivateData()
            ):
                if isinstance(effect, wants.TellRouter):
                    self.told.append(effect)
                self.unwritten.append(effect)
                if self.writes_at_once:
                    self.write()
            case wants.Cancel(attempt):
                self.canceled.append(attempt.client_order_id)
                self.venue.cancel(attempt.client_order_id)
            case wants.Started(found):
                self.started.append(found)
            case wants.Verified():
                self.verified.append(effect)
            case wants.Closed():
                self.closed.append(effect)
            case wants.Say():
                self.said.append(effect)
            case _:
                self.asked.append(effect)
                self.waiting.append(effect)

    def write(self) -> None:
        """The portfolio comes to what it was sent."""
        while self.unwritten:
            self.write_one(self.unwritten.pop(0))

    def write_one(self, effect: Any) -> None:
        """Its step, as a transaction of its own."""
        match effect:
            case wants.Apply(report) | wants.TellRouter(report=report):
                self.desk.apply(report)
            case _:
                with self.book.transaction() as unit:
                    self._write(unit, effect)

    def _write(self, unit: Any, effect: Any) -> None:
        match effect:
            case wants.Expire(intent_id):
                expire_stale(unit, intent_id, self.settings.router.intent_stale_threshold, self.desk.now_ns)
            case wants.Settle(settlement):
                settle(unit, settlement, self.desk.now_ns)
            case wants.Record(events, compared):
                for event in events:
                    unit.append_event(event)
                if compared is not None and compared > (unit.compared() or 0):
                    unit.put_compared(compared)
            case wants.Tighten(state, concern):
                drift.act_on(unit, concern, state, "reconciler", self.desk.now_ns)
            case wants.NotePrivateData(record):
                private_data.note(unit, record, self.desk.now_ns)

    def resume(self) -> None:
        """An operator lets trading go on."""
        with self.book.transaction() as unit:
            trading.put(unit, TradingState.ACTIVE, "I have looked", "operator", self.desk.now_ns)
            drift.accept(unit)

    # ── what happens to intents ───────────────────────────────────────────────────────────────────────────────────

    def accept(self, name: str = "k", **wish: Any) -> AttemptRecord:
        return self.desk.accept(request(key=f"{name}-{self.desk.now_ns}", **wish))

    def lost(self, name: str = "k", *, placed: bool = False, filled: bool = False) -> AttemptRecord:
        """An order whose outcome is unknown to the book; `placed`, `filled`: what the venue knows of it."""
        attempt = self.accept(name)
        if placed or filled:
            order = self.venue.place(attempt)
            if filled:
                self.venue.fill(order)
        self.desk.apply(unknown(attempt))
        return self.desk.attempt(attempt.intent_id)

    def working(self, name: str = "w", **wish: Any) -> tuple[AttemptRecord, VenueOrder]:
        """A resting order that book and venue agree on."""
        attempt = self.accept(name, tif=TimeInForce.GTC, **wish)
        order = self.venue.place(attempt)
        self.see(attempt)
        return self.desk.attempt(attempt.intent_id), order

    def done(self, name: str = "d", **wish: Any) -> IntentRecord:
        """An intent that was filled, and booked so."""
        attempt = self.accept(name, **wish)
        self.venue.fill(self.venue.place(attempt), str(attempt.qty))
        return self.see(attempt)

    def see(self, attempt: AttemptRecord) -> IntentRecord:
        """The book hears how the order stands at the venue, by an ordinary look-up."""
        report = self.venue.look_up(attempt.client_order_id)
        assert isinstance(report, OrderSnapshot)
        return self.desk.apply(report)

    def events(self, kind: type) -> list[Any]:
        return self.desk.events(kind)

    @property
    def trading_state(self) -> TradingState:
        return trading.standing(self.book).state
