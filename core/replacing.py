"""Another price or quantity for a working intent, with never two live orders for it (R8).

Theory of operation
-------------------
An intent whose order rests at the venue (GTC, PO) may get other *terms*: what shall be filled in all, and the worst
price. They wait in the record as its `amendment` while the present order is canceled, and until that order is proven
over nothing else changes: it may still fill, at the terms under which it was sent.

| when it is asked for, the intent is | what happens |
|---|---|
| SENT, PARTIAL | CANCELING: the order is canceled |
| SENDING, UNKNOWN | the same as soon as the order is proven to be there; if it is proven not to be, in force then |
| CANCELING for an earlier replacement | the newer terms take its place |
| RETRY | in force at once: nothing is at the venue |

An order is over when the venue says so, all its trades are booked, and a look-up that was sent `router.replace_wait`
later or more shows no further fill: venues do report fills after a cancel, and what they report late must not be bought
twice. Then the terms come into force (CANCELING → RETRY), and the next attempt sends what they leave to be filled. What
is filled counts: if that is more than the new quantity by then, it is what the intent ends with.

From the moment of the request the worst case of both orders is held: the old one may fill all it can at its price, and
the new one the rest. A buy that costs more therefore fails here, for lack of money or for a risk limit, and not after
the old order is gone. Requests may come late, or twice: the newest that was asked for counts, by its client's clock.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from core import arming, events, holdings, private_data, risk, trading
from core import book as rules_of_book
from core.errors import InvalidInput
from core.ids import AskedNs, IntentId
from core.intent import RESTING, Side, validate_amount, validate_free_text
from core.lifecycle import Cause, State, is_terminal
from core.market import MarketRules
from core.money import ONE, ZERO, floor_to, text
from core.planning import OrderPlan, Refusal, is_dust, on_tick, refuse_size
from core.records import Amendment, IntentRecord, TradingState
from core.settings import Mode, RouterSettings, Settings
from core.transitions import advance, end_by_quantity, save
from core.unit_of_work import BookReader, UnitOfWork

OVERTAKEN = "OVERTAKEN"


class NewTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for. At least one of `qty` and `price` is given."""

    qty: Decimal | None
    """To be filled in all, base, with what was filled already; None: as before."""
    price: Decimal | None
    """Worst price, quote per base; None: as before."""
    reason: str
    asked_ns: AskedNs
    """When, by the client's clock."""


class ReplaceResult(msgspec.Struct, frozen=True, kw_only=True):
    record: IntentRecord | None
    """As it stands now; None: there is no such intent."""
    refusal: Refusal | None = None
    """Why nothing was done."""


def validate(wanted: NewTerms) -> None:
    """Raise `InvalidInput` for the first thing that cannot be meant."""
    if wanted.qty is None and wanted.price is None:
        raise InvalidInput("terms", None, "nothing is to be changed", "give --price, --qty, or both")
    if wanted.qty is not None:
        validate_amount("qty", wanted.qty)
    if wanted.price is not None:
        validate_amount("price", wanted.price)
    validate_free_text("reason", wanted.reason)
    if wanted.asked_ns <= 0:
        raise InvalidInput("asked_ns", wanted.asked_ns, "must be a time", "give the clock's time, ns UTC")


