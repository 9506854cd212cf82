"""`python -m benchmarks NAME`: measure, print, and if asked check and save."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec

from benchmarks import growth, hops, kills, limits, machine, orders, page, recovery, resilience, throughput
from benchmarks.processes import ROOT
from benchmarks.session import Session, session
from benchmarks.table import Table
from tools import signals
from tools.options import run
from tools.output import print_json, print_table

EPILOG = """\b
Examples:
  python -m benchmarks orders                      a table, in about a minute
  python -m benchmarks hops --json                 one JSON object on standard output
  python -m benchmarks throughput --window 32
  python -m benchmarks all --save                  everything, into docs/performance.md
  python -m benchmarks all --quick --check         what CI does; exit code 1 names the limit that broke

\b
How to read the figures:
  Both sides of a ratio are measured in turn in one run (A B A B ...), so other work on the machine slows both. Times
  are medians (p50) and 99th percentiles (p99) of what was seen. Everything runs on the bundled simulator, in a
  temporary folder, with every commit synced to disk; put TMPDIR on the disk that you want to know about.
"""


class Benchmark(Protocol):
    """What a module of this package offers."""

    NAME: str
    QUICK: Any
    Plan: Any

    def run(self, session: Session, plan: Any) -> dict[str, Any]: ...
    def tables(self, figures: dict[str, Any]) -> list[Table]: ...


BENCHMARKS: dict[str, Benchmark] = {
    module.NAME: module for module in (hops, orders, throughput, recovery, growth, resilience)
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The options that every benchmark has."""

    as_json: bool
    quick: bool
    check: bool
    save: bool
    docs: Path


SIZES_MIN = 2
"""One to compare with."""


class Sizes(click.ParamType[tuple[int, ...]]):
    """Rising counts, separated by commas."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of counts; write it like 0,10000,100000", param, ctx)
        if len(sizes) < SIZES_MIN or sizes[0] < 0 or sorted(set(sizes)) != list(sizes):
            self.fail(f"{value!r}: give at least two counts, rising, like 0,10000,100000", param, ctx)
        return sizes


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Measure what intentd costs, each time against a baseline that is measured beside it."""


