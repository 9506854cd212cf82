"""The command line of the brakes; `--help` says what each command shows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from core.errors import IntentdError
from tests.system.brakes import breaker, limits, rates, ways
from tests.system.brakes.ground import Ground, state_folder
from tests.system.brakes.progress import Progress
from tools import signals
from tools.options import FOLDER, run
from tools.output import print_json, print_table

UNLIMITED: Sequence[str] = ("--order-limit", "0", "--weight-limit", "0")
EPILOG = """\b
Examples:
  python -m tests.system.brakes limits
  python -m tests.system.brakes limits --intents 2000 --budget-for 40 --open-orders 25 --seed 7 --json
  python -m tests.system.brakes rates --intents 500
  python -m tests.system.brakes breaker --failing-s 10 --cool-off-s 2
  python -m tests.system.brakes stream --seeds 3 --seed 100
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Press a brake as hard as it goes, and see by the venue's own record whether it held.

    Each command starts the bundled simulator and the daemon as `intentd up` does, in a temporary folder. Nothing is
    left running, after Ctrl-C neither. Exit code 0 only if the promise held; what did not is a line on stderr each.
    """


def of_every_run(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table."),
        click.option(
            "--state", type=FOLDER, metavar="DIR", default=None,
            help="Keep book, streams and logs here.  [default: temporary, removed]",
        ),
        click.option(
            "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the wishes and of the market."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@cli.command(name="limits")
@click.option("--intents", type=click.IntRange(1, 5_000), default=500, show_default=True, help="Buys, all at once.")
@click.option(
    "--waves",
    type=click.IntRange(1, 100),
    default=4,
    show_default=True,
    help="So many times; the next comes when the buys at the market are filled.",
)
@click.option("--symbols", type=click.IntRange(1, 24), default=20, show_default=True)
@click.option(
    "--budget-for",
    type=click.IntRange(1, 1_000),
    default=100,
    show_default=True,
    help="Buys of 100 USDT that the exposure limit has room for.",
)
@click.option("--open-orders", type=click.IntRange(min=1), default=60, show_default=True, help="risk.max_open_orders")
@click.option("--positions", type=click.IntRange(min=1), default=8, show_default=True, help="risk.max_positions")
@of_every_run
def limits_command(*, seed: int, state: str | None, as_json: bool, **chosen: int) -> int:
    """Far more buys at once than the risk limits allow; no limit is exceeded at any commit.

    Every event of the audit trail is replayed, and after each it is looked at what was held, bought and open. Each
    refusal must name its limit.
    """
    plan = limits.Plan(seed=seed, **chosen)
    with _ground("limits", state, seed, UNLIMITED) as ground:
        return _report("Limits", limits.run(ground, plan), as_json=as_json)


@cli.command(name="rates")
@click.option("--intents", type=click.IntRange(1, 10_000), default=5_000, show_default=True, help="Queued at once.")
@click.option("--cancels", type=click.IntRange(1, 90), default=60, show_default=True, help="Of orders that rest.")
@click.option(
    "--symbols",
    type=click.IntRange(1, len(rates.SYMBOLS)),
    default=4,
    show_default=True,
    help="With one, a single router has them all.",
)
@click.option(
    "--order-limit", type=click.IntRange(min=1), default=100, show_default=True, help="Of the venue, in ten seconds."
)
@click.option(
    "--weight-limit", type=click.IntRange(min=500), default=6_000, show_default=True, help="Of the venue, a minute."
)
@click.option(
    "--cancel-within-ms", type=click.IntRange(min=1), default=1_000, show_default=True, help="More on a slow machine."
)
@of_every_run
def rates_command(*, seed: int, state: str | None, as_json: bool, **chosen: int) -> int:
    """Thousands of intents before a venue that takes 100 orders in ten seconds: no ban, and cancels go out at once.

    No answer 418, at most one 429, and every cancel is at the venue within a second of being wanted, while the flood
    comes in and until the queue is empty. 5000 intents take 500 s at that limit; --intents makes it shorter.
    """
    plan = rates.Plan(seed=seed, **chosen)
    with _ground("rates", state, seed, plan.venue_options) as ground:
        return _report("Rate limits", rates.run(ground, plan), as_json=as_json)


@cli.command(name="breaker")
@click.option(
    "--failing-s", type=click.FloatRange(1, 3_600), default=60, show_default=True, help="How long the venue fails."
)
@click.option(
    "--failing", type=click.FloatRange(0.5, 1), default=0.8, show_default=True, help="Share of the requests that do."
)
@click.option("--cool-off-s", type=click.IntRange(1, 600), default=15, show_default=True, help="breaker.cool_off")
@click.option(
    "--per-second", type=click.FloatRange(0.1, 50), default=4, show_default=True, help="Intents that are wanted."
)
@of_every_run
def breaker_command(*, seed: int, state: str | None, as_json: bool, **chosen: Any) -> int:
    """A venue that fails 80 % of all requests for a minute: the breaker opens, probes, closes, and nothing is doubled.

    Requests end in server errors, before or after they were executed, in lost answers and in "status unknown". While
    the breaker is open no order may come to the venue; afterwards every intent ends, and book and venue agree. Each
    failed probe doubles the wait, so a minute of failures takes about two.
    """
    plan = breaker.Plan(seed=seed, **chosen)
    with _ground("breaker", state, seed, UNLIMITED) as ground:
        return _report("Circuit breaker", breaker.run(ground, plan), as_json=as_json)


@cli.command(name="stream")
@click.option("--seeds", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Runs, one for each.")
@click.option("--intents", type=click.IntRange(1, 5_000), default=40, show_default=True, help="Of one run.")
@click.option(
    "--fire-s", type=click.FloatRange(1, 3_600), default=8, show_default=True, help="How long the venue misbehaves."
)
@of_every_run
def stream_command(*, seed: int, state: str | None, as_json: bool, **chosen: Any) -> int:
    """The user stream is cut at random, fills are told by three ways, and each is booked once.

    The venue's answer to the order, its stream, and its answers to questions. Every seed (from --seed on) is a run of
    its own, with a fresh venue and daemon, and takes about 15 s. Each way must have booked some over all of them.
    """
    plan = ways.Plan(seed=seed, **chosen)
    with _folder("stream", state) as (folder, progress):

        def open_ground(number: int) -> Ground:
            return Ground(folder / f"seed-{number}", Progress("", is_silent=True), number, UNLIMITED)

        return _report("Fills by three ways", ways.run(open_ground, progress.tell, plan), as_json=as_json)


@contextlib.contextmanager
def _folder(name: str, state: str | None) -> Iterator[tuple[Path, Progress]]:
    progress = Progress(name)
    try:
        with signals.raised(), state_folder(state) as folder:
            yield folder, progress
    except AssertionError as error:
        raise IntentdError(str(error)) from None
    finally:
        progress.end()


@contextlib.contextmanager
def _ground(name: str, state: str | None, seed: int, venue_options: Sequence[str]) -> Iterator[Ground]:
    with _folder(name, state) as (folder, progress), Ground(folder, progress, seed, venue_options) as ground:
        yield ground


def _report(title: str, figures: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the result and return the exit code."""
    wrong = figures["problems"]
    verdict = "FAILED" if wrong else "PASSED"
    if as_json:
        print_json(dict(figures) | {"verdict": verdict})
    else:
        shown = {name: value for name, value in figures.items() if name != "problems"}
        print_table(title, ("figure", "value"), list(_rows(shown)))
        click.echo(verdict)
    for line in wrong:
        click.echo(f"FAILED: {line}", err=True)
    return 1 if wrong else 0


def _rows(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is inside of something has a line of its own; balances that agree have none."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            inner = {key: item for key, item in value.items() if name != "balance_drift" or item}
            yield from _rows(inner, f"{prefix}{name}.") if inner else [(f"{prefix}{name}", "none")]
        elif isinstance(value, list):
            yield f"{prefix}{name}", "; ".join(map(_entry, value)) or "none"
        else:
            yield f"{prefix}{name}", value


def _entry(value: Any) -> str:
    return ", ".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)


def main() -> None:
    run(cli, "python -m tests.system.brakes")


if __name__ == "__main__":
    main()
