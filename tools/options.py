"""What all commands of intentctl share: `--state` and `--json` before and after the command, errors, exit codes."""

from __future__ import annotations

import functools
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from actors.operator import Operator
from core.errors import IntentdError
from storage.book_store import BookStore
from storage.layout import DEFAULT_STATE, StateFolder
from storage.tables import Reader
from tools.output import print_error

USAGE_ERROR = 2
STOPPED = 130
"""As a shell has it for Ctrl-C."""
STATE_VARIABLE = "INTENTD_STATE"
STATE_HELP = f"State folder of the engine.  [default: ./{DEFAULT_STATE}, or {STATE_VARIABLE}]"


DIGITS = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?|[+-]?(nan|inf)", re.IGNORECASE)
TIMEOUT_MAX_S = 86_400.0
NO_DECIMAL = "{!r} is not a decimal number; write it like 0.001"


class Amount(click.ParamType[Decimal]):
    """An exact decimal, never a float."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        text = str(value)
        if not DIGITS.fullmatch(text):  # Python takes underscores and the digits of every script, too
            self.fail(NO_DECIMAL.format(value), param, ctx)
        try:
            return Decimal(text)
        except InvalidOperation:
            self.fail(NO_DECIMAL.format(value), param, ctx)


AMOUNT = Amount()


class Seconds(click.FloatRange):
    """A time to wait that ends."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds; write it like 5 or 0.5", param, ctx)
        return seconds


class Folder(click.ParamType[str]):
    """A folder's path. An empty one, of a variable that is not set, would be the current folder."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip():
            self.fail(f"{text!r} is no folder; name one, e.g. ./{DEFAULT_STATE}", param, ctx)
        return text


FOLDER = Folder()


class Shared:
    """The options that stand before or after the command; the later one wins."""

    def __init__(self) -> None:
        self.state: str | None = None
        self.json = False

    @property
    def folder(self) -> StateFolder:
        return StateFolder(Path(self.state or os.environ.get(STATE_VARIABLE) or DEFAULT_STATE))


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--state` and `--json`, and passes a `Shared` as first argument."""

    @click.option("--state", "state", type=FOLDER, metavar="DIR", default=None, help=STATE_HELP)
    @click.option("--json", "as_json", is_flag=True, default=False, help="Print one JSON value instead of tables.")
    @click.pass_context
    @functools.wraps(command)
    def with_options(ctx: click.Context, /, *args: Any, state: str | None, as_json: bool, **options: Any) -> Any:
        shared = ctx.ensure_object(Shared)
        shared.state = state or shared.state
        shared.json = as_json or shared.json
        return command(shared, *args, **options)

    return with_options


def timeout_option(default_s: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--timeout SECONDS`."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=Seconds(min=0.1, max=TIMEOUT_MAX_S),
        default=default_s,
        show_default=True,
        help="Seconds to wait for the engine.",
    )


@contextmanager
def insisting(shared: Shared) -> Iterator[Operator]:
    """Asks until it is answered, and says meanwhile why it has to."""
    with Console(stderr=True).status("waiting for the engine …") as status:
        yield Operator(shared.folder, lambda why: status.update(f"asking again: {why} …"))


@contextmanager
def book(folder: StateFolder) -> Iterator[Reader]:
    """A view of the book, whether an engine runs or not."""
    store = BookStore.open_reader(folder)
    try:
        with store.snapshot() as view:
            yield view
    finally:
        store.close()


def run(cli: click.Command, prog_name: str) -> None:
    """Run a command line: one line for an error of ours, no traceback, the exit code that belongs to it.

    With `--json` the line is a JSON object, also where the command line itself is wrong.
    """
    as_json = "--json" in sys.argv[1:]
    try:
        code = cli.main(prog_name=prog_name, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print_error("stopped", STOPPED, as_json=as_json, plain="stopped")
        sys.exit(STOPPED)
    except click.ClickException as error:
        if as_json:
            print_error(_usage(error), error.exit_code, as_json=True)
        else:
            error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has gone; there is nobody to tell
        sys.exit(1)
    except IntentdError as error:
        print_error(str(error), error.exit_code, as_json=as_json)
        sys.exit(error.exit_code)
    except OSError as error:
        what = f"{error.filename or 'system'}: {error.strerror}; mend it or choose another path"
        print_error(what, USAGE_ERROR, as_json=as_json)
        sys.exit(USAGE_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: click.ClickException) -> str:
    """What is wrong with the command line, and where it is explained."""
    where, what = error.ctx if isinstance(error, click.UsageError) else None, " ".join(error.format_message().split())
    return what if where is None else f"{what.rstrip('.')}; see `{where.command_path} --help`"
