"""Makes the venue's events of what happened. Pure: no sockets, no clock.

One step of the venue, e.g. a placement with its trades, is one `executionReport` for each change of an order, one
`balanceUpdate` for each transfer, and then one `outboundAccountPosition` with every balance that changed.

A fill that no read shows yet (`reads.py`) is not announced either: its order is announced as canceled without it, and
the trade follows when the reads show it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exchange.simulator import wire_events
from exchange.simulator.account import Balance
from exchange.simulator.happenings import Execution, Happening, OrderChanged, Transferred
from exchange.simulator.matching import MatchingEngine
from exchange.simulator.orders import Status, Trade
from exchange.simulator.reads import HiddenFill, HiddenFills, Reads
from exchange.simulator.wire import Json


class Announcer:
    """Of one venue."""

    def __init__(self, engine: MatchingEngine, hidden: HiddenFills) -> None:
        self._engine = engine
        self._hidden = hidden
        self._number = 0
        self._withheld: list[OrderChanged] = []
        """Trades that no read shows yet."""

    def shown_balances(self, now_ns: int) -> list[Balance] | None:
        """All of them, as the reads show them; None when that is how they are. Asking lets the market move on."""
        if any(now_ns < fill.until_ns for fill in self._hidden.values()) or self._withheld:
            return Reads(self._engine, self._hidden, now_ns).balances()
        return None

    def events(
        self, happened: Iterable[Happening], changed: list[Balance], shown: list[Balance] | None, now_ns: int
    ) -> list[Json]:
        """The events of one step. `changed` are the balances that did, `shown` is what `shown_balances` returned."""
        due, events = self._due(now_ns), []
        for happening in [*due, *happened]:
            if isinstance(happening, Transferred):
                events.append(wire_events.balance_update(happening.asset, happening.amount, now_ns))
                continue
            told = self._told(happening, now_ns)
            if told is not None:
                self._number += 1
                events.append(wire_events.execution_report(told, now_ns, self._number))
        if shown is not None:
            assets = {balance.asset for balance in changed}.union(*(self._assets(change.trade) for change in due))
            changed = [balance for balance in shown if balance.asset in assets]
        if changed:
            events.append(wire_events.account_position(changed, now_ns))
        return events

    def _due(self, now_ns: int) -> list[OrderChanged]:
        """Trades that were withheld, and are shown by now."""
        due = [change for change in self._withheld if self._hiding(change, now_ns) is None]
        self._withheld = [change for change in self._withheld if self._hiding(change, now_ns) is not None]
        return due

    def _told(self, change: OrderChanged, now_ns: int) -> OrderChanged | None:
        """As it is told at this moment; None: nothing of it is."""
        hiding = self._hiding(change, now_ns)
        if hiding is None:
            return change
        if change.trade is None:
            # that it was canceled was told in place of the trade
            return None if change.execution is Execution.CANCELED else change
        if change.trade.id != hiding.trade_id:
            return change
        is_filled = change.order.status is Status.FILLED
        ended = change.order if is_filled else msgspec.structs.replace(change.order, status=Status.CANCELED)
        self._withheld.append(msgspec.structs.replace(change, order=ended))
        return OrderChanged(Execution.CANCELED, hiding.shown, cancel_id=hiding.cancel_id)

    def _hiding(self, change: OrderChanged, now_ns: int) -> HiddenFill | None:
        """The fill of its order that is not shown at this moment."""
        fill = self._hidden.get((change.order.symbol, change.order.id))
        return fill if fill is not None and now_ns < fill.until_ns else None

    def _assets(self, trade: Trade | None) -> set[str]:
        if trade is None:
            return set()
        market = self._engine.market(trade.symbol)
        return {market.base, market.quote, trade.commission_asset}
