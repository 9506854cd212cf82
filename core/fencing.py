"""Only the newest engine may write and send (E4).

The book holds an *epoch*, a number that rises whenever a part starts that an older one of its kind must not get in the
way of: the portfolio and the gateway. The portfolio looks at it in every transaction, the gateway before every send,
and each order carries the epoch in which it was made durable. So a process that was believed dead, or was stopped for
an hour, can neither write nor send when it goes on.

Between a look and a send a process may be stopped, too. So the time that an order's request claims for itself is taken
before the look: what leaves too late is refused by the venue (recvWindow).
"""

from __future__ import annotations

from typing import Final

from core.errors import Fenced
from core.records import Epoch
from core.unit_of_work import BookReader, UnitOfWork

NONE_YET: Final = Epoch(number=0, since_ns=0)


def current(book: BookReader) -> Epoch:
    return book.epoch() or NONE_YET


def begin(book: UnitOfWork, now_ns: int) -> Epoch:
    """A new epoch; every older one is over when this is durable."""
    before = current(book)
    epoch = Epoch(number=before.number + 1, since_ns=max(now_ns, before.since_ns))
    book.put_epoch(epoch)
    return epoch


def check(book: BookReader, mine: int) -> None:
    """Raises `Fenced` when a newer epoch has begun."""
    now = current(book).number
    if now != mine:
        raise Fenced(f"epoch {now} has begun and this is a part of epoch {mine}; a newer engine runs on the book")
