"""An operator insists: what stops trading must not be lost because a part of the engine died while it was told.

Whatever is asked for here is asked again until it is answered, by whichever engine runs then. Each question carries the
time at which the first one was put, so asking again loosens nothing that somebody has tightened since. What it tightens
it may tighten again, for whoever waits here still wants it; but the wait ends, with what is in force, when somebody
else, who knew of it, has loosened it. Who uses it: `intentctl halt`, `reduce`, `resume`, `disarm`, and strategies that
stop trading by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from thespian.actors import DeadEnvelope

from actors import system
from actors.client import Client, new_request_id
from actors.launchers import launcher_of
from core.errors import EngineNotRunning, IntentdError, RequestTimedOut
from core.records import TradingState
from messages import ClientRequest, RequestRefused
from messages.book import ArmingSet, DisarmTrading, SetTradingState, TradingStateSet
from storage.layout import StateFolder

AGAIN_S: Final = 2.0
"""Without an answer it is asked again after so long."""
CONNECT_AGAIN_S: Final = 0.2
SILENT: Final = "the engine does not answer"
HEARD: Final = "it may have been heard all the same: `intentctl status` shows what is in force"


class Operator:
    """Of the engine on a state folder, and of those that take its place."""

    def __init__(self, folder: StateFolder, on_trouble: Callable[[str], None] = lambda _why: None) -> None:
        """`on_trouble` hears why it has to ask again."""
        self._folder = folder
        self._on_trouble = on_trouble

    def set_trading(
        self, state: TradingState, reason: str, timeout_s: float, *, cancel_open: bool = False
    ) -> TradingStateSet:
        """What is in force from now on. A stricter state is told when no earlier order can reach the venue any more.

        Raises `EngineNotRunning` when nobody runs an engine here, `RequestTimedOut`, and `IntentdError` with a refusal.
        """
        asked_ns = time.time_ns()

        def wish(request_id: str) -> SetTradingState:
            return SetTradingState(
                request_id=request_id, state=state, reason=reason, cancel_open=cancel_open, asked_ns=asked_ns
            )

        answer: TradingStateSet = self._insist(wish, TradingStateSet, timeout_s)
        return answer

    def disarm(self, reason: str, timeout_s: float) -> ArmingSet:
        """None leaves any more in mode live; told when no earlier order can reach the venue. Raises the same.

        Where the arming that is told names an account, somebody has armed it since.
        """
        asked_ns = time.time_ns()

        def wish(request_id: str) -> DisarmTrading:
            return DisarmTrading(request_id=request_id, reason=reason, asked_ns=asked_ns)

        answer: ArmingSet = self._insist(wish, ArmingSet, timeout_s)
        return answer

    def _insist(self, wish: Callable[[str], ClientRequest], kind: type[Any], timeout_s: float) -> Any:
        deadline = time.monotonic() + timeout_s
        why, was_told = "", False
        while time.monotonic() < deadline:
            try:
                client = Client.connect(self._folder)
                was_told = True
                try:
                    return self._ask(client, wish, kind, deadline)
                finally:
                    client.close()
            except (EngineNotRunning, OSError) as error:  # its mailboxes may go while we knock
                if launcher_of(self._folder) is None:  # nobody will start another one
                    if was_told:
                        raise EngineNotRunning(f"the engine has ended; {HEARD}") from error
                    raise
                why = str(error)
            self._on_trouble(why)
            time.sleep(CONNECT_AGAIN_S)
        if not was_told:
            raise EngineNotRunning(f"nobody could be asked within {timeout_s:g} s, so nothing was changed: {why}")
        raise RequestTimedOut(
            f"no answer within {timeout_s:g} s{f' ({why})' if why else ''}; {HEARD}, and asking again does no harm"
        )

    def _ask(self, client: Client, wish: Callable[[str], ClientRequest], kind: type[Any], deadline: float) -> Any:
        """Of one engine. Raises `EngineNotRunning` when it is gone, or out of patience."""
        file = system.read_engine_file(self._folder)
        asked: set[str] = set()
        why = SILENT
        while time.monotonic() < deadline:
            request_id = new_request_id()
            asked.add(request_id)
            client.tell_engine(wish(request_id))
            until, refused = min(deadline, time.monotonic() + AGAIN_S), ""
            while (left := until - time.monotonic()) > 0:
                message = client.next_message(left)
                if isinstance(message, kind) and message.request_id in asked:
                    return message
                if isinstance(message, RequestRefused) and message.request_id in asked:
                    if not message.is_passing:
                        raise IntentdError(message.reason)
                    refused = message.reason
                    self._on_trouble(refused)
                if isinstance(message, DeadEnvelope):
                    raise EngineNotRunning("the engine is being replaced")
            if system.read_engine_file(self._folder) != file:
                raise EngineNotRunning("another engine has taken its place")
            if refused or until < deadline:  # the last question may have had no time for its answer
                why = refused or SILENT
            self._on_trouble(why)
        raise EngineNotRunning(why)
