"""The router's shell: messages that come twice or never, and a stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.router import BOOK_TICK, PATIENCE_TICK, OrderRouter
from core import book
from core.book import OpeningOutcome
from core.effects import SubmitAnswer, Timer, TimerKind
from core.ids import IntentId
from core.patience import Patience
from core.planning import Refusal
from core.records import IntentRecord
from core.replacing import NewTerms, ReplaceResult
from core.settings import UNLIMITED, Settings
from messages.book import (
    ApplyReport,
    AttemptBegun,
    BeginAttempt,
    CancelRequested,
    IntentOpened,
    OpenIntent,
    RecordEvents,
    ReplaceRequested,
    ReportApplied,
    RequestReplace,
)
from messages.intents import (
    CancelIntent,
    IntentAnswered,
    IntentCancelNoted,
    IntentReplaceNoted,
    ReplaceIntent,
    SubmitIntent,
)
from messages.lifecycle import ConfigureChild, PrepareStop, StopPrepared, Tick
from messages.venue import FetchQuote, OrderReported, QuoteFetched
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.actors.recorded import Recorded
from tests.builders import T0, Desk, dec, not_placed, opening, quote, request, rules, snapshot

CLIENT, ENGINE = "client", "engine"


class RecordedRouter(Recorded, OrderRouter):
    def __init__(self) -> None:
        super().__init__()
        self.sent, self.woken = [], []

    def close(self) -> None:
        self.on_stop()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[RecordedRouter]:
    BookStore.open_writer(StateFolder(tmp_path).create(), 1, "binance/sim").close()
    with closing(started(tmp_path)) as recorded:
        yield recorded


def started(root: Path) -> RecordedRouter:
    """A router on the book that is there."""
    recorded = RecordedRouter()
    recorded.receiveMsg_ConfigureChild(
        ConfigureChild(
            settings=Settings(),
            state_root=str(root),
            session_id="s",
            portfolio="portfolio",
            gateway="gateway",
            reconciler="reconciler",
            rules=rules(),
        ),
        ENGINE,
    )
    recorded.patience = Patience(0)  # every answer is late at once
    return recorded


@pytest.fixture
def desk() -> Desk:
    return Desk()


def submit(router: RecordedRouter, name: str = "r1") -> None:
    router.receiveMsg_SubmitIntent(SubmitIntent(request_id=name, request=request(key="k"), wait=True), CLIENT)


def quoted(router: RecordedRouter) -> None:
    router.receiveMsg_QuoteFetched(QuoteFetched(symbol="BTC/USDT", quote=quote()), "gateway")


def opened(router: RecordedRouter, desk: Desk) -> IntentOpened:
    """The router's opening, done by a book, and the answer to it."""
    (asked,) = router.to("portfolio", OpenIntent)
    with desk.book.transaction() as unit:
        result = book.open_intent(unit, asked.opening, UNLIMITED, desk.now_ns)
    return IntentOpened(intent_id=asked.opening.intent.intent_id, result=result)


def applied(router: RecordedRouter, desk: Desk, record: IntentRecord) -> None:
    attempt = desk.attempt(record.intent.intent_id, record.attempts)
    router.receiveMsg_ReportApplied(ReportApplied(record=record, attempt=attempt), "portfolio")


def test_a_submission_that_comes_twice_is_answered_and_sent_once(router: RecordedRouter, desk: Desk) -> None:
    """Twice delivered, at any moment, one request has one answer and one order."""
    submit(router)
    submit(router)
    quoted(router)
    submit(router)
    answer = opened(router, desk)
    router.receiveMsg_IntentOpened(answer, "portfolio")
    router.receiveMsg_IntentOpened(answer, "portfolio")
    submit(router)
    assert [message.answer.outcome for message in router.to(CLIENT, IntentAnswered)] == ["accepted"]
    assert len(router.to("portfolio", OpenIntent)) == 1