def request(book: UnitOfWork, intent_id: IntentId, wanted: NewTerms, settings: Settings, now_ns: int) -> ReplaceResult:
    """Note the wish, hold what it may need, and bring the present order to its end. Repeating it changes nothing."""
    record = book.intent(intent_id)
    if record is None:
        return ReplaceResult(record=None, refusal=Refusal("UNKNOWN_INTENT", f"there is no intent {intent_id}"))
    if wanted.asked_ns == record.amended_ns:  # the same request again, because its answer was lost or late
        return ReplaceResult(record=record)
    if wanted.asked_ns == record.refused_terms_ns:
        code, _, reason = record.refused_terms.partition(": ")
        return ReplaceResult(record=record, refusal=Refusal(code, reason))
    rules = _rules(book, record)
    terms = _terms(record, wanted, rules)
    mode = settings.engine.mode
    refusal = _not_now(book, record, wanted, mode, now_ns) or _refuse(book, record, terms, rules, settings, now_ns)
    if refusal is not None:
        return ReplaceResult(record=_note_refusal(book, record, wanted, refusal, now_ns), refusal=refusal)
    noted = replace(record, amended_ns=wanted.asked_ns)
    is_so_already = record.amendment is None and (terms.qty, terms.price) == (record.qty, record.worst_price)
    return ReplaceResult(record=save(book, noted) if is_so_already else _note(book, noted, terms, wanted, now_ns))


def _note_refusal(
    book: UnitOfWork, record: IntentRecord, wanted: NewTerms, refusal: Refusal, now_ns: int
) -> IntentRecord:
    """One request has one answer: whoever heard "no" must not get the terms because the request comes once more."""
    told = events.ReplaceRefused(
        at_ns=now_ns, intent_id=record.intent.intent_id, code=refusal.code, reason=refusal.reason
    )
    book.append_event(told)
    if is_terminal(record.state) or refusal.code == OVERTAKEN:
        return record  # it is refused the next time, too
    refused = f"{refusal.code}: {refusal.reason}"
    return save(book, replace(record, refused_terms_ns=wanted.asked_ns, refused_terms=refused))


def _note(book: UnitOfWork, record: IntentRecord, terms: Amendment, wanted: NewTerms, now_ns: int) -> IntentRecord:
    """Hold the worst case of both terms, and do what the state allows."""
    intent_id, rules = record.intent.intent_id, _rules(book, record)
    holdings.adjust(book, intent_id, max(_held(book, record), _to_hold(record, terms, rules)))
    book.append_event(
        events.OrderReplace(
            at_ns=now_ns,
            intent_id=intent_id,
            reason=wanted.reason,
            qty=terms.qty,
            price=terms.price,
            from_qty=record.qty,
            from_price=record.worst_price,
            filled_qty=record.filled_qty,
            reserved_amount=_held(book, record),
            asked_ns=wanted.asked_ns,
        )
    )
    noted = replace(record, amendment=terms)
    if record.state is State.RETRY:
        return save(book, take_effect(book, noted, now_ns))
    if record.state in {State.SENT, State.PARTIAL}:
        return advance(book, noted, Cause.REQUEST_REPLACE, now_ns, wanted.reason)
    return save(book, noted)


def order_over(
    book: UnitOfWork, record: IntentRecord, limits: RouterSettings, now_ns: int, *, asked_ns: int, has_filled: bool
) -> IntentRecord:
    """The order to be replaced is over, and all that it is known to have filled is booked.

    `asked_ns`: when the venue was asked about the order itself; 0: it was not, or the answer shows it open, as a read
    that lags does. A look that is told of twice, or late, is as old as its question. `has_filled`: this has shown a
    fill that was new.
    """
    if record.state is not State.CANCELING:  # it was over before anybody could cancel it
        record = advance(book, record, Cause.REQUEST_REPLACE, now_ns, "its order is over")
    amendment = record.amendment
    assert amendment is not None
    waited_ns = now_ns - amendment.over_ns
    is_news = not amendment.over_ns or has_filled or waited_ns < 0  # < 0: the clock was set back
    if is_news and limits.replace_wait:
        return save(book, replace(record, amendment=replace(amendment, over_ns=now_ns)))
    if limits.replace_wait and asked_ns - amendment.over_ns < limits.replace_wait:
        return record
    changed = take_effect(book, replace(record, uncounted=record.uncounted + 1), now_ns)
    if changed.remaining_qty == 0:
        return advance(book, changed, Cause.FILL_ALL, now_ns, "filled before it was replaced")
    rules = _rules(book, record)
    if is_dust(floor_to(changed.remaining_qty, rules.step), changed.worst_price, rules, limits.min_notional):
        dusty = replace(changed, dust_qty=changed.remaining_qty)
        return end_by_quantity(book, dusty, Cause.END_CANCELED, now_ns, f"rest {text(dusty.remaining_qty)} is dust")
    return advance(book, replace(changed, retry_at_ns=now_ns), Cause.REPLACE, now_ns, "the rest goes out at new terms")


