"""Live trading is armed by an operator's own wish, for its time and account, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core import arming
from core.account import Account
from core.arming import LONGEST_NS, OBEYED_WITHIN_NS, SHORTEST_NS
from core.errors import InvalidInput
from core.events import AlertFired, TradingArmed, TradingDisarmed
from core.planning import Refusal
from core.records import Arming
from core.settings import Mode
from tests.builders import SECOND, T0
from tests.fakes import MemoryBook

OURS, OTHER = "0123456789ab", "ba9876543210"
FOR_NS = 3_600 * SECOND
ACCOUNT = Account(fingerprint=OURS, address="http://127.0.0.1:1")


def arm(book: MemoryBook, at_ns: int = T0, *, asked_ns: int | None = None, for_ns: int = FOR_NS) -> Arming | Refusal:
    asked_ns = at_ns if asked_ns is None else asked_ns
    with book.transaction() as unit:
        return arming.arm(unit, OURS, for_ns, "a test", "operator", asked_ns, at_ns)


def disarm(book: MemoryBook, at_ns: int, asked_ns: int | None = None) -> Arming:
    with book.transaction() as unit:
        return arming.disarm(unit, "enough", "operator", at_ns if asked_ns is None else asked_ns, at_ns)


def tell_expiry(book: MemoryBook, at_ns: int) -> None:
    with book.transaction() as unit:
        arming.tell_expiry(unit, at_ns)


def events(book: MemoryBook, kind: type[Any]) -> list[Any]:
    return [event for _, event in book.events() if isinstance(event, kind)]


def is_armed(book: MemoryBook, at_ns: int, account: str = OURS) -> bool:
    refused = arming.refusal(book, account, at_ns)
    assert (refused is None) == arming.is_in_force(book.arming(), account, at_ns)
    return refused is None


def why_not(book: MemoryBook, at_ns: int, account: str = OURS) -> str:
    refused = arming.refusal(book, account, at_ns)
    assert refused is not None
    assert (refused.code, "intentctl arm" in refused.reason) == (arming.BLOCKED, True)
    return refused.reason


# ── in force ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_in_force_from_its_beginning_to_its_end() -> None:
    """To the nanosecond: it ends by itself, and has not begun for a clock that was set back."""
    book = MemoryBook()
    arm(book)
    end = T0 + FOR_NS
    assert [is_armed(book, at) for at in (T0 - 1, T0, end - 1, end)] == [False, True, True, False]


def test_it_is_for_one_account() -> None:
    """Another key that opens another account finds nothing armed, and neither does a gateway that knows none."""
    book = MemoryBook()
    arm(book)
    assert [is_armed(book, T0, account) for account in (OURS, OTHER, "")] == [True, False, False]


def test_a_disarmed_book_is_not_armed_for_an_account_that_nobody_knows() -> None:
    """The record of a disarming names no account; neither does a gateway before its first answer."""
    book = MemoryBook()
    disarm(book, T0)
    record = book.arming()
    assert record is not None
    assert not arming.is_in_force(replace(record, until_ns=T0 + FOR_NS), "", T0)


def test_a_refusal_says_why_and_what_to_do() -> None:
    """Whoever reads it in an intent's trail knows what happened to the arming."""
    book = MemoryBook()
    assert "is not armed" in why_not(book, T0)
    arm(book)
    assert "ended 5 s ago" in why_not(book, T0 + FOR_NS + 5 * SECOND)
    assert "set back 7 s" in why_not(book, T0 - 7 * SECOND)
    assert f"armed for account {OURS}, and this is {OTHER}" in why_not(book, T0, OTHER)
    disarm(book, T0 + 1)
    assert "disarmed by operator (enough)" in why_not(book, T0 + 1)


# ── wishes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_change_is_told_once_with_who_and_why() -> None:
    """The same wish that is delivered again changes nothing."""
    book = MemoryBook()
    assert arm(book, T0 + 5, asked_ns=T0) == arm(book, T0 + 9, asked_ns=T0) == book.arming()
    assert disarm(book, T0 + 20, asked_ns=T0 + 10) == disarm(book, T0 + 30, asked_ns=T0 + 10) == book.arming()
    assert [(e.account, e.until_ns, e.by, e.reason) for e in events(book, TradingArmed)] == [
        (OURS, T0 + FOR_NS, "operator", "a test")
    ]
    assert [(e.by, e.reason) for e in events(book, TradingDisarmed)] == [("operator", "enough")]