def shared(command: Callable[..., int]) -> Callable[..., Any]:
    """Adds the options of `Wanted`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
    @click.option("--quick", is_flag=True, help="Small numbers, for CI: whether it works, and roughly how well.")
    @click.option(
        "--check", is_flag=True, help="Exit code 1 if a figure is beyond its limit (half as good as the target)."
    )
    @click.option("--save", is_flag=True, help="Write tables and a plot into performance.md. Needs the extra `bench`.")
    @click.option("--docs", type=click.Path(path_type=Path), default=ROOT / "docs", help="Where.  [default: docs]")
    @functools.wraps(command)
    def with_options(*, as_json: bool, quick: bool, check: bool, save: bool, docs: Path, **own: Any) -> int:
        return command(Wanted(as_json=as_json, quick=quick, check=check, save=save, docs=docs), **own)

    return with_options


def count(name: str, help_text: str, least: int = 1, most: int | None = None) -> Callable[..., Any]:
    return click.option(name, type=click.IntRange(least, most), default=None, help=help_text)


@cli.command("hops")
@count("--rounds", f"Fresh starts of each base.  [default: {hops.Plan().rounds}]")
@shared
def hops_command(wanted: Wanted, **own: Any) -> int:
    """A message between two actors: our Unix datagrams against thespian's own TCP base.

    Round trips one after the other, and 10 and 100 at a time, between two processes.
    """
    return measure(wanted, {hops.NAME: own})


@cli.command("orders")
@count("--orders", f"Of each side in each run.  [default: {orders.Plan().orders}]")
@shared
def orders_command(wanted: Wanted, **own: Any) -> int:
    """One order after the other: through intentd against ccxt alone.

    At 0 and 20 ms of latency at the venue, with 1 and 20 symbols.
    """
    return measure(wanted, {orders.NAME: own})


@cli.command("throughput")
@count("--turns", f"Of each side.  [default: {throughput.Plan().turns}]")
@count("--orders", f"Of each side in each turn.  [default: {throughput.Plan().orders}]")
@count("--window", f"In flight at a time.  [default: {throughput.Plan().window}]")
@shared
def throughput_command(wanted: Wanted, **own: Any) -> int:
    """Many orders at a time over 20 symbols: how many a second, and which process spends how much on each."""
    return measure(wanted, {throughput.NAME: own})


@cli.command("recovery")
@click.option("--sizes", type=Sizes(), default=None, help="Ended intents in the book.  [default: 0,10000,100000]")
@count("--starts", f"Of each size.  [default: {recovery.Plan().starts}]")
@shared
def recovery_command(wanted: Wanted, **own: Any) -> int:
    """Start to ready with books of different sizes. Writing the largest takes some minutes."""
    return measure(wanted, {recovery.NAME: own})


@cli.command("growth")
@count("--intents", f"Of the largest book.  [default: {growth.Plan().intents}]", growth.SMALLEST)
@count("--samples", f"Intents measured at each size.  [default: {growth.Plan().samples}]")
@count("--symbols", f"Routers of a running engine.  [default: {growth.Plan().symbols}]", 2)
@shared
def growth_command(wanted: Wanted, **own: Any) -> int:
    """What an intent costs in a large book, and what memory a symbol takes."""
    return measure(wanted, {growth.NAME: own})


@cli.command("resilience")
@count("--kills", f"Of each part: {', '.join(kills.KINDS)}.  [default: {resilience.Plan().kills}]")
@count("--rate", f"Intents a second, all the while.  [default: {resilience.Plan().rate}]", 1, resilience.RATE_MAX)
@count("--starts", f"With nothing open, and with 100 open intents.  [default: {resilience.Plan().starts}]")
@shared
def resilience_command(wanted: Wanted, **own: Any) -> int:
    """The crash promise: kill -9 under load until trading goes on, and start to ready with 100 open intents.

    A part is killed while intents arrive steadily. Trading goes on when the first intent submitted after the kill is
    answered and the first order placed after it is at the venue; beside it, the same without a kill.
    """
    return measure(wanted, {resilience.NAME: own})


@cli.command("all")
@shared
def all_command(wanted: Wanted) -> int:
    """Everything above, one after the other."""
    return measure(wanted, {name: {} for name in BENCHMARKS})


def measure(wanted: Wanted, asked: dict[str, dict[str, Any]]) -> int:
    """Run benchmarks by name, each with its own options; None stands for the default."""
    about: dict[str, Any] = {"quick": wanted.quick, "machine": machine.describe()}
    found: dict[str, dict[str, Any]] = {}
    with signals.raised():
        for name, own in asked.items():
            benchmark = BENCHMARKS[name]
            given = {option: value for option, value in own.items() if value is not None}
            plan = msgspec.structs.replace(benchmark.QUICK if wanted.quick else benchmark.Plan(), **given)
            with session(name) as running:
                found[name] = {"benchmark": name, **about, **benchmark.run(running, plan)}
            if not wanted.as_json:
                show(tables_of(name, found[name]))
            if wanted.save:
                saved = page.save(wanted.docs, name, found[name], tables_of(name, found[name]))
                click.echo(f"saved to {saved}", err=True)
    if wanted.as_json:
        print_json(next(iter(found.values())) if len(found) == 1 else {"benchmark": "all", **about, **found})
    elif not wanted.save:
        click.echo(f"Measured on: {machine.line(about['machine'])}")
    return judge(found) if wanted.check else 0


def tables_of(name: str, figures: dict[str, Any]) -> list[Table]:
    return [*BENCHMARKS[name].tables(figures), limits.table(name, figures)]


def show(tables: Sequence[Table]) -> None:
    for table in tables:
        print_table(*table)
        click.echo("")
    sys.stdout.flush()


def judge(found: dict[str, dict[str, Any]]) -> int:
    """1 if a limit does not hold, naming it."""
    wrong = [line for name, figures in found.items() for line in limits.broken(name, figures)]
    for line in wrong:
        click.echo(f"FAILED: {line}", err=True)
    return 1 if wrong else 0


def main() -> None:
    run(cli, "python -m benchmarks")


if __name__ == "__main__":
    main()
