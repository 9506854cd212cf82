"""The vocabulary of the actors: unique names, frozen, documented, and able to cross a process boundary."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import pkgutil
import typing
from collections import Counter
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any

import msgspec
import pytest

import messages
from core.settings import Settings
from messages import Message
from tests.builders import T0

MODULES = [importlib.import_module(f"messages.{found.name}") for found in pkgutil.iter_modules(messages.__path__)]
MESSAGES: list[type[Message]] = [
    kind
    for module in MODULES
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, Message) and kind.__module__ == module.__name__
]
SELF_EXPLAINING = {
    "answer",
    "attempt",
    "client_order_id",
    "gateway",
    "intent_id",
    "markets",
    "mode",
    "name",
    "opening",
    "pid",
    "plan",
    "portfolio",
    "quote",
    "reason",
    "reconciler",
    "record",
    "refusal",
    "report",
    "request",
    "request_id",
    "session_id",
    "settings",
    "state_root",
    "symbol",
}
"""Names that mean the same everywhere and need no sentence; every other field has one."""
ONLY_PICKLED = {"BalancesFetched", "QuoteFetched"}
"""Their answer is either a plain value or a `QueryFailed`, which no schema tells apart: they never leave the actors."""


def by_name(kind: type[Message]) -> str:
    return kind.__name__


def test_names_are_unique_over_all_modules() -> None:
    """thespian dispatches by the bare class name: two messages of one name would be taken for each other."""
    counted = Counter(kind.__name__ for kind in MESSAGES)
    assert [name for name, count in counted.items() if count > 1] == []
    assert len(MESSAGES) > 30


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_every_message_is_frozen(kind: type[Message]) -> None:
    """Nobody changes a message after it was sent."""
    assert kind.__struct_config__.frozen


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_every_message_has_only_facts(kind: type[Message]) -> None:
    """A message has no methods of its own."""
    own = {name for name, value in vars(kind).items() if inspect.isfunction(value)}
    assert {name for name in own if not name.startswith("__")} == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_module_says_who_talks(module: Any) -> None:
    """One conversation per module, named at its top."""
    assert module.__doc__


def undocumented(kind: type[Message]) -> list[str]:
    """Fields that have neither a docstring below them nor a name that explains itself."""
    source = Path(inspect.getfile(kind)).read_text()
    classes = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    body = classes[kind.__name__].body
    missing = []
    for here, below in zip(body, [*body[1:], None], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        said = said or f"`{here.target.id}`" in (kind.__doc__ or "")
        if not said and here.target.id not in SELF_EXPLAINING:
            missing.append(here.target.id)
    return missing


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_every_field_is_documented(kind: type[Message]) -> None:
    """A sentence with unit and meaning stands below each field whose name does not say it all."""
    assert undocumented(kind) == []


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_every_request_names_its_answer(kind: type[Message]) -> None:
    """A message without fields to explain it has a docstring, and an answer that is named exists."""
    names = {other.__name__ for other in MESSAGES}
    text = kind.__doc__ or ""
    if "Answer: `" in text:
        assert text.split("Answer: `")[1].split("`")[0] in names
    assert text or kind.__struct_fields__


# ── crossing a process boundary ───────────────────────────────────────────────────────────────────────────────────────


def sample(annotation: Any) -> Any:
    """A value of this type, with every field of a struct set."""
    origin = typing.get_origin(annotation)
    if origin in {typing.Union, UnionType}:
        return sample(next(kind for kind in typing.get_args(annotation) if kind is not type(None)))
    if origin is typing.Annotated:
        return sample(typing.get_args(annotation)[0])
    if origin is tuple:
        return (sample(typing.get_args(annotation)[0]),)
    if origin is dict:
        key, value = typing.get_args(annotation)
        return {sample(key): sample(value)}
    if hasattr(annotation, "__supertype__"):
        return sample(annotation.__supertype__)
    return sample_of_class(annotation)


def sample_of_class(kind: Any) -> Any:
    plain: dict[Any, Any] = {
        int: T0,
        str: "text",
        bool: True,
        Decimal: Decimal("0.0010"),
        Any: "address",
        type(None): None,
    }
    if kind in plain:
        return plain[kind]
    if issubclass(kind, Enum):
        return list(kind)[-1]
    if kind is Settings:
        return Settings()
    assert issubclass(kind, msgspec.Struct), kind
    hints = typing.get_type_hints(kind, include_extras=True)
    return kind(**{name: sample(hints[name]) for name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", MESSAGES, ids=by_name)
def test_every_message_survives_pickling(kind: type[Message]) -> None:
    """thespian pickles what is sent: the copy equals the original, to the digit and to the enumeration."""
    message = sample_of_class(kind)
    copy = pickle.loads(pickle.dumps(message))
    assert message == copy
    assert type(message) is type(copy)
    assert repr(message) == repr(copy)


def can_be_written(kind: type[Message]) -> bool:
    has_address = any(hint is Any for hint in typing.get_type_hints(kind).values())
    return not has_address and kind.__name__ not in ONLY_PICKLED


@pytest.mark.parametrize("kind", [kind for kind in MESSAGES if can_be_written(kind)], ids=by_name)
def test_every_message_of_records_survives_msgpack(kind: type[Message]) -> None:
    """What holds records and facts alone can be written down and read back by its type."""
    message = sample_of_class(kind)
    assert message == msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=kind)
