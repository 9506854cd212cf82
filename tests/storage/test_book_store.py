"""The book on disk: durable after any death, private, owned by one venue, and clear about what it cannot read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import events
from core.errors import BookDamaged, StorageError, StorageFull
from core.ids import IntentId
from core.records import Balance, Reservation
from storage.book_store import BookStore
from storage.keys import sequence_key
from storage.layout import StateFolder
from storage.schema import Plain
from storage.tables import Reader
from tests.builders import T0, dec
from tests.damage import spoil

VENUE = "binance/sim"
ROOT = Path(__file__).parents[2]
PRELUDE = """
import os, signal, sys
from core.records import Balance
from decimal import Decimal
from storage.book_store import BookStore
from storage.layout import StateFolder
folder = StateFolder(sys.argv[1])
def put(unit, currency, total):
    unit.put_balance(Balance(currency=currency, total=Decimal(total)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state").create()


@pytest.fixture
def opened(folder: StateFolder) -> Iterator[Callable[[], BookStore]]:
    """Opens writers on `folder`, one after the other; the last is closed at the end."""
    stores: list[BookStore] = []

    def again() -> BookStore:
        for store in stores:
            store.close()
        stores.append(BookStore.open_writer(folder, 1, VENUE))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


def put_ballast(store: BookStore, mebibytes: int) -> None:
    """Make the book this much larger, in one transaction."""
    with store.transaction() as unit:
        for number in range(mebibytes):
            unit.put_meta(f"ballast{number}", "x" * (1 << 20))


def in_process(folder: StateFolder, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, as every actor is one."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code, str(folder.root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


# ── durability ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("death", ["os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_committed_survives_a_death_and_nothing_else_does(
    folder: StateFolder, opened: Callable[[], BookStore], death: str
) -> None:
    """A process that dies inside a transaction leaves what it had committed and nothing of what it had begun."""
    code = f"""
store = BookStore.open_writer(folder, 1, "{VENUE}")
with store.transaction() as unit:
    put(unit, "BTC", "1")
with store.transaction() as unit:
    put(unit, "BTC", "2")
    put(unit, "ETH", "3")
    {death}
"""
    died = in_process(folder, code)
    assert died.returncode in {7, -signal.SIGKILL}, died.stderr
    with opened().snapshot() as view:
        assert [Balance(currency="BTC", total=dec(1))] == list(view.balances())


def test_a_writer_can_go_on_where_the_dead_one_stopped(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """Sequences of the outbox go on without a gap or a double after the process was replaced."""
    for code in ("A", "B"):
        store = opened()
        with store.transaction() as unit:
            unit.append_event(events.AlertFired(at_ns=T0, code=code, text=""))
    with store.snapshot() as view:
        assert [(number, event.code) for number, event in view.events()] == [(1, "A"), (2, "B")]


# ── readers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_in_another_process_sees_one_moment(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """A snapshot taken while the writer goes on writing shows one commit, whole; the next one shows the newest."""
    code = """
store = BookStore.open_reader(folder)
with store.snapshot() as view:
    first = str(view.balance("BTC").total)
    print("ready", flush=True)
    sys.stdin.readline()
    again = str(view.balance("BTC").total), str(view.balance("ETH").total)
with store.snapshot() as view:
    newest = str(view.balance("BTC").total), str(view.balance("ETH").total)
print(first, again, newest)
"""
    store = opened()
    with store.transaction() as unit:
        unit.put_balance(Balance(currency="BTC", total=dec(1)))
        unit.put_balance(Balance(currency="ETH", total=dec(1)))
    reader = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(folder.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for total in range(2, 50):
            with store.transaction() as unit:
                unit.put_balance(Balance(currency="BTC", total=dec(total)))
                unit.put_balance(Balance(currency="ETH", total=dec(total)))
        answer, _ = reader.communicate("go\n", timeout=30)
    assert answer == "1 ('1', '1') ('49', '49')\n"


def test_a_reader_follows_a_book_that_grows(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """A reader that was opened on a small book still reads after the book has grown far beyond its first size."""
    code = """
store = BookStore.open_reader(folder)
print("ready", flush=True)
sys.stdin.readline()
with store.snapshot() as view:
    print(view.balance("BTC").total)
"""
    store = opened()
    reader = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(folder.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        put_ballast(store, 16)
        with store.transaction() as unit:
            unit.put_balance(Balance(currency="BTC", total=dec(5)))
        answer, errors = reader.communicate("go\n", timeout=30)
    assert (answer, errors) == ("5\n", "")


def test_a_reader_can_be_opened_while_the_book_grows(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """A sound book is never taken for a torn one, however its file grows between two looks at it."""
    code = """
for number in range(400):
    store = BookStore.open_reader(folder)
    with store.snapshot() as view:
        assert view.meta("venue")
    store.close()
"""
    store = opened()
    reader = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(folder.root)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with reader:
        number = 0
        while reader.poll() is None and number < 20_000:
            number += 1
            with store.transaction() as unit:
                unit.put_meta(f"ballast{number}", "x" * (1 << 15))
        _, errors = reader.communicate(timeout=60)
    assert (reader.returncode, errors[-300:]) == (0, "")


def test_a_reader_cannot_write(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """Only the portfolio writes: a reader's environment has no write transaction to offer."""
    opened()
    code = """
store = BookStore.open_reader(folder)
with store.transaction() as unit:
    put(unit, "BTC", "1")
"""
    result = in_process(folder, code)
    assert result.returncode == 1
    assert "ReadonlyError" in result.stderr or "StorageError" in result.stderr or "permission" in result.stderr.lower()


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


def one_line(error: pytest.ExceptionInfo[StorageError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_book_of_another_venue_is_refused(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """A book of the simulator is never used with the live exchange; the error names both and what to do."""
    opened().close()
    with pytest.raises(StorageError) as error:
        BookStore.open_writer(folder, 1, "binance/live")
    text = one_line(error)
    assert [VENUE in text, "binance/live" in text, "--state" in text] == [True] * 3


def test_a_refused_book_can_be_opened_by_its_owner(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """A refusal leaves nothing open and nothing changed."""
    opened().close()
    with pytest.raises(StorageError):
        BookStore.open_writer(folder, 1, "binance/live")
    with opened().snapshot() as view:
        assert view.meta("venue") == VENUE


@pytest.mark.parametrize("version", ["0", "2", "", "x"])
def test_a_book_of_another_schema_is_refused(
    folder: StateFolder, opened: Callable[[], BookStore], version: str
) -> None:
    """Neither writer nor reader opens a book of another schema version; the error says which."""
    store = opened()
    with store.transaction() as unit:
        unit.put_meta("schema", version)
    store.close()
    with pytest.raises(StorageError, match="schema") as writing:
        BookStore.open_writer(folder, 1, VENUE)
    with pytest.raises(StorageError, match="schema") as reading:
        BookStore.open_reader(folder)
    assert one_line(writing) == one_line(reading)


def test_reading_where_there_is_no_book_says_so(folder: StateFolder) -> None:
    """A reader never creates a book."""
    with pytest.raises(StorageError, match="no book"):
        BookStore.open_reader(folder)
    assert list(folder.book.iterdir()) == []


@pytest.mark.parametrize("damage", ["garbage", "short garbage", "empty"])
@pytest.mark.parametrize("how", ["writer", "reader"])
def test_a_file_that_is_no_book_is_refused_in_one_line(folder: StateFolder, damage: str, how: str) -> None:
    """What cannot be a book is refused with the place and the remedy, not with a stack of lmdb's."""
    content = {"garbage": b"garbage " * 4096, "short garbage": b"x", "empty": b""}[damage]
    (folder.book / "data.mdb").write_bytes(content)
    with pytest.raises(StorageError) as error:
        BookStore.open_writer(folder, 1, VENUE) if how == "writer" else BookStore.open_reader(folder)
    assert str(folder.book) in one_line(error)


@pytest.mark.parametrize("how", [f'open_writer(folder, 1, "{VENUE}")', "open_reader(folder)"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_torn_book_is_refused_in_one_line(
    folder: StateFolder, opened: Callable[[], BookStore], how: str, share: float
) -> None:
    """A book whose file was cut short ends in a StorageError, never in the death of the process."""
    store = opened()
    with store.transaction() as unit:
        for number in range(2000):
            unit.put_reservation(
                Reservation(intent_id=IntentId(f"i{number}"), currency="BTC", amount=dec(1), created_ns=T0)
            )
    store.close()
    data = folder.book / "data.mdb"
    os.truncate(data, int(data.stat().st_size * share) // 4096 * 4096)
    code = f"""
from core.errors import StorageError
try:
    store = BookStore.{how}
    with store.snapshot() as view:
        print(len(list(view.reservations())))
except StorageError as error:
    print("refused:", error)
"""
    result = in_process(folder, code)
    assert result.returncode == 0, f"the process died with {result.returncode}: {result.stderr[-300:]}"
    assert result.stdout.startswith("refused:")
    assert result.stdout.count("\n") == 1


def test_damaged_pages_are_told_by_every_read(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """In a view and while writing, of one row and of many: never lmdb's own error."""
    store = opened()
    with store.transaction() as unit:
        for number in range(2000):
            unit.put_reservation(
                Reservation(intent_id=IntentId(f"spoil-{number}"), currency="BTC", amount=dec(1), created_ns=T0)
            )
            unit.append_event(events.AlertFired(at_ns=T0, code="spoil", text=""))
    assert spoil(folder.book / "data.mdb", b"spoil") > 2
    reads: list[Callable[[Reader], object]] = [
        lambda view: view.reservation(IntentId("spoil-7")),
        lambda view: list(view.reservations()),
        lambda view: next(view.events()),
        lambda view: view.last_sequence("audit"),
        lambda view: view.last_event(events.AlertFired),
    ]
    for read in reads:
        with pytest.raises(BookDamaged, match=str(folder.book)) as error, store.snapshot() as view:
            read(view)
        assert "restore a copy" in one_line(error)
    with pytest.raises(BookDamaged):
        store.begin()
    with store.snapshot() as view:
        assert view.meta("venue") == VENUE, "what is whole is read as before"


@pytest.mark.parametrize("first_bytes", [b"", b"\x00", b"\x02", b"\x80"])
def test_a_record_of_another_version_is_refused(opened: Callable[[], BookStore], first_bytes: bytes) -> None:
    """Each record carries its schema version, and a reader checks it."""
    store = opened()
    with store.transaction() as unit:
        unit._put("balances", ("BTC",), first_bytes + b"\x80", Plain())
    with store.snapshot() as view, pytest.raises(StorageError, match="Balance"):
        view.balance("BTC")


def test_a_damaged_record_is_refused(opened: Callable[[], BookStore]) -> None:
    """Bytes of the right version that are no such record raise a StorageError naming the kind of record."""
    store = opened()
    with store.transaction() as unit:
        unit._put("balances", ("BTC",), b"\x01\xc1garbage", Plain())
    with store.snapshot() as view, pytest.raises(StorageError, match="Balance"):
        view.balance("BTC")


def test_a_full_map_is_a_storage_error_and_loses_nothing(folder: StateFolder) -> None:
    """S4: when the map is full the caller hears that there is no room, and what was committed before is still there."""
    store = BookStore.open_writer(folder, 0, VENUE)  # 0: a small map
    with store.transaction() as unit:
        unit.put_balance(Balance(currency="BTC", total=dec(1)))
    with pytest.raises(StorageFull):
        put_ballast(store, 32)
    with store.snapshot() as view:
        assert Balance(currency="BTC", total=dec(1)) == view.balance("BTC")
    store.close()


# ── privacy and layout ────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_can_read_the_book(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """Every folder below the state folder is 0700 and every file of the book 0600, whatever the umask."""
    opened()
    folders = [path for path in folder.root.rglob("*") if path.is_dir()]
    files = [path for path in folder.root.rglob("*") if path.is_file()]
    assert {0o700} == {path.stat().st_mode & 0o777 for path in [folder.root, *folders]}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in files}
    assert {"data.mdb", "lock.mdb"} == {path.name for path in files}


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the way of the state folder is an error in one line that names it."""
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StorageError, match="state") as error:
        StateFolder(tmp_path / "state").create()
    assert "--state" in one_line(error)


def test_creating_the_layout_twice_changes_nothing(folder: StateFolder) -> None:
    """Every start creates what is missing and keeps what is there."""
    (folder.book / "kept").write_text("kept")
    folder.create()
    assert (folder.book / "kept").read_text() == "kept"


def test_one_process_opens_the_book_once(folder: StateFolder, opened: Callable[[], BookStore]) -> None:
    """A second opening in the same process is refused: lmdb would lose its locks."""
    opened()
    with pytest.raises(StorageError):
        BookStore.open_reader(folder)


def test_the_share_of_the_map_that_is_used_grows(opened: Callable[[], BookStore]) -> None:
    """`used_share` tells how full the map is, between nothing and all."""
    store = opened()
    before = store.used_share()
    put_ballast(store, 16)
    assert 0 < before < store.used_share() < 0.1


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_newest_event_of_a_kind_is_found(opened: Callable[[], BookStore]) -> None:
    """`last_event` skips other kinds, and finds nothing where there is none."""
    store = opened()
    with store.transaction() as unit:
        unit.append_event(events.BalancesCompared(at_ns=1, drift={}))
        unit.append_event(events.BalancesCompared(at_ns=2, drift={"BTC": dec("0.1")}))
        unit.append_event(events.AlertFired(at_ns=3, code="X", text=""))
    with store.snapshot() as view:
        assert events.BalancesCompared(at_ns=2, drift={"BTC": dec("0.1")}) == view.last_event(events.BalancesCompared)
        assert view.last_event(events.OrderDone) is None
        assert (view.last_sequence("audit"), view.last_sequence("ledger")) == (3, 0)
        assert view.count("audit") == 3


def test_sequences_sort_by_number() -> None:
    """Keys of sequences sort as their numbers do, beyond one byte too."""
    numbers = [1, 255, 256, 65_536, 1 << 40]
    assert numbers == sorted(numbers, key=sequence_key)