def goes_on(record: IntentRecord) -> bool:
    """Whether more is wanted by the terms that wait, however much of the present order fills."""
    later = record.amendment
    return later is not None and later.qty > record.filled_qty and not record.cancel_requested


def take_effect(book: UnitOfWork, record: IntentRecord, now_ns: int) -> IntentRecord:
    """The record at its new terms, with just what they need held. Nothing of it may be at the venue. To be saved."""
    amendment = record.amendment
    assert amendment is not None
    rules = _rules(book, record)
    qty = max(amendment.qty, record.filled_qty)
    changed = replace(record, qty=qty, worst_price=amendment.price, amendment=None, amendments=record.amendments + 1)
    needed = _needed(record.intent.side, changed.remaining_qty, changed.worst_price, rules)
    held = min(_held(book, record), needed)  # a fee in base may have left a little less than that
    holdings.adjust(book, record.intent.intent_id, held)
    book.append_event(
        events.OrderReplaced(
            at_ns=now_ns,
            intent_id=record.intent.intent_id,
            qty=qty,
            price=amendment.price,
            filled_qty=record.filled_qty,
            reserved_amount=held,
        )
    )
    return changed


def _to_hold(record: IntentRecord, terms: Amendment, rules: MarketRules) -> Decimal:
    """From the request on. In RETRY nothing is at the venue that could fill before."""
    if record.state is State.RETRY:
        return _needed(record.intent.side, max(ZERO, terms.qty - record.filled_qty), terms.price, rules)
    return worst_case(record, terms, rules)


def worst_case(record: IntentRecord, terms: Amendment, rules: MarketRules) -> Decimal:
    """What the intent may need while its order can still fill and other terms wait; the reservation's currency.

    However much of the old order fills first, the cost is linear in it, so that the dearest case is one of the ends:
    nothing of it fills, and all goes out at the new price; or all of it does, and only the rest goes out.
    """
    side, old = record.intent.side, record.remaining_qty
    none_first = _needed(side, max(ZERO, terms.qty - record.filled_qty), terms.price, rules)
    rest = max(ZERO, terms.qty - record.filled_qty - old)
    all_first = _needed(side, old, record.worst_price, rules) + _needed(side, rest, terms.price, rules)
    return max(none_first, all_first)


def _needed(side: Side, qty: Decimal, price: Decimal, rules: MarketRules) -> Decimal:
    return qty * price * (ONE + rules.taker_fee) if side is Side.BUY else qty


def _rules(book: BookReader, record: IntentRecord) -> MarketRules:
    rules = book.market(record.intent.symbol)
    assert rules is not None  # it was accepted with them
    return rules


def _held(book: BookReader, record: IntentRecord) -> Decimal:
    reservation = book.reservation(record.intent.intent_id)
    return reservation.amount if reservation is not None else ZERO


def _terms(record: IntentRecord, wanted: NewTerms, rules: MarketRules) -> Amendment:
    """What is asked for on the venue's grids; what is not named stays as it is, or as it was asked for last."""
    before = record.amendment or Amendment(qty=record.qty, price=record.worst_price)
    return Amendment(
        qty=before.qty if wanted.qty is None else floor_to(wanted.qty, rules.step),
        price=before.price if wanted.price is None else on_tick(record.intent.side, wanted.price, rules),
        over_ns=before.over_ns,
    )


