"""The state file: what was appended is there again, a torn line is not, and nothing foreign is taken for ours."""

from __future__ import annotations

import stat
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from exchange.simulator.account import FeePlan
from exchange.simulator.journal import Journal, JournalError
from exchange.simulator.matching import MatchingEngine
from exchange.simulator.opening import carry_on, open_market
from exchange.simulator.orders import NewOrder, OrderType, Side

T0 = 1_700_000_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "venue.journal"


def place(engine: MatchingEngine) -> None:
    engine.place(T0, NewOrder(symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, quote_qty=Decimal(100)))


def begun(path: Path) -> tuple[Journal, MatchingEngine]:
    engine = open_market(now_ns=T0)
    journal = Journal(path)
    journal.begin(engine.records())
    engine.changes()
    return journal, engine


def state(engine: MatchingEngine) -> bytes:
    return msgspec.json.encode(engine.records())


def loaded(path: Path) -> bytes:
    journal = Journal(path)
    try:
        saved = journal.load()
        return state(carry_on(saved, seed=None, now_ns=0, symbols=24, fees=FeePlan.MIXED, balances={}))
    finally:
        journal.close()


def test_what_was_appended_is_loaded(path: Path) -> None:
    """The engine that is made of the file has the state of the one that wrote it."""
    journal, engine = begun(path)
    for _ in range(5):
        place(engine)
        journal.append(engine.changes())
    journal.close()
    assert loaded(path) == state(engine)


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_is_left_out(path: Path, kept: int) -> None:
    """However much of the last line arrived, the state is the one before it."""
    journal, engine = begun(path)
    place(engine)
    journal.append(engine.changes())
    before, size = state(engine), path.stat().st_size
    place(engine)
    journal.append(engine.changes())
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[:size] + content[size:][:kept])
    assert loaded(path) == before


def test_the_file_is_rewritten_at_each_start(path: Path) -> None:
    """Many changes of one thing become one record."""
    journal, engine = begun(path)
    for _ in range(50):
        place(engine)
        journal.append(engine.changes())
    grown = path.stat().st_size
    journal.begin(engine.records())
    journal.close()
    assert path.stat().st_size < grown
    assert loaded(path) == state(engine)


def test_only_its_owner_may_read_it(path: Path) -> None:
    """The file and its lock are 0600."""
    journal, _ = begun(path)
    journal.close()
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_new_file_is_empty(path: Path) -> None:
    """Nothing is loaded of a file that is not there."""
    journal = Journal(path)
    assert journal.load() == []
    journal.close()


def test_a_second_simulator_is_kept_away(path: Path) -> None:
    """While one has the file, another one is told so."""
    journal, _ = begun(path)
    with pytest.raises(JournalError, match="in use by another simulator"):
        Journal(path)
    journal.close()
    Journal(path).close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"hello\n", "is not a simulator's state file"),
        (b"\xff\xfe\n\x00", "is not a simulator's state file"),
        (b'{"format":"other","version":1}\n', "is not a simulator's state file"),
        (b'{"format":"intentd-simulator","version":9}\n', "is of version 9, not 1"),
        (b'{"format":"intentd-simulator","version":1}\n[{"record":"nonsense"}]\n[]\n', "is damaged in line 2"),
        (b'{"format":"intentd-simulator","version":1}\n[{"rec\n[]\n', "is damaged in line 2"),
    ],
)
def test_a_foreign_or_damaged_file_is_refused(path: Path, content: bytes, complaint: str) -> None:
    """The text says what is wrong, and the file is left as it was."""
    path.write_bytes(content)
    journal = Journal(path)
    with pytest.raises(JournalError, match=complaint):
        journal.load()
    journal.close()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which file and what to do."""
    with pytest.raises(JournalError, match=r"nowhere/venue.journal cannot be used: No such file or directory; name"):
        Journal(tmp_path / "nowhere" / "venue.journal")
