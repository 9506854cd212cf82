"""intentctl: halt, reduce, resume, verify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click
from rich.console import Console

from actors.client import Client
from core import trading
from core.errors import IntentdError
from core.records import Standing, TradingState
from core.verdict import Verdict
from tools import views
from tools.options import Shared, book, insisting, shared_options, timeout_option
from tools.output import print_json, print_table

ANSWER_TIMEOUT_S: Final = 5.0
STOPS_WITHIN_S: Final = 190.0
"""Longer than the venue may take an order that is on its way: `exchange.recv_window_ms`, a minute at most, and as much
once more where its clock was ahead of ours, and where it was behind."""
VERIFY_TIMEOUT_S: Final = 120.0

reason_option = click.option("--reason", required=True, help="Why; it goes to the audit trail and to `status`.")


@click.command()
@reason_option
@click.option("--cancel-open", is_flag=True, help="Cancel every working order, too.")
@timeout_option(STOPS_WITHIN_S)
@shared_options
def halt(shared: Shared, *, reason: str, cancel_open: bool, timeout_s: float) -> int:
    """Stop trading: no order leaves any more, until `resume` or `reduce`. It stays so over restarts.

    It asks until it is answered, also while parts of the engine are replaced. It answers when no order that was on its
    way can reach the venue any more: at once as a rule, and where an answer of the venue was lost, after
    `exchange.recv_window_ms`. Working orders stay at the venue and are followed, unless --cancel-open is given.

    \b
    Examples:
      intentctl halt --reason "odd fills on ETH"
      intentctl halt --reason "everything out" --cancel-open
    """
    return _set(shared, TradingState.HALTED, reason, timeout_s, cancel_open=cancel_open)


@click.command()
@reason_option
@timeout_option(STOPS_WITHIN_S)
@shared_options
def reduce(shared: Shared, *, reason: str, timeout_s: float) -> int:
    """Allow only sells that shrink a position, until `resume` or `halt`; working buys are canceled.

    It stays so over restarts. Where trading was HALTED, sells leave again from now on.

    \b
    Example: intentctl reduce --reason "winding down for the weekend"
    """
    return _set(shared, TradingState.REDUCING, reason, timeout_s)


@click.command()
@click.option("--symbol", help="Lift the quarantine of this symbol instead; trading itself stays as it is.")
@reason_option
@timeout_option(ANSWER_TIMEOUT_S)
@shared_options
def resume(shared: Shared, *, symbol: str | None, reason: str, timeout_s: float) -> int:
    """Let trading go on, after you have looked at why it was stopped (see `intentctl status`).

    A difference of balances or fills that had stopped it counts as known from now on: the same alarms nobody again.

    \b
    Examples:
      intentctl resume --reason "withdrew 100 USDT by hand"
      intentctl resume --symbol BTC/USDT --reason "venue is back to lot size 0.001"
    """
    if symbol is None:
        return _set(shared, TradingState.ACTIVE, reason, timeout_s)
    lifted = _asked(shared, lambda client: client.lift_quarantine(symbol, reason, timeout_s))
    if not lifted:
        raise IntentdError(f"{symbol} is not quarantined; `intentctl status` lists the symbols that are")
    if shared.json:
        print_json({"symbol": symbol, "lifted": True})
    else:
        click.echo(f"{symbol}: quarantine lifted")
    return 0


def _set(shared: Shared, state: TradingState, reason: str, timeout_s: float, *, cancel_open: bool = False) -> int:
    before = _standing(shared)
    with insisting(shared) as operator:
        done = operator.set_trading(state, reason, timeout_s, cancel_open=cancel_open)
    standing = done.standing
    is_done = standing.state is state
    if shared.json:
        was = {"before": None if before is None else before.state}
        print_json(views.trading(standing) | was | {"canceling": done.canceling})
        return 0 if is_done else 1
    if not is_done:
        raise IntentdError(
            f"trading stays {standing.state} ({standing.reason}): that was said after this was asked for; look at "
            "`intentctl status`, then ask again"
        )
    click.echo(f"trading is {standing.state}" + (f" ({standing.reason})" if standing.reason else ""))
    if before is not None and before.state is TradingState.HALTED and state is TradingState.REDUCING:
        click.echo(f"it was HALTED ({before.reason}): sells leave again from now on; `intentctl halt` stops them")
    if done.canceling:
        click.echo(f"{done.canceling} working intents are being canceled; see `intentctl intents --open`")
    return 0


def _standing(shared: Shared) -> Standing | None:
    """How it is before it is changed; None where it cannot be read, which must not keep a halt from being told."""
    try:
        with book(shared.folder) as view:
            return trading.standing(view)
    except (IntentdError, OSError):
        return None


@click.command()
@timeout_option(VERIFY_TIMEOUT_S)
@shared_options
def verify(shared: Shared, *, timeout_s: float) -> int:
    """Compare the whole book with the venue, now: every fill since the book began, every open order, every balance.

    Nothing is changed. What differs is looked at twice, so that a fill of this very moment is no difference. Orders
    that are not intentd's are listed; they are no difference. Exit code 1 when something differs, or could not be
    compared.

    \b
    Examples:
      intentctl verify
      intentctl verify --json | jq '.differences'
    """
    with Console(stderr=True).status("comparing the book with the venue …"):
        verdict: Verdict = _asked(shared, lambda client: client.verify(timeout_s))
    shown = views.verdict(verdict)
    if shared.json:
        print_json(shown)
    else:
        _print_verdict(shown)
    return 0 if shown["agrees"] else 1


def _print_verdict(shown: dict[str, Any]) -> None:
    for name, title, columns in (
        ("differences", "Differences", ("kind", "subject", "symbol", "intent_id", "book", "venue")),
        ("external", "Orders of others", ("symbol", "exchange_order_id", "client_order_id", "seen")),
    ):
        if shown[name]:
            print_table(title, columns, [[row[column] for column in columns] for row in shown[name]])
    for reason in shown["not_compared"]:
        click.echo(f"not compared: {reason}", err=True)
    count = len(shown["differences"])
    what = {0: "no difference", 1: "1 difference"}.get(count, f"{count} differences")
    click.echo(f"{what}: {shown['fills']} fills, {shown['orders']} open orders, {shown['balances']} balances compared")
    if shown["not_compared"]:
        click.echo("the comparison is not complete; ask again when the venue answers", err=True)


def _asked(shared: Shared, ask: Callable[[Client], Any]) -> Any:
    client = Client.connect(shared.folder)
    try:
        return ask(client)
    finally:
        client.close()


COMMANDS = (halt, reduce, resume, verify)
