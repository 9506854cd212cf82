"""docs/states.md says what the table says."""

from __future__ import annotations

from pathlib import Path

from core.lifecycle import TERMINAL, TRANSITIONS, Cause, State
from tools import states

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_is_current() -> None:
    """The committed page is what `python -m tools.states` prints."""
    assert states.render() == PAGE.read_text(), "run: python -m tools.states > docs/states.md"


def test_the_page_has_every_row() -> None:
    """Each state, each cause and each transition is named, with its meaning."""
    page = states.render()
    for state, row in TRANSITIONS.items():
        for cause, follower in row.items():
            assert f"| `{state}` | `{cause}` | `{follower}` |" in page
    for member in [*State, *Cause]:
        assert f"| `{member}`" in page
    assert "| None |" not in page


def test_the_diagram_has_every_open_row() -> None:
    """Every transition out of an open state is an arrow; terminal states end."""
    diagram = states.render().split("```")[1]
    for state, row in TRANSITIONS.items():
        if state in TERMINAL:
            assert f"{state} --> [*]" in diagram
            continue
        for cause, follower in row.items():
            (arrow,) = [line for line in diagram.splitlines() if line.startswith(f"    {state} --> {follower}:")]
            assert cause in arrow.split(": ")[1].split(" / ")
