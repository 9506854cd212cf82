"""The watchdog: a new engine for each that died, an end with a halt when that does not help, and systemd is told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import trading
from core.errors import EngineExhausted, StartRefused, StartupFailed
from core.events import AlertFired
from core.records import TradingState
from core.settings import from_mapping
from messages.admin import EngineStopped
from storage.book_store import BookStore
from storage.layout import StateFolder
from tools import watchdog
from tools.watchdog import Watchdog, notify

DIED = EngineStopped(reason="the engine died", failed=True)
STOPPED = EngineStopped(reason="asked to", failed=False)
RESTARTS_MAX = 3


class EngineThatDies:
    """In place of `Launch`: it dies so often, and then is stopped in order."""

    def __init__(self, folder: StateFolder, deaths: int, error: type[StartupFailed] | None = None) -> None:
        self.folder = folder
        self.settings = from_mapping({"engine": {"restarts_max": RESTARTS_MAX}})
        self.deaths = deaths
        self.error = error
        """Of a relaunch, as long as there are deaths left."""
        self.relaunched = 0
        self.ended = False
        self.is_stopping = False
        self.is_wanted: Callable[[], bool] = lambda: True

    def wait(self, _timeout_s: float) -> EngineStopped | None:
        if not self.deaths:
            return STOPPED
        self.deaths -= 1
        return DIED

    def relaunch(self) -> None:
        self.relaunched += 1
        assert self.is_wanted()
        if self.error is not None and self.deaths:
            self.deaths -= 1
            raise self.error("because")

    def end_by_force(self) -> None:
        self.ended = True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.setattr(watchdog.time, "sleep", lambda _s: None)
    monkeypatch.setattr(Watchdog, "_pause", lambda _self, _ns: None)
    return StateFolder(tmp_path).create()


def watched(launch: EngineThatDies) -> Watchdog:
    return Watchdog(launch, lambda _text: None, lambda: False)  # type: ignore[arg-type]


def book(folder: StateFolder) -> tuple[TradingState, list[tuple[str, str]]]:
    store = BookStore.open_reader(folder)
    try:
        with store.snapshot() as view:
            events = [event for _, event in view.events(after=0, limit=100)]
            return trading.standing(view).state, [(e.code, e.text) for e in events if isinstance(e, AlertFired)]
    finally:
        store.close()


def test_an_engine_that_dies_while_it_stops_is_not_replaced(folder: StateFolder) -> None:
    """Somebody wanted it gone, and a new one would trade on."""
    launch = EngineThatDies(folder, deaths=1)
    launch.is_stopping = True
    assert watched(launch).run() == DIED
    assert launch.relaunched == 0


def test_an_engine_that_dies_is_replaced(folder: StateFolder) -> None:
    """As often as the settings allow."""
    launch = EngineThatDies(folder, RESTARTS_MAX)
    assert watched(launch).run() is STOPPED
    assert (launch.relaunched, launch.ended) == (RESTARTS_MAX, False)


@pytest.mark.parametrize("error", [None, StartupFailed])
def test_one_that_dies_too_often_ends_the_daemon_with_a_halt_in_the_book(
    folder: StateFolder, error: type[StartupFailed] | None
) -> None:
    """Whether it dies at work or in its start; nobody has the book then, and the next start must not trade on."""
    launch = EngineThatDies(folder, RESTARTS_MAX + 1, error)
    with pytest.raises(EngineExhausted, match="trading is halted"):
        watched(launch).run()
    assert launch.ended
    state, alerts = book(folder)
    assert state is TradingState.HALTED
    ((code, text),) = alerts
    assert (code, "the engine" in text) == ("RESTARTS_EXHAUSTED", True)


def test_a_crash_loop_slower_than_the_window_is_exhausted(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its starts take longer than the window of all restarts, so only the row of failures tells."""
    clock = iter(range(0, 1_000_000_000 * 120 * 100, 1_000_000_000 * 120))
    monkeypatch.setattr(watchdog.time, "monotonic_ns", lambda: next(clock))
    with pytest.raises(EngineExhausted, match="in a row"):
        watched(EngineThatDies(folder, 50, StartupFailed)).run()


def test_a_start_for_which_something_must_pass_is_tried_until_it_has(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that is down over night ends nothing."""
    clock = iter(range(0, 1_000_000_000 * 120 * 200, 1_000_000_000 * 120))
    monkeypatch.setattr(watchdog.time, "monotonic_ns", lambda: next(clock))
    assert watched(EngineThatDies(folder, 50, StartRefused)).run() is STOPPED


# ── systemd ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield door


def heard(systemd: socket.socket) -> list[str]:
    systemd.setblocking(False)
    words = []
    try:
        while True:
            words.append(systemd.recv(100).decode())
    except BlockingIOError:
        return words


def test_systemd_hears_when_it_is_ready_and_that_it_lives_while_an_engine_starts(
    folder: StateFolder, systemd: socket.socket
) -> None:
    """The words of sd_notify(3)."""
    watched(EngineThatDies(folder, 1)).run()
    assert heard(systemd) == ["READY=1", "WATCHDOG=1"]


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`@name` stands for a leading zero byte."""
    name = f"intentd-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("READY=1")
        assert heard(door) == ["READY=1"]


@pytest.mark.parametrize("address", ["", "/nobody/is/there"])
def test_who_is_not_listened_to_goes_on(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd nothing is said; a systemd that cannot hear just now ends nobody."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("WATCHDOG=1")
