"""A full receiver holds its senders back: nobody is lost, nobody waits for ever, and nobody waits for a client."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from thespian.actors import ActorExitRequest
from thespian.system.transport import SendStatus, TransmitOnly

from actors import inbox, outgoing, waiting
from actors.inbox import Inbox
from actors.transport import UnixTransport
from actors.waiting import Waiting
from tests.actors.ends import NOW, SOON, actor, client, collect, received, send

PATIENCE_S = 60
"""Nobody needs as long; whoever waits for ever does."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[UnixTransport]:
    """A client that reads only when the test says so."""
    end = client(tmp_path)
    yield end
    end.close()


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    started = threading.Thread(target=work, daemon=True)
    started.start()
    return started


def finished(thread: threading.Thread) -> bool:
    thread.join(PATIENCE_S)
    return not thread.is_alive()


def fill(sender: UnixTransport, receiver: UnixTransport, held: int) -> None:
    """Send until so much is held."""
    while sender._outgoing.held_for(receiver._path) < held:
        send(sender, receiver.myAddress, "filling")


def test_a_sender_that_holds_too_much_waits(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never holds much more than the bound, and goes on when the receiver has read."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    here, there = ends
    most, done = 0, threading.Event()

    def write() -> None:
        nonlocal most
        for number in range(1_000):
            send(here, there.myAddress, number)
            most = max(most, here._outgoing.count)
        here.run(TransmitOnly, SOON)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert collect(there, 1_000) == list(range(1_000))
    writer.join()
    assert done.is_set()
    assert most <= 21


def test_memory_of_a_receiver_is_bounded(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads ahead only so far; the rest waits with its sender."""
    monkeypatch.setattr(inbox, "AHEAD_MAX", 5)
    here, there = ends
    for number in range(100):
        send(here, there.myAddress, number)
    most, got = 0, 0

    def handle(envelope: Any) -> bool:
        nonlocal most, got
        if envelope.message != "mark":
            send(there, there.myAddress, "mark")  # reads ahead, so that it comes last
            most, got = max(most, len(there._inbox)), got + 1
            here.run(TransmitOnly, NOW)
        return got < 100

    there.run(handle, SOON)
    assert got == 100
    assert 1 < most <= 5 + 1, "what is read ahead, and the mark"


def test_two_that_write_to_each_other_at_once_both_get_through(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are held back and neither handles anything meanwhile, yet neither waits for ever."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    here, there = ends

    got: list[list[int]] = []

    def write_then_read(end: UnixTransport, other: UnixTransport) -> None:
        for number in range(1_000):
            send(end, other.myAddress, number)
        got.append(collect(end, 1_000))
        end.run(TransmitOnly, SOON)

    threads = [threading.Thread(target=write_then_read, args=pair) for pair in ((here, there), (there, here))]
    for thread in threads:
        thread.start()
    for thread in threads:
        assert finished(thread), "dead-locked"
    assert got == [list(range(1_000))] * 2


def test_both_ends_over_their_bounds_still_get_on(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound of reading ahead gives way, slowly, before two senders wait for each other for ever."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 10)
    monkeypatch.setattr(inbox, "AHEAD_MAX", 10)
    monkeypatch.setattr(waiting, "STUCK_S", 0.01)
    test_two_that_write_to_each_other_at_once_both_get_through(ends, monkeypatch)


def test_one_that_does_not_read_is_in_nobody_elses_way(
    ends: tuple[UnixTransport, UnixTransport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As much is held for it as may be, and still a few may be held for another."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    here, full = ends
    other = actor(tmp_path)
    fill(here, full, 20)
    assert finished(in_thread(lambda: fill(here, other, 10)))
    assert (here._outgoing.held_for(full._path), here._outgoing.held_for(other._path)) == (20, 10)
    other.close()


@pytest.mark.parametrize("size", [10, 3_000, 60_000], ids=str)
def test_two_that_flood_each_other_get_through_at_any_size(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The bound of reading ahead gives way in messages and in bytes, twice as far each time."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 10)
    monkeypatch.setattr(outgoing, "HELD_BYTES_MAX", 100_000)
    monkeypatch.setattr(inbox, "AHEAD_MAX", 10)
    monkeypatch.setattr(inbox, "AHEAD_BYTES_MAX", 100_000)
    monkeypatch.setattr(waiting, "STUCK_S", 0.02)
    widened: list[tuple[int, int]] = []
    widen = Inbox.widen

    def watched(box: Inbox) -> None:
        before = box._width
        widen(box)
        if box._width != before:  # who is stuck and has room is only slow
            widened.append((before, box._width))

    monkeypatch.setattr(Inbox, "widen", watched)

    got: list[list[int]] = []

    def write_then_read(end: UnixTransport, other: UnixTransport) -> None:
        for number in range(1_000):
            send(end, other.myAddress, (number, b"x" * size))
        got.append([number for number, _ in collect(end, 1_000)])
        end.run(TransmitOnly, SOON)

    here, there = ends
    writers = [in_thread(lambda: write_then_read(here, there)), in_thread(lambda: write_then_read(there, here))]
    assert all(map(finished, writers)), "dead-locked"
    assert got == [list(range(1_000))] * 2
    assert all(after == 2 * before for before, after in widened)
    steps = max(1_000 // inbox.AHEAD_MAX, 1_000 * (size + 100) // inbox.AHEAD_BYTES_MAX).bit_length()
    assert len(widened) <= 2 * steps, "it crawls"  # until a bound holds everything, at both ends


def test_what_was_read_beyond_the_bound_is_handled_before_more_is_read(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A widened bound is for who waits; then it is as narrow as before."""
    monkeypatch.setattr(inbox, "AHEAD_MAX", 5)
    here, there = ends
    for number in range(40):
        send(there, here.myAddress, number)
    while len(here._inbox) < 40:
        here._inbox.take_in_widely()
        here._inbox.widen()
        there.run(TransmitOnly, NOW)
    assert len(here._inbox) == 40
    assert not here._inbox.has_room()
    assert received(here) == list(range(40))
    assert here._inbox.has_room()
    assert here._inbox._width == 1


# ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_asks_first_never_waits_for_a_client(
    ends: tuple[UnixTransport, UnixTransport], slow: UnixTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is behind from the bound on until it has read all that is held; then it gets messages again."""
    monkeypatch.setattr(outgoing, "CLIENT_HELD_MAX", 50)
    here, there = ends
    sent = 0
    for _ in range(1_000):
        if not here.is_behind(slow.myAddress):
            send(here, slow.myAddress, sent)
            sent += 1
    assert here._outgoing.count == 50
    assert send(here, there.myAddress, "others").result is SendStatus.Sent
    got = received(slow)
    here.run(TransmitOnly, NOW)
    if here._outgoing.count:
        assert here.is_behind(slow.myAddress), "it has taken some, not all"
    while len(got) < sent:
        got += received(slow)
        here.run(TransmitOnly, NOW)
    assert got == list(range(sent))
    assert not here.is_behind(slow.myAddress)


def test_large_answers_are_bounded_too(
    ends: tuple[UnixTransport, UnixTransport], slow: UnixTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes."""
    monkeypatch.setattr(outgoing, "CLIENT_HELD_BYTES_MAX", 100_000)
    here, _ = ends
    for _ in range(100):
        if not here.is_behind(slow.myAddress):
            send(here, slow.myAddress, "x" * 10_000)
    assert here._outgoing.size < 120_000


def test_an_actor_is_never_behind(ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between actors nothing is dropped."""
    monkeypatch.setattr(outgoing, "CLIENT_HELD_MAX", 5)
    here, there = ends
    fill(here, there, 50)
    assert not here.is_behind(there.myAddress)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_to_end_is_heard_by_who_waits(
    ends: tuple[UnixTransport, UnixTransport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes as a message, behind a flood; the sender stops waiting, and never waits again."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    monkeypatch.setattr(inbox, "AHEAD_MAX", 20)
    monkeypatch.setattr(waiting, "STUCK_S", 0.02)
    here, full = ends
    parent = actor(tmp_path)
    fill(here, full, 20)
    blocked = in_thread(lambda: [send(here, full.myAddress, number) for number in range(100)])
    for _ in range(100):
        send(parent, here.myAddress, "flood")
    send(parent, here.myAddress, ActorExitRequest())
    pushing = in_thread(lambda: parent.run(TransmitOnly, SOON))
    assert finished(blocked)
    assert finished(pushing)
    assert any(isinstance(message, ActorExitRequest) for message in received(here)), "it is handled all the same"
    parent.close()


def test_after_a_signal_to_end_nobody_waits_any_more(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the handler of the request to end, which may send."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    here, full = ends
    here.interrupt_wait(signal_shutdown=True)

    def handle(envelope: Any) -> bool:
        assert isinstance(envelope.message, ActorExitRequest)
        for number in range(300):
            send(here, full.myAddress, number)
        return False

    assert finished(in_thread(lambda: here.run(handle, SOON)))


def test_a_signal_ends_a_wait(ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the receiver does."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    here, full = ends
    before = signal.signal(signal.SIGALRM, lambda *_: here.interrupt_wait(signal_shutdown=True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        fill(here, full, 300)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert here._outgoing.held_for(full._path) >= 300  # far above the bound, which held it up until the signal


def test_an_end_is_not_held_up_by_who_does_not_read(
    ends: tuple[UnixTransport, UnixTransport], slow: UnixTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients have a moment, actors a little longer, and asking again does not begin anew."""
    passed_s, once = 0.0, Waiting.once

    def wait_in_vain(each: Waiting, timeout_s: float) -> None:
        nonlocal passed_s
        passed_s += timeout_s
        once(each, 0)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: 1_000 + passed_s))
    monkeypatch.setattr(Waiting, "once", wait_in_vain)
    here, full = ends
    fill(here, slow, 5)
    here.abort_run(drain=True)
    here.run(lambda _: True)
    assert waiting.CLIENT_DRAIN_S <= passed_s <= waiting.CLIENT_DRAIN_S + waiting.STUCK_S
    for _ in range(2):
        fill(here, full, 5)
        assert here.run(TransmitOnly, timedelta(seconds=70)) == 0
        assert passed_s == waiting.DRAIN_S


def test_two_that_end_at_once_do_not_wait_for_each_other(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each throws away what it will not handle, so the other gets rid of what it holds."""
    monkeypatch.setattr(inbox, "AHEAD_MAX", 5)
    monkeypatch.setattr(waiting, "DRAIN_S", 10 * PATIENCE_S)
    here, there = ends
    fill(here, there, 300)
    fill(there, here, 300)
    for end in ends:
        end.abort_run(drain=True)

    def end_of(end: UnixTransport) -> None:
        end.run(lambda _: True)
        end.close()

    assert all(map(finished, [in_thread(lambda: end_of(here)), in_thread(lambda: end_of(there))]))


def test_who_waits_says_that_it_lives(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, until the receiver reads, or is gone."""
    monkeypatch.setattr(outgoing, "HELD_MAX", 20)
    monkeypatch.setattr(waiting, "STUCK_S", 0.01)
    here, hung = ends
    alive = threading.Semaphore(0)
    here.call_while_waiting(alive.release)
    fill(here, hung, 20)
    blocked = in_thread(lambda: send(here, hung.myAddress, "one more"))
    assert all(alive.acquire(timeout=PATIENCE_S) for _ in range(3))
    hung.close()
    assert finished(blocked)
    assert here._outgoing.count == 0
