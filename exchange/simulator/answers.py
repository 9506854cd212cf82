"""An answer on its way out, and how a fault spoils it. Pure; the truth stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from exchange.simulator.dice import chance, key_of
from exchange.simulator.plan import JSON, Breakage, Shape

NOT_NUMBERS: Final = ("", "NaN", "Infinity", "1,5", "none")
"""What stands where an amount belongs; some of them are numbers to a careless parser."""

_AMOUNT: Final = re.compile(r"\d+\.\d{8}")
_encoder: Final = msgspec.json.Encoder()


class Answer(NamedTuple):
    """What leaves on HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str = JSON


NO_ANSWER: Final = Answer(200, b"", {})


def spoiled(answer: Answer, breakage: Breakage) -> Answer | None:
    """What is left of an answer; None: the connection ends without one."""
    if breakage.closed:
        return None
    if breakage.status:
        return Answer(breakage.status, breakage.body.encode(), {}, breakage.content_type)
    if breakage.shape is not None:
        content = garbled(msgspec.json.decode(answer.body), breakage.shape, breakage.drawn)
        return answer._replace(body=_encoder.encode(content))
    return answer._replace(body=answer.body[: len(answer.body) // 2])


def garbled(content: Any, shape: Shape, drawn: int) -> Any:
    """JSON that is wrong in this way; null where there is nothing to get wrong, as in an empty list."""
    match shape:
        case Shape.CONTAINER:
            return {"data": content} if isinstance(content, list) else [content]
        case Shape.FIELDS:
            wrong = _each_object(content, lambda row: _without_some(row, drawn))
        case Shape.AMOUNTS:
            wrong = _each_object(content, lambda row: _without_numbers(row, NOT_NUMBERS[drawn % len(NOT_NUMBERS)]))
        case Shape.NULL:
            return None
    return wrong if wrong != content else None


def _each_object(content: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Content with every object in it changed, the outer ones first."""
    if isinstance(content, dict):
        return {name: _each_object(value, change) for name, value in change(content).items()}
    if isinstance(content, list):
        return [_each_object(value, change) for value in content]
    return content


def _without_some(row: dict[str, Any], drawn: int) -> dict[str, Any]:
    """Without one field for certain, and each other one with a chance of a quarter; all rows lose the same ones.

    Some answers shall look whole at first sight, so not too many are lost.
    """
    names = sorted(row)
    lost = names[drawn % len(names)] if names else None
    return {name: value for name, value in row.items() if name != lost and not chance(key_of(drawn, name), 0.25)}


def _without_numbers(row: dict[str, Any], word: str) -> dict[str, Any]:
    return {name: word if isinstance(value, str) and _AMOUNT.fullmatch(value) else value for name, value in row.items()}
