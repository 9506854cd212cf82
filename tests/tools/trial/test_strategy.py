"""The client of a trial is an operator, too: it lets go on what is explained, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.book import OpeningOutcome
from core.effects import SubmitAnswer
from core.planning import Refusal
from messages.intents import IntentAnswered
from storage.layout import StateFolder
from tests.builders import SYMBOL, request
from tools.trial.strategy import Strategy

KEY = "k1"


class Engine:
    """Answers with one refusal, as long as the symbol is quarantined."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.asked: list[str] = []

    def router(self, _symbol: str, _timeout_s: float) -> str:
        return "router"

    def send_intent(self, _router: Any, _request: Any, *, wait: bool) -> str:
        assert wait
        return "question"

    def next_message(self, _timeout_s: float) -> IntentAnswered | None:
        if self.asked:
            return None
        refusal = Refusal("SYMBOL_QUARANTINED", f"{SYMBOL}: {self.reason}; look at it")
        return IntentAnswered(
            request_id="question", answer=SubmitAnswer(outcome=OpeningOutcome.REFUSED, refusal=refusal)
        )

    def lift_quarantine(self, symbol: str, _reason: str, _timeout_s: float) -> bool:
        self.asked.append(symbol)
        return True

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("reason", "lifted"),
    [("LATE_FILL: late fill of 1 in x", [SYMBOL]), ("OVERFILL: 2 of 1", []), ("DUPLICATE_AT_VENUE: two", [])],
)
def test_a_symbol_trades_on_after_a_fill_that_is_late_and_after_nothing_else(
    tmp_path: Path, reason: str, lifted: list[str]
) -> None:
    """Whatever else stops a symbol must never happen in a trial, and is seen by the wishes that wait for it."""
    strategy, engine = Strategy(StateFolder(tmp_path)), Engine(reason)
    strategy._client = engine  # type: ignore[assignment]
    strategy.add(request(key=KEY))
    strategy.step(0.001)
    strategy.lift_what_is_explained()
    strategy.lift_what_is_explained()
    assert engine.asked == strategy.lifted == lifted
    assert not strategy.wishes[KEY].is_over
