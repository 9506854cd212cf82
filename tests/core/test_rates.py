"""The account's budget: who may send what, what each lane keeps, what stops when the venue says so."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import RateLimitHit
from core.ids import NS_PER_S
from core.meter import Earlier
from core.rates import (
    BANNED,
    DEFAULTS,
    KEPT,
    MINUTE_NS,
    ORDERS_CODE,
    TEN_SECONDS_NS,
    TOO_MANY,
    Held,
    Lane,
    Limit,
    Pass,
    Rates,
    limits_of,
)

T0 = 28_000_000 * MINUTE_NS + 5 * NS_PER_S
"""Five seconds into a minute and into ten seconds."""
WEIGHT_CODE = -1003


def rates(weight: int = 100, orders: int = 10, day: int = 1_000) -> Rates:
    stated = (weight, orders, day)
    return Rates(row._replace(limit=limit) for row, limit in zip(DEFAULTS, stated, strict=True))


def spend(found: Rates, lane: Lane, weight: int = 1, at_ns: int = T0) -> bool:
    """One request of the lane, there and back at once, if it may leave."""
    passed = found.place("i", weight, at_ns) if lane is Lane.PLACE else found.ask(lane, weight, at_ns)
    if isinstance(passed, Pass):
        found.settle(passed, (None, None, None), at_ns)
    return isinstance(passed, Pass)


def test_a_lane_cannot_use_what_is_kept_for_the_others() -> None:
    """Sweeps may take their own part and what belongs to nobody; then the other lanes still have theirs."""
    found = rates(orders=0)
    while spend(found, Lane.SWEEP):
        pass
    (weight, *_) = found.figures({}, T0).limits
    assert weight.used == 100 - sum(KEPT[lane] for lane in Lane if lane is not Lane.SWEEP)
    assert all(spend(found, lane) for lane in (Lane.PLACE, Lane.ON_DEMAND, Lane.LOOK_UP, Lane.CANCEL))


def test_whoever_wants_everything_compared_leaves_the_regular_checks_their_part() -> None:
    """However often he asks; and they leave him his."""
    found = rates(orders=0)
    while spend(found, Lane.ON_DEMAND):
        pass
    assert sum(spend(found, Lane.SWEEP) for _ in range(100)) == KEPT[Lane.SWEEP]
    found = rates(orders=0)
    while spend(found, Lane.SWEEP):
        pass
    assert sum(spend(found, Lane.ON_DEMAND) for _ in range(100)) == KEPT[Lane.ON_DEMAND]


def test_when_nothing_is_placed_any_more_its_part_is_for_questions() -> None:
    """Look-ups and cancels keep theirs; and who places all the same passes no limit."""
    found = rates(orders=0)
    while spend(found, Lane.SWEEP):
        pass
    found.end_placing()
    assert sum(spend(found, Lane.SWEEP) for _ in range(100)) == KEPT[Lane.PLACE]
    assert [lane for lane in Lane if spend(found, lane)] == [Lane.CANCEL, Lane.LOOK_UP, Lane.ON_DEMAND]


@pytest.mark.parametrize("greedy", [Lane.LOOK_UP, Lane.SWEEP, Lane.ON_DEMAND, Lane.PLACE])
def test_cancels_always_have_room(greedy: Lane) -> None:
    """However much the others want."""
    found = rates(orders=0)
    for lane in (greedy, Lane.PLACE, Lane.LOOK_UP, Lane.SWEEP, Lane.ON_DEMAND):
        while spend(found, lane):
            pass
    for _ in range(KEPT[Lane.CANCEL]):
        assert spend(found, Lane.CANCEL)
    assert not spend(found, Lane.CANCEL)


def test_the_order_count_binds_placements_alone() -> None:
    """The eleventh order of ten seconds is held until the next ones; a question is not."""
    found = rates()
    assert [spend(found, Lane.PLACE) for _ in range(11)] == [True] * 10 + [False]
    held = found.would_hold("another", 1, T0)
    assert held is not None
    assert T0 + 5 * NS_PER_S < held.until_ns < T0 + 7 * NS_PER_S
    assert "orders_10s" in held.reason
    assert spend(found, Lane.LOOK_UP)


def test_the_day_has_its_own_limit() -> None:
    """With 3 orders a day the fourth is held until tomorrow."""
    found = rates(day=3)
    assert [spend(found, Lane.PLACE) for _ in range(4)] == [True] * 3 + [False]
    held = found.would_hold("another", 1, T0)
    assert held is not None
    assert held.until_ns > T0 + 3_600 * NS_PER_S


def test_too_much_weight_stops_every_lane_until_the_venue_says() -> None:
    """And not a moment earlier, for who insists is banned."""
    found = rates(weight=1_000)
    found.refused(TOO_MANY, WEIGHT_CODE, 7 * NS_PER_S, T0)
    assert not any(spend(found, lane, at_ns=T0 + 7 * NS_PER_S) for lane in Lane)
    assert all(spend(found, lane, at_ns=T0 + 9 * NS_PER_S) for lane in Lane)


def test_too_many_orders_stop_placements_alone() -> None:
    """Cancels and questions go on."""
    found = rates()
    found.refused(TOO_MANY, ORDERS_CODE, 0, T0)
    assert [lane for lane in Lane if spend(found, lane)] == [Lane.CANCEL, Lane.LOOK_UP, Lane.SWEEP, Lane.ON_DEMAND]
    assert spend(found, Lane.PLACE, at_ns=T0 + TEN_SECONDS_NS)


def test_refusals_of_orders_in_a_row_stop_them_longer_each_time() -> None:
    """The limit of a day does not end with the ten seconds; one order that was answered, and it is as at first."""
    found = rates()

    def stopped_s(at_ns: int) -> int:
        return (found.refused(TOO_MANY, ORDERS_CODE, 0, at_ns).until_ns - found.clock.error_ns - at_ns) // NS_PER_S

    lengths, at_ns = [], T0  # five seconds before they are over, and the clock may be wrong by one
    for _ in range(9):
        lengths.append(stopped_s(at_ns))
        assert stopped_s(at_ns + 1) <= lengths[-1]  # others that were on their way are no new refusal
        at_ns += TEN_SECONDS_NS * 100
    assert lengths == [6 + longer for longer in (0, 10, 30, 70, 150, 310, 630, 630, 630)]
    found.order_answered()
    assert stopped_s(at_ns) == 6


def test_too_many_orders_within_a_stop_for_weight_stop_for_whole_nanoseconds() -> None:
    """It is on its way when the stop comes. A time with a fraction is no message, and cannot be read in the book."""
    found = rates()
    found.refused(TOO_MANY, WEIGHT_CODE, NS_PER_S, T0)
    stop = found.refused(TOO_MANY, ORDERS_CODE, 0, T0 + 1)
    assert (stop.lanes, stop.until_ns) == ((Lane.PLACE,), T0 + 6 * NS_PER_S + found.clock.error_ns)
    assert isinstance(stop.until_ns, int)


def test_a_ban_outlasts_a_shorter_stop() -> None:
    """An answer that was on its way tells of a second; the two minutes hold."""
    found = rates()
    found.refused(BANNED, WEIGHT_CODE, 120 * NS_PER_S, T0)
    found.refused(TOO_MANY, WEIGHT_CODE, NS_PER_S, T0)
    assert not any(spend(found, lane, at_ns=T0 + 119 * NS_PER_S) for lane in Lane)
    assert found.figures({}, T0).stopped[0].reason == "the venue answered 418: banned"
    assert found.refused_by_venue == 2


@pytest.mark.parametrize("code", [WEIGHT_CODE, ORDERS_CODE])
def test_what_is_told_of_a_shorter_stop_is_the_longer_one(code: int) -> None:
    """The next gateway goes by what was told last, and must not insist during a ban."""
    found = rates()
    ban = found.refused(BANNED, WEIGHT_CODE, 120 * NS_PER_S, T0)
    assert found.refused(TOO_MANY, code, NS_PER_S, T0) == ban
    assert found.refused(TOO_MANY, code, 130 * NS_PER_S, T0).until_ns > ban.until_ns


def test_a_clock_that_is_set_back_makes_no_stop_longer() -> None:
    """An hour back: the stop still lasts its seven seconds."""
    found = rates()
    found.refused(TOO_MANY, WEIGHT_CODE, 7 * NS_PER_S, T0)
    earlier = T0 - 3_600 * NS_PER_S
    assert not spend(found, Lane.CANCEL, at_ns=earlier)
    assert spend(found, Lane.CANCEL, at_ns=earlier + 10 * NS_PER_S)


def test_what_did_not_leave_leaves_its_room() -> None:
    """An order that was blocked in the last moment is not counted."""
    found = rates(orders=1)
    passed = found.place("one", 1, T0)
    assert isinstance(passed, Pass)
    found.give_back(passed)
    assert isinstance(found.place("two", 1, T0), Pass)


def test_a_request_that_did_not_leave_uses_nothing_of_what_is_kept_for_its_lane() -> None:
    """Look-ups that gave up before they left may still be put, whatever lists ask for meanwhile."""
    found, others = rates(), rates()
    for _ in range(50):
        passed = found.ask(Lane.LOOK_UP, 4, T0)
        assert isinstance(passed, Pass)
        found.give_back(passed)
    assert [_room(each, Lane.SWEEP) for each in (found, others)] == [_room(rates(), Lane.SWEEP)] * 2


def _room(found: Rates, lane: Lane) -> int:
    """So many requests of weight 10 leave."""
    return sum(isinstance(found.ask(lane, 10, T0), Pass) for _ in range(1_000))


def test_waiting_placements_come_back_spread_over_the_windows() -> None:
    """With ten orders in ten seconds the 25th that waits comes in the third window, and none comes twice."""
    found = rates()
    for _ in range(10):
        assert spend(found, Lane.PLACE)
    due = {}
    for number in range(25):
        held = found.place(f"intent {number}", 1, T0)
        assert isinstance(held, Held)
        due[f"intent {number}"] = held.until_ns
    windows = [(at_ns - T0 + 5 * NS_PER_S) // TEN_SECONDS_NS for at_ns in due.values()]
    assert Counter(windows) == {1: 10, 2: 10, 3: 5}
    for intent_id, at_ns in sorted(due.items(), key=lambda entry: entry[1]):
        passed = found.place(intent_id, 1, at_ns)
        assert isinstance(passed, Pass), (intent_id, passed)
        found.settle(passed, (None, None, None), at_ns)


def test_nobody_takes_the_room_of_those_who_wait() -> None:
    """A new wish in a window whose orders belong to others waits, too; what is left after its first third is free."""
    found = rates()
    for _ in range(10):
        assert spend(found, Lane.PLACE)
    for number in range(10):
        assert isinstance(found.place(f"intent {number}", 1, T0), Held)
    begin = T0 + 6 * NS_PER_S + 1
    assert isinstance(found.place("newcomer", 1, begin), Held)
    assert isinstance(found.place("intent 0", 1, begin), Pass)
    assert isinstance(found.place("late newcomer", 1, begin + 5 * NS_PER_S), Pass)


def test_a_ticket_is_not_further_ahead_than_asked_for() -> None:
    """Whoever would wait longer than a minute asks again then: most of them have ended until then."""
    found = rates()
    due = [found.come_again(f"intent {number}", T0, "busy", T0).until_ns for number in range(1_000)]
    assert max(due) < T0 + MINUTE_NS + TEN_SECONDS_NS
    assert found.figures({}, T0).waiting["place"] == 1_000
    assert found.figures({}, T0 + 3 * MINUTE_NS).waiting["place"] == 0  # they have ended, or ask again


@pytest.mark.parametrize(
    ("rows", "limits"),
    [
        (None, (6_000, 100, 200_000)),
        ("nonsense", (6_000, 100, 200_000)),
        ([], (0, 0, 0)),
        (
            [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50},
                {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
                "nonsense",
            ],
            (1_200, 50, 0),
        ),
    ],
)
def test_limits_are_the_venues_own(rows: object, limits: tuple[int, ...]) -> None:
    """A list without a kind has no such limit; where there is no list, Binance's hold."""
    assert tuple(row.limit for row in limits_of(rows)) == limits
    assert [row.name for row in limits_of(rows)] == ["weight_1m", "orders_10s", "orders_1d"]


