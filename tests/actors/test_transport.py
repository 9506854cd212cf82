"""What thespian asks of a transport, one promise at a time, between two ends of the road in one process."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from thespian.actors import ActorExitRequest, PoisonMessage, WakeupMessage, WatchMessage
from thespian.system.addressManager import ActorAddressManager, CannotPickleAddress
from thespian.system.messages.multiproc import ChildMayHaveDied
from thespian.system.transport import (
    SendStatus,
    Thespian__Run_HandlerResult,
    TransmitIntent,
    TransmitOnly,
)

from actors import watches
from actors.addressing import address_of
from actors.transport import UnixTransport
from core.ids import IntentId
from messages.admin import AskStatus
from messages.intents import CancelIntent
from tests.actors.ends import NOW, SOON, actor, collect, received, send


def cancel(number: int) -> CancelIntent:
    return CancelIntent(request_id=str(number), intent_id=IntentId("1-BTCUSDT-0"), reason="enough")


# ── order, loss, size ─────────────────────────────────────────────────────────────────────────────────────────────


def test_messages_arrive_in_order_from_their_sender(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Objects, with the address they came from, in the order of sending."""
    here, there = ends
    sent = [{"number": number, "text": "x" * number} for number in range(5)]
    assert all(send(here, there.myAddress, message).result is SendStatus.Sent for message in sent)
    envelopes = [there.run(None, SOON) for _ in sent]
    assert [envelope.message for envelope in envelopes] == sent
    assert {str(envelope.sender) for envelope in envelopes} == {str(here.myAddress)}


