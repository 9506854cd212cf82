"""intentctl: submit intents to a running engine, and read its book."""

from __future__ import annotations

import click

from tools import command_arming, command_book, command_engine, command_intent, command_trading
from tools.options import Shared, run, shared_options

EPILOG = """\b
Examples:
  intentctl submit --symbol BTC/USDT --side buy --quote 50 --market --wait
  intentctl submit --symbol ETH/USDT --side sell --qty 0.02 --limit 3500 --tif GTC --key tp-1
  intentctl intents --json | jq '.[].state'
  intentctl trace 1697123456789-BTCUSDT-a3f5c2d1
  intentctl verify
  intentctl --state /var/lib/intentd status

\b
Exit codes: 0 done, 1 refused or failed, 2 usage, 3 engine not running.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def cli(_shared: Shared) -> None:
    """Submit trading intents to a running intentd, and read its book.

    Reading commands need no running engine: they look into the book itself.
    """


for module in (command_intent, command_book, command_engine, command_trading, command_arming):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    run(cli, "intentctl")


if __name__ == "__main__":
    main()
