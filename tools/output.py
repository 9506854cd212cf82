"""How results reach the user: one JSON value for machines, tables on a terminal, plain text in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from core.money import text

PLAIN_WIDTH = 240
SHOWN_DIGITS = Decimal("1e-12")


def print_json(value: Any) -> None:
    """One JSON value and a line end. Amounts are texts, so that no reader turns them into floats."""
    click.echo(msgspec.json.encode(jsonable(value)).decode())


def print_error(error: str, exit_code: int, *, as_json: bool, plain: str = "") -> None:
    """What went wrong, on stderr: one line for people (`plain`, where it is not the usual one), one JSON object for
    machines. What to do about it is the last part of our texts."""
    _, mark, remedy = error.rpartition("; ")
    found = {"error": error, "remedy": remedy if mark else None, "exit_code": exit_code}
    click.echo(msgspec.json.encode(found).decode() if as_json else plain or f"Error: {error}", err=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> None:
    """A table on a terminal; the same without lines in a pipe, one row per line."""
    console = console_for(sys.stdout)
    if not sys.stdout.isatty():
        console.print(f"# {title}", markup=False, highlight=False)
        widths = [max(len(cell(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
        for row in [columns, *rows]:
            line = "  ".join(cell(value).ljust(width) for value, width in zip(row, widths, strict=True))
            console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
    else:
        table = Table(title=title, title_justify="left", header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(cell(value) for value in row))
        console.print(table)
    if note:
        console.print(note, markup=False, highlight=False)


def console_for(stream: Any) -> Console:
    """A console that neither colours nor wraps when nobody sits before it."""
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=PLAIN_WIDTH, no_color=True)


def cell(value: Any) -> str:
    """A value as text for people."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return amount(value)
    if isinstance(value, dict):
        return ", ".join(f"{amount(v) if isinstance(v, Decimal) else v} {k}" for k, v in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def amount(value: Decimal) -> str:
    """Plain digits, at most twelve decimals (quotients have more)."""
    exponent = value.as_tuple().exponent
    long = isinstance(exponent, int) and exponent < SHOWN_DIGITS.as_tuple().exponent  # type: ignore[operator]
    return text(value.quantize(SHOWN_DIGITS) if long else value)


def jsonable(value: Any) -> Any:
    """Builtins for JSON: amounts as plain texts, structs as objects."""
    if isinstance(value, Decimal):
        return amount(value)
    if isinstance(value, msgspec.Struct):
        return {name: jsonable(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value
