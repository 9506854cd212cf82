"""What `intentd crashpoints` prints."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from actors import crashpoints
from tools.output import print_json, print_table


def chosen(names: Sequence[str]) -> list[str]:
    """All points, or the named ones. Raises `click.BadParameter` naming the nearest valid one."""
    known = crashpoints.points()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}?" if near else "`intentd crashpoints` lists them"
            raise click.BadParameter(f"{name!r} is no crash point; {hint}")
    return list(names) or known


def listed(names: Sequence[str], *, as_json: bool) -> int:
    if as_json:
        print_json({"points": list(names)})
    else:
        meaning = {name: crashpoints.WRITES.get(name, "") for name in names}
        print_table("Crash points", ("point", "what is true there"), list(meaning.items()))
    return 0


def report(figures: Mapping[str, Any], *, as_json: bool) -> int:
    """The result of a run; the exit code is 0 only if nothing is missed or violated."""
    failed = bool(figures["missed"] or figures["violated"])
    if as_json:
        print_json(figures)
    else:
        print_table("Crash points", ("figure", "value"), list(figures.items()))
        if not failed:
            click.echo("PASSED: wherever a process dies, book and venue agree afterwards.")
    for point in figures["missed"]:
        click.echo(f"FAILED: nobody came to {point!r}", err=True)
    for point, problems in figures["violated"].items():
        click.echo(f"FAILED: {point}: {'; '.join(problems)}", err=True)
    return 1 if failed else 0
