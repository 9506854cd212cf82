"""intentctl: status, stop, config."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import msgspec

from actors import system
from actors.client import Client
from core.errors import EngineNotRunning, IntentdError, RequestTimedOut, StorageError
from core.private_data import standing as private_data_of
from core.records import BreakerRecord
from core.settings import OnStop, Settings, duration_text
from core.trading import standing
from messages.admin import StatusReported
from messages.venue import GatewayHealth
from storage import beginning, health_file, settings_file
from storage.layout import StateFolder
from tools import health_view, stop_summary, views
from tools.options import Shared, book, shared_options
from tools.output import jsonable, print_json, print_table

ANSWER_TIMEOUT_S = 5.0
STOP_SLACK_S = 15.0
POLL_S = 0.05
NOT_RUNNING = 3


@click.command()
@shared_options
def status(shared: Shared) -> int:
    """Show whether the engine runs, its parts, and what the book holds.

    Exit code 3 when no engine runs or answers, or it is halted, starting or stopping; the book is shown all the same.
    """
    engine: dict[str, Any]
    reported: StatusReported | None = None
    try:
        engine, reported = _engine_status(shared.folder)
    except EngineNotRunning as error:
        engine = {"state": "not running", "note": str(error), "children": []}
    except RequestTimedOut:
        note = f"no answer within {ANSWER_TIMEOUT_S:g} s; if it hangs or has died, a new one is put in its place"
        engine = {"state": "not answering", "note": note, "children": []}
    health = reported.gateway if reported is not None else None
    shown: dict[str, Any] = {
        "engine": engine,
        "book": None,
        "arming": None,
        "stream": views.stream(health.stream) if health is not None else None,
        "rate_limits": _rate_limits(health),
        "breaker": None,
        "private_data": None,
        "health": health_view.health(health_file.read(shared.folder), time.time_ns()),
    }
    unread: StorageError | None = None
    try:
        shown |= {
            "book": _book_status(shared.folder),
            "arming": _arming_status(shared.folder, reported),
            "breaker": _breaker_status(shared.folder, health),
            "private_data": _private_data_status(shared.folder),
        }
    except StorageError as error:  # what the engine says about it is to be seen all the same
        unread = error
    if shared.json:
        print_json(shown)
    else:
        _print_status(shown)
    if unread is not None:
        raise unread
    return 0 if engine["state"] == "running" else NOT_RUNNING


def _engine_status(folder: StateFolder) -> tuple[dict[str, Any], StatusReported]:
    file = system.read_engine_file(folder)
    client = Client.connect(folder)
    try:
        reported: StatusReported = client.status(ANSWER_TIMEOUT_S)
    finally:
        client.close()
    uptime_s = round((time.time_ns() - reported.started_ns) / 1e9, 1)
    shown = {
        "state": reported.state,
        "pid": file.pid,
        "mode": reported.mode,
        "venue_url": file.venue_url,
        "session_id": reported.session_id,
        "started": views.time_text(reported.started_ns),
        "uptime_s": uptime_s,
        "reason": reported.reason,
        "restarts": reported.restarts,
        "markets": reported.markets,
        "children": [jsonable(child) for child in reported.children],
    }
    return shown, reported


def _rate_limits(health: GatewayHealth | None) -> dict[str, Any] | None:
    """As the gateway has told last; None while no engine runs."""
    if health is None:
        return None
    return {"at": views.time_text(health.at_ns), "in_flight": health.in_flight, **views.rate_limits(health.rates)}


def _arming_status(folder: StateFolder, reported: StatusReported | None) -> dict[str, Any] | None:
    """The book's last word, and the account of an engine that answers."""
    if not beginning.exists(folder):
        return None
    with book(folder) as view:
        record = view.arming()
    mode, account = (reported.mode, reported.account) if reported is not None else (None, None)
    return views.arming(record, mode, account, time.time_ns())


def _breaker_status(folder: StateFolder, health: GatewayHealth | None) -> dict[str, Any] | None:
    """What the book says, with the live figures of an engine that answers."""
    if not (folder.book / "data.mdb").exists():
        return None
    with book(folder) as view:
        record = view.breaker() or BreakerRecord()
    return views.breaker(record, health.breaker if health is not None else None)


def _private_data_status(folder: StateFolder) -> dict[str, Any] | None:
    if not beginning.exists(folder):
        return None
    with book(folder) as view:
        return views.private_data(private_data_of(view))


def _book_status(folder: StateFolder) -> dict[str, Any] | None:
    if not beginning.exists(folder):
        beginning.refuse_if_lost(folder)
        return None
    with book(folder) as view:
        return {
            "intents": view.count("intents"),
            "open": dict(Counter(str(record.state) for record in view.open_intents())),
            "orders": view.count("attempts"),
            "fills": view.count("fills"),
            "reservations": view.count("reservations"),
            "trading": views.trading(standing(view)),
            "external_orders": view.count("external_orders"),
            "quarantined": {entry.symbol: entry.reason for entry in view.quarantines()},
        }


