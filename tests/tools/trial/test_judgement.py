"""The judgement can fail: whatever differs between strategy, book, streams and venue is counted and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from actors.scribe import Stream
from core import book, trading
from core.event_streams import stream_of
from core.events import AlertFired, StateChanged
from core.ids import ClientOrderId
from core.intent import IntentRequest
from core.outcomes import apply_report
from core.planning import Refusal
from core.records import TradingState
from core.reports import OrderStatus
from core.settings import UNLIMITED, RouterSettings
from storage.book_store import BookStore
from storage.layout import StateFolder
from tests.builders import T0, dec, opening, request, snapshot, trade
from tools.trial.judgement import judge, problems, trail_gaps
from tools.trial.strategy import Wish
from tools.trial.venue import Truth

KEY = "k1"
SECOND_NAME = ClientOrderId("in" + "b" * 16)
Damage = Callable[["Scene"], None]


class Scene:
    """One filled intent, told, booked, written to the streams, and at the venue."""

    def __init__(self, folder: StateFolder, store: BookStore) -> None:
        self.folder, self.store = folder, store
        wish: IntentRequest = request(key=KEY)
        with store.transaction() as unit:
            book.record_opening_balances(unit, {"USDT": dec(1000), "BTC": dec(0)}, T0)
            result = book.open_intent(unit, opening(wish), UNLIMITED, T0)
            assert result.attempt is not None
            done = trade("t1", "0.01", exchange_order_id="X1", fee=dec(0))
            report = snapshot(result.attempt, OrderStatus.FILLED, [done])
            record, self.attempt = apply_report(unit, replace(report, exchange_order_id="X1"), RouterSettings(), T0)
        self.wishes = {KEY: Wish(wish, intent_id=record.intent.intent_id, record=record)}
        self.truth = Truth(
            client_ids=[self.attempt.client_order_id],
            executed={self.attempt.client_order_id: dec("0.01")},
            live=[],
            fills=[("BTCUSDT", "t1")],
            balances={"USDT": dec(1000) - done.quote_qty, "BTC": dec("0.01")},
        )
        self.write_streams()

    def write_streams(self, leave_out: int = 0, twice: int = 0) -> None:
        with self.store.snapshot() as view:
            entries = [entry for entry in view.events() if entry[0] != leave_out]
        entries += [entry for entry in entries if entry[0] == twice]
        for path, name in ((self.folder.order_log, "order"), (self.folder.audit_log, "audit")):
            path.unlink(missing_ok=True)
            stream = Stream(path, "test")
            for entry in entries:
                if stream_of(entry[1]) == name:
                    stream.last = 0
                    stream.append([entry])
            stream.close()

    def figures(self) -> dict[str, Any]:
        with self.store.snapshot() as view:
            return judge(view, self.folder, self.wishes, self.truth)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    folder = StateFolder(tmp_path).create()
    store = BookStore.open_writer(folder, 1, "binance/sim")
    yield Scene(folder, store)
    store.close()


def test_what_agrees_has_no_problem(scene: Scene) -> None:
    """One intent, one order, one fill, the same everywhere."""
    assert problems(scene.figures()) == []


def lose_intent(scene: Scene) -> None:
    scene.wishes["k2"] = Wish(request(key="k2"))


def tell_another(scene: Scene) -> None:
    wish = scene.wishes[KEY]
    assert wish.record is not None
    told = replace(wish.record, intent=replace(wish.record.intent, intent_id="another"))
    scene.wishes[KEY] = Wish(wish.request, intent_id=told.intent.intent_id, record=told)


def tell_more(scene: Scene) -> None:
    wish = scene.wishes[KEY]
    assert wish.record is not None
    wish.record = replace(wish.record, filled_qty=wish.record.filled_qty * 2)


def order_twice(scene: Scene) -> None:
    scene.truth = replace(scene.truth, client_ids=scene.truth.client_ids * 2)


def order_of_nobody(scene: Scene) -> None:
    scene.truth = replace(scene.truth, client_ids=[*scene.truth.client_ids, "in" + "z" * 17])


def fill_unbooked(scene: Scene) -> None:
    scene.truth = replace(scene.truth, fills=[*scene.truth.fills, ("BTCUSDT", "t2")])


def fill_invented(scene: Scene) -> None:
    scene.truth = replace(scene.truth, fills=[])


def buy_twice(scene: Scene) -> None:
    """Another name, and the same wish: every attempt has its own."""
    with scene.store.transaction() as unit:
        unit.put_attempt(replace(scene.attempt, attempt=2, client_order_id=SECOND_NAME))
    names = [*scene.truth.client_ids, SECOND_NAME]
    scene.truth = replace(scene.truth, client_ids=names, executed=scene.truth.executed | {SECOND_NAME: dec("0.002")})


def leave_live(scene: Scene) -> None:
    scene.truth = replace(scene.truth, live=[scene.attempt.client_order_id])


def alarm(scene: Scene) -> None:
    with scene.store.transaction() as unit:
        unit.append_event(AlertFired(at_ns=T0, code="ORDER_REAPPEARED", text="it is there after all"))


def halt(scene: Scene) -> None:
    with scene.store.transaction() as unit:
        trading.put(unit, TradingState.HALTED, "for nothing", "reconciler", T0)


def ledger_twice(scene: Scene) -> None:
    with scene.store.transaction() as unit:
        (fill,) = (entry for entry in list(unit.ledger()) if entry.kind == "fill")
        unit.append_ledger(fill)


def drift(scene: Scene) -> None:
    scene.truth = replace(scene.truth, balances=scene.truth.balances | {"USDT": Decimal("499.99999999")})


def leak(scene: Scene) -> None:
    with scene.store.transaction() as unit:
        book.open_intent(unit, opening(request(key="k9", qty=dec("0.001"))), UNLIMITED, T0 + 1)
        record = next(iter(unit.open_intents()))
        unit.put_intent(replace(record, state=scene.wishes[KEY].record.state))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("damage", "figure"),
    [
        (lose_intent, "lost_intents"),
        (tell_another, "lost_intents"),
        (tell_more, "lost_intents"),
        (order_twice, "duplicate_orders_at_venue"),
        (order_of_nobody, "duplicate_orders_at_venue"),
        (fill_unbooked, "unbooked_fills"),
        (fill_invented, "double_booked_fills"),
        (ledger_twice, "double_booked_fills"),
        (drift, "balances differ"),
        (leak, "reservations_left"),
        (buy_twice, "overfilled_intents"),
        (leave_live, "live_orders_left"),
        (alarm, "ORDER_REAPPEARED"),
        (halt, "trading is HALTED"),
    ],
)
def test_each_difference_is_named(scene: Scene, damage: Damage, figure: str) -> None:
    """One planted difference, and the line that names it."""
    damage(scene)
    assert any(figure in line for line in problems(scene.figures()))


def test_a_refused_wish_is_not_lost(scene: Scene) -> None:
    """The strategy was told no, so there need not be an intent."""
    scene.wishes["k2"] = Wish(request(key="k2"), refusal=Refusal("BELOW_MIN_QTY", "too little"))
    assert problems(scene.figures()) == []
    assert (scene.figures()["intents"], scene.figures()["refused"]) == (1, 1)


@pytest.mark.parametrize("wrong", [{"leave_out": 3}, {"twice": 3}])
def test_a_stream_with_a_hole_or_a_repetition_is_a_gap(scene: Scene, wrong: dict[str, int]) -> None:
    """Every event of the outbox stands in the files exactly once."""
    scene.write_streams(**wrong)
    (gap,) = trail_gaps_of(scene)
    assert gap.startswith("streams:")


def test_a_chain_of_states_with_a_hole_is_a_gap(scene: Scene) -> None:
    """Each transition begins where the one before ended, and the last one is where the record stands."""
    with scene.store.transaction() as unit:
        changed = next(event for _, event in list(unit.events()) if isinstance(event, StateChanged))
        unit.append_event(changed)
    scene.write_streams()
    (gap,) = trail_gaps_of(scene)
    assert gap.startswith(str(scene.attempt.intent_id))


def trail_gaps_of(scene: Scene) -> list[str]:
    with scene.store.snapshot() as view:
        return trail_gaps(view, scene.folder)


def test_the_figures_are_json(scene: Scene) -> None:
    """Amounts are exact texts there."""
    figures = msgspec.json.decode(msgspec.json.encode(scene.figures()))
    assert figures["balance_drift"] == {"BTC": "0.00", "USDT": "0.00"}
