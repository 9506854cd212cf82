"""Absence is proof only when all witnesses were asked late enough and none has seen the order."""

from __future__ import annotations

import pytest

from core.evidence import SENT_WITHIN_NS, AbsenceCase, Witness
from core.ids import NS_PER_MS, ClientOrderId, ExchangeOrderId
from core.records import AttemptRecord
from core.reports import OpenOrder
from tests.builders import SECOND, T0, Desk

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
def case(attempt: AttemptRecord) -> AbsenceCase:
    return AbsenceCase(attempt, T0, EPOCH, RECV_WINDOW_MS, READ_LAG_NS)


def listed(name: str) -> OpenOrder:
    return OpenOrder(client_order_id=ClientOrderId(name), exchange_order_id=ExchangeOrderId("X1"))


def all_but(case: AbsenceCase, missing: Witness | None, at_ns: int = LATE) -> None:
    for witness in Witness:
        if witness is not missing:
            case.not_seen(witness, at_ns)


def test_all_four_together_prove_it(case: AbsenceCase) -> None:
    """Everybody was asked late enough and nobody has seen it: it was not placed, and may be tried again."""
    all_but(case, None)
    assert case.proven
    verdict = case.verdict()
    assert (verdict.code, verdict.retryable) == ("PROVEN_ABSENT", True)
    assert verdict.client_order_id == case.attempt.client_order_id


@pytest.mark.parametrize("missing", Witness)
def test_three_are_not_enough(case: AbsenceCase, missing: Witness) -> None:
    """Whoever was not asked, or did not answer, could have seen it."""
    all_but(case, missing)
    assert not case.proven


def test_too_early_is_no_proof(case: AbsenceCase) -> None:
    """Before the request's window and the venue's lag have passed, not seeing it means nothing."""
    all_but(case, None, LATE - 1)
    assert not case.proven
    all_but(case, None, LATE)
    assert case.proven


def test_an_old_attempt_is_waited_for_from_when_it_became_unknown(attempt: AttemptRecord) -> None:
    """What became unknown late may have left late."""
    began = T0 + 3600 * SECOND
    case = AbsenceCase(attempt, began, EPOCH, RECV_WINDOW_MS, READ_LAG_NS)
    all_but(case, None, LATE)
    assert not case.proven
    assert case.not_before_ns == began + RECV_WINDOW_MS * NS_PER_MS + READ_LAG_NS


@pytest.mark.parametrize("witness", [Witness.OPEN_ORDERS, Witness.RECENT_ORDERS])
def test_one_sighting_ends_the_proof(case: AbsenceCase, witness: Witness) -> None:
    """Our id in any list: everybody must be asked again."""
    all_but(case, witness)
    case.listed(witness, [listed("web-1"), listed(case.attempt.client_order_id)], LATE)
    assert not case.proven
    case.listed(witness, [listed("web-1")], LATE)
    assert not case.proven
    all_but(case, None)
    assert case.proven


def test_a_trade_that_nobody_accounts_for_may_be_ours(case: AbsenceCase, desk: Desk) -> None:
    """Trades name no client id: one of an order that is not known to be another's ends the proof."""
    all_but(case, Witness.TRADES)
    trade = desk.trade("0.001")
    case.traded([trade], set(), LATE)
    assert not case.proven
    all_but(case, Witness.TRADES)
    case.traded([trade], {trade.exchange_order_id}, LATE)
    assert case.proven


def test_an_order_of_an_older_epoch_leaves_no_more(attempt: AttemptRecord) -> None:
    """The gateway refuses it from then on, so only the request's window and the venue's lag are waited for."""
    case = AbsenceCase(attempt, T0, EPOCH + 1, RECV_WINDOW_MS, READ_LAG_NS)
    assert case.not_before_ns == T0 + RECV_WINDOW_MS * NS_PER_MS + READ_LAG_NS