def _print_status(shown: dict[str, Any]) -> None:
    engine = shown["engine"]
    fields = [(name, value) for name, value in engine.items() if name != "children"]
    print_table("Engine", ("field", "value"), fields)
    if engine["children"]:
        rows = [(child["name"], child["pid"], child["state"]) for child in engine["children"]]
        print_table("Processes", ("name", "pid", "state"), rows)
    if shown["book"] is not None:
        trading, private = shown["book"].pop("trading"), shown["private_data"]
        told = f"{private['state']} since {private['since']}: {private['reason']}" if private["reason"] else "ok"
        print_table("Trading", ("field", "value"), [*trading.items(), ("private_data", told)])
        print_table("Book", ("field", "value"), list(shown["book"].items()))
    if shown["arming"] is not None:
        print_table("Live trading", ("field", "value"), views.arming_rows(shown["arming"]))
    if shown["stream"] is not None:
        print_table("User stream", ("field", "value"), list(shown["stream"].items()))
    if shown["rate_limits"] is not None:
        _print_rate_limits(shown["rate_limits"])
    if shown["breaker"] is not None:
        print_table("Circuit breaker", ("field", "value"), list(shown["breaker"].items()))
    if shown["health"] is not None:
        health_view.print_health(shown["health"])


def _print_rate_limits(shown: dict[str, Any]) -> None:
    rows = [
        (name, f"{figures['used']} of {figures['limit'] or 'no limit'}, {figures['in_flight']} on the way")
        for name, figures in shown["limits"].items()
    ]
    rows += [
        (f"lane {lane}", f"stopped until {stop['until']}: {stop['reason']}") for lane, stop in shown["stopped"].items()
    ]
    rows += [("waiting", ", ".join(f"{lane} {count}" for lane, count in shown["waiting"].items()))]
    rows += [(name, shown[name]) for name in ("refused_by_venue", "placements_held")]
    print_table("Rate limits", ("limit", "value"), rows)


@click.command()
@click.option("--reason", default="intentctl stop", show_default=True, help="Free text for the log.")
@click.option(
    "--cancel-open/--keep-open", "cancel_open", default=None,
    help="Working orders: cancel them all, or leave them at the venue.  [default: engine.on_stop]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="At once: what is in flight is looked for at the next start.")
@shared_options
def stop(shared: Shared, *, reason: str, cancel_open: bool | None, force: bool) -> int:
    """Stop the engine gracefully, within engine.stop_timeout.

    New intents are refused, what is in flight settles, working orders are kept or canceled, book and venue are
    compared, everything is flushed. Exit code 4 when it has stopped and there is something to look at: a difference, an
    order that could not be canceled, a part that did not answer.

    \b
    Examples:
      intentctl stop
      intentctl stop --cancel-open --reason "maintenance of the machine"
    """
    if force and cancel_open is not None:
        raise click.UsageError(
            "--force ends everything at once, so it does nothing to working orders; leave out --cancel-open or "
            "--keep-open, or --force"
        )
    file = system.read_engine_file(shared.folder)
    client = Client.connect(shared.folder)
    patience_s = file.stop_timeout_s + STOP_SLACK_S
    on_stop = None if cancel_open is None else OnStop.CANCEL if cancel_open else OnStop.KEEP
    try:
        ended = client.stop(reason, patience_s, on_stop=on_stop, force=force)
    finally:
        client.close()
    deadline = time.monotonic() + patience_s
    while system.process_lives(file.pid) and shared.folder.engine_file.exists():
        if time.monotonic() > deadline:
            raise IntentdError(f"the launcher (pid {file.pid}) has not ended within {patience_s:g} s; see its output")
        time.sleep(POLL_S)
    if shared.json:
        print_json({"stopped": True, "pid": file.pid} | stop_summary.fields(ended))
    else:
        for line in [*stop_summary.lines(ended), f"stopped (pid {file.pid})"]:
            click.echo(line)
    return 0 if force else stop_summary.exit_code(ended)


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), help="Settings file.  [default: ./intentd.toml]")
@click.option("--defaults", is_flag=True, help="Show the defaults instead.")
@shared_options
def config(shared: Shared, *, path: Path | None, defaults: bool) -> int:
    """Check the settings file and show every setting in effect, as TOML.

    Exit code 2 when the file cannot be used. Credentials are never shown: they are no settings.

    \b
    Examples:
      intentctl config --defaults > intentd.toml
      intentctl config --config intentd.toml
    """
    settings = Settings() if defaults else settings_file.load(path)[0]
    shown = settings_mapping(settings)
    if shared.json:
        print_json(shown)
        return 0
    for section, values in shown.items():
        click.echo(f"[{section}]")
        for name, value in values.items():
            click.echo(f"{name} = {_toml(value)}")
        click.echo("")
    return 0


def settings_mapping(settings: Settings) -> dict[str, dict[str, Any]]:
    """Settings by section, as they would be written in a file."""
    mapping: dict[str, dict[str, Any]] = {}
    for section in msgspec.structs.fields(Settings):
        values = getattr(settings, section.name)
        mapping[section.name] = {
            field.name: _as_written(field, getattr(values, field.name))
            for field in msgspec.structs.fields(type(values))
        }
    return mapping


def _as_written(field: msgspec.structs.FieldInfo, value: Any) -> Any:
    metadata = getattr(field.type, "__metadata__", ())
    is_duration = any((getattr(item, "extra", None) or {}).get("duration") for item in metadata)
    return duration_text(value) if is_duration else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = jsonable(value)
    return f'"{plain}"' if isinstance(value, str) else str(plain)


COMMANDS = (status, stop, config)
