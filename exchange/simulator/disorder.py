"""Lists that are not as they should be: a row is missing, some are there twice, the order is another one. Pure."""

from __future__ import annotations

from typing import TypeVar

from exchange.simulator.dice import chance, roll
from exchange.simulator.plan import Plan

Row = TypeVar("Row")


def disordered(rows: list[Row], plan: Plan) -> list[Row]:
    """The rows as the plan wants them shown; without a fault, as they are."""
    if plan.hide_row is not None:
        rows = _one_hidden(rows, plan.hide_row)
    if plan.repeat_rows is not None:
        rows = _some_repeated(rows, plan.repeat_rows)
    if plan.shuffle_rows is not None:
        rows = _shuffled(rows, plan.shuffle_rows)
    return rows


def _one_hidden(rows: list[Row], drawn: int) -> list[Row]:
    hidden = drawn % len(rows) if rows else 0
    return rows[:hidden] + rows[hidden + 1 :]


def _some_repeated(rows: list[Row], drawn: int) -> list[Row]:
    """One for certain, each other one with a chance of a half."""
    certain = drawn % len(rows) if rows else 0
    shown = []
    for number, row in enumerate(rows):
        shown += [row, row] if number == certain or chance(roll(drawn, number), 0.5) else [row]
    return shown


def _shuffled(rows: list[Row], drawn: int) -> list[Row]:
    """Never in the order that they had."""
    order = sorted(range(len(rows)), key=lambda number: roll(drawn, number))
    return [rows[number] for number in (order if order != sorted(order) else reversed(order))]
