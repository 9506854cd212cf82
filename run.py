"""intentd, the launcher: `up` runs the daemon in the foreground, `demo` shows the whole job on a simulator."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from core.settings import Settings, duration_text, unenforced
from storage import settings_file
from storage.layout import DEFAULT_STATE, StateFolder
from tools import demo as demo_run
from tools import signals, stop_summary
from tools.launch import Launch
from tools.options import FOLDER, STATE_VARIABLE, run
from tools.trial import crash_report
from tools.trial import faults as trial_faults
from tools.trial import report as trial_report
from tools.trial.chaos import Plan, run_chaos
from tools.trial.crashpoints import visit_all
from tools.watchdog import Watchdog

DEFAULT_SYMBOLS = "BTC/USDT,ETH/USDT,SOL/USDT,XRP/USDT"

EPILOG = """\b
Examples:
  intentd demo                          the whole job on a simulator, nothing to set up
  intentd demo --intents 200 --seed 11 --json
  intentd chaos --kills 20              the same, while its processes are killed
  intentd up --state ./state            the daemon; then `intentctl submit ...`
  intentd up --config intentd.toml
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Turns trading intents into exchange orders: never twice, never lost, never unexplained."""


@cli.command()
@click.option("--intents", "count", type=click.IntRange(1, 100_000), default=60, show_default=True)
@click.option("--symbols", default=DEFAULT_SYMBOLS, show_default=True, help="Comma-separated.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed, the same intents."
)
@click.option(
    "--state", type=FOLDER, metavar="DIR", default=None, help="Keep everything here.  [default: temporary, removed]"
)
@click.option("--config", type=click.Path(path_type=Path), default=None, help="Settings.  [default: the built-in ones]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def demo(*, count: int, symbols: str, seed: int, state: str | None, config: Path | None, as_json: bool) -> int:
    """Run a mixed stream of intents against the bundled simulator and compare book and venue.

    Exit code 0 only if every intent ended, nothing was sent twice, no reservation is left, the ledger balances, every
    fill is booked once, and every balance agrees with the venue exactly.
    """
    names = _symbols(symbols)
    settings = Settings(risk=demo_run.LIMITS) if config is None else settings_file.load(config)[0]
    with signals.raised(), _state_folder(state) as path:
        folder = demo_run.fresh_folder(path)
        figures = demo_run.run_demo(folder, settings, names, count, seed)
        return demo_run.report(folder, figures, as_json=as_json)


def _symbols(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = demo_run.reference_prices()
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not on the simulator; it has {', '.join(sorted(known))}")
    if not names or len(set(names)) != len(names):
        raise click.BadParameter(f"{text!r}: give at least one symbol, each once, e.g. {DEFAULT_SYMBOLS}")
    return names


@contextlib.contextmanager
def _state_folder(state: str | None) -> Iterator[Path]:
    if state is not None:
        yield Path(state)
        return
    with tempfile.TemporaryDirectory(prefix="intentd-demo-") as temporary:
        yield Path(temporary)


@cli.command()
@click.option("--intents", "count", type=click.IntRange(1, 100_000), default=200, show_default=True)
@click.option("--kills", type=click.IntRange(0, 10_000), default=40, show_default=True, help="Of random processes.")
@click.option(
    "--faults", default="all", show_default=True, metavar="all|none|NAME,…", help="Of the venue; docs/simulator.md."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of intents, kills and faults.")
@click.option(
    "--halt-at", type=click.IntRange(min=0), default=0, show_default=True,
    help="Halt trading when so many intents were submitted, for some kills, then resume; 0: never.",
)  # fmt: skip
@click.option(
    "--state", type=FOLDER, metavar="DIR", default=None, help="Keep everything here.  [default: temporary, removed]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def chaos(*, count: int, kills: int, faults: str, seed: int, halt_at: int, state: str | None, as_json: bool) -> int:
    """Kill the daemon's processes at random under load, while the venue misbehaves; then compare book and venue.

    The simulator is outside the blast; the launcher is not. Exit code 0 only if every intent ended, none was lost,
    nothing was sent twice, every fill is booked once, no reservation is left, and every balance agrees exactly. With
    --halt-at, no order may reach the venue from the acknowledged halt to the resume, either.
    """
    if halt_at > count:
        raise click.BadParameter(f"{halt_at} is more than --intents {count}", param_hint="--halt-at")
    trial_faults.rules(faults, seed)
    with signals.raised(), _state_folder(state) as path:
        folder = demo_run.fresh_folder(path)
        figures = run_chaos(folder, Plan(intents=count, kills=kills, faults=faults, seed=seed, halt_at=halt_at))
        return trial_report.report(figures, as_json=as_json)


@cli.command()
@click.option("--run", "visit", is_flag=True, help="Visit every point: a process kills itself there.")
@click.option("--point", "only", multiple=True, metavar="NAME", help="Only this one; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def crashpoints(*, visit: bool, only: tuple[str, ...], as_json: bool) -> int:
    """List the moments at which a process may be made to die; with --run, let one die at each of them.

    After each death the daemon recovers by itself; exit code 0 only if every point was visited, and book and venue
    agreed after each.
    """
    names = crash_report.chosen(only)
    if not visit:
        return crash_report.listed(names, as_json=as_json)
    with signals.raised():
        return crash_report.report(visit_all(names), as_json=as_json)


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), default=None, help="Settings.  [default: ./intentd.toml]")
@click.option(
    "--state",
    type=FOLDER,
    metavar="DIR",
    default=DEFAULT_STATE,
    envvar=STATE_VARIABLE,
    show_default=True,
    help="State folder.",
)
def up(config: Path | None, state: str) -> int:
    """Run the daemon in the foreground until Ctrl-C, TERM, HUP or `intentctl stop`.

    Whatever dies or hangs is replaced: a part by the engine, the engine by this process. In mode sim without
    exchange.base_url the bundled simulator is started, too.

    A stop is graceful; a second signal ends everything at once. Exit code 4 when there is something to look at.
    """
    settings, mapping = settings_file.load(config)
    for name in unenforced(mapping):
        click.echo(f"Warning: {name} is read, but this version does not act upon it yet", err=True)
    stopped_by: list[str] = []
    launch = Launch(StateFolder(state), settings)
    launch.say = _say
    launch.is_forced = lambda: signals.insists(stopped_by)
    with signals.noted(stopped_by.append), launch:
        if launch.swept:
            _say(f"ended {launch.swept} processes that an earlier launcher had left behind")
        if stopped_by:
            raise KeyboardInterrupt
        _say_ready(launch)
        if Watchdog(launch, _say, lambda: bool(stopped_by)).run() is None:
            _say(f"stopping ({stopped_by[0]}), {_seconds(settings)} at most; once more ends everything at once")
            launch.stop(stopped_by[0])
    for line in stop_summary.lines(launch.ending):
        _say(line)
    click.echo("stopped", err=True)
    return stop_summary.exit_code(launch.ending)


def _seconds(settings: Settings) -> str:
    return duration_text(settings.engine.stop_timeout)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _say_ready(launch: Launch) -> None:
    where = launch.venue_url or "the exchange"
    click.echo(
        f"intentd ready: mode {launch.settings.engine.mode}, {launch.markets} markets at {where}, "
        f"state {launch.folder.root}, pid {os.getpid()}"
    )
    sys.stdout.flush()


def main() -> None:
    """Entry point of the console script."""
    run(cli, "intentd")


if __name__ == "__main__":
    main()
