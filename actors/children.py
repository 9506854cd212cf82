"""The parts of the engine: their names, what each needs before it can start, and where each one is."""

from __future__ import annotations

from typing import Any, Final

PORTFOLIO, GATEWAY, RECONCILER, SCRIBE = "portfolio", "gateway", "reconciler", "scribe"
CLASSES: Final = {
    PORTFOLIO: "actors.portfolio.Portfolio",
    GATEWAY: "actors.gateway.Gateway",
    RECONCILER: "actors.reconciler.Reconciler",
    SCRIBE: "actors.scribe.Scribe",
}
"""In the order of their start; each symbol's router comes after them."""
ROUTER_CLASS: Final = "actors.router.OrderRouter"
NEEDS: Final = {
    PORTFOLIO: (),
    GATEWAY: (PORTFOLIO,),
    RECONCILER: (PORTFOLIO, GATEWAY),
    SCRIBE: (PORTFOLIO, GATEWAY),
}
ROUTER_NEEDS: Final = (PORTFOLIO, GATEWAY, RECONCILER)
STOP_ORDER: Final = (RECONCILER, GATEWAY, PORTFOLIO, SCRIBE)
"""Routers settle first; the scribe is last, so that it writes what all the others did."""
_ROUTER: Final = "router "


def router_name(symbol: str) -> str:
    return f"{_ROUTER}{symbol}"


def symbol_of(name: str) -> str | None:
    """The symbol of a router's name; None for every other part."""
    return name.removeprefix(_ROUTER) if name.startswith(_ROUTER) else None


class Child:
    """One actor that the engine has started."""

    def __init__(self, name: str, address: Any, now_ns: int) -> None:
        self.name = name
        self.address = address
        self.pid = 0
        """0 until it has said so itself."""
        self.state = "starting"
        """`starting`, `ready`, `failed`, `gone`."""
        self.prepared = False
        self.heard_ns = now_ns
        """When it last gave a sign of life."""

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"

    @property
    def is_there(self) -> bool:
        return self.state in {"starting", "ready"}
