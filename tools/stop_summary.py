"""How a stop went, in a few lines, and the exit code that says it to a script."""

from __future__ import annotations

from typing import Any, Final

from core.settings import OnStop
from core.stopping import Compared, StopReport
from messages.admin import EngineStopped
from tools.output import jsonable

LOOK: Final = 4
"""It has stopped, and there is something to look at."""
FORCED: Final = 130
TOLD_MAX: Final = 5
"""So many differences are told one by one."""


def exit_code(ended: EngineStopped) -> int:
    """0 also where orders were kept, or the venue did not answer: the next start takes up and compares."""
    if ended.forced:
        return FORCED
    if ended.failed:
        return LOOK
    return 0 if ended.report is None or ended.report.is_clean else LOOK


def lines(ended: EngineStopped) -> list[str]:
    """For people."""
    if ended.forced:
        return ["stopped by force: what was in flight is looked for at the next start; nothing is lost"]
    report = ended.report
    if ended.failed or report is None:
        return [f"not stopped in order ({ended.reason}): the next start takes up what the book has"]
    cut_short = [f"cut short: {what}" for what in report.not_done]
    took = f"took {report.elapsed_ns / 1e9:.1f} s"
    return [_intents(report), *_orders(report), *_comparison(report.compared), *cut_short, took]


def _intents(report: StopReport) -> str:
    states = ", ".join(f"{count} {state}" for state, count in report.open.items())
    return f"open intents: {states or 'none'}"


def _orders(report: StopReport) -> list[str]:
    if report.on_stop is OnStop.KEEP:
        return [f"working orders kept at the venue: {report.working}"]
    told = [f"intents ended: {report.canceled}"]
    if report.uncanceled:
        told.append(f"not ended in time: {report.uncanceled}; they may work at the venue, the next start goes on")
    return told


def _comparison(compared: Compared) -> list[str]:
    what = f"{compared.orders} open orders, {compared.trades} recent trades, {compared.balances} balances compared"
    if compared.agrees:
        return [f"book and venue agree: {what}"]
    told = [
        f"difference: {each.kind} {each.subject} (book {each.book or 'nothing'}, venue {each.venue or 'nothing'})"
        for each in compared.differences[:TOLD_MAX]
    ]
    if len(compared.differences) > TOLD_MAX:
        told.append(f"and {len(compared.differences) - TOLD_MAX} differences more; see `intentctl verify`")
    head = what if compared.differences else f"no difference found: {what}"
    return [head, *told, *(f"not compared: {reason}" for reason in compared.not_compared)]


def fields(ended: EngineStopped) -> dict[str, Any]:
    """For `--json`."""
    report = ended.report
    shown: dict[str, Any] = {"forced": ended.forced, "report": None}
    if report is not None:
        shown["report"] = jsonable(report) | {
            "clean": report.is_clean,
            "agrees": report.compared.agrees,
            "elapsed_s": round(report.elapsed_ns / 1e9, 3),
        }
    return shown
