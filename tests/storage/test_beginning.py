"""A book begins once: a folder that has lost it gets no empty one, and a beginning cut short can be repeated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import StorageError
from storage import beginning
from storage.book_store import BookStore
from storage.layout import StateFolder

VENUE = "binance/sim"
ROOT = Path(__file__).parents[2]
DIES_AT = """
import os, sys
from storage import beginning
from storage.book_store import BookStore
from storage.layout import StateFolder
left = int(sys.argv[2])
def count(event, args):
    global left
    if event in {"os.mkdir", "os.rename", "shutil.rmtree", "lmdb.open", "open"} and sys.argv[1] in str(args):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(count)
BookStore.open_writer(StateFolder(sys.argv[1]), 1, "binance/sim")
"""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state").create()


def order_log(folder: StateFolder) -> Path:
    folder.order_log.write_text('{"seq":1}\n')
    return folder.order_log


def audit_log(folder: StateFolder) -> Path:
    folder.audit_log.write_text('{"seq":1}\n')
    return folder.audit_log


def engine_file(folder: StateFolder) -> Path:
    folder.engine_file.write_text("{}")
    return folder.engine_file


def lock_file(folder: StateFolder) -> Path:
    BookStore.open_writer(folder, 1, VENUE).close()
    (folder.book / "data.mdb").unlink()
    return folder.book / "lock.mdb"


@pytest.mark.parametrize("leave", [order_log, audit_log, engine_file, lock_file])
def test_a_folder_that_has_lost_its_book_gets_no_new_one(
    folder: StateFolder, leave: Callable[[StateFolder], Path]
) -> None:
    """Every key in the old one would be bought again. The folder, the sign and the remedy are named, in one line."""
    sign = leave(folder)
    for _ in range(2):  # the refusal leaves nothing behind that would let the next one in
        with pytest.raises(StorageError) as error:
            BookStore.open_writer(folder, 1, VENUE)
        text = str(error.value)
        assert [str(folder.book) in text, str(sign) in text, "from a copy" in text, "\n" in text] == [True] * 3 + [
            False
        ]
    with pytest.raises(StorageError, match="gone"):
        BookStore.open_reader(folder)


def test_a_folder_in_which_a_book_was_never_begun_gets_one(folder: StateFolder) -> None:
    """What a start writes before there is a book, and the empty streams, are no sign of one."""
    for path in (folder.program_log, folder.lock_file, folder.crew_file, folder.simulator_file):
        path.write_text("x")
    folder.order_log.touch()
    BookStore.open_writer(folder, 1, VENUE).close()
    assert beginning.exists(folder)
    assert sorted(path.name for path in folder.book.iterdir()) == ["data.mdb", "lock.mdb"]


@pytest.mark.parametrize("moment", range(8))
def test_a_beginning_that_is_cut_short_can_be_repeated(folder: StateFolder, moment: int) -> None:
    """Whenever the process dies: afterwards there is a whole book, or none and no sign of one."""
    died = subprocess.run(
        [sys.executable, "-c", DIES_AT, str(folder.root), str(moment)], cwd=ROOT, timeout=60, check=False
    )
    assert died.returncode in {0, 9}
    store = BookStore.open_writer(folder, 1, VENUE)
    with store.snapshot() as view:
        assert view.meta("venue") == VENUE
    store.close()


def test_the_moments_reach_from_before_the_book_to_after_it(folder: StateFolder) -> None:
    """Else the test above would look at nothing."""
    seen = set()
    for moment in range(8):
        done = subprocess.run(
            [sys.executable, "-c", DIES_AT, str(folder.root), str(moment)], cwd=ROOT, timeout=60, check=False
        )
        seen.add((done.returncode, beginning.exists(folder)))
    assert {(9, False), (0, True)} <= seen