def test_it_lasts_from_when_it_was_asked_for() -> None:
    """However long the wish was on its way; one that would be over already arms nothing."""
    book = MemoryBook()
    arm(book, T0 + 30 * SECOND, asked_ns=T0)
    assert not is_armed(book, T0 + FOR_NS)
    over = arm(MemoryBook(), T0 + 30 * SECOND, asked_ns=T0, for_ns=30 * SECOND)
    assert isinstance(over, Refusal)
    assert over.code == "ARMING_OVER"


def test_a_newer_wish_takes_the_place_of_the_one_in_force() -> None:
    """It can make it longer, and shorter."""
    book = MemoryBook()
    arm(book)
    arm(book, T0 + SECOND, for_ns=5 * SECOND)
    assert not is_armed(book, T0 + 6 * SECOND)


def test_a_late_wish_does_not_arm_what_was_disarmed_since() -> None:
    """Nor does the first delivery of it, nor the second."""
    book = MemoryBook()
    arm(book)
    disarm(book, T0 + 20)
    for asked_ns in (T0, T0 + 10):
        refused = arm(book, T0 + 30, asked_ns=asked_ns)
        assert isinstance(refused, Refusal)
        assert refused.code == "ARMING_OVERTAKEN"
    assert not is_armed(book, T0 + 30)
    arm(book, T0 + 30)
    assert is_armed(book, T0 + 30)


def test_disarming_again_counts_from_then() -> None:
    """A wish to arm that was asked for between two disarmings is of before the second one."""
    book = MemoryBook()
    disarm(book, T0)
    disarm(book, T0 + 20)
    assert isinstance(arm(book, T0 + 30, asked_ns=T0 + 10), Refusal)


def test_a_disarming_is_obeyed_however_late_it_comes() -> None:
    """Nobody is armed for longer because of it."""
    book = MemoryBook()
    arm(book, T0 + 20)
    disarm(book, T0 + 30, asked_ns=T0 + 10)
    assert not is_armed(book, T0 + 30)


def test_a_clock_that_was_wrong_can_be_mended() -> None:
    """What was armed or disarmed in a future that was none is cleared by a disarming; then it can be armed again."""
    for wish in (arm, disarm):
        book = MemoryBook()
        wish(book, T0 + LONGEST_NS)
        assert isinstance(arm(book, T0), Refusal)
        disarm(book, T0 + 1)
        arm(book, T0 + 2)
        assert is_armed(book, T0 + 2)


@pytest.mark.parametrize("age_ns", [OBEYED_WITHIN_NS + 1, -1])
def test_a_wish_of_another_time_arms_nothing(age_ns: int) -> None:
    """Whoever asked has given up by then; and one from the future was asked for before the clock was set back."""
    book = MemoryBook()
    refused = arm(book, T0, asked_ns=T0 - age_ns)
    assert isinstance(refused, Refusal)
    assert (refused.code, book.arming(), list(book.events())) == ("ARMING_TOO_LATE", None, [])


WISHES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 40), st.integers(1, 60)), min_size=1, max_size=12
)
"""Is it to arm; asked for at; on its way for; for how long."""


@given(WISHES)
def test_whatever_comes_late_or_twice_arms_nothing_that_was_disarmed(wishes: list[tuple[bool, int, int, int]]) -> None:
    """At every moment: what is armed rests on a wish that has come, is not over, and was asked for after every
    disarming that has come."""
    book = MemoryBook()
    deliveries = sorted((asked + way, asked, is_arm, for_ns) for is_arm, asked, way, for_ns in wishes + wishes[::2])
    for number, (at, asked, is_arm, for_ns) in enumerate(deliveries):
        if is_arm:
            arm(book, T0 + at, asked_ns=T0 + asked, for_ns=for_ns)
        else:
            disarm(book, T0 + at, asked_ns=T0 + asked)
        come = deliveries[: number + 1]
        disarmed = max((asked for _, asked, is_arm, _ in come if not is_arm), default=-1)
        for now in {at, *(asked + for_ns - over for _, asked, is_arm, for_ns in come if is_arm for over in (0, 1))}:
            rests = any(
                is_arm and asked > disarmed and asked <= now < asked + for_ns for _, asked, is_arm, for_ns in come
            )
            assert rests or now < at or not is_armed(book, T0 + now)


