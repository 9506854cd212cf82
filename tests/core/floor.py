"""A router with a desk beside it: the floor that the routing tests stand on."""

from __future__ import annotations

from typing import Any

from core import effects as do
from core.effects import Timer, TimerKind
from core.intent import IntentRequest
from core.records import AttemptRecord, IntentRecord
from core.routing import Router
from core.settings import RouterSettings
from core.submission import Submission
from tests.builders import (
    T0,
    Desk,
    quote,
    request,
    rules,
)

SETTINGS = RouterSettings()
FOLLOW = Timer(TimerKind.FOLLOW)


def router() -> Router:
    return Router(rules(), SETTINGS)


def submission(
    name: str = "r1", wish: IntentRequest | None = None, at_ns: int = T0, *, wait: bool = False
) -> Submission:
    return Submission(request_id=name, request=wish or request(), wait=wait, at_ns=at_ns)


class Floor:
    """A router with a fresh quote beside a desk whose book carries out what the router asks of it."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.router = router()
        self.router.quoted(quote(), T0)

    def accept(self, wish: IntentRequest | None = None, name: str = "r1", *, wait: bool = True) -> AttemptRecord:
        """A wish that is submitted, planned, opened in the book and placed."""
        (asked,) = self.router.submit(submission(name, wish, self.desk.now_ns, wait=wait), None, self.desk.now_ns)
        assert isinstance(asked, do.Open)
        result = self.desk.submit(wish)
        told = self.router.opened(asked.opening.intent.intent_id, result, self.desk.now_ns)
        assert result.attempt is not None
        assert do.Place(result.attempt) in told
        return result.attempt

    def report(self, report: Any) -> list[do.Effect]:
        """A report as it goes: through the router into the book and back."""
        (apply,) = self.router.reported(report, report.client_order_id)
        assert isinstance(apply, do.Apply)
        record = self.desk.apply(apply.report)
        return self.applied(record)

    def applied(self, record: IntentRecord) -> list[do.Effect]:
        latest = self.desk.attempt(record.intent.intent_id, record.attempts)
        return self.router.applied(record, latest, self.desk.now_ns)

    def begin(self, asked: do.Begin) -> list[do.Effect]:
        attempt = self.desk.begin(asked.intent_id)
        return self.router.begun(self.desk.record(asked.intent_id), attempt, self.desk.now_ns)


def kinds(effects: list[do.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]
