"""A door to an engine that is not there: it has one router at a time, and answers as a test says."""

from __future__ import annotations

from collections import deque
from typing import Any

from core.effects import SubmitAnswer
from core.errors import EngineNotRunning
from messages.admin import FindRouter, RouterFound, StopEngine
from messages.book import SetTradingState
from messages.intents import IntentAnswered, SubmitIntent

ENGINE = "engine"


class ScriptedDoor:
    """In place of `ActorSystemHandle`."""

    def __init__(self) -> None:
        self.router = "first router"
        """Whoever else is told something is gone."""
        self.answers: deque[SubmitAnswer | None] = deque()
        """To the next wishes, one after the other; None is silence."""
        self.usual: SubmitAnswer | None = None
        """To those after them."""
        self.submitted: list[tuple[str, SubmitIntent]] = []
        """What came to a router, and to which one."""
        self.letters: deque[Any] = deque()
        """On their way to the client."""
        self.engine_is_there = True
        self.last_words: list[Any] = []
        """They come when it was seen that the engine is gone."""

    def tell(self, address: str, message: Any) -> None:
        if isinstance(message, FindRouter):
            assert address == ENGINE
            found = RouterFound(request_id=message.request_id, symbol=message.symbol, router=self.router, refusal=None)
            self.letters.append(found)
            return
        if isinstance(message, SetTradingState | StopEngine):
            return  # whether and when it is answered, a test says
        if address != self.router:
            raise EngineNotRunning(f"{address} is gone")
        self.submitted.append((address, message))
        answer = self.answers.popleft() if self.answers else self.usual
        if answer is not None:
            self.letters.append(IntentAnswered(request_id=message.request_id, answer=answer))

    def is_there(self, _address: str) -> bool:
        if not self.engine_is_there:
            self.letters.extend(self.last_words)
        return self.engine_is_there

    def listen(self, _timeout_s: float) -> Any:
        return self.letters.popleft() if self.letters else None