# ── what may be wished for ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("mode", "account", "confirmed", "for_ns", "field"),
    [
        (Mode.SIM, ACCOUNT, OURS, FOR_NS, "mode"),
        (Mode.OBSERVE, ACCOUNT, OURS, FOR_NS, "mode"),
        (Mode.TESTNET, ACCOUNT, OURS, FOR_NS, "mode"),
        (Mode.LIVE, ACCOUNT, OTHER, FOR_NS, "confirm"),
        (Mode.LIVE, ACCOUNT, "", FOR_NS, "confirm"),
        (Mode.LIVE, ACCOUNT, OURS.upper(), FOR_NS, "confirm"),
        (Mode.LIVE, None, OURS, FOR_NS, "confirm"),
        (Mode.LIVE, ACCOUNT, OURS, LONGEST_NS + 1, "for"),
        (Mode.LIVE, ACCOUNT, OURS, SHORTEST_NS - 1, "for"),
        (Mode.LIVE, ACCOUNT, OURS, -1, "for"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    mode: Mode, account: Account | None, confirmed: str, for_ns: int, field: str
) -> None:
    """Another mode, another account, too long, nothing at all: the error names which."""
    with pytest.raises(InvalidInput) as error:
        arming.validate(mode, account, confirmed, for_ns)
    assert error.value.field == field


@pytest.mark.parametrize("for_ns", [SHORTEST_NS, LONGEST_NS])
def test_the_limits_belong_to_what_is_allowed(for_ns: int) -> None:
    """Seven days are as long as one can go without looking."""
    arming.validate(Mode.LIVE, ACCOUNT, OURS, for_ns)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_an_arming_is_told_once() -> None:
    """Not before it, not again, and not of one that was disarmed; the next one is told of its own end."""
    book = MemoryBook()
    tell_expiry(book, T0)
    arm(book)
    tell_expiry(book, T0 + FOR_NS - 1)
    assert events(book, AlertFired) == []
    for at in (T0 + FOR_NS, T0 + FOR_NS + 1):
        tell_expiry(book, at)
    assert [event.code for event in events(book, AlertFired)] == ["ARMING_EXPIRED"]
    disarm(book, T0 + 2 * FOR_NS)
    tell_expiry(book, T0 + 3 * FOR_NS)
    assert len(events(book, AlertFired)) == 1


def test_somebody_waits_for_the_end_that_is_to_be_told() -> None:
    """Of an arming that has not been told to be over, and of nothing else."""
    book = MemoryBook()
    assert arming.expires_in_ns(book, T0) is None
    arm(book)
    assert [arming.expires_in_ns(book, T0 + at) for at in (0, FOR_NS - 1, FOR_NS, 2 * FOR_NS)] == [FOR_NS, 1, 0, 0]
    tell_expiry(book, T0 + FOR_NS)
    assert arming.expires_in_ns(book, T0 + FOR_NS) is None
    disarm(book, T0 + FOR_NS)
    assert arming.expires_in_ns(book, T0 + FOR_NS) is None


def test_an_arming_whose_end_was_told_does_not_come_to_life_again() -> None:
    """The clock had jumped ahead, and is put right: whoever heard that nothing leaves any more relies on it."""
    book = MemoryBook()
    arm(book)
    tell_expiry(book, T0 + 2 * FOR_NS)
    assert not is_armed(book, T0 + 1)
    arm(book, T0 + 2)
    assert is_armed(book, T0 + 3)


def test_without_a_known_account_it_is_what_was_armed_that_counts() -> None:
    """Nothing is armed, or something is: for whom, is to be found out."""
    book = MemoryBook()
    assert arming.refusal_for_any(book, T0) is not None
    arm(book)
    assert arming.refusal_for_any(book, T0) is None
    disarm(book, T0 + 1)
    assert arming.refusal_for_any(book, T0 + 2) is not None
