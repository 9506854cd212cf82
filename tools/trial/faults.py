"""What a venue can do to us, as the simulator's fault rules (docs/simulator.md), by the names that `--faults` takes.

Chances are such that most requests go well and every kind happens some times in a run of 200 intents. No lag of the
reads is above the trial's `exchange.read_lag`, on which proofs of absence stand.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from core.errors import SettingsError
from tools.trial.settings import READ_LAG_MS, TIMEOUT_MS

FAULTS: Final[Mapping[str, Any]] = {
    "latency_ms": {"min": 1, "max": 8},
    "partial_fill": {"probability": 0.15},
    "reject": {"probability": 0.02, "codes": [-2010, -1003]},
    "answer_lost": {"probability": 0.03},
    "late_answer": {"probability": 0.01, "min": TIMEOUT_MS + 100, "max": 2 * TIMEOUT_MS},
    "close_connection": [{"probability": 0.01, "point": "before"}, {"probability": 0.01, "point": "after"}],
    "server_error": [{"probability": 0.01, "point": "before"}, {"probability": 0.01, "point": "after"}],
    "backend_timeout": [{"probability": 0.01, "point": "before"}, {"probability": 0.01, "point": "after"}],
    "truncated_body": 0.01,
    "empty_body": 0.01,
    "html_body": 0.01,
    "garbled_body": 0.01,
    "clock_skew": {"probability": 0.005},
    "rate_limited": {"probability": 0.005},
    "lagging_reads": {"probability": 0.05, "ms": READ_LAG_MS // 2},
    "fill_after_cancel": {"probability": 0.1, "ms": READ_LAG_MS // 2},
    "cancel_crosses_fill": 0.1,
    "duplicate_trades": 0.05,
    "reordered_trades": 0.05,
    "hidden_order": 0.02,
    "outage": {"probability": 0.0005, "ms": 1_500},
    "event_lost": 0.02,
    "event_late": [{"probability": 0.02, "ms": 200}, {"probability": 0.01, "ms": 200, "overtaken": True}],
    "event_twice": 0.05,
    "stream_cut": [{"probability": 0.01, "point": "before"}, {"probability": 0.01, "point": "after"}],
    "stream_refused": 0.1,
    "stream_silent": {"probability": 0.002, "ms": 5_000},
}
ALL, NONE = "all", "none"


def rules(text: str, seed: int) -> dict[str, Any]:
    """`all`, `none`, or names with commas between. Raises `SettingsError` naming the nearest valid one."""
    if text == NONE:
        return {}
    names = list(FAULTS) if text == ALL else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FAULTS:
            near = difflib.get_close_matches(name, FAULTS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FAULTS)}, or {ALL}, or {NONE}"
            raise SettingsError(f"there is no fault {name!r}; {hint}")
    if not names:
        raise SettingsError(f"no fault is named; write {ALL}, {NONE}, or names with commas between")
    return {"seed": seed} | {name: FAULTS[name] for name in names}
