"""The rooms of the house (design §2): imports point down only, and each library has one room.

Every module of the tree is read, not imported, so the rules hold for imports inside functions too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "messages", "storage", "exchange", "actors", "tools", "benchmarks")
MAY_IMPORT = {
    "core": {"core"},
    "messages": {"messages", "core"},
    "storage": {"storage", "core"},
    "exchange": {"exchange", "core"},
    "actors": {"actors", "messages", "storage", "exchange", "core"},
    "tools": {"tools", "actors", "messages", "storage", "exchange", "core"},
    "benchmarks": {"benchmarks", "tools", "actors", "messages", "storage", "exchange", "core"},
}
"""Rooms of ours that a room may use."""
LIBRARIES = {
    "core": {"msgspec"},
    "messages": {"msgspec"},
    "storage": {"msgspec", "lmdb"},
}
"""Third-party imports of the rooms that must stay small."""
OWNERS = {"ccxt": {"exchange"}, "lmdb": {"storage"}, "thespian": {"actors", "benchmarks"}}
"""Libraries that live in one room only."""
IMPURE = {
    "asyncio", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil", "signal",
    "socket", "ssl", "structlog", "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
"""What the core must not touch: the clock, chance, files, network, processes, threads."""
IMPURE_CALLS = {"open", "print", "input", "exec", "eval"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


ALL = [(room, path) for room in ROOMS for path in modules(room)]


def name_of(case: object) -> str:
    return str(case.relative_to(ROOT)) if isinstance(case, Path) else str(case)


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they point"
            assert node.module is not None
            yield node.module.split(".")[0]


@pytest.mark.parametrize(("room", "path"), ALL, ids=name_of)
def test_imports_point_down(room: str, path: Path) -> None:
    """A room uses only rooms below it: `tools → actors → exchange, storage, messages → core`."""
    ours = set(imported(path)) & {*ROOMS, "run", "tests"}
    assert ours - MAY_IMPORT[room] == set()


@pytest.mark.parametrize(("room", "path"), [case for case in ALL if case[0] in LIBRARIES], ids=name_of)
def test_the_lower_rooms_use_few_libraries(room: str, path: Path) -> None:
    """core and messages know msgspec, storage lmdb on top; everything else is the standard library."""
    foreign = {name for name in imported(path) if name not in sys.stdlib_module_names and name not in ROOMS}
    assert foreign - LIBRARIES[room] == set()


@pytest.mark.parametrize(("room", "path"), [*ALL, ("run", ROOT / "run.py")], ids=name_of)
def test_each_library_has_one_room(room: str, path: Path) -> None:
    """Only exchange imports ccxt, only storage lmdb, only actors thespian; the launcher none of them."""
    assert {name for name in imported(path) if room not in OWNERS.get(name, {room})} == set()


@pytest.mark.parametrize("path", modules("core"), ids=name_of)
def test_the_core_is_pure(path: Path) -> None:
    """No clock, no chance, no files, no network, no log: the same inputs give the same outputs, always."""
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert set(imported(path)) & IMPURE == set()
    assert calls & IMPURE_CALLS == set()


@pytest.mark.parametrize(("room", "path"), ALL, ids=name_of)
def test_every_file_says_what_it_is(room: str, path: Path) -> None:
    """Prose at the top, and a room, not two: 500 lines at most."""
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), "what does this file guarantee, and who uses it?"
    assert len(source.splitlines()) <= 500


def test_every_room_is_there() -> None:
    """The rules above are about something."""
    assert [room for room in ROOMS if not modules(room)] == []
