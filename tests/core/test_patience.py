"""Deadlines: what was not answered in time is named once, and then again only if it is asked again."""

from __future__ import annotations

from core.patience import Patience

TIMEOUT = 10


def test_only_what_is_late_is_named_and_only_once() -> None:
    """A request is overdue at its deadline, not before, and is forgotten when it was named."""
    patience: Patience[str] = Patience(TIMEOUT)
    patience.expect(("a",), "ask a again", 0)
    patience.expect(("b",), "ask b again", 5)
    assert patience.overdue(9) == []
    assert patience.overdue(10) == ["ask a again"]
    assert patience.overdue(14) == []
    assert patience.overdue(15) == ["ask b again"]
    assert not patience


def test_what_was_answered_is_not_late() -> None:
    """An answer ends the waiting; an answer nobody waits for does nothing."""
    patience: Patience[str] = Patience(TIMEOUT)
    patience.expect(("a",), "again", 0)
    patience.heard(("a",))
    patience.heard(("never asked",))
    assert patience.overdue(1_000) == []


def test_asking_again_begins_a_new_deadline() -> None:
    """The same key waits once, from the last time it was asked."""
    patience: Patience[str] = Patience(TIMEOUT)
    patience.expect(("a",), "first", 0)
    patience.expect(("a",), "second", 6)
    assert patience.overdue(10) == []
    assert patience.overdue(16) == ["second"]
