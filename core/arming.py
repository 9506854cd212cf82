"""May orders leave for the live account? Only while an operator has armed it (E3).

| the operator's last word | orders in mode live |
|---|---|
| none, or `disarm` | none leaves |
| `arm` | leave while `since <= now < until`, and only for the account that was named |

A wish to arm is obeyed once, when it comes. Messages come late, and twice: one that was asked for before the last word
was given, or too long ago, must not arm what was disarmed since, nor for longer than was asked. A wish to disarm is
always obeyed. It ends by the clock alone, whoever lives then; a clock that was set back before it began ends it, too.

Only the gateway's last look asks for it, so what is blocked is an intent with a trail and an end, and cancels and
questions never are. Pure: the clock comes in, ns UTC.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from core import events
from core.account import Account
from core.errors import InvalidInput
from core.ids import NS_PER_S
from core.planning import Refusal
from core.records import Arming
from core.settings import Mode, duration_text
from core.unit_of_work import BookReader, UnitOfWork

BLOCKED: Final = "ORDER_BLOCKED_LIVE_TRADING"
EXPIRED: Final = "ARMING_EXPIRED"
"""Code of the alert."""
SHORTEST_NS: Final = NS_PER_S
LONGEST_NS: Final = 7 * 24 * 3_600 * NS_PER_S
OBEYED_WITHIN_NS: Final = 60 * NS_PER_S
"""Whoever wanted to arm has given up by then, and does not know that it still might happen."""


# ── is it armed? ──────────────────────────────────────────────────────────────────────────────────────────────────────


def is_in_force(record: Arming | None, account: str, now_ns: int) -> bool:
    """`account` is the fingerprint of the connected one."""
    return record is not None and account != "" and account == record.account and _is_running(record, now_ns)


def refusal(book: BookReader, account: str, now_ns: int) -> Refusal | None:
    """Why no order may leave for this account now."""
    record = book.arming()
    if is_in_force(record, account, now_ns):
        return None
    return Refusal(BLOCKED, f"{_why_not(record, account, now_ns)}; see `intentctl arm`")


def refusal_for_any(book: BookReader, now_ns: int) -> Refusal | None:
    """The same, as long as nobody knows which account is connected."""
    record = book.arming()
    return refusal(book, record.account if record is not None else "", now_ns)


def _why_not(record: Arming | None, account: str, now_ns: int) -> str:
    if record is None:
        return "live trading is not armed"
    if not record.account:
        return f"live trading was disarmed by {record.by} ({record.reason})"
    if record.account != account:
        return f"live trading is armed for account {record.account}, and this is {account}"
    if now_ns < record.since_ns:
        return f"the clock was set back {_seconds(record.since_ns - now_ns)}, to before live trading was armed"
    return f"the arming of live trading ended {_seconds(now_ns - record.until_ns)} ago"


def _is_running(record: Arming, now_ns: int) -> bool:
    """Once its end was told it is over for good, whatever a clock that was put right says."""
    is_over = record.is_expiry_told or not record.account
    return not is_over and record.since_ns <= now_ns < record.until_ns


def _seconds(length_ns: int) -> str:
    return f"{length_ns // NS_PER_S} s"


# ── arm, disarm ───────────────────────────────────────────────────────────────────────────────────────────────────────


def validate(mode: Mode, account: Account | None, confirmed: str, for_ns: int) -> None:
    """Whether this may be wished for at all. Raises `InvalidInput` with what is wrong."""
    validate_mode(mode)
    if not SHORTEST_NS <= for_ns <= LONGEST_NS:
        rule = f"must be {duration_text(SHORTEST_NS)} to {duration_text(LONGEST_NS)}"
        raise InvalidInput("for", duration_text(for_ns), rule, "arm again before it ends, if it shall go on")
    if account is not None and not account.fingerprint:
        rule = "cannot be compared: the account could not be read when the gateway started"
        raise InvalidInput("confirm", confirmed[:40], rule, "see `intentctl status`, and ask again when it can be read")
    if account is None or confirmed != account.fingerprint:
        rule = "is not the fingerprint of the connected account"
        raise InvalidInput("confirm", confirmed[:40], rule, "`intentctl arm` without --confirm shows which one it is")


def validate_mode(mode: Mode) -> None:
    """Raises `InvalidInput` where there is nothing to arm or disarm."""
    if mode is not Mode.LIVE:
        remedy = "`intentctl halt` stops trading in every mode"
        raise InvalidInput("mode", str(mode), "only live trading is armed and disarmed", remedy)


def arm(
    book: UnitOfWork, account: str, for_ns: int, reason: str, by: str, asked_ns: int, now_ns: int
) -> Arming | Refusal:
    """Let orders leave for this account until so long after it was asked for. A refusal changes nothing."""
    before = book.arming()
    if before is not None and before.account == account and before.asked_ns == asked_ns:
        return before  # the same wish again
    refused = _too_late(before, asked_ns, now_ns)
    if refused is not None:
        return refused
    after = Arming(
        account=account, since_ns=now_ns, until_ns=asked_ns + for_ns, by=by, reason=reason, asked_ns=asked_ns
    )
    if after.until_ns <= now_ns:
        return Refusal("ARMING_OVER", "it took longer to be heard than it was to last; ask again, for longer")
    book.put_arming(after)
    book.append_event(events.TradingArmed(at_ns=now_ns, account=account, until_ns=after.until_ns, reason=reason, by=by))
    return after


def _too_late(before: Arming | None, asked_ns: int, now_ns: int) -> Refusal | None:
    """Whether whoever wishes it cannot have known how it stands now."""
    if not 0 <= now_ns - asked_ns <= OBEYED_WITHIN_NS:
        late = f"it was asked for {_seconds(now_ns - asked_ns)} ago, or the clock was set since"
        return Refusal("ARMING_TOO_LATE", f"{late}; nothing was changed, ask again")
    if before is not None and asked_ns <= before.since_ns:
        meanwhile = "live trading was armed or disarmed after this was asked for"
        remedy = "look at `intentctl status`, then ask again; if the clock was set back, `intentctl disarm` first"
        return Refusal("ARMING_OVERTAKEN", f"{meanwhile}; nothing was changed, {remedy}")
    return None


def disarm(book: UnitOfWork, reason: str, by: str, asked_ns: int, now_ns: int) -> Arming:
    """Let none leave any more. Asked again later, it is later that a wish to arm must have been asked for."""
    before = book.arming()
    is_disarmed = before is not None and not before.account and before.since_ns <= now_ns
    if before is not None and is_disarmed and asked_ns <= before.asked_ns:
        return before  # the same wish again, or an older one
    after = Arming(account="", since_ns=now_ns, until_ns=now_ns, by=by, reason=reason, asked_ns=asked_ns)
    book.put_arming(after)
    book.append_event(events.TradingDisarmed(at_ns=now_ns, reason=reason, by=by))
    return after


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def tell_expiry(book: UnitOfWork, now_ns: int) -> None:
    """An alert, once for each arming that came to its end."""
    record = book.arming()
    if record is None or not record.account or record.is_expiry_told or now_ns < record.until_ns:
        return
    book.put_arming(replace(record, is_expiry_told=True))
    text = "the arming of live trading is over and no order leaves any more; working orders stay, see `intentctl arm`"
    book.append_event(events.AlertFired(at_ns=now_ns, code=EXPIRED, text=text))


def expires_in_ns(book: BookReader, now_ns: int) -> int | None:
    """When `tell_expiry` has something to tell; None: never."""
    record = book.arming()
    if record is None or not record.account or record.is_expiry_told:
        return None
    return max(0, record.until_ns - now_ns)
