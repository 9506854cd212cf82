"""What operators are told, and when: a halt, an arming, a change of the user stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.children import GATEWAY, PORTFOLIO, RECONCILER
from core import in_flight
from core.account import Account, KeyRights
from core.events import AlertFired
from core.ids import NS_PER_MS
from core.records import Arming, Standing, TradingState
from core.settings import from_mapping
from messages import RequestRefused
from messages.book import (
    ArmingSet,
    ArmTrading,
    DisarmTrading,
    RecordEvents,
    SetTradingState,
    TradingStateSet,
)
from messages.lifecycle import QuietDue, StreamChanged
from messages.venue import AwaitQuiet, GatewayReady, WireQuiet
from storage.layout import StateFolder
from tests.actors.recorded_engine import CLIENT, RESTARTS_MAX, RecordedEngine, health
from tests.builders import SECOND, SYMBOL, T0, rules

# ── halt ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def halted(engine: RecordedEngine, state: TradingState = TradingState.HALTED) -> TradingStateSet:
    """The portfolio's word that the state is durable, for a client who has asked for it."""
    engine.receiveMsg_SetTradingState(SetTradingState(request_id="r", state=state, reason="a test"), CLIENT)
    by_operator = Standing(state=state, reason="a test", by="operator", since_ns=T0)
    done = TradingStateSet(request_id="r", standing=by_operator, canceling=0)
    engine.receiveMsg_TradingStateSet(done, PORTFOLIO)
    return done


def test_a_halt_is_told_when_the_wire_is_quiet(running: RecordedEngine) -> None:
    """Whoever hears of it may rely on it: what was sent before has arrived, or never will."""
    done = halted(running)
    assert running.to(CLIENT, TradingStateSet) == []
    (asked,) = running.to(running.address_of(GATEWAY), AwaitQuiet)
    running.receiveMsg_WireQuiet(WireQuiet(request_id=asked.request_id), GATEWAY)
    running.receiveMsg_WireQuiet(WireQuiet(request_id=asked.request_id), GATEWAY)
    assert running.to(CLIENT, TradingStateSet) == [done]


def test_a_halt_is_told_without_a_gateway_when_the_venue_takes_nothing_older(running: RecordedEngine) -> None:
    """It has died with an order on the wire; the receive window is the venue's own rule."""
    running.let_die(GATEWAY)
    done = halted(running)
    (due,) = [(delay, due) for delay, due in running.woken if isinstance(due, QuietDue)]
    assert due[0] == in_flight.reach_ns(running.settings.exchange.recv_window_ms * NS_PER_MS)
    running.on_timer(due[1])
    assert running.to(CLIENT, TradingStateSet) == [done]


@pytest.mark.parametrize("after", [TradingState.ACTIVE, TradingState.REDUCING])
def test_a_halt_that_was_lifted_before_it_could_be_told_is_told_as_that(
    running: RecordedEngine, after: TradingState
) -> None:
    """Another operator has known of it. Who was told "halted" now would rely on what is not so any more."""
    halted(running)
    (asked,) = running.to(running.address_of(GATEWAY), AwaitQuiet)
    running.receiveMsg_SetTradingState(SetTradingState(request_id="s", state=after, reason="seen"), "another client")
    lifted = Standing(state=after, reason="seen", by="operator", since_ns=T0 + 1)
    done = TradingStateSet(request_id="s", standing=lifted, canceling=0)
    running.receiveMsg_TradingStateSet(done, PORTFOLIO)
    running.receiveMsg_WireQuiet(WireQuiet(request_id=asked.request_id), GATEWAY)
    assert running.to(CLIENT, TradingStateSet) == [replace(done, request_id="r")]


def test_who_halts_a_halted_engine_waits_for_no_portfolio_that_nobody_starts(running: RecordedEngine) -> None:
    """Nothing leaves any more, and it says so; one that is just being started is worth the wait."""
    ask = SetTradingState(request_id="r", state=TradingState.HALTED, reason="a test")
    running.let_die(PORTFOLIO)
    running.receiveMsg_SetTradingState(ask, CLIENT)
    running.let_all_start()
    running.exhaust(PORTFOLIO)
    assert running.state == "halted"
    running.receiveMsg_SetTradingState(ask, CLIENT)
    passing, lasting = running.to(CLIENT, RequestRefused)
    assert (passing.is_passing, lasting.is_passing) == (True, False)
    assert "the portfolio is gone, and the engine is halted" in lasting.reason


