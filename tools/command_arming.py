"""intentctl: arm, disarm."""

from __future__ import annotations

import shlex
import time
from typing import Any, Final

import click

from actors.client import Client
from core.errors import IntentdError, InvalidInput
from core.settings import Mode, duration_of, duration_text
from messages.book import ArmingSet
from storage.layout import StateFolder
from tools import views
from tools.options import USAGE_ERROR, Shared, book, insisting, shared_options, timeout_option
from tools.output import print_json, print_table

ANSWER_TIMEOUT_S: Final = 5.0
STOPS_WITHIN_S: Final = 190.0
"""Longer than the venue may take an order that is on its way: `exchange.recv_window_ms`, a minute at most, and as much
once more where its clock was ahead of ours, and where it was behind."""
USUAL: Final = "8h"

reason_option = click.option(
    "--reason", default="none given", show_default=True, help="Why; it goes to the audit trail and to `status`."
)


@click.command()
@click.option("--for", "for_text", metavar="DURATION", help="How long orders may leave: 30m, 8h, 2d; 7d at most.")
@click.option("--confirm", metavar="FINGERPRINT", help="The account that may trade, as `intentctl arm` shows it.")
@reason_option
@timeout_option(ANSWER_TIMEOUT_S)
@shared_options
def arm(shared: Shared, *, for_text: str | None, confirm: str | None, reason: str, timeout_s: float) -> int:
    """Let orders leave in mode live, for a time. Without --confirm, only show for which account that would be.

    Before that and after it, every order ends as ORDER_BLOCKED_LIVE_TRADING. It lasts through every restart and ends by
    the clock, or by `disarm`; armed again, it counts from then. Cancels are never blocked. Without --confirm
    nothing is changed, and the exit code is 2.

    \b
    Examples:
      intentctl arm
      intentctl arm --for 8h --confirm 3f9c1d22ab07 --reason "night shift"
    """
    for_ns = None if for_text is None else _duration(for_text)
    if confirm is None:
        return _show(shared, for_ns, timeout_s)
    if for_ns is None:
        raise click.UsageError(f"--for is missing: say how long orders may leave, like --for {USUAL}")
    client = Client.connect(shared.folder)
    try:
        done = client.arm(confirm, for_ns, reason, timeout_s)
    finally:
        client.close()
    return _print_done(shared, done)


@click.command()
@reason_option
@timeout_option(STOPS_WITHIN_S)
@shared_options
def disarm(shared: Shared, *, reason: str, timeout_s: float) -> int:
    """Let no order leave any more in mode live, until `arm`.

    It answers when no order that was on its way can reach the venue any more: at once as a rule, and where an answer of
    the venue was lost, after `exchange.recv_window_ms`. Working orders stay at the venue and are followed;
    `intentctl halt --cancel-open` cancels them.

    \b
    Example: intentctl disarm --reason "odd fills on ETH"
    """
    with insisting(shared) as operator:
        done = operator.disarm(reason, timeout_s)
    code = _print_done(shared, done)
    return 1 if done.arming is not None and done.arming.account else code  # somebody has armed it since


def _duration(text: str) -> int:
    duration_ns = duration_of(text)
    if duration_ns is None:
        raise InvalidInput("for", text, "is not a duration", 'write it like "30m", "8h" or "2d"')
    return duration_ns


def _print_done(shared: Shared, done: ArmingSet) -> int:
    if done.refusal is not None:
        raise IntentdError(f"{done.refusal.code}: {done.refusal.reason}")
    shown = views.arming(done.arming, str(Mode.LIVE), None, time.time_ns())
    if shared.json:
        print_json(shown)
    elif shown["armed"]:
        click.echo(f"live trading is armed for account {shown['fingerprint']} until {shown['until']}")
    else:
        click.echo(f"live trading is not armed ({shown['reason']})")
    return 0


def _show(shared: Shared, for_ns: int | None, timeout_s: float) -> int:
    """What would be armed, and how."""
    client = Client.connect(shared.folder)
    try:
        status = client.status(timeout_s)
    finally:
        client.close()
    account = status.account
    if account is None or not account.fingerprint:
        raise IntentdError(
            "nobody knows yet whose account it is: the venue has not been reached, or does not let it be read; see "
            "`intentctl status`, then ask again"
        )
    with book(shared.folder) as view:
        shown: dict[str, Any] = views.arming(view.arming(), status.mode, account, time.time_ns())
    is_live = status.mode == Mode.LIVE
    shown["command"] = _command(shared, account.fingerprint, for_ns) if is_live else None
    if shared.json:
        print_json(shown)
        return USAGE_ERROR
    print_table("Live trading", ("field", "value"), views.arming_rows(shown))
    click.echo("Nothing was changed." if is_live else f"Mode {status.mode} needs no arming; nothing was changed.")
    if is_live:
        click.echo(f"To let orders leave for this account:\n  {shown['command']}")
    return USAGE_ERROR


def _command(shared: Shared, fingerprint: str, for_ns: int | None) -> str:
    state = [] if shared.state is None else ["--state", str(StateFolder(shared.folder.root).root)]
    length = USUAL if for_ns is None else duration_text(for_ns)
    return shlex.join(["intentctl", *state, "arm", "--for", length, "--confirm", fingerprint])


COMMANDS: Final = (arm, disarm)
