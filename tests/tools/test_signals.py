"""Stop signals: noted, raised, and left alone where they are not meant."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tools import signals


@pytest.fixture
def kept() -> Iterator[None]:
    """Handlers that a test sets itself do not outlive it."""
    before = {number: signal.getsignal(number) for number in signals.STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.STOP_SIGNALS)
def test_a_signal_that_is_raised_is_noted_by_whoever_notes_it_outside(number: signal.Signals) -> None:
    """The start is ended by it, and the reason is known after that."""
    noted: list[str] = []
    with signals.noted(noted.append):
        with pytest.raises(KeyboardInterrupt), signals.raised():
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert noted == [number.name] * 2


def test_a_process_that_is_forked_meanwhile_is_not_meant() -> None:
    """The actor system has our handlers, and is ended in order by who has forked it."""
    with signals.raised():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.usefixtures("kept")
def test_under_nohup_a_lost_terminal_means_nothing() -> None:
    """That is what it is started with it for."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    noted: list[str] = []
    with signals.noted(noted.append), signals.raised():
        os.kill(os.getpid(), signal.SIGHUP)
    assert noted == []
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("noted", "insists"),
    [
        (["SIGINT"], False),
        (["SIGINT", "SIGINT"], True),
        (["SIGTERM", "SIGINT"], True),
        (["SIGHUP", "SIGHUP"], False),
        (["SIGHUP", "SIGTERM"], False),
        (["SIGTERM", "SIGHUP", "SIGTERM"], True),
    ],
)
def test_a_second_signal_insists_unless_it_is_a_terminal_that_is_closed(noted: list[str], insists: bool) -> None:
    """HUP comes twice by itself, from the kernel and from the shell; nobody was impatient."""
    assert signals.insists(noted) is insists
