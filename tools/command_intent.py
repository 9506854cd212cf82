"""intentctl: submit, cancel, replace, intents, show, trace, orders."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

import click
import msgspec

from actors.client import Client
from core import replacing
from core.book import OpeningOutcome
from core.effects import SubmitAnswer
from core.errors import IntentdError
from core.events import AnyEvent
from core.ids import IntentId
from core.intent import IntentRequest, Kind, Side, TimeInForce, validate
from core.lifecycle import State, is_terminal
from core.planning import Refusal
from core.records import IntentRecord
from storage.tables import Reader
from tools import views
from tools.options import AMOUNT, Shared, book, shared_options, timeout_option
from tools.output import jsonable, print_error, print_json, print_table

ROWS_SHOWN = 50
Answer = TypeVar("Answer")
SUCCESS = frozenset({State.FILLED, State.PARTIAL_SUCCESS})

SUBMIT_EPILOG = """\b
Examples:
  intentctl submit --symbol BTC/USDT --side buy --quote 50 --market --wait
  intentctl submit --symbol BTC/USDT --side buy --qty 0.001 --limit 50000 --key signal-42
  intentctl submit --symbol ETH/USDT --side sell --qty 0.5 --limit 3600 --tif GTC

\b
The same --key with the same wish is sent once, however often it is submitted; the answer is the existing intent. The
same key with another wish is refused. Without --key, the same wish within 60 s counts as a repeat.
"""


@click.command(epilog=SUBMIT_EPILOG)
@click.option("--symbol", required=True, help="BASE/QUOTE, e.g. BTC/USDT.")
@click.option("--side", required=True, type=click.Choice([str(side) for side in Side]))
@click.option("--quote", "quote_budget", type=AMOUNT, help="Quote currency to spend at most (buy) or to raise (sell).")
@click.option("--qty", type=AMOUNT, help="Base currency to buy or sell.")
@click.option("--limit", "limit_price", type=AMOUNT, help="Worst price, quote per base.")
@click.option("--market", is_flag=True, help="No limit of your own: at most router.slippage_bps from the touch.")
@click.option("--tif", type=click.Choice([str(tif) for tif in TimeInForce]), default="IOC", show_default=True)
@click.option("--max-slippage-bps", type=AMOUNT, help="Tighter than router.slippage_bps, for this intent.")
@click.option("--reduce-only", is_flag=True, help="Sell at most the position.")
@click.option("--key", help="Idempotency key of your own.")
@click.option("--reason", default="", help="Free text for the audit trail.")
@click.option("--wait", is_flag=True, help="Wait until the intent is terminal.")
@timeout_option(60.0)
@shared_options
def submit(shared: Shared, *, market: bool, wait: bool, timeout_s: float, **fields: Any) -> int:
    """Hand a trading intent to the engine.

    Exit code 0: accepted (with --wait: filled, at least in part). 1: refused, failed, or not terminal in time.
    """
    request = _request(market=market, **fields)
    validate(request)
    client = Client.connect(shared.folder)
    try:
        answer, late = _submit(client, shared, request, wait=wait, timeout_s=timeout_s)
    finally:
        client.close()
    shown, code = views.submitted(answer), _exit_code(answer, wait=wait)
    if shared.json:
        print_json(shown)
    elif answer.refusal is not None:
        click.echo(f"Error: {answer.refusal.code}: {answer.refusal.reason}", err=True)
    else:
        _say_submitted(shown, answer.record)
    if late:
        why = f"not terminal after {timeout_s:g} s; follow it with `intentctl show`"
        print_error(why, code, as_json=shared.json, plain=why)
    return code


def _request(*, market: bool, limit_price: Decimal | None, side: str, tif: str, **fields: Any) -> IntentRequest:
    if market == (limit_price is not None):
        raise click.UsageError("give exactly one of --limit P and --market")
    return IntentRequest(
        side=Side(side),
        kind=Kind.MARKET if market else Kind.LIMIT,
        limit_price=limit_price,
        tif=TimeInForce(tif),
        source="intentctl",
        **fields,
    )


def _submit(
    client: Client, shared: Shared, request: IntentRequest, *, wait: bool, timeout_s: float
) -> tuple[SubmitAnswer, bool]:
    """The answer, and whether the time was over before the intent was terminal."""
    router = client.router(request.symbol, timeout_s)
    if isinstance(router, Refusal):
        return SubmitAnswer(outcome=OpeningOutcome.REFUSED, refusal=router), False
    answer = client.submit(router, request, wait=wait, timeout_s=timeout_s)
    record = answer.record
    if not wait or record is None or answer.refusal is not None or is_terminal(record.state):
        return answer, False
    now = _intent(shared, record.intent.intent_id)
    return SubmitAnswer(outcome=answer.outcome, record=now), not is_terminal(now.state)


def _say_submitted(shown: dict[str, Any], record: IntentRecord | None) -> None:
    again = " (already known, nothing was sent)" if shown["duplicate"] else ""
    click.echo(f"{shown['intent_id']} {shown['state']}{again}")
    filled = jsonable(shown["filled_qty"])
    if filled != "0":
        fees = ", ".join(f"{value} {currency}" for currency, value in jsonable(shown["fees"]).items())
        click.echo(f"filled {filled} at {jsonable(shown['avg_price'])}, fees {fees or 'none'}")
    if record is not None and record.end_reason:
        click.echo(record.end_reason)


def _exit_code(answer: SubmitAnswer, *, wait: bool) -> int:
    if answer.refusal is not None or answer.record is None:
        return 1
    state = answer.record.state
    if not wait and not is_terminal(state):
        return 0
    return 0 if state in SUCCESS else 1


@click.command()
@click.argument("intent_id")
@click.option("--reason", default="canceled by intentctl", show_default=True, help="Free text for the audit trail.")
@timeout_option(30.0)
@shared_options
def cancel(shared: Shared, intent_id: str, reason: str, timeout_s: float) -> int:
    """Cancel an intent by its id.

    What was filled before stays filled: the intent ends by quantity. Canceling a terminal intent changes nothing.

    \b
    Example: intentctl cancel 1697123456789-BTCUSDT-a3f5c2d1
    """
    wanted = IntentId(intent_id)
    noted = _ask_router(
        shared, wanted, timeout_s, lambda client, at: client.cancel(at, wanted, reason, timeout_s), to_cancel=True
    )
    if noted.refusal is not None or noted.record is None:
        raise IntentdError(noted.refusal.reason if noted.refusal else f"there is no intent {intent_id}")
    shown = views.intent(noted.record)
    if shared.json:
        print_json(shown)
    else:
        click.echo(f"{intent_id} {shown['state']}{_when_canceled(noted.record)}")
    return 0


def _ask_router(
    shared: Shared,
    intent_id: IntentId,
    timeout_s: float,
    ask: Callable[[Client, Any], Answer],
    *,
    to_cancel: bool = False,
) -> Answer:
    """What the router of its symbol says. Raises `IntentdError` where there is no such intent, or no router."""
    symbol = _intent(shared, intent_id).intent.symbol
    client = Client.connect(shared.folder)
    try:
        router = client.router(symbol, timeout_s, to_cancel=to_cancel)
        if isinstance(router, Refusal):
            raise IntentdError(f"{router.code}: {router.reason}")
        return ask(client, router)
    finally:
        client.close()


def _when_canceled(record: IntentRecord) -> str:
    if is_terminal(record.state):
        return ""
    if record.state is State.CANCELING:
        return ": the cancel is on its way; see `intentctl show`"
    return ": noted; it is canceled as soon as the venue shows whether its order is there"


@click.command()
@click.argument("intent_id")
@click.option("--price", type=AMOUNT, help="New worst price, quote per base.")
@click.option("--qty", type=AMOUNT, help="New quantity in all, base; what was filled already counts.")
@click.option("--reason", default="replaced by intentctl", show_default=True, help="Free text for the audit trail.")
@timeout_option(30.0)
@shared_options
def replace(
    shared: Shared, intent_id: str, *, price: Decimal | None, qty: Decimal | None, reason: str, timeout_s: float
) -> int:
    """Give a working intent (GTC, PO) another price, another quantity, or both.

    Its order is canceled, and when that is proven over, what is left goes out at the new terms: there are never two
    live orders. What fills meanwhile counts. What is not named stays as it was asked for last; of two requests for the
    same, the later one counts. Exit code 1 when it is refused; the intent then goes on as it was.

    \b
    Examples:
      intentctl replace 1697123456789-BTCUSDT-a3f5c2d1 --price 49500
      intentctl replace 1697123456789-BTCUSDT-a3f5c2d1 --qty 0.002 --price 49500
    """
    wanted = IntentId(intent_id)
    terms = replacing.NewTerms(qty=qty, price=price, reason=reason, asked_ns=time.time_ns())
    replacing.validate(terms)
    result = _ask_router(shared, wanted, timeout_s, lambda client, at: client.replace(at, wanted, terms, timeout_s))
    if result.refusal is not None or result.record is None:
        raise IntentdError(f"{result.refusal.code}: {result.refusal.reason}" if result.refusal else "no such intent")
    shown = views.intent(result.record)
    if shared.json:
        print_json(shown)
    else:
        waits = ": its order is canceled first; see `intentctl show`" if result.record.amendment is not None else ""
        click.echo(f"{intent_id} {shown['state']}{waits}")
    return 0


@click.command()
@click.option("--symbol", help="Only this symbol.")
@click.option("--in", "state_filter", type=click.Choice([str(s) for s in State]), help="Only in this state.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not terminal.")
@click.option("--limit", type=click.IntRange(min=1), help=f"Newest N.  [default: {ROWS_SHOWN}; all with --json]")
@shared_options
def intents(shared: Shared, *, symbol: str | None, state_filter: str | None, only_open: bool, limit: int | None) -> int:
    """List intents, newest first.

    \b
    Examples:
      intentctl intents --open
      intentctl intents --in UNKNOWN --json
    """

    def wanted(record: IntentRecord) -> bool:
        return (
            (symbol is None or record.intent.symbol == symbol)
            and (state_filter is None or record.state == state_filter)
            and not (only_open and is_terminal(record.state))
        )

    with book(shared.folder) as view:
        records = reversed(list(view.open_intents(symbol))) if only_open else view.intents()
        found = (views.intent(record) for record in records if wanted(record))
        rows, more = _newest(found, limit, shared)
    columns = ("intent_id", "state", "side", "tif", "qty", "filled_qty", "avg_price", "fees", "reason")
    _print_list(shared, "Intents", columns, rows, more=more)
    return 0


@click.command()
@click.option("--symbol", help="Only this symbol.")
@click.option("--limit", type=click.IntRange(min=1), help=f"Newest N.  [default: {ROWS_SHOWN}; all with --json]")
@shared_options
def orders(shared: Shared, *, symbol: str | None, limit: int | None) -> int:
    """List orders, newest first: every attempt that was sent, by its client order id.

    \b
    Example: intentctl orders --symbol BTC/USDT
    """
    with book(shared.folder) as view:
        found = (views.order(a) for a in view.all_attempts(newest_first=True) if symbol in {None, a.symbol})
        rows, more = _newest(found, limit, shared)
    columns = (
        "client_order_id",
        "exchange_order_id",
        "intent_id",
        "side",
        "qty",
        "price",
        "tif",
        "status",
        "filled_qty",
    )
    _print_list(shared, "Orders", columns, rows, more=more)
    return 0


def _newest(found: Iterator[dict[str, Any]], limit: int | None, shared: Shared) -> tuple[list[dict[str, Any]], bool]:
    """The first rows, and whether there are more. JSON is never cut unless it was asked for."""
    most = limit if limit or shared.json else ROWS_SHOWN
    rows = list(itertools.islice(found, most))
    return rows, next(found, None) is not None


def _print_list(
    shared: Shared, title: str, columns: tuple[str, ...], rows: list[dict[str, Any]], *, more: bool
) -> None:
    if shared.json:
        print_json(rows)
        return
    note = f"the newest {len(rows)}; --limit N shows more" if more else ""
    print_table(title, columns, [[row[column] for column in columns] for row in rows], note)


@click.command()
@click.argument("intent_id")
@shared_options
def show(shared: Shared, intent_id: str) -> int:
    """Everything about one intent: how it stands, its orders and fills.

    \b
    Example: intentctl show 1697123456789-BTCUSDT-a3f5c2d1
    """
    record = _intent(shared, IntentId(intent_id))
    with book(shared.folder) as view:
        attempts = [views.order(attempt) for attempt in view.attempts(record.intent.intent_id)]
        fills = [jsonable(fill) for fill in view.fills(record.intent.intent_id)]
    whole = views.intent(record) | {"orders": attempts, "fills": fills}
    if shared.json:
        print_json(whole)
        return 0
    print_table("Intent", ("field", "value"), list(views.intent(record).items()))
    order_columns = ("client_order_id", "exchange_order_id", "qty", "price", "status", "venue_status", "filled_qty")
    print_table("Orders", order_columns, [[row[column] for column in order_columns] for row in attempts])
    fill_columns = ("trade_id", "qty", "price", "quote_qty", "fee", "fee_currency", "maker", "source")
    print_table("Fills", fill_columns, [[row[column] for column in fill_columns] for row in fills])
    return 0


@click.command()
@click.argument("intent_id")
@shared_options
def trace(shared: Shared, intent_id: str) -> int:
    """The whole story of one intent, event by event, from NEW to its end; of a wish that was refused, its refusal.

    \b
    Example: intentctl trace 1697123456789-BTCUSDT-a3f5c2d1
    """
    with book(shared.folder) as view:
        record, events = view.intent(IntentId(intent_id)), list(_story(view, IntentId(intent_id)))
    if not events:
        raise _no_intent(shared, intent_id)
    if shared.json:
        print_json(events)
        return 0
    first_ns = record.intent.created_ns if record is not None else events[0]["at_ns"]
    rows = [
        (views.milliseconds(event["at_ns"] - first_ns), event["event"], _detail(event, first_ns)) for event in events
    ]
    print_table(f"Trace of {intent_id}", ("ms", "event", "what"), rows)
    return 0


def _story(view: Reader, intent_id: IntentId) -> Iterator[dict[str, Any]]:
    for event in view.trail(intent_id):
        yield event_dict(event)


def event_dict(event: AnyEvent) -> dict[str, Any]:
    """An event with its name, for JSON."""
    fields: dict[str, Any] = jsonable(msgspec.to_builtins(event, builtin_types=(Decimal,)))
    return fields


def _detail(event: dict[str, Any], first_ns: int) -> str:
    hidden = {"at_ns", "intent_id", "event", "intent", "postings"}
    if event["event"] == "state_changed":
        note = f": {event['note']}" if event["note"] else ""
        return f"{event['from_state']} → {event['to_state']} ({event['cause']}){note}"
    if event["event"] == "absence_proven":
        return f"attempt={event['attempt']} {_proof(event['proof'], first_ns)}"
    return " ".join(
        f"{name}={value}" for name, value in event.items() if name not in hidden and value not in (None, "")
    )


def _proof(proof: dict[str, Any], first_ns: int) -> str:
    """Who has not seen the order, and why that proves something; times in ms as in the trace's first column."""
    asked_ns: dict[str, int] = proof["asked"]
    sent_ms, asked_ms = (views.milliseconds(at - first_ns) for at in (proof["last_sent_ns"], min(asked_ns.values())))
    lag_ms = views.milliseconds(proof["read_lag_ns"])
    span_ms = views.milliseconds(proof["clock_span_ns"])
    span = f" by a clock that was off by up to {span_ms} ms" if proof["clock_span_ns"] else ""
    return (
        f"sent no later than at {sent_ms} ms ({proof['because']}){span}, refused by the venue "
        f"{proof['recv_window_ms']} ms later, visible {lag_ms} ms after that; asked at "
        f"{asked_ms} ms, and not seen by: {', '.join(asked_ns)}"
    )


def _intent(shared: Shared, intent_id: IntentId) -> IntentRecord:
    with book(shared.folder) as view:
        record = view.intent(intent_id)
    if record is None:
        raise _no_intent(shared, intent_id)
    return record


def _no_intent(shared: Shared, intent_id: str) -> IntentdError:
    return IntentdError(f"there is no intent {intent_id!r} in {shared.folder.root}; see `intentctl intents`")


COMMANDS = (submit, cancel, replace, intents, show, trace, orders)
