"""docs/performance.md."""

from __future__ import annotations

from benchmarks.page import replaced


def test_a_part_is_added_once_and_then_replaced() -> None:
    """Saving again changes the part between its markers and nothing else."""
    page = replaced("# Performance\n\nby hand\n", "hops", "one")
    page = replaced(page, "orders", "two")
    again = replaced(page, "hops", "three")
    assert again == page.replace("one", "three")
    assert again.startswith("# Performance\n\nby hand\n")
    assert again.count("<!-- benchmarks: hops begins -->") == 1


def test_text_after_a_part_stays() -> None:
    """Somebody may write between the parts."""
    page = replaced("head\n", "hops", "one") + "\nby hand\n"
    assert replaced(page, "hops", "two").endswith("\nby hand\n")
