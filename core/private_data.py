"""Can the account's data be read? While it cannot, the system is *sell-only* (E5).

| private data | new buys | next attempts | sells, cancels, queries | working buys |
|---|---|---|---|---|
| ok | all | all | yes | stay |
| gone | refused, `PRIVATE_DATA_GONE` | of buys wait in RETRY | yes | stay |

Who buys while nobody can see the account may spend what is not there any more; who sells only makes smaller what is at
risk. This is not the trading state: that one belongs to operators and is not made looser by itself. This record is
written because of what the reconciler can read (`core/account_watch.py`), and ends by itself when the data is back.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from core import events
from core.ids import NS_PER_S
from core.intent import Side
from core.planning import Refusal
from core.records import PrivateData
from core.unit_of_work import BookReader, UnitOfWork

GONE, BACK = "PRIVATE_DATA_GONE", "PRIVATE_DATA_BACK"
"""Codes of the alerts; the first one of refusals, too."""
AT_FIRST: Final = PrivateData()
LOOK_AGAIN_NS: Final = 5 * NS_PER_S
"""While it is gone the account is asked for so often, and a buy that waits comes to look so often."""


def standing(book: BookReader) -> PrivateData:
    return book.private_data() or AT_FIRST


def refusal(book: BookReader, side: Side, now_ns: int) -> Refusal | None:
    """Why an order of this side may not leave now."""
    now = standing(book)
    if not now.is_gone or side is Side.SELL:
        return None
    age_s = max(0, now_ns - now.since_ns) // NS_PER_S
    return Refusal(
        GONE,
        f"the account's data was last read {age_s} s ago ({now.reason}), so nothing is bought until it can be read; "
        "sells go on, see `intentctl status`",
    )


def known_taker(book: BookReader) -> Decimal | None:
    """The account's fee, for a gateway that starts while the account cannot be read: who sells or cancels need not see
    it. None: nothing was ever traded, and then it must be read first."""
    return max((rules.taker_fee for rules in book.markets()), default=None)


def note(book: UnitOfWork, record: PrivateData, now_ns: int) -> None:
    """Keep a change in the book, with an alert; one that is known, or older, changes nothing."""
    before = standing(book)
    if record.revision <= before.revision or record.state is before.state:
        return
    book.put_private_data(record)
    book.append_event(
        events.PrivateDataChanged(
            at_ns=now_ns,
            from_state=before.state,
            to_state=record.state,
            since_ns=record.since_ns,
            reason=record.reason,
        )
    )
    if record.is_gone:
        code, text = GONE, f"the account's data cannot be read ({record.reason}): nothing is bought, sells go on"
    else:
        gone_s = max(0, now_ns - before.since_ns) // NS_PER_S
        code, text = BACK, f"the account's data can be read again, for the first time in {gone_s} s: buys go on"
    book.append_event(events.AlertFired(at_ns=now_ns, code=code, text=text))