def test_a_repeat_that_could_not_be_planned_any_more_is_still_known(
    router: RecordedRouter, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The price has moved below the minimum since: the answer is the existing intent, not a refusal."""
    submit(router)
    quoted(router)
    first = opened(router, desk)
    router.receiveMsg_IntentOpened(first, "portfolio")
    existing = SubmitAnswer(outcome=OpeningOutcome.DUPLICATE, record=first.result.record)
    monkeypatch.setattr(router, "known", lambda submission: existing if submission.key == "k" else None)
    router.brain.settings = replace(router.brain.settings, min_notional=Decimal(1_000_000))
    router.brain.quote = quote(observed_ns=time.time_ns())
    assert router.brain.can_plan(time.time_ns())
    submit(router, "r2")
    submit_other(router)
    outcomes = [message.answer.outcome for message in router.to(CLIENT, IntentAnswered)]
    assert outcomes == ["accepted", "duplicate", "refused"]


def submit_other(router: RecordedRouter) -> None:
    router.receiveMsg_SubmitIntent(SubmitIntent(request_id="r3", request=request(key="other"), wait=True), CLIENT)


def test_a_cancel_that_comes_twice_is_answered_once(router: RecordedRouter) -> None:
    """The second delivery of a cancel changes nothing."""
    cancel = CancelIntent(request_id="c1", intent_id=IntentId("1-BTCUSDT-00000000"), reason="")
    router.receiveMsg_CancelIntent(cancel, CLIENT)
    router.receiveMsg_CancelIntent(cancel, CLIENT)
    (asked,) = [m for m in router.to("portfolio") if type(m).__name__ == "RequestCancel"]
    answer = CancelRequested(intent_id=asked.intent_id, record=None, attempt=None)
    router.receiveMsg_CancelRequested(answer, "portfolio")
    router.receiveMsg_CancelRequested(answer, "portfolio")
    assert [message.refusal.code for message in router.to(CLIENT, IntentCancelNoted)] == ["UNKNOWN_INTENT"]


def test_a_quote_that_never_comes_is_asked_for_again(router: RecordedRouter) -> None:
    """A lost answer does not silence the symbol."""
    submit(router)
    assert any(isinstance(payload, Tick) for _, payload in router.woken)
    router.on_timer(Tick(name=PATIENCE_TICK))
    assert len(router.to("gateway", FetchQuote)) == 2


def test_an_opening_that_is_not_answered_is_asked_for_again(router: RecordedRouter, desk: Desk) -> None:
    """The book may have done it already: the repeat finds the same intent, and the client hears of it once."""
    submit(router)
    quoted(router)
    first = opened(router, desk)  # its answer is lost
    router.on_timer(Tick(name=PATIENCE_TICK))
    again = router.to("portfolio", OpenIntent)
    assert len(again) == 2
    with desk.book.transaction() as unit:
        result = book.open_intent(unit, again[1].opening, UNLIMITED, desk.now_ns)
    assert result.record == first.result.record
    router.receiveMsg_IntentOpened(IntentOpened(intent_id=first.intent_id, result=result), "portfolio")
    assert len(router.to(CLIENT, IntentAnswered)) == 1


def test_a_placement_without_an_answer_is_unknown_and_never_repeated(router: RecordedRouter, desk: Desk) -> None:
    """The one request that is not made again: its outcome is unknown."""
    submit(router)
    quoted(router)
    router.receiveMsg_IntentOpened(opened(router, desk), "portfolio")
    router.on_timer(Tick(name=PATIENCE_TICK))
    assert len(router.to("portfolio", OpenIntent)) == 1
    (applied,) = router.to("portfolio", ApplyReport)
    assert type(applied.report).__name__ == "OutcomeUnknown"


def test_a_placement_whose_outcome_is_in_the_book_is_not_asked_about(router: RecordedRouter, desk: Desk) -> None:
    """The outcome goes from the gateway to the book; that the book tells of it ends the wait."""
    submit(router)
    quoted(router)
    router.receiveMsg_IntentOpened(opened(router, desk), "portfolio")
    ((_, attempt),) = router.brain.live.values()
    record = desk.apply(snapshot(attempt))
    applied(router, desk, record)
    router.on_timer(Tick(name=PATIENCE_TICK))
    assert router.to("portfolio", ApplyReport) == []


def test_news_of_an_earlier_attempt_does_not_end_the_wait_for_this_one(router: RecordedRouter, desk: Desk) -> None:
    """A late report about attempt 1 is answered with the intent as it is: attempt 2 is SENDING, nobody knows more."""
    submit(router)
    quoted(router)
    router.receiveMsg_IntentOpened(opened(router, desk), "portfolio")
    ((_, first),) = router.brain.live.values()
    applied(router, desk, desk.apply(not_placed(first, retryable=True)))
    second = desk.begin(first.intent_id)
    begun = AttemptBegun(record=desk.record(first.intent_id), attempt=second, asked=2)
    router.receiveMsg_AttemptBegun(begun, "portfolio")
    late = ReportApplied(record=begun.record, attempt=second)
    router.receiveMsg_ReportApplied(late, "portfolio")
    router.on_timer(Tick(name=PATIENCE_TICK))
    (unheard,) = router.to("portfolio", ApplyReport)
    assert unheard.report.client_order_id == second.client_order_id


def test_an_old_answer_that_comes_twice_does_not_end_a_wait(router: RecordedRouter, desk: Desk) -> None:
    """The beginning of attempt 3 was lost; that of attempt 2 is told once more. Attempt 3 is asked for again."""
    submit(router)
    quoted(router)
    router.receiveMsg_IntentOpened(opened(router, desk), "portfolio")
    ((_, first),) = router.brain.live.values()
    applied(router, desk, desk.apply(not_placed(first, retryable=True)))
    second = desk.begin(first.intent_id)
    begun = AttemptBegun(record=desk.record(first.intent_id), attempt=second, asked=2)
    router.receiveMsg_AttemptBegun(begun, "portfolio")
    applied(router, desk, desk.apply(not_placed(second, retryable=True)))
    router.on_timer(Timer(TimerKind.RETRY, first.intent_id, 2))
    quoted(router)
    router.receiveMsg_AttemptBegun(begun, "portfolio")
    router.on_timer(Tick(name=PATIENCE_TICK))
    assert [message.attempt for message in router.to("portfolio", BeginAttempt)] == [3, 3]


def test_a_repeat_is_told_to_the_audit_trail(router: RecordedRouter, desk: Desk) -> None:
    """A second request for the same wish leaves its event, also when it joined the first one."""
    submit(router, "r1")
    quoted(router)
    submit(router, "r2")
    router.receiveMsg_IntentOpened(opened(router, desk), "portfolio")
    (noted,) = router.to("portfolio", RecordEvents)
    assert type(noted.events[0]).__name__ == "DuplicateOrderBlocked"


def test_a_repeat_of_what_was_accepted_is_answered_while_the_engine_stops(tmp_path: Path, desk: Desk) -> None:
    """I4 holds to the end: the wish is known, so it is not refused; a new one is."""
    store = BookStore.open_writer(StateFolder(tmp_path).create(), 1, "binance/sim")
    with store.transaction() as unit:
        book.record_opening_balances(unit, {"USDT": dec(1_000)}, T0)
        wish = opening(request(key="k", qty=dec("0.001")), at_ns=time.time_ns())
        book.open_intent(unit, wish, UNLIMITED, wish.intent.created_ns)
    store.close()
    with closing(started(tmp_path)) as router:
        router.receiveMsg_PrepareStop(PrepareStop(), ENGINE)
        for key in ("k", "new"):
            wanted = SubmitIntent(request_id=key, request=request(key=key, qty=dec("0.001")), wait=False)
            router.receiveMsg_SubmitIntent(wanted, CLIENT)
        repeat, new = [message.answer for message in router.to(CLIENT, IntentAnswered)]
    assert (repeat.outcome, repeat.record.intent.intent_id) == (OpeningOutcome.DUPLICATE, wish.intent.intent_id)
    assert (new.outcome, new.refusal.code) == (OpeningOutcome.REFUSED, "STOPPING")


def test_a_stop_begins_no_attempt_and_waits_for_one_that_began(router: RecordedRouter, desk: Desk) -> None:
    """RETRY is durable: a stopping router lets it be, but settles the attempt that is on its way."""
    submit(router)
    quoted(router)
    answer = opened(router, desk)
    router.receiveMsg_IntentOpened(answer, "portfolio")
    attempt = answer.result.attempt
    assert attempt is not None
    failed = not_placed(attempt, retryable=True)
    router.receiveMsg_OrderReported(OrderReported(client_order_id=attempt.client_order_id, report=failed), "gateway")
    record = desk.apply(failed)
    router.receiveMsg_ReportApplied(
        ReportApplied(record=record, attempt=desk.attempt(attempt.intent_id, 1)), "portfolio"
    )
    router.on_timer(Timer(TimerKind.RETRY, attempt.intent_id, 1))
    quoted(router)
    assert len(router.to("portfolio", BeginAttempt)) == 1
    router.receiveMsg_PrepareStop(PrepareStop(), ENGINE)
    assert router.to(ENGINE, StopPrepared) == []
    second = desk.begin(attempt.intent_id)
    router.receiveMsg_AttemptBegun(
        AttemptBegun(record=desk.record(attempt.intent_id), attempt=second, asked=2), "portfolio"
    )
    again = not_placed(second, retryable=True)
    router.receiveMsg_OrderReported(OrderReported(client_order_id=second.client_order_id, report=again), "gateway")
    record = desk.apply(again)
    router.receiveMsg_ReportApplied(
        ReportApplied(record=record, attempt=desk.attempt(attempt.intent_id, 2)), "portfolio"
    )
    router.on_timer(Timer(TimerKind.RETRY, attempt.intent_id, 2))
    quoted(router)
    assert len(router.to("portfolio", BeginAttempt)) == 1
    assert router.to(ENGINE, StopPrepared) != []


def test_a_stop_refuses_what_waits_for_its_turn_or_for_a_price(router: RecordedRouter) -> None:
    """Nothing has begun with it: it neither leaves after the operator's word, nor holds up the stop."""
    submit(router)
    router.receiveMsg_PrepareStop(PrepareStop(), ENGINE)
    quoted(router)
    (told,) = router.to(CLIENT, IntentAnswered)
    assert (told.answer.outcome, told.answer.refusal.code) == (OpeningOutcome.REFUSED, "STOPPING")
    assert router.to("portfolio", OpenIntent) == []
    assert router.to(ENGINE, StopPrepared)
    assert router.clients == {}


def test_what_the_road_lost_is_found_in_the_book(router: RecordedRouter, desk: Desk) -> None:
    """Every few seconds the router looks at the book: an intent that it never heard of is taken up there."""
    opening_of = opening(request(key="other"), at_ns=time.time_ns())
    router.store.close()  # two environments of one book must not be open in one process
    store = BookStore.open_writer(router.folder, 1, "binance/sim")
    with store.transaction() as unit:
        book.record_opening_balances(unit, {"USDT": Decimal(10_000)}, desk.now_ns)
        book.open_intent(unit, opening_of, UNLIMITED, desk.now_ns)
    store.close()
    router.store = BookStore.open_reader(router.folder)
    router.on_timer(Tick(name=BOOK_TICK))
    assert list(router.brain.live) == [opening_of.intent.intent_id]
    router.on_timer(Tick(name=PATIENCE_TICK))
    (unheard,) = router.to("portfolio", ApplyReport)
    assert type(unheard.report).__name__ == "OutcomeUnknown"


def test_a_replacement_is_answered_once_however_often_it_comes(router: RecordedRouter, desk: Desk) -> None:
    """Asked twice, answered late and twice: one message to the book, one answer to the client."""
    terms = NewTerms(qty=None, price=dec("41000"), reason="nearer", asked_ns=T0)
    wish = ReplaceIntent(request_id="r2", intent_id=desk.accept().intent_id, terms=terms)
    router.receiveMsg_ReplaceIntent(wish, CLIENT)
    router.receiveMsg_ReplaceIntent(wish, CLIENT)
    assert router.to("portfolio", RequestReplace) == [
        RequestReplace(request_id="r2", intent_id=wish.intent_id, terms=terms)
    ]
    refused = ReplaceResult(record=None, refusal=Refusal("UNKNOWN_INTENT", "there is none"))
    for _ in range(2):
        router.receiveMsg_ReplaceRequested(ReplaceRequested(request_id="r2", result=refused, attempt=None), "portfolio")
    assert router.to(CLIENT, IntentReplaceNoted) == [IntentReplaceNoted(request_id="r2", result=refused)]


def test_a_replacement_without_an_answer_is_asked_for_again(router: RecordedRouter) -> None:
    """The message to the book may be lost: it is sent once more, and the book notes it once."""
    terms = NewTerms(qty=dec("0.02"), price=None, reason="", asked_ns=T0)
    router.receiveMsg_ReplaceIntent(ReplaceIntent(request_id="r2", intent_id=IntentId("i"), terms=terms), CLIENT)
    router.on_timer(Tick(name=PATIENCE_TICK))
    assert len(router.to("portfolio", RequestReplace)) == 2


def test_a_replacement_that_cannot_be_meant_is_refused(router: RecordedRouter) -> None:
    """Neither price nor quantity: an answer that names it, and nothing for the book."""
    terms = NewTerms(qty=None, price=None, reason="", asked_ns=T0)
    router.receiveMsg_ReplaceIntent(ReplaceIntent(request_id="r2", intent_id=IntentId("i"), terms=terms), CLIENT)
    (told,) = router.to(CLIENT, IntentReplaceNoted)
    assert told.result.refusal is not None
    assert (told.result.refusal.code, router.to("portfolio", RequestReplace)) == ("INVALID", [])
