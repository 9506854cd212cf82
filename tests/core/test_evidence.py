"""Absence is proof when all witnesses were asked late enough, in one healthy round, and none has seen the order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import AbsenceProven, OrderNotPlaced, OrderSeen
from core.evidence import SENT_WITHIN_NS, Case, Undecided, Witness, open_case, weigh
from core.evidence import Testimony as Said
from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId
from core.lifecycle import State
from core.records import AttemptRecord
from core.reports import NotPlaced, OpenOrder, OrderAbsent, OrderStatus
from tests.builders import SECOND, SYMBOL, T0, Desk, dec, request, snapshot, trade, unknown

RECV_WINDOW_MS = 5_000
READ_LAG_NS = 10 * SECOND
EPOCH = 0
"""Of the attempt, too."""
LATE = T0 + SENT_WITHIN_NS + RECV_WINDOW_MS * NS_PER_MS + READ_LAG_NS


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def attempt(desk: Desk) -> AttemptRecord:
    return desk.accept()


@pytest.fixture
def case(attempt: AttemptRecord) -> Case:
    return case_of(attempt)


def case_of(attempt: AttemptRecord, began_ns: int = T0, epoch: int = EPOCH) -> Case:
    return open_case(attempt, began_ns, epoch, RECV_WINDOW_MS, READ_LAG_NS)


def line(name: str, order_id: str = "X1", **changes: Any) -> OpenOrder:
    return OpenOrder(
        client_order_id=ClientOrderId(name), exchange_order_id=ExchangeOrderId(order_id), symbol=SYMBOL, **changes
    )


def nobody(case: Case, **changes: Any) -> Said:
    """Everybody was asked in time, and nobody has seen it."""
    said: dict[str, Any] = {
        "asked_ns": LATE,
        "order": OrderAbsent(client_order_id=case.attempt.client_order_id),
        "open_orders": (),
        "recent_orders": (),
        "trades": (),
    }
    return Said(**(said | changes))


def doubt(case: Case, **changes: Any) -> str:
    """Why such a round proves nothing."""
    found = weigh(case, nobody(case, **changes))
    assert isinstance(found, Undecided), found
    return found.why


# ── late enough ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_four_together_prove_it(case: Case) -> None:
    """Everybody was asked late enough and nobody has seen it: it was not placed, and may be tried again."""
    found = weigh(case, nobody(case))
    assert isinstance(found, NotPlaced)
    assert (found.code, found.retryable) == ("PROVEN_ABSENT", True)
    assert found.client_order_id == case.attempt.client_order_id


def test_too_early_is_no_proof(case: Case) -> None:
    """Before the request's window and the venue's lag have passed, not seeing it means nothing."""
    assert "too early" in doubt(case, asked_ns=LATE - 1)
    assert isinstance(weigh(case, nobody(case, asked_ns=LATE)), NotPlaced)


def test_an_old_attempt_is_waited_for_from_when_it_became_unknown(attempt: AttemptRecord) -> None:
    """What became unknown late may have left late."""
    began = T0 + 3600 * SECOND
    case = case_of(attempt, began)
    assert "too early" in doubt(case, asked_ns=LATE)
    assert case.not_before_ns == began + RECV_WINDOW_MS * NS_PER_MS + READ_LAG_NS


def test_an_order_of_an_older_epoch_leaves_no_more(attempt: AttemptRecord) -> None:
    """The gateway refuses it from then on, so only the request's window and the venue's lag are waited for."""
    case = case_of(attempt, T0, EPOCH + 1)
    assert case.not_before_ns == T0 + RECV_WINDOW_MS * NS_PER_MS + READ_LAG_NS


@given(st.integers(0, 100), st.integers(0, 2), st.integers(0, 60_000), st.integers(0, 60))
def test_nothing_is_proven_before_the_request_is_dead(began_s: int, epoch: int, window_ms: int, lag_s: int) -> None:
    """However the case began: the proof waits for the last moment of leaving, the window and the lag, in this order."""
    attempt = Desk().accept()
    case = open_case(attempt, T0 + began_s * SECOND, epoch, window_ms, lag_s * SECOND)
    leaves_until = T0 + SENT_WITHIN_NS if epoch == attempt.epoch else T0
    dead_ns = max(T0 + began_s * SECOND, leaves_until) + window_ms * NS_PER_MS + lag_s * SECOND
    assert case.not_before_ns == dead_ns
    assert isinstance(weigh(case, nobody(case, asked_ns=dead_ns - 1)), Undecided)
    assert isinstance(weigh(case, nobody(case, asked_ns=dead_ns)), NotPlaced)


# ── together ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("missing", ["order", "open_orders", "recent_orders", "trades"])
def test_three_are_not_enough(case: Case, missing: str) -> None:
    """G3: whoever was not asked, or whose question failed, could have seen it. An empty list is another thing."""
    assert "not every witness" in doubt(case, **{missing: None})


# ── healthy ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_of_open_orders_without_a_working_one_proves_nothing(case: Case) -> None:
    """What must be seen is not: the venue answers an outage with an empty list."""
    must = frozenset({ClientOrderId("i-works")})
    assert "i-works" in doubt(case, working=must)
    assert isinstance(weigh(case, nobody(case, working=must, open_orders=(line("i-works"),))), NotPlaced)


def test_a_list_of_recent_orders_without_a_recent_one_proves_nothing(case: Case) -> None:
    """A working order that is younger than the question must be in both lists."""
    must = frozenset({ClientOrderId("i-works")})
    shown = (line("i-works"),)
    assert "i-works" in doubt(case, working=must, recent=must, open_orders=shown)
    said = nobody(case, working=must, recent=must, open_orders=shown, recent_orders=shown)
    assert isinstance(weigh(case, said), NotPlaced)


def test_a_trade_that_nobody_accounts_for_may_be_ours(case: Case) -> None:
    """Trades name no client id: one of an order that is not known to be another's ends the proof."""
    stranger = trade("t1", "0.001", exchange_order_id=ExchangeOrderId("X9"))
    assert "t1" in doubt(case, trades=(stranger,))
    known = nobody(case, trades=(stranger,), others=frozenset({ExchangeOrderId("X9")}))
    listed = nobody(case, trades=(stranger,), recent_orders=(line("web-1", "X9"),))
    assert isinstance(weigh(case, known), NotPlaced)
    assert isinstance(weigh(case, listed), NotPlaced)


