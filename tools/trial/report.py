"""What a trial prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from tools.output import print_json, print_table
from tools.trial import judgement

LISTS: Final = frozenset({"balance_drift", "contradictions", "verify"})
"""Shown by what is wrong in them."""


def report(figures: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the result and return the exit code: 0 only if nothing is wrong."""
    wrong = judgement.problems(figures)
    if as_json:
        print_json(figures)
    else:
        drift = {name: amount for name, amount in figures["balance_drift"].items() if amount}
        rows = [
            (name, value)
            for name, value in figures.items()
            if name not in {"balance_drift", "contradictions", "verify"}
        ]
        print_table("Chaos", ("figure", "value"), [*rows, ("balance_drift", drift or "none, exactly zero")])
        if not wrong:
            click.echo("PASSED: nothing lost, nothing twice, and book and venue agree to the last digit.")
    for line in wrong:
        click.echo(f"FAILED: {line}", err=True)
    return 1 if wrong else 0
