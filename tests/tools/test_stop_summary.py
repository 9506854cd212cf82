"""What the operator reads after a stop, and the exit code that a script reads."""

from __future__ import annotations

from typing import Any

import pytest

from core.settings import OnStop
from core.stopping import Compared, StopReport
from core.verdict import Difference
from messages.admin import EngineStopped
from tools.stop_summary import FORCED, LOOK, TOLD_MAX, exit_code, fields, lines

DIFFERENCE = Difference(kind="balance", subject="USDT", book="10", venue="3, unexplained -7")


def ended(**changes: Any) -> EngineStopped:
    report: dict[str, Any] = {
        "on_stop": OnStop.KEEP,
        "open": {},
        "working": 0,
        "canceled": 0,
        "uncanceled": 0,
        "compared": Compared(orders=1, trades=2, balances=3),
        "not_done": (),
        "elapsed_ns": 1_230_000_000,
    }
    return EngineStopped(reason="SIGINT", failed=False, report=StopReport(**report | changes))


@pytest.mark.parametrize(
    ("stopped", "code"),
    [
        (ended(), 0),
        (ended(open={"SENT": 2, "UNKNOWN": 1}, working=2), 0),
        (ended(compared=Compared(not_compared=("balances: no answer",))), 0),
        (ended(compared=Compared(differences=(DIFFERENCE,))), LOOK),
        (ended(not_done=("settling: orders on the wire",)), LOOK),
        (ended(on_stop=OnStop.CANCEL, uncanceled=1), LOOK),
        (EngineStopped(reason="the engine died", failed=True), LOOK),
        (EngineStopped(reason="again", failed=False, forced=True), FORCED),
    ],
)
def test_the_exit_code_tells_whether_somebody_has_to_look(stopped: EngineStopped, code: int) -> None:
    """Orders that were kept, outcomes that are unknown and a venue that is silent are taken up by the next start."""
    assert exit_code(stopped) == code


def test_a_stop_that_kept_orders_says_how_many() -> None:
    """And that book and venue agree, and how long it took."""
    assert lines(ended(open={"SENT": 2}, working=2)) == [
        "open intents: 2 SENT",
        "working orders kept at the venue: 2",
        "book and venue agree: 1 open orders, 2 recent trades, 3 balances compared",
        "took 1.2 s",
    ]


def test_a_stop_that_canceled_orders_says_which_are_left() -> None:
    """They may work at the venue while nobody follows them."""
    told = lines(
        ended(on_stop=OnStop.CANCEL, canceled=98, uncanceled=2, open={"CANCELING": 2}, not_done=("canceling: 2",))
    )
    assert "intents ended: 98" in told
    assert any(line.startswith("not ended in time: 2;") for line in told)
    assert "cut short: canceling: 2" in told


def test_differences_and_what_was_not_compared_are_named() -> None:
    """The first few one by one; the rest is counted."""
    found = Compared(differences=(DIFFERENCE,) * (TOLD_MAX + 2), not_compared=("trades: no answer",))
    told = lines(ended(compared=found))
    assert told.count("difference: balance USDT (book 10, venue 3, unexplained -7)") == TOLD_MAX
    assert "and 2 differences more; see `intentctl verify`" in told
    assert "not compared: trades: no answer" in told
    assert not any("agree" in line for line in told)


def test_a_stop_by_force_or_by_a_death_says_what_that_means() -> None:
    """Nothing is lost; the next start takes it up."""
    assert "by force" in lines(EngineStopped(reason="again", failed=False, forced=True))[0]
    assert "(the engine died)" in lines(EngineStopped(reason="the engine died", failed=True))[0]


def test_a_script_gets_the_whole_report() -> None:
    """With the figures that the lines are made of."""
    shown = fields(ended(open={"SENT": 1}, working=1))
    assert (shown["forced"], shown["report"]["open"], shown["report"]["elapsed_s"]) == (False, {"SENT": 1}, 1.23)
    assert (shown["report"]["clean"], shown["report"]["agrees"], shown["report"]["on_stop"]) == (True, True, "keep")
    assert fields(EngineStopped(reason="x", failed=True)) == {"forced": False, "report": None}
