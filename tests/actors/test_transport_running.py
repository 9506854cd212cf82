"""A transport's run: when it ends, who may send meanwhile, and what a fork leaves behind."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from datetime import timedelta

import pytest
from thespian.actors import InvalidActorAddress
from thespian.system.transport import (
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    TransmitOnly,
)

from actors import outgoing
from actors.addressing import UnixAddress
from actors.transport import UnixTransport
from tests.actors.ends import NOW, SOON, collect, received, send


def test_a_run_ends_when_its_time_is_over(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """With and without a handler, and a time of nothing still looks once."""
    here, there = ends
    assert isinstance(here.run(None, timedelta(milliseconds=10)), Thespian__Run_Expired)
    assert isinstance(here.run(lambda _: True, NOW), Thespian__Run_Expired)
    send(there, here.myAddress, "here already")
    assert here.run(None, NOW).message == "here already"


def test_a_false_answer_ends_a_run_and_keeps_the_rest(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Messages that were read ahead are there for the next run."""
    here, there = ends
    for number in range(5):
        send(there, here.myAddress, number)
    assert isinstance(here.run(lambda envelope: envelope.message < 2, SOON), Thespian__Run_HandlerResult)
    assert received(here) == [3, 4]


def test_an_aborted_run_ends_and_the_next_one_does_not(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Aborted from a handler, or just before the run by a send that failed."""
    here, there = ends
    send(there, here.myAddress, "one")
    send(there, here.myAddress, "two")
    assert isinstance(here.run(lambda _: here.abort_run() or True, SOON), Thespian__Run_Terminated)
    assert here.run(None, SOON).message == "two"
    here.abort_run()
    assert isinstance(here.run(None, SOON), Thespian__Run_Terminated)
    send(there, here.myAddress, "three")
    assert here.run(None, SOON).message == "three"


def test_threads_may_send_while_another_waits(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """Nothing of it is lost, and each thread's messages keep their order."""
    here, there = ends

    def write(name: int) -> None:
        for number in range(300):
            send(here, there.myAddress, (name, number))

    main_loop = threading.Thread(target=here.run, args=(lambda _: False, SOON))
    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in (main_loop, *writers):
        thread.start()
    got = collect(there, 1_200)
    send(there, here.myAddress, "enough")
    for thread in (main_loop, *writers):
        thread.join()
    assert [[number for name, number in got if name == each] for each in range(4)] == [list(range(300))] * 4


def test_a_thread_may_send_while_another_reads(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits to send takes mail in too; both take it whole and in its order."""
    here, there = ends
    monkeypatch.setattr(outgoing, "HELD_MAX", 5)
    stop, count = threading.Event(), 4_000

    def write() -> None:
        while not stop.is_set():
            send(here, there.myAddress, "x" * 500)

    def write_back() -> None:
        for number in range(count):
            send(there, here.myAddress, (number, bytes([number % 251]) * (number * 37 % 5_000)))
        while writer.is_alive():
            there.run(TransmitOnly, NOW)
            received(there)

    writer, other = threading.Thread(target=write), threading.Thread(target=write_back)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        writer.start()
        other.start()
        got = collect(here, count)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        writer.join()
        other.join()
    assert got == [(number, bytes([number % 251]) * (number * 37 % 5_000)) for number in range(count)]


def test_who_sleeps_in_run_is_told_of_mail_that_another_thread_took(
    ends: tuple[UnixTransport, UnixTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two is the main thread."""
    here, there = ends
    rings: list[bool] = []
    monkeypatch.setattr(here, "_ring", lambda: rings.append(True))
    here._runner = 0  # another thread than this one
    send(there, here.myAddress, "mail")
    here._waiting.once(0)
    assert len(here._inbox) == len(rings) == 1
    here._runner = threading.get_ident()
    here._waiting.once(0)
    assert len(rings) == 1


def test_a_forked_child_does_not_keep_its_parent_reachable(ends: tuple[UnixTransport, UnixTransport]) -> None:
    """When the parent is gone, it is gone, whatever children it leaves."""
    here, there = ends
    gate, opener = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(gate, 1)
        os._exit(0)
    there.close()
    assert send(here, there.myAddress, "late").result is SendStatus.DeadTarget
    os.write(opener, b"!")
    os.waitpid(child, 0)
    os.close(gate)
    os.close(opener)


def test_a_base_without_a_folder_is_refused() -> None:
    """There is no place that would be private by default."""
    with pytest.raises(InvalidActorAddress, match="Socket Folder"):
        UnixTransport.getAdminAddr({})


def test_an_address_is_its_path() -> None:
    """Equal, hashable, pickled and shown by it alone."""
    one, same, other = UnixAddress("/a"), UnixAddress("/a"), UnixAddress("/b")
    assert one == same != other
    assert one != "/a"
    assert len({one, same, other}) == 2
    assert pickle.loads(pickle.dumps(one)) == one
    assert str(one) == "/a"
