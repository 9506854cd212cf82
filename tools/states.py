"""Generates docs/states.md from the transition table: `python -m tools.states > docs/states.md`."""

from __future__ import annotations

import ast
import inspect
from enum import StrEnum
from typing import Final

from core import lifecycle
from core.lifecycle import TERMINAL, TRANSITIONS, Cause, State

INTRODUCTION: Final = """\
# The states of an intent

*Generated from `core/lifecycle.py` by `python -m tools.states > docs/states.md`; a test keeps it current.*
"""
FILLS_AFTER_THE_END: Final = """\
The diagram leaves out late fills: from every terminal state but FILLED, FILL_PART leads to PARTIAL_SUCCESS and
FILL_ALL to FILLED. The trade is booked, an alert fires, and the symbol is quarantined until an operator has looked.
"""


def render() -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        _theory(),
        "## Diagram\n",
        _diagram(),
        FILLS_AFTER_THE_END,
        "## States\n",
        _meanings(State, "State"),
        "## Causes\n",
        _meanings(Cause, "Cause"),
        "## Transitions\n",
        _transitions(),
    ]
    return "\n".join(parts)


def _theory() -> str:
    """The prose of the module, without its title and its underlined headings."""
    text = inspect.getdoc(lifecycle) or ""
    _, _, body = text.partition("-------------------\n")
    return body.rpartition("\n\n")[0] + "\n"


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", "    [*] --> NEW"]
    for state, row in TRANSITIONS.items():
        if state in TERMINAL:
            continue
        followers: dict[State, list[str]] = {}
        for cause, follower in row.items():
            followers.setdefault(follower, []).append(cause)
        lines += [f"    {state} --> {follower}: {' / '.join(causes)}" for follower, causes in followers.items()]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join([*lines, "```", ""])


def _meanings(kind: type[StrEnum], title: str) -> str:
    texts = _docstrings(kind)
    rows = [f"| `{member}`{' (terminal)' if member in TERMINAL else ''} | {texts[member.name]} |" for member in kind]
    return "\n".join([f"| {title} | Meaning |", "|---|---|", *rows, ""])


def _transitions() -> str:
    rows = [
        f"| `{state}` | `{cause}` | `{follower}` |"
        for state, row in TRANSITIONS.items()
        for cause, follower in row.items()
    ]
    return "\n".join(["| From | Cause | To |", "|---|---|---|", *rows, ""])


def _docstrings(kind: type[StrEnum]) -> dict[str, str]:
    """The sentence below each member, by the member's name."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    name = ""
    for node in definition.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            texts[name] = str(node.value.value)
    return texts


if __name__ == "__main__":
    print(render(), end="")
