"""The made-up book is one that the engine could have written."""

from __future__ import annotations

from pathlib import Path

from benchmarks.made_book import MadeBook
from core import holdings
from core.lifecycle import State
from storage.book_store import BookStore
from storage.layout import StateFolder
from tools.command_book import ledger_summary

UNTIL_NS = 1_800_000_000_000_000_000


def test_every_intent_is_filled_and_the_books_balance(tmp_path: Path) -> None:
    """Through the real rules, whether in large transactions or one by one."""
    folder = StateFolder(tmp_path / "state")
    with MadeBook(folder, 3, 20, UNTIL_NS) as made:
        made.grow_to(18, batch=7)
        cost = made.add_one()
        made.add_one()
        assert cost.elapsed_ns > 0
        assert made.used_bytes() > 0
    store = BookStore.open_reader(folder)
    try:
        with store.snapshot() as view:
            records = list(view.intents())
            assert [record.state for record in records] == [State.FILLED] * 20
            assert max(record.intent.created_ns for record in records) < UNTIL_NS
            assert holdings.violations(view) == []
            assert ledger_summary(view)["balanced"]
    finally:
        store.close()