def test_a_venue_without_limits_binds_nobody() -> None:
    found = Rates(Limit(row.name, row.length_ns, 0) for row in DEFAULTS)
    assert all(spend(found, lane, 1_000) for lane in Lane for _ in range(200))


@settings(max_examples=200, deadline=None)
@given(
    wishes=st.lists(
        st.tuples(st.sampled_from(list(Lane)), st.integers(1, 20), st.integers(0, 3_000)), min_size=50, max_size=300
    )
)
def test_whatever_is_wished_the_limits_hold_and_cancels_pass(wishes: list[tuple[Lane, int, int]]) -> None:
    """In no minute more weight, and in no ten seconds more orders, than the venue allows; and what cancels may use of
    their own part they always get."""
    found, now_ns = rates(), T0 - 5 * NS_PER_S
    weights: Counter[int] = Counter()
    orders: Counter[int] = Counter()
    cancels: Counter[int] = Counter()
    for lane, weight, wait_ms in wishes:
        now_ns += wait_ms * 1_000_000
        cost = 1 if lane is Lane.CANCEL else weight
        minute = now_ns // MINUTE_NS
        passed = spend(found, lane, cost, now_ns)
        if passed:
            weights[minute] += cost
            orders[now_ns // TEN_SECONDS_NS] += lane is Lane.PLACE
        if lane is Lane.CANCEL:
            cancels[minute] += 1
            is_edge = now_ns % MINUTE_NS < 1.1 * NS_PER_S or now_ns % MINUTE_NS > MINUTE_NS - 1.1 * NS_PER_S
            assert passed or cancels[minute] + cancels[minute - 1] > KEPT[Lane.CANCEL] or is_edge
    assert max(weights.values(), default=0) <= 100
    assert max(orders.values(), default=0) <= 10


def test_the_orders_of_the_gateway_before_leave_no_room() -> None:
    """Nine of ten orders stood in this window: one more leaves, and the next one when the window is over."""
    found = rates()
    found.recall([Earlier(T0 - NS_PER_S, T0)] * 9, T0)
    assert [row.used for row in found.figures({}, T0).limits] == [0, 9, 0]
    assert [spend(found, Lane.PLACE) for _ in range(2)] == [True, False]
    assert spend(found, Lane.PLACE, at_ns=T0 + 7 * NS_PER_S)
    assert not found.orders_are_known  # somebody else may have placed some: the first one goes ahead


def test_the_next_gateway_sits_out_the_ban_of_the_one_before() -> None:
    """As long as it lasts by the wall clock, also when the venue has announced its limits meanwhile; a clock that was
    set back an hour makes it no longer than it was."""
    hit = RateLimitHit(
        at_ns=T0, status=BANNED, lanes=tuple(Lane), until_ns=T0 + 120 * NS_PER_S, reason="the venue answered 418"
    )
    for now_ns, left_s in ((T0 + 60 * NS_PER_S, 60), (T0 - 3_600 * NS_PER_S, 120), (T0 + 600 * NS_PER_S, 0)):
        found = rates()
        found.go_on_with(hit, now_ns)
        found.announce(DEFAULTS)
        assert not left_s or not any(spend(found, lane, at_ns=now_ns + (left_s - 1) * NS_PER_S) for lane in Lane)
        assert all(spend(found, lane, at_ns=now_ns + left_s * NS_PER_S) for lane in Lane)