def test_a_halt_waits_longer_where_an_order_may_have_claimed_a_later_time(running: RecordedEngine) -> None:
    """The venue's clock was ahead of ours, and may fall back."""
    running.let_die(GATEWAY)
    done = TradingStateSet(
        request_id="r",
        standing=Standing(state=TradingState.HALTED, reason="a test", by="operator", since_ns=T0),
        canceling=0,
        clock_span_ns=20 * SECOND,
    )
    running.receiveMsg_TradingStateSet(done, PORTFOLIO)
    (delay_ns,) = [delay for delay, due in running.woken if isinstance(due, QuietDue)]
    assert delay_ns == in_flight.reach_ns(running.settings.exchange.recv_window_ms * NS_PER_MS, 20 * SECOND)


LIVE = {"engine": {"restarts_max": RESTARTS_MAX, "mode": "live"}}
KEY = KeyRights(may_trade=True, may_transfer=False, is_ip_restricted=False)
ACCOUNT = Account(fingerprint="0123456789ab", address="http://127.0.0.1:1", rights=KEY)


@pytest.fixture
def live(tmp_path: Path) -> RecordedEngine:
    """An engine in mode live, connected to an account whose key works from anywhere."""
    engine = RecordedEngine(StateFolder(tmp_path).create(), from_mapping(LIVE))
    engine.let_all_start()
    connect(engine)
    return engine


def connect(engine: RecordedEngine, account: Account = ACCOUNT) -> None:
    engine.receiveMsg_GatewayReady(
        GatewayReady(markets={SYMBOL: rules()}, totals={}, account=account), engine.address_of(GATEWAY)
    )


def arm(engine: RecordedEngine, account: str = ACCOUNT.fingerprint, for_ns: int = SECOND, reason: str = "go") -> str:
    """What is refused; empty if the portfolio is asked."""
    before = len(engine.to(CLIENT, RequestRefused))
    wish = ArmTrading(request_id="r", account=account, for_ns=for_ns, reason=reason, asked_ns=T0)
    engine.receiveMsg_ArmTrading(wish, CLIENT)
    refused = engine.to(CLIENT, RequestRefused)[before:]
    assert len(refused) + engine.to(engine.address_of(PORTFOLIO), ArmTrading).count(wish) == 1
    return refused[0].reason if refused else ""


def test_live_trading_is_armed_for_the_connected_account_alone(live: RecordedEngine) -> None:
    """By its fingerprint, for a time that is none too long, with words that say something."""
    assert "confirm = 'ba9876543210'" in arm(live, "ba9876543210")
    assert "for = '8d'" in arm(live, for_ns=8 * 24 * 3_600 * SECOND)
    assert "reason" in arm(live, reason=" ")
    assert arm(live) == ""


def test_nothing_is_armed_while_nobody_knows_the_account(live: RecordedEngine) -> None:
    """The next gateway may have another key."""
    live.let_die(GATEWAY)
    assert "the gateway is not ready" in arm(live)


def test_other_modes_have_nothing_to_arm_or_disarm(running: RecordedEngine) -> None:
    """Who means to stop trading there is told how."""
    connect(running)
    assert "only live trading" in arm(running)
    running.receiveMsg_DisarmTrading(DisarmTrading(request_id="d", reason="enough", asked_ns=T0), CLIENT)
    assert "intentctl halt" in running.to(CLIENT, RequestRefused)[-1].reason


def arming_set(engine: RecordedEngine, account: str) -> ArmingSet:
    """The portfolio's word that it is durable; empty: disarmed."""
    record = Arming(account=account, since_ns=T0, until_ns=T0 + SECOND, by="operator", reason="a test", asked_ns=T0)
    done = ArmingSet(request_id="d", arming=record, refusal=None)
    engine.clients["d"] = CLIENT
    engine.receiveMsg_ArmingSet(done, PORTFOLIO)
    return done


def test_an_arming_is_told_at_once(live: RecordedEngine) -> None:
    """What was sent before does no harm to it."""
    done = arming_set(live, ACCOUNT.fingerprint)
    assert live.to(CLIENT, ArmingSet) == [done]


