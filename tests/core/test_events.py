"""Events: each has its name, its stream, and survives being written."""

from __future__ import annotations

import typing

import msgspec
import pytest

from core import events
from core.event_streams import AUDIT_STREAM, ORDER_STREAM, stream_of
from core.events import AnyEvent
from core.lifecycle import State
from core.reports import OrderStatus
from tests.builders import T0, Desk, not_placed, request, snapshot, unknown

KINDS = typing.get_args(AnyEvent)
SPECIFIED = {
    "order_intent", "order_attempt", "order_ack", "order_fill", "order_cancel", "order_done", "retry_attempt",
    "duplicate_order_blocked", "slippage_guard_applied", "position_updated", "ledger_entry", "reconciliation_result",
    "alert_fired",
}  # fmt: skip


def test_every_kind_of_event_can_be_read_back() -> None:
    """Each subclass of `Event` stands in `AnyEvent`, under a name of its own."""
    assert set(KINDS) == set(events.Event.__subclasses__())
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert len(tags) == len(set(tags))


def test_the_names_are_those_of_the_specification() -> None:
    """O3: users grep for them."""
    assert {kind.__struct_config__.tag for kind in KINDS} >= SPECIFIED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_has_a_meaning(kind: type) -> None:
    """Each event but the self-explaining quarantine pair says what it tells."""
    quarantine = {events.SymbolQuarantined, events.QuarantineLifted}
    assert kind in quarantine or kind.__doc__


def all_sorts() -> list[AnyEvent]:
    """Real events of a busy day."""
    desk = Desk()
    attempt = desk.accept(request(limit_price="60000", key="k1"))
    desk.submit(request(limit_price="60000", key="k1"))
    desk.submit(request(key="k1"))
    desk.submit(request(qty="100"))
    desk.apply(unknown(attempt))
    desk.apply(not_placed(attempt, retryable=True))
    second = desk.begin(attempt.intent_id)
    desk.apply(snapshot(second, OrderStatus.EXPIRED, [desk.trade("0.004", fee="0.1", fee_currency="BNB")]))
    desk.cancel(attempt.intent_id)
    desk.apply(snapshot(second, OrderStatus.EXPIRED, [desk.trade("0.001")]))
    return [event for _, event in desk.book.events()]


def test_a_real_story_survives_json_and_msgpack() -> None:
    """O2: what is written is what is read, by its tag alone."""
    story = all_sorts()
    assert len({type(event) for event in story}) >= 14
    for event in story:
        assert event == msgspec.json.decode(msgspec.json.encode(event), type=AnyEvent)
        assert event == msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=AnyEvent)


def test_streams_are_told_apart() -> None:
    """Transitions and ledger go to AUDIT, the story of orders to ORDER."""
    by_stream = {stream_of(event): set() for event in all_sorts()}  # type: ignore[var-annotated]
    for event in all_sorts():
        by_stream[stream_of(event)].add(type(event).__name__)
    assert {"StateChanged", "LedgerEntry", "AlertFired", "SymbolQuarantined"} <= by_stream[AUDIT_STREAM]
    assert {"OrderIntent", "OrderAttempt", "OrderAck", "OrderFill", "OrderDone"} <= by_stream[ORDER_STREAM]


def test_times_and_intents_are_on_every_event() -> None:
    """F6: each transition has its time and its intent."""
    for event in all_sorts():
        assert event.at_ns == T0
        if isinstance(event, events.StateChanged):
            assert event.intent_id
            assert event.from_state in State
