"""Balances and reservations: free + reserved = total, per currency, after every step.

Called only inside a unit of work of the portfolio. Each function asserts what must hold afterwards and raises
`InvariantViolated` otherwise; the transaction is then thrown away as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from msgspec.structs import replace

from core.errors import InvariantViolated
from core.ids import IntentId
from core.money import ZERO, text
from core.records import Balance, Reservation
from core.unit_of_work import BookReader, UnitOfWork


def free(book: BookReader, currency: str) -> Decimal:
    """What a new reservation may take."""
    balance = book.balance(currency)
    return balance.free if balance else ZERO


def change_total(book: UnitOfWork, currency: str, amount: Decimal) -> None:
    """Money came (positive) or went."""
    if amount == 0:
        return
    balance = book.balance(currency) or Balance(currency=currency, total=ZERO)
    book.put_balance(replace(balance, total=balance.total + amount))


def reserve(book: UnitOfWork, reservation: Reservation) -> None:
    """Hold an amount. The caller has checked that it is free; this asserts it."""
    balance = book.balance(reservation.currency)
    if balance is None or reservation.amount <= 0 or balance.free < reservation.amount:
        raise InvariantViolated(f"reservation {reservation} exceeds what is free ({balance})")
    if book.reservation(reservation.intent_id) is not None:
        raise InvariantViolated(f"intent {reservation.intent_id} holds a reservation already")
    book.put_reservation(reservation)
    _change_reserved(book, reservation.currency, reservation.amount)


def adjust(book: UnitOfWork, intent_id: IntentId, amount: Decimal) -> None:
    """From now on this amount is held, more or less than before. The caller has checked that more of it is free."""
    reservation = book.reservation(intent_id)
    if reservation is None or amount < 0:
        raise InvariantViolated(f"intent {intent_id} cannot hold {text(amount)} from now on: it has {reservation}")
    more = amount - reservation.amount
    balance = book.balance(reservation.currency)
    if more > 0 and (balance is None or balance.free < more):
        raise InvariantViolated(f"intent {intent_id} needs {text(more)} {reservation.currency} more, free of {balance}")
    book.put_reservation(replace(reservation, amount=amount))
    _change_reserved(book, reservation.currency, more)


def consume(book: UnitOfWork, intent_id: IntentId, currency: str, amount: Decimal) -> None:
    """A fill used up part of what was held; at most what is left of it."""
    reservation = book.reservation(intent_id)
    if reservation is None or reservation.currency != currency:
        return
    used = min(reservation.amount, amount)
    book.put_reservation(replace(reservation, amount=reservation.amount - used))
    _change_reserved(book, currency, -used)


def release(book: UnitOfWork, intent_id: IntentId) -> Decimal:
    """The intent is terminal: whatever it still holds becomes free. Returns the amount."""
    reservation = book.reservation(intent_id)
    if reservation is None:
        return ZERO
    book.delete_reservation(intent_id)
    _change_reserved(book, reservation.currency, -reservation.amount)
    return reservation.amount


def _change_reserved(book: UnitOfWork, currency: str, amount: Decimal) -> None:
    balance = book.balance(currency)
    if balance is None or balance.reserved + amount < 0:
        raise InvariantViolated(f"reserved {currency} would become negative: {balance} {text(amount)}")
    book.put_balance(replace(balance, reserved=balance.reserved + amount))


def violations(book: BookReader) -> list[str]:
    """Every contradiction between reservations, balances and open intents; an empty list for a sound book."""
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    owners: set[IntentId] = set()
    found: list[str] = []
    for reservation in book.reservations():
        held[reservation.currency] += reservation.amount
        owners.add(reservation.intent_id)
        if reservation.amount < 0:
            found.append(f"reservation of {reservation.intent_id} is negative: {reservation.amount}")
    open_ids = {record.intent.intent_id for record in book.open_intents()}
    found += [f"reservation without an open intent: {owner}" for owner in sorted(owners - open_ids)]
    found += [f"open intent without a reservation: {intent}" for intent in sorted(open_ids - owners)]
    found += [
        f"{balance.currency}: reserved {balance.reserved}, reservations sum to {held[balance.currency]}"
        for balance in book.balances()
        if balance.reserved != held[balance.currency]
    ]
    return found