def test_a_disarming_is_told_when_the_wire_is_quiet(live: RecordedEngine) -> None:
    """Whoever hears of it may rely on it, as on a halt."""
    live.receiveMsg_DisarmTrading(DisarmTrading(request_id="d", reason="enough", asked_ns=T0), CLIENT)
    assert live.to(live.address_of(PORTFOLIO), DisarmTrading)
    done = arming_set(live, "")
    assert live.to(CLIENT, ArmingSet) == []
    (asked,) = live.to(live.address_of(GATEWAY), AwaitQuiet)
    live.receiveMsg_WireQuiet(WireQuiet(request_id=asked.request_id), GATEWAY)
    assert live.to(CLIENT, ArmingSet) == [done]


def test_a_disarming_that_was_undone_before_it_could_be_told_is_told_as_that(live: RecordedEngine) -> None:
    """Another operator has armed again, knowing of it."""
    live.receiveMsg_DisarmTrading(DisarmTrading(request_id="e", reason="enough", asked_ns=T0), CLIENT)
    off = Arming(account="", since_ns=T0, until_ns=T0, by="operator", reason="enough", asked_ns=T0)
    live.receiveMsg_ArmingSet(ArmingSet(request_id="e", arming=off, refusal=None), PORTFOLIO)
    (asked,) = live.to(live.address_of(GATEWAY), AwaitQuiet)
    done = arming_set(live, ACCOUNT.fingerprint)
    live.receiveMsg_WireQuiet(WireQuiet(request_id=asked.request_id), GATEWAY)
    assert live.to(CLIENT, ArmingSet) == [replace(done, request_id="e"), done]


def test_a_disarming_needs_no_gateway(live: RecordedEngine) -> None:
    """It has died with an order on the wire; the venue's own rule ends the wait."""
    live.let_die(GATEWAY)
    live.receiveMsg_DisarmTrading(DisarmTrading(request_id="d", reason="enough", asked_ns=T0), CLIENT)
    done = arming_set(live, "")
    assert live.to(CLIENT, ArmingSet) == []
    (due,) = [due for _, due in live.woken if isinstance(due, QuietDue)]
    live.on_timer(due)
    assert live.to(CLIENT, ArmingSet) == [done]


def test_a_key_that_works_from_anywhere_is_told_once_in_a_start(live: RecordedEngine) -> None:
    """Not again by each gateway, but again when it is another key then."""

    def codes() -> list[str]:
        told = live.to(live.address_of(PORTFOLIO), RecordEvents)
        return [event.code for message in told for event in message.events if isinstance(event, AlertFired)]

    assert codes() == ["KEY_NOT_IP_RESTRICTED"]
    connect(live)
    assert codes() == ["KEY_NOT_IP_RESTRICTED"]
    connect(live, replace(ACCOUNT, rights=replace(KEY, is_ip_restricted=True)))
    connect(live)
    assert codes() == ["KEY_NOT_IP_RESTRICTED"] * 2
    assert live.status().account == ACCOUNT


def test_a_halt_of_long_ago_is_told_at_once(running: RecordedEngine) -> None:
    """It is asked for again because its first answer was lost; nothing of then is on the way any more."""
    halted(running)
    running.clock_ns += in_flight.reach_ns(running.settings.exchange.recv_window_ms * NS_PER_MS)
    assert running.to(CLIENT, TradingStateSet) == []
    done = halted(running)
    assert running.to(CLIENT, TradingStateSet) == [done]


def test_active_is_told_at_once(running: RecordedEngine) -> None:
    """Nothing that is on its way can contradict it."""
    done = halted(running, TradingState.ACTIVE)
    assert running.to(CLIENT, TradingStateSet) == [done]


# ── the user stream ───────────────────────────────────────────────────────────────────────────────────────────────────


def followers_told(engine: RecordedEngine) -> list[bool]:
    """What the reconciler has heard."""
    return [message.is_live for message in engine.to(engine.address_of(RECONCILER), StreamChanged)]


def test_whoever_follows_orders_hears_of_the_stream_when_it_changes(running: RecordedEngine) -> None:
    """Once for each change, whatever else its health says; and a gateway that dies takes its stream with it."""
    for is_live in (True, True, False, True):
        running.receiveMsg_GatewayHealth(health(is_live=is_live), running.address_of(GATEWAY))
    assert followers_told(running) == [True, False, True]
    dead = running.address_of(GATEWAY)
    running.let_die(GATEWAY)
    running.receiveMsg_GatewayHealth(health(is_live=True), dead)
    assert followers_told(running) == [True, False, True, False]
