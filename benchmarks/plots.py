"""The figures as pictures, one per benchmark, drawn without a screen by matplotlib, which is in the extra `bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkFailed

OURS, BASELINE = "#1f6feb", "#8b949e"
DPI = 110
BAR = 0.38
LEGEND_COLUMNS = 6
WHOLE_FROM = 100


def draw(benchmark: str, figures: dict[str, Any], path: Path) -> None:
    """Write a PNG. Raises `BenchmarkFailed` without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (an extra; `Figure` alone never opens a window)
    except ImportError:
        raise BenchmarkFailed("--save draws with matplotlib; `pip install -e '.[bench]'`") from None
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    PICTURES[benchmark](figure, figures)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _pairs(
    figure: Any, axes: Any, labels: list[str], names: tuple[str, str], values: list[tuple[float, float]]
) -> None:
    """Bars of both sides beside each other, each with its number; the first ones are ours."""
    bars = []
    for side, (shift, colour) in enumerate(((-BAR / 2, OURS), (BAR / 2, BASELINE))):
        heights = [pair[side] for pair in values]
        bars.append(axes.bar([place + shift for place in range(len(labels))], heights, BAR, color=colour))
        axes.bar_label(bars[-1], labels=[_short(height) for height in heights], fontsize=8)
    axes.set_xticks(range(len(labels)), labels)
    if not figure.legends:
        figure.legend(bars, names, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.3g}"


def _hops(figure: Any, figures: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    ours, tcp = figures["ours"], figures["tcp"]
    names, shares, windows = ("ours", "thespian's TCP"), ["p50", "p99"], list(ours["per_s"])
    _pairs(figure, left, shares, names, [(ours[f"hop_{share}_us"], tcp[f"hop_{share}_us"]) for share in shares])
    left.set_title("One hop (µs)")
    _pairs(figure, right, windows, names, [(ours["per_s"][window], tcp["per_s"][window]) for window in windows])
    right.set_title("Round trips a second, by how many are under way")


def _orders(figure: Any, figures: dict[str, Any]) -> None:
    runs = figures["runs"]
    labels = [f"{run['latency_ms']} ms\n{run['symbols']} symbol{'s' * (run['symbols'] > 1)}" for run in runs]
    for axes, share in zip(figure.subplots(1, 2), ("p50", "p99"), strict=True):
        values = [(run[f"engine_{share}_ms"], run[f"bare_{share}_ms"]) for run in runs]
        _pairs(figure, axes, labels, ("intentd", "bare ccxt"), values)
        axes.set_title(f"One order, {share} (ms), by the venue's latency")


def _throughput(figure: Any, figures: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    bars = left.bar(["intentd", "bare ccxt"], [figures["engine_per_s"], figures["bare_per_s"]], color=[OURS, BASELINE])
    left.bar_label(bars, fmt="%.0f", fontsize=8)
    left.set_title("Orders a second")
    engine, bare = figures["cpu_ms_per_intent"], figures["bare_cpu_ms_per_order"]
    names = [name for name in {**engine, **bare} if name != "total"]
    for colour, name in enumerate(names):
        for place, parts in enumerate((bare, engine)):
            begin = sum(parts.get(earlier, 0) for earlier in names[:colour])
            right.barh(place, parts.get(name, 0), left=begin, color=f"C{colour}", label=name if place else None)
    right.set_yticks([0, 1], ["bare ccxt", "intentd"])
    right.set_title("CPU of one order (ms), by process")
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False, fontsize=8)


def _recovery(figure: Any, figures: dict[str, Any]) -> None:
    axes = figure.subplots()
    sizes = figures["sizes"]
    bars = axes.bar([f"{size['intents']:,}" for size in sizes], [size["ready_s"] for size in sizes], 0.5, color=OURS)
    axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.set_title("Start to ready (s), by ended intents in the book")


def _growth(figure: Any, figures: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    books = figures["books"]
    labels = [f"{book['intents']:,}" for book in books]
    values = [(book["cost_ms"], book["small_cost_ms"]) for book in books]
    _pairs(figure, left, labels, ("this book", "a book of 1 000 beside it"), values)
    left.set_title("One more intent (ms), by the size of the book")
    right.plot([row["symbols"] for row in figures["pss"]], [row["pss_mb"] for row in figures["pss"]], "o-", color=OURS)
    right.set_ylim(bottom=0)
    right.set_xlabel("symbols")
    right.set_title(f"Memory of the engine (MiB): {figures['pss_per_symbol_mb']} per symbol")


def _resilience(figure: Any, figures: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    rows = {"no kill": figures["baseline"], **figures["kills"]}
    values = [(row["worst_s"], row["median_s"]) for row in rows.values()]
    _pairs(figure, left, list(rows), ("worst", "median"), values)
    left.set_title("From a kill until trading goes on (s)")
    bars = right.bar(["0", "100"], [figures["ready_empty_s"], figures["ready_100_open_s"]], 0.5, color=OURS)
    right.bar_label(bars, fmt="%.2f", fontsize=8)
    right.set_title("Start to ready (s), by open intents", fontsize=10)


PICTURES: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "hops": _hops,
    "orders": _orders,
    "throughput": _throughput,
    "recovery": _recovery,
    "growth": _growth,
    "resilience": _resilience,
}
