"""The loop inside an actor: it does what is ready, never waits, and says when it wants to be pumped again."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from actors.pumped_loop import NS_PER_S, PUMP_MAX_NS, PumpedLoop

PATIENCE_S = 60.0


@pytest.fixture
def loop() -> Iterator[PumpedLoop]:
    made = PumpedLoop()
    yield made
    made.close()


def is_readable(loop: PumpedLoop, wait_s: float = 0) -> bool:
    return bool(select.select([loop.fileno()], [], [], wait_s)[0])


def drive(loop: PumpedLoop, results: list[Any]) -> None:
    """As an actor does: wait for the descriptor or the timer, pump, until there is a result."""
    deadline = time.monotonic() + PATIENCE_S
    while not results:
        wait_s = loop.pump()
        assert time.monotonic() < deadline
        if not results:
            select.select([loop.fileno()], [], [], min(PATIENCE_S, PATIENCE_S if wait_s is None else wait_s))


def test_a_pump_does_all_that_is_ready_and_returns() -> None:
    """Many steps without waiting are one pump, as long as they take no time."""
    loop = PumpedLoop(lambda: 0)

    async def steps() -> str:
        for _ in range(100):
            await asyncio.sleep(0)
        return "done"

    results: list[str] = []
    loop.start(steps(), lambda task: results.append(task.result()))
    assert loop.pump() is None
    assert results == ["done"]
    loop.close()


def test_a_pump_ends_though_something_is_always_ready() -> None:
    """Whoever owns the loop has other things to do, and comes again at once."""
    loop, steps = PumpedLoop(itertools.count(0, PUMP_MAX_NS // 10).__next__), list[int]()

    async def busy() -> None:
        while True:
            steps.append(0)
            await asyncio.sleep(0)

    loop.start(busy(), lambda _task: None)
    assert loop.pump() == 0
    done = len(steps)
    assert loop.pump() == 0
    assert len(steps) > done > 1
    loop.close()


def test_a_timer_is_announced_and_not_waited_for() -> None:
    """The pump returns at once, by whatever clock, and tells when to come again; the timer is not early."""
    now_ns, results = 0, list[None]()
    loop = PumpedLoop(lambda: now_ns)
    loop.start(asyncio.sleep(3_600), lambda task: results.append(task.result()))
    assert loop.pump() == 3_600  # whoever waited would be ended by pytest's own limit
    now_ns = 3_599 * NS_PER_S
    assert (loop.pump(), results) == (1, [])
    now_ns += NS_PER_S
    assert (loop.pump(), results) == (None, [None])
    loop.close()


def test_who_comes_again_when_told_to_finds_the_timer_due(loop: PumpedLoop) -> None:
    """With the clock of the machine."""
    results: list[None] = []
    begun = time.monotonic()
    loop.start(asyncio.sleep(0.05), lambda task: results.append(task.result()))
    drive(loop, results)
    assert time.monotonic() > begun + 0.049


def test_a_socket_makes_the_descriptor_readable(loop: PumpedLoop) -> None:
    """That is what the actor watches."""
    here, there = socket.socketpair()
    here.setblocking(False)
    results: list[bytes] = []

    async def read() -> bytes:
        return await asyncio.get_running_loop().sock_recv(here, 10)

    loop.start(read(), lambda task: results.append(task.result()))
    assert loop.pump() is None
    assert not is_readable(loop)
    there.send(b"hello")
    assert is_readable(loop, PATIENCE_S)
    loop.pump()
    assert results == [b"hello"]
    here.close()
    there.close()


def test_another_thread_wakes_it(loop: PumpedLoop) -> None:
    """Name look-ups run in threads and come back this way."""
    results: list[int] = []

    async def elsewhere() -> int:
        return await asyncio.to_thread(threading.get_ident)

    loop.start(elsewhere(), lambda task: results.append(task.result()))
    drive(loop, results)
    assert results[0] != threading.get_ident()


def test_an_exception_comes_back_with_its_task(loop: PumpedLoop) -> None:
    """It is the caller's business what a failure means."""

    async def fails() -> None:
        raise LookupError("no")

    results: list[BaseException | None] = []
    loop.start(fails(), lambda task: results.append(task.exception()))
    loop.pump()
    assert isinstance(results[0], LookupError)


def test_complete_waits_for_one_thing(loop: PumpedLoop) -> None:
    """Its result, its exception, or a time-out."""

    async def slow() -> str:
        await asyncio.sleep(0.02)
        return "slow"

    assert loop.complete(slow(), PATIENCE_S) == "slow"
    with pytest.raises(TimeoutError):
        loop.complete(asyncio.sleep(3_600), 0.01)


def test_closing_cancels_what_runs() -> None:
    """And lets it clean up."""
    made, cleaned = PumpedLoop(), []

    async def works() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    made.start(works(), lambda _: None)
    made.pump()
    made.close()
    assert cleaned == [True]


def test_it_waits_in_a_process_with_many_descriptors() -> None:
    """`select` knows descriptors below 1024 only."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2_048, before[1]), before[1]))
    opened = [os.dup(0) for _ in range(1_100)]
    loop = PumpedLoop()
    try:
        assert loop.fileno() > 1_024
        assert loop.complete(asyncio.sleep(0.01, "done"), PATIENCE_S) == "done"
    finally:
        loop.close()
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