def _not_now(book: BookReader, record: IntentRecord, wanted: NewTerms, mode: Mode, now_ns: int) -> Refusal | None:
    """Why this intent takes no other terms, whatever they are."""
    intent_id = record.intent.intent_id
    if is_terminal(record.state):
        return Refusal("NOT_WORKING", f"{intent_id} has ended {record.state}; submit a new intent")
    if record.cancel_requested:
        return Refusal("BEING_CANCELED", f"{intent_id} is being canceled; submit a new intent when it has ended")
    if record.intent.tif not in RESTING:
        return Refusal("NOT_RESTING", f"{intent_id} is {record.intent.tif}: only GTC and PO rest and can be replaced")
    if wanted.asked_ns < record.amended_ns <= now_ns:  # what lies in the future is of a clock that was set back since
        return Refusal(OVERTAKEN, f"{intent_id} got newer terms since; see `intentctl show`, and ask again")
    return rules_of_book.doubt(book, record) or _may_not_leave(book, record.intent.side, mode, now_ns)


def _may_not_leave(book: BookReader, side: Side, mode: Mode, now_ns: int) -> Refusal | None:
    """Why the order that takes the place of the old one would not be let out: then the old one is better kept."""
    if mode is Mode.LIVE:
        unarmed = arming.refusal_for_any(book, now_ns)
        if unarmed is not None:
            return unarmed
    return trading.refusal(book, side) or private_data.refusal(book, side, now_ns)


def _refuse(
    book: UnitOfWork, record: IntentRecord, terms: Amendment, rules: MarketRules, settings: Settings, now_ns: int
) -> Refusal | None:
    """Why these terms are not possible."""
    if terms.qty <= record.filled_qty:
        return Refusal(
            "BELOW_FILLED",
            f"qty {text(terms.qty)} is not above the {text(record.filled_qty)} that are filled already; cancel instead",
        )
    rest = terms.qty - record.filled_qty
    refusal = refuse_size(rest, terms.price, rules, settings.router.min_notional)
    if refusal is not None:
        return refusal
    more = _to_hold(record, terms, rules) - _held(book, record)
    currency = rules.quote if record.intent.side is Side.BUY else rules.base
    if more > (free := holdings.free(book, currency)):
        return Refusal(
            "INSUFFICIENT_FUNDS", f"needs {text(more)} {currency} more in the worst case, {text(free)} is free"
        )
    return _beyond_position(book, record, rest) or _beyond_limits(book, record, terms, rules, settings, now_ns, more)


def _beyond_position(book: BookReader, record: IntentRecord, rest: Decimal) -> Refusal | None:
    """A sale that may only shrink the position must not become larger than what of it nobody else sells."""
    reducing = record.intent.reduce_only or trading.standing(book).state is TradingState.REDUCING
    if not reducing or record.intent.side is Side.BUY or rest <= record.remaining_qty:
        return None
    position = book.position(record.intent.symbol)
    others = (
        other.reach_qty
        for other in book.open_intents(record.intent.symbol)
        if other.intent.side is Side.SELL and other.intent.intent_id != record.intent.intent_id
    )
    left = max(ZERO, position.qty - sum(others, ZERO)) if position else ZERO
    if rest <= left:
        return None
    return Refusal("REDUCE_ONLY", f"{text(rest)} to sell is above the position left {text(left)}; ask for less")


def _beyond_limits(
    book: UnitOfWork,
    record: IntentRecord,
    terms: Amendment,
    rules: MarketRules,
    settings: Settings,
    now_ns: int,
    more: Decimal,
) -> Refusal | None:
    """The risk limits, each check recorded, as for a new wish."""
    intent = record.intent
    plan = OrderPlan(
        qty=terms.qty - record.filled_qty,
        price=terms.price,
        tif=intent.tif,
        reference=terms.price,
        asked_price=terms.price,
        slippage_bps=settings.router.slippage_bps,
        capped=False,
    )
    checks = risk.evaluate_replacement(book, intent, plan, rules, settings.risk, now_ns, more=more)
    return risk.judge(book, intent, rules, checks, now_ns)
