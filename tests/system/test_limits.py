"""Risk limits under concurrency: far more is wanted at once than they allow, and at no moment is there more."""

from __future__ import annotations

from tests.system.brakes_runs import run_brake
from tests.system.harness import Marked

REFUSALS = {"RISK_MAX_EXPOSURE_PCT", "RISK_MAX_OPEN_ORDERS", "RISK_MAX_POSITIONS"}


def test_five_hundred_buys_at_once_exceed_no_limit(processes: Marked) -> None:
    """A budget for a hundred, 20 symbols, several times: the streams show no moment beyond a limit, and each refusal
    names its own."""
    figures = run_brake(processes, "limits", "--intents", "500", "--waves", "3", "--seed", "3")
    assert figures["intents"] == 1_500
    assert figures["accepted"] + sum(figures["refused"].values()) == 1_500
    assert figures["refused"].keys() <= REFUSALS
    assert "RISK_MAX_OPEN_ORDERS" in figures["refused"]
    assert figures["open_orders_max"] == figures["open_orders_limit"]
    assert float(figures["exposure_pct_max"]) <= float(figures["exposure_pct_limit"])
    assert figures["positions_max"] <= figures["positions_limit"]
    assert figures["refusals_recorded"] == sum(figures["refused"].values())
    assert (figures["refusals_without_limit"], figures["held_at_end"]) == (0, 0)