def test_an_order_that_is_listed_without_a_name_accounts_for_nothing(case: Case) -> None:
    """Nobody has said that it is another's."""
    stranger = trade("t1", "0.001", exchange_order_id=ExchangeOrderId("X9"))
    assert "t1" in doubt(case, trades=(stranger,), recent_orders=(line("", "X9"),))


# ── not seen ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("witness", ["open_orders", "recent_orders"])
def test_one_sighting_in_a_list_is_the_order(case: Case, witness: str) -> None:
    """Our id in any list ends the case, whatever the look-up says; the trades that are shown come with it."""
    name = case.attempt.client_order_id
    filled = trade("t1", "0.004", exchange_order_id=ExchangeOrderId("X7"))
    other = trade("t2", "0.004", exchange_order_id=ExchangeOrderId("X8"))
    shown = line(name, "X7", filled_qty=dec("0.004"), status=OrderStatus.CANCELED, venue_status="CANCELED")
    found = weigh(case, nobody(case, trades=(filled, other), **{witness: (line("web-1"), shown)}))
    assert isinstance(found, tuple)
    (seen,) = found
    assert (seen.exchange_order_id, seen.status, seen.filled_qty) == ("X7", OrderStatus.CANCELED, dec("0.004"))
    assert (seen.trades, seen.source) == ((filled,), "orders")


def test_a_sighting_counts_before_its_time_and_in_a_round_that_failed(case: Case) -> None:
    """Only absence has to be proven; what is there, is there."""
    name = case.attempt.client_order_id
    found = weigh(case, Said(asked_ns=T0, open_orders=(line(name),)))
    assert isinstance(found, tuple)
    assert [seen.client_order_id for seen in found] == [name]


def test_a_look_up_goes_before_a_list(case: Case) -> None:
    """It shows more; the same order is reported once."""
    looked_up = snapshot(case.attempt, order_id="X1", source="lookup")
    found = weigh(case, nobody(case, order=looked_up, open_orders=(line(case.attempt.client_order_id),)))
    assert found == (looked_up,)


def test_two_orders_of_one_name_are_both_told(case: Case) -> None:
    """The venue has executed it twice: that is not for us to hide."""
    name = case.attempt.client_order_id
    found = weigh(case, nobody(case, recent_orders=(line(name, "X1"), line(name, "X2"))))
    assert isinstance(found, tuple)
    assert [seen.exchange_order_id for seen in found] == ["X1", "X2"]


# ── the proof in the book ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_proof_is_kept_in_the_transaction_that_it_moves(desk: Desk) -> None:
    """C3: who was asked when, and how the time was derived, stands before the move that it allows; all or nothing."""
    attempt = desk.accept()
    desk.apply(unknown(attempt))
    began = T0 + 3 * SECOND
    case = case_of(attempt, began)
    found = weigh(case, nobody(case, asked_ns=LATE + SECOND))
    assert isinstance(found, NotPlaced)
    desk.now_ns = LATE + 2 * SECOND
    record = desk.apply(found)
    (proven,) = desk.events(AbsenceProven)
    assert record.state is State.RETRY
    assert (proven.at_ns, proven.client_order_id, proven.attempt) == (desk.now_ns, attempt.client_order_id, 1)
    assert proven.proof.asked == dict.fromkeys(map(str, Witness), LATE + SECOND)
    assert (proven.proof.last_sent_ns, proven.proof.not_before_ns) == (T0 + SENT_WITHIN_NS, LATE)
    assert (proven.proof.recv_window_ms, proven.proof.read_lag_ns) == (RECV_WINDOW_MS, READ_LAG_NS)
    assert "10 s" in proven.proof.because
    kinds = [type(event) for event in desk.book.trail(attempt.intent_id)]
    assert kinds.index(AbsenceProven) + 1 == kinds.index(OrderNotPlaced)


def test_a_proof_that_comes_too_late_proves_nothing(desk: Desk) -> None:
    """The order was seen meanwhile: neither state nor evidence changes."""
    attempt = desk.accept(request())
    desk.apply(snapshot(attempt))
    case = case_of(attempt)
    found = weigh(case, nobody(case))
    assert isinstance(found, NotPlaced)
    assert desk.apply(found).state is State.SENT
    assert desk.events(AbsenceProven) == []


def test_what_a_question_showed_is_kept_as_evidence(desk: Desk) -> None:
    """C3: an order that was found by asking is noted with what it showed, once; a placement's answer needs none."""
    first, second = desk.accept(request(key="a")), desk.accept(request(key="b"))
    desk.apply(unknown(first))
    looked_up = snapshot(first, OrderStatus.OPEN, source="lookup", filled="0.004")
    desk.apply(looked_up)
    desk.apply(looked_up)
    desk.apply(snapshot(second))
    (seen,) = desk.events(OrderSeen)
    assert (seen.client_order_id, seen.filled_qty, seen.source) == (first.client_order_id, dec("0.004"), "lookup")
