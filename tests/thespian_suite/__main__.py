"""`python -m tests.thespian_suite`: thespian's own tests against our bases and its own, file by file, as a table."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console
from rich.table import Table

from tests.thespian_suite.bases import NAMES
from tests.thespian_suite.outcomes import FAILED, KINDS, SKIPPED, SUITE, Outcomes, by_reason, counts, run_file, worse


@click.command()
@click.option(
    "--base",
    "bases",
    type=click.Choice(list(NAMES)),
    multiple=True,
    default=("stock-tcp", "unix"),
    show_default=True,
    help="A base to run on: `stock-tcp` is thespian's own, `tcp` the hardened one. Repeat for several.",
)
@click.option("--file", "wanted", multiple=True, help="Only files whose names contain this. Repeat for several.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(bases: tuple[str, ...], wanted: tuple[str, ...], as_json: bool) -> None:
    """Run the test suite that thespian's package ships against intentd's system bases, and compare.

    Takes about 6 minutes a base. Exits with 1 when a test that passes on the first base fails on another.
    """
    names = [path.stem for path in sorted(SUITE.glob("test_*.py"))]
    files = [name for name in names if not wanted or any(part in name for part in wanted)]
    results: dict[str, dict[str, Outcomes]] = {base: {} for base in bases}
    for file in files:
        for base in bases:
            results[base][file] = run_file(base, SUITE / f"{file}.py")
            click.echo(f"{file} on {base}: {dict(counts(results[base][file]))}", err=True)
    whole = {
        base: {name: outcome for part in results[base].values() for name, outcome in part.items()} for base in bases
    }
    regressions = {base: worse(whole[bases[0]], whole[base]) for base in bases[1:]}
    if as_json:
        figures = {base: {kind: counts(whole[base])[kind] for kind in KINDS} for base in bases}
        reasons = {base: {kind: by_reason(whole[base], kind) for kind in (SKIPPED, FAILED)} for base in bases}
        click.echo(json.dumps({"bases": figures, "reasons": reasons, f"worse_than_{bases[0]}": regressions}))
    else:
        print_table(files, results, whole)
        for base, tests in regressions.items():
            click.echo(f"{base} fails where {bases[0]} passes: {', '.join(tests) or 'nowhere'}")
    sys.exit(1 if any(regressions.values()) else 0)


def print_table(files: list[str], results: dict[str, dict[str, Outcomes]], whole: dict[str, Outcomes]) -> None:
    table = Table("file", *(f"{base}: {' / '.join(KINDS)}" for base in results))
    for file in files:
        table.add_row(file, *(cell(results[base][file]) for base in results))
    table.add_section()
    table.add_row("all", *(cell(outcomes) for outcomes in whole.values()))
    console = Console()
    console.print(table)
    for base, outcomes in whole.items():
        for kind in (SKIPPED, FAILED):
            for why, tests in by_reason(outcomes, kind).items():
                listed = ", ".join(tests) if kind == FAILED else f"{len(tests)} tests"
                console.print(f"{base}, {kind}: {why}: {listed}", markup=False, highlight=False)


def cell(outcomes: Outcomes) -> str:
    return " / ".join(str(counts(outcomes)[kind]) for kind in KINDS)


if __name__ == "__main__":
    main()