def test_what_finds_no_room_is_held_and_leaves_in_order(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """More than a mailbox holds: nothing is lost, and what comes later does not overtake."""
    here, there = ends
    intents = [send(here, there.myAddress, number) for number in range(200)]
    assert intents[-1].result is None, "the mailbox should be full by now"
    got: list[int] = []
    while len(got) < 200:
        got += received(there)
        here.run(TransmitOnly, NOW)
    assert got == list(range(200))
    assert {str(intent.result) for intent in intents} == {str(SendStatus.Sent)}


def test_a_cancel_overtakes_what_is_held_and_what_waits(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """It comes before all that is not in the mailbox yet; cancels keep their own order, and so does the rest."""
    here, there = ends
    for number in range(200):
        send(here, there.myAddress, number)
    for number in range(3):
        send(here, there.myAddress, cancel(number))
    got: list[Any] = []
    while len(got) < 203:
        got += received(there)
        here.run(TransmitOnly, NOW)
    assert [message for message in got if isinstance(message, int)] == list(range(200))
    assert [message.request_id for message in got if isinstance(message, CancelIntent)] == ["0", "1", "2"]
    assert max(got.index(cancel(number)) for number in range(3)) < 100


def test_a_cancel_is_handled_before_what_was_read_already(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Whatever is between them, what an actor has sent to itself, too."""
    here, there = ends
    for number in range(5):
        send(here, there.myAddress, number)
    order: list[Any] = []

    def handle(envelope: Any) -> bool:
        order.append(envelope.message)
        if envelope.message == 0:
            send(there, there.myAddress, "mark")
            send(here, there.myAddress, cancel(7))
        return len(order) < 7

    there.run(handle, SOON)
    assert order.index(cancel(7)) <= 2
    assert [message for message in order if message != cancel(7)] == [0, 1, 2, 3, 4, "mark"]


def test_a_flood_of_cancels_does_not_starve_the_rest(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """After some dozens of them it is somebody else's turn."""
    here, there = ends
    send(here, there.myAddress, cancel(0))
    send(here, there.myAddress, "the rest")

    def handle(envelope: Any) -> bool:
        if isinstance(envelope.message, CancelIntent):
            send(here, there.myAddress, cancel(1))
            return True
        return False

    result = there.run(handle, SOON)
    assert isinstance(result, Thespian__Run_HandlerResult)


def test_a_long_turn_does_not_keep_back_what_is_held(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Who has hundreds of messages to handle sends meanwhile what is held, as soon as the receiver has room."""
    here, there = ends
    for number in range(200):
        send(here, here.myAddress, number)
    intents = [send(here, there.myAddress, number) for number in range(200)]
    at_once = sum(intent.result is not None for intent in intents)
    got: list[int] = []
    handled: list[int] = []

    def handle(envelope: Any) -> bool:
        handled.append(envelope.message)
        got.extend(received(there))
        return len(handled) < 199

    here.run(handle, SOON)
    assert got == list(range(len(got)))
    assert len(got) > 2 * at_once


def test_a_slow_receiver_does_not_hold_up_the_others(ends: tuple[UnixTransport, UnixTransport], tmp_path: Path) -> None:
    """What is held for one is not in the way of another."""
    here, slow = ends
    quick = actor(tmp_path)
    for number in range(100):
        send(here, slow.myAddress, "x" * 10_000)
        assert send(here, quick.myAddress, number).result is SendStatus.Sent
        assert quick.run(None, SOON).message == number
    quick.close()


# ── the dead ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_to_the_dead_fails_at_once(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """The sender hears of it while it sends."""
    here, there = ends
    there.close()
    assert send(here, there.myAddress, "late").result is SendStatus.DeadTarget


def test_what_is_held_for_one_that_dies_fails(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Each message that could not leave is reported, none is kept."""
    here, there = ends
    intents = [send(here, there.myAddress, number) for number in range(100)]
    there.close()
    assert here.run(TransmitOnly, SOON) == 0
    ends_of = [intent.result for intent in intents]
    assert set(map(str, ends_of)) == {str(SendStatus.Sent), str(SendStatus.DeadTarget)}
    assert ends_of == sorted(ends_of, key=lambda status: status is SendStatus.DeadTarget), "in order, then none"
    assert here._outgoing.count == here._outgoing.size == 0


def test_a_dead_child_gets_nothing_more(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """When thespian says that a child has ended, what is held for it fails and its file goes."""
    here, there = ends
    manager = ActorAddressManager(None, here.myAddress)
    held = [send(here, there.myAddress, number) for number in range(100)][-1]
    there._mailbox._owner = 0  # as if it had been killed: its files stay
    there.close()
    here.deadAddress(manager, there.myAddress)
    assert held.result is SendStatus.DeadTarget
    assert (
        list(
            Path(there.myAddress.addressDetails.path).parent.glob(f"{Path(str(there.myAddress.addressDetails)).name}*")
        )
        == []
    )


def test_an_address_that_is_not_known_yet_is_reported(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """thespian keeps a message to a child that is just being made, and sends it again later."""
    here, _ = ends
    manager = ActorAddressManager(None, here.myAddress)
    child = manager.createLocalAddress()
    with pytest.raises(CannotPickleAddress):
        here.scheduleTransmit(manager, TransmitIntent(child, "early"))


def test_the_short_way_sends_what_it_can_at_once_and_else_nothing(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Our messages to who has room; a full mailbox, the dead, and what cannot be written are left to thespian's way."""
    here, there = ends
    ours = AskStatus(request_id="1")
    assert here.post(there.myAddress, ours)
    assert there.run(None, SOON).message == ours
    assert not here.post(there.myAddress, "not of our vocabulary")
    assert not here.post(there.myAddress, AskStatus(request_id=lambda: None))
    while here.post(there.myAddress, ours):
        pass
    send(here, there.myAddress, "held")
    received(there)
    assert not here.post(there.myAddress, ours), "it would overtake what is held"
    there.close()
    assert not here.post(there.myAddress, ours)


def test_a_message_that_cannot_be_pickled_is_reported(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """And nothing of it is sent."""
    here, there = ends
    with pytest.raises((pickle.PicklingError, AttributeError)):
        send(here, there.myAddress, lambda: None)
    assert received(there) == []


def test_what_cannot_be_read_is_told_not_lost(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Bytes that are no message arrive as a poison message with the reason; the next message is read."""
    here, there = ends
    here._mailbox.put(str(there.myAddress.addressDetails), b"no pickle")
    send(here, there.myAddress, "good")
    poison, good = collect(there, 2)
    assert isinstance(poison, PoisonMessage)
    assert str(here.myAddress.addressDetails) in poison.details
    assert good == "good"


@pytest.mark.parametrize("name", ["", "log", "elsewhere/log", "/nul/\0", "/" + "x" * 300], ids=repr)
def test_what_a_stranger_sends_is_told_and_never_answered(
    ends: tuple[UnixTransport, UnixTransport], tmp_path: Path, name: str
) -> None:
    """A sender that is no path, or one that is too long, is a forgery; there is no way back to it."""
    here, _ = ends
    path = os.fsencode(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as forger:
        forger.sendto(len(path).to_bytes(2) + path + pickle.dumps("hello"), f"{here.myAddress.addressDetails}.0")
    envelope = here.run(None, SOON)
    assert isinstance(envelope.message, PoisonMessage)
    assert envelope.sender == here.myAddress
    assert send(here, address_of(Path(name)), "answer").result is SendStatus.DeadTarget


# ── to oneself ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_to_oneself_is_handled_after_what_has_arrived(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Group commit: the mark that ends a batch comes after every request that was there when it was sent."""
    here, there = ends
    send(here, there.myAddress, "first")
    order: list[str] = []

    def handle(envelope: Any) -> bool:
        order.append(envelope.message)
        if envelope.message == "first":
            for number in range(5):
                send(here, there.myAddress, f"arrived {number}")
            send(there, there.myAddress, "mark")
            send(here, there.myAddress, "later")
        return envelope.message != "later"

    there.run(handle, SOON)
    assert order == ["first", *(f"arrived {number}" for number in range(5)), "mark", "later"]


def test_a_message_to_oneself_is_the_same_object(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """It need not be pickled."""
    here, _ = ends
    message = object()
    send(here, here.myAddress, message)
    assert here.run(None, SOON).message is message


# ── time, watches, signals ────────────────────────────────────────────────────────────────────────────────────────


def test_timers_fire_oldest_first_and_not_early(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order they were set in."""
    here, _ = ends
    begun = time.monotonic()
    with monkeypatch.context() as frozen:  # all are set in one moment, however long that takes
        frozen.setattr(watches, "time", SimpleNamespace(monotonic=lambda: begun))
        for number, delay_ms in enumerate((30, 10, 20, 10)):
            here.addWakeup(timedelta(milliseconds=delay_ms), number)
    fired = collect(here, 4)
    assert [message.payload for message in fired] == [1, 3, 2, 0]
    assert all(isinstance(message, WakeupMessage) for message in fired)
    assert time.monotonic() >= begun + 0.03


def test_timers_that_are_always_due_do_not_starve_the_mail(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """An actor that wakes itself again and again still reads its messages, in turns."""
    here, there = ends
    here.addWakeup(NOW, "tick")
    send(there, here.myAddress, "mail")

    def handle(envelope: Any) -> bool:
        if isinstance(envelope.message, WakeupMessage):
            here.addWakeup(NOW, "tick")
            return True
        return False

    result = here.run(handle, SOON)
    assert isinstance(result, Thespian__Run_HandlerResult)


def test_a_watched_descriptor_wakes_and_then_is_quiet(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """As long as there is something to read, once a turn; not when it is no longer watched."""
    here, _ = ends
    reader, writer = os.pipe()
    here.set_watch([reader])
    assert received(here) == []
    os.write(writer, b"!")
    message = here.run(None, SOON).message
    assert isinstance(message, WatchMessage)
    assert message.ready == [reader]
    assert here.run(None, SOON).message.ready == [reader]
    os.read(reader, 1)
    assert received(here) == []
    os.write(writer, b"!")
    here.set_watch([])
    assert received(here) == []
    os.close(reader)
    os.close(writer)


def test_mail_does_not_starve_a_watched_descriptor(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """An actor under constant fire still hears its descriptors."""
    here, _ = ends
    reader, writer = os.pipe()
    here.set_watch([reader])
    os.write(writer, b"!")
    send(here, here.myAddress, 0)

    def handle(envelope: Any) -> bool:
        if isinstance(envelope.message, WatchMessage):
            return False
        send(here, here.myAddress, envelope.message + 1)
        return True

    assert isinstance(here.run(handle, SOON), Thespian__Run_HandlerResult)
    os.close(reader)
    os.close(writer)


def test_a_number_that_is_used_again_is_watched_again(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """A connection is closed and another opened, with the same descriptor; to the actor it is the same list."""
    here, _ = ends
    reader, writer = os.pipe()
    here.set_watch([reader])
    assert received(here) == []
    other_reader, other_writer = os.pipe()
    os.dup2(other_reader, reader)  # closes what was watched
    here.set_watch([reader])
    os.write(other_writer, b"!")
    assert here.run(None, SOON).message.ready == [reader]
    for descriptor in (reader, writer, other_reader, other_writer):
        os.close(descriptor)


def test_a_closed_descriptor_is_not_watched(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """It is left out; everything else goes on."""
    here, there = ends
    reader, writer = os.pipe()
    here.set_watch([reader])
    os.close(reader)
    os.close(writer)
    here.set_watch([reader])
    here.set_watch([])
    send(there, here.myAddress, "on")
    assert here.run(None, SOON).message == "on"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [({"check_children": True}, ChildMayHaveDied), ({"signal_shutdown": True}, ActorExitRequest)],
    ids=["child", "end"],
)
def test_a_signal_wakes_a_waiting_process(
    ends: tuple[UnixTransport, UnixTransport], raised: dict[str, bool], kind: type
) -> None:
    """A handler may run at any moment, also while the process waits for mail."""
    here, _ = ends
    before = signal.signal(signal.SIGALRM, lambda *_: here.interrupt_wait(**raised))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        envelope = here.run(None, SOON)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert isinstance(envelope.message, kind)
