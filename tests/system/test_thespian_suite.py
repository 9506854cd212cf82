"""A part of thespian's own suite on our bases, on every run; `python -m tests.thespian_suite` runs all of it."""

from __future__ import annotations

import pytest

from tests.thespian_suite.outcomes import FAILED, PASSED, SUITE, by_reason, counts, run_file

FILES = ("test_simpleActor", "test_bigmessages", "test_wakeup")


@pytest.mark.parametrize("base", ["unix", "tcp"])
@pytest.mark.parametrize("file", FILES)
def test_thespian_is_content_with_our_bases(base: str, file: str) -> None:
    """Actors made and asked, messages beyond a datagram, timers: none of thespian's tests fails."""
    outcomes = run_file(base, SUITE / f"{file}.py")
    assert by_reason(outcomes, FAILED) == {}
    assert counts(outcomes)[PASSED] > 5
