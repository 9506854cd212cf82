"""The options of the command line, parsed and checked. A wrong one ends the program with a line that says so."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from exchange.simulator import auth, limits, symbols
from exchange.simulator.account import FeePlan
from exchange.simulator.owner import UID_DEFAULT, Owner
from exchange.simulator.streams import PING_INTERVAL_S

PORT_MAX: Final = 65_535

_BALANCE: Final = re.compile(r"([A-Z0-9]{1,20})=([0-9]{1,12}(?:\.[0-9]{1,8})?)")

EXAMPLE: Final = f"""\
example:
  python -m exchange.simulator --port 8080 --seed 7 --state /tmp/venue.journal
  curl -s http://127.0.0.1:8080/api/v3/ticker/bookTicker?symbol=BTCUSDT
  curl -s -X PUT http://127.0.0.1:8080/_sim/faults -d '{{"latency_ms": {{"min": 5, "max": 20}}}}'

It speaks Binance's Spot REST API and its user data stream on 127.0.0.1, trades against a seeded synthetic market and
keeps its state in a file. Key and secret are {auth.SIM_API_KEY} and {auth.SIM_API_SECRET}, or what
{auth.KEY_VARIABLE} and {auth.SECRET_VARIABLE} say. docs/simulator.md tells more.
"""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    port: int
    seed: int | None
    state: Path | None
    symbols: int
    fees: FeePlan
    balance: dict[str, Decimal]
    weight_limit: int
    order_limit: int
    ping_interval_s: float
    uid: int
    key_may_withdraw: bool
    key_not_ip_restricted: bool
    until_stdin_closes: bool
    json: bool

    @property
    def owner(self) -> Owner:
        return Owner(
            uid=self.uid,
            key_may_withdraw=self.key_may_withdraw,
            key_is_ip_restricted=not self.key_not_ip_restricted,
        )


def parse(arguments: Sequence[str] | None) -> Options:
    """From the command line. Ends the program for a wrong option and for `--help`."""
    parsed = vars(_parser().parse_args(arguments))
    return Options(**{**parsed, "balance": dict(parsed["balance"]), "fees": FeePlan(parsed["fees"])})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exchange.simulator",
        description="A Binance Spot server for practice: no money, no keys, no network.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=_port, default=0, help="on 127.0.0.1; 0 picks a free one (default)")
    add("--seed", type=int, help="of the market's walk (default: the state file's, else 1)")
    add("--state", type=Path, help="file that keeps orders, trades and balances (default: nothing is kept)")
    add("--symbols", type=_symbol_count, default=symbols.COUNT_DEFAULT, help="how many markets (default: %(default)s)")
    add("--fees", choices=[str(plan) for plan in FeePlan], default="mixed", help="their currency (default: mixed)")
    add(
        "--balance",
        type=_balance,
        action="extend",
        nargs="+",
        default=[],
        metavar="ASSET=AMOUNT",
        help="opening balances that differ from the usual 100000 USDT and something of all; a state keeps its own",
    )
    add(
        "--weight-limit",
        type=int,
        default=limits.WEIGHT_LIMIT_DEFAULT,
        help="request weight a minute, 0: none (default: %(default)s)",
    )
    add(
        "--order-limit",
        type=int,
        default=limits.ORDER_LIMIT_DEFAULT,
        help="orders in ten seconds, 0: none (default: %(default)s)",
    )
    add(
        "--ping-interval",
        type=_seconds,
        dest="ping_interval_s",
        default=PING_INTERVAL_S,
        metavar="SECONDS",
        help="between pings of a stream (default: %(default)g)",
    )
    add("--uid", type=int, default=UID_DEFAULT, help="the account's number (default: %(default)s)")
    add("--key-may-withdraw", action="store_true", help="say that the API key may; live and observe refuse it")
    add("--key-not-ip-restricted", action="store_true", help="say that it works from any address; they warn of it")
    add("--until-stdin-closes", action="store_true", help="end with whoever launched it")
    add("--json", action="store_true", help='say {"event":"ready","port":…,"pid":…} when ready')
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"{port} is no port; choose 0 to {PORT_MAX}")
    return port


def _symbol_count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= symbols.COUNT_MAX:
        raise argparse.ArgumentTypeError(f"{count} is out of range; choose 1 to {symbols.COUNT_MAX}")
    return count


def _seconds(text: str) -> float:
    length_s = float(text)
    if not 0 < length_s < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no length of time; choose a number above 0")
    return length_s


def _balance(text: str) -> tuple[str, Decimal]:
    found = _BALANCE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no balance; write it like USDT=10000")
    return found[1], Decimal(found[2])
