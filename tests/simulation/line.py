"""The line between the gateway and the venue, in the place of HTTP.

Above it everything is real: `VenueClient`, ccxt with its signing, parsing and error classes, the loop that the gateway
pumps. Only aiohttp's session is replaced, by one whose requests travel in virtual time: there, through the simulator's
own passage (`exchange/simulator/passage.py`), and back. A request that has left is carried out whether or not its
gateway still lives; one may be lost on the way, and its connection then stays silent until the client's time-out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

import aiohttp
from thespian.actors import WatchMessage

from actors.pumped_loop import PumpedLoop
from core.settings import Settings
from exchange.client import VenueClient
from exchange.simulator.answers import Answer
from exchange.simulator.passage import Admitted, Request
from tests.simulation.machine import Machine, Process
from tests.simulation.scheduler import NS_PER_MS
from tests.simulation.stream import Streams
from tests.simulation.venue import Venue

TRAVEL_NS: Final = (NS_PER_MS, 25 * NS_PER_MS)
"""One way."""
ORDER_PATH: Final = "/api/v3/order"


class Caller(Protocol):
    """The gateway, as the line sees it."""

    process: Process
    settings: Settings
    loop: PumpedLoop

    def now_ns(self) -> int: ...


class Line:
    def __init__(self, machine: Machine, venue: Venue, streams: Streams, random: Random) -> None:
        self.lost = 0.0
        """Chance of a request to vanish on its way to the venue."""
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.on_order_leaving: Callable[[Mapping[str, str]], None] = lambda _order: None
        """A placement is about to leave a gateway, with its parameters."""
        self.on_cancel_leaving: Callable[[Mapping[str, str]], None] = lambda _cancel: None
        """The same of a cancel."""
        self.streams = streams
        self._machine = machine
        self._venue = venue
        self._random = random

    def connect(self, caller: Caller) -> VenueClient:
        """The real client, whose requests go through here."""
        client = VenueClient(caller.settings, {}, lambda _line: None, caller.now_ns)
        exchange = client._ccxt
        exchange.milliseconds = lambda: caller.now_ns() // NS_PER_MS
        exchange.ssl_context, exchange.own_session = False, False
        exchange.session = Session(self, caller.process)
        client.user_stream = lambda *told: self.streams.open(caller.process, client, *told)  # type: ignore[method-assign, assignment, return-value]
        return client

    def hang_up(self, caller: Any) -> None:
        """The caller's process is gone."""
        if hasattr(caller, "loop"):
            caller.loop.close()
        if hasattr(caller, "client"):
            caller.client._ccxt.session = None

    def send(self, caller: Process, request: Request, answer: asyncio.Future[Response]) -> None:
        """A request leaves; `answer` gets what comes back, if anything does."""
        leaving = {"POST": self.on_order_leaving, "DELETE": self.on_cancel_leaving}.get(request.method)
        if leaving is not None and request.path == ORDER_PATH:
            leaving({name: values[0] for name, values in parse_qs(request.body or request.query).items()})
        if self._random.random() < self.lost:
            self.faults["request lost"] += 1
            self._note("line", f"lost: {request.method} {request.path}")
            return
        self.in_flight += 1
        self._later(lambda: self._arrive(caller, request, answer))

    def _arrive(self, caller: Process, request: Request, answer: asyncio.Future[Response]) -> None:
        admitted = self._venue.admit(request)
        if not isinstance(admitted, Admitted):
            self._reply(caller, answer, admitted)
            return
        delay_ns = admitted.plan.delay_ms * NS_PER_MS
        if delay_ns:
            self._machine.scheduler.after(delay_ns, lambda: self._carry_out(caller, request, admitted, answer))
        else:
            self._carry_out(caller, request, admitted, answer)

    def _carry_out(
        self, caller: Process, request: Request, admitted: Admitted, answer: asyncio.Future[Response]
    ) -> None:
        outcome = self._venue.carry_out(admitted)
        if self._machine.trace.on:
            told = "no answer" if outcome.answer is None else f"{outcome.answer.status} {outcome.answer.body[:160]!r}"
            self._note("venue", f"{request.method} {_brief(request)} → {told}")
        self._machine.scheduler.after(outcome.late_ms * NS_PER_MS, lambda: self._reply(caller, answer, outcome.answer))

    def _reply(self, caller: Process, answer: asyncio.Future[Response], content: Answer | None) -> None:
        def arrive() -> None:
            self.in_flight -= 1
            if not caller.is_alive or answer.done():
                return
            if content is None:
                answer.set_exception(aiohttp.ServerDisconnectedError())
            else:
                answer.set_result(Response(content))
            caller.arrive(WatchMessage([]), caller.address)

        self._later(arrive)

    def _later(self, event: Callable[[], None]) -> None:
        self._machine.scheduler.after(self._random.randint(*TRAVEL_NS), event)

    def _note(self, who: str, what: str) -> None:
        if self._machine.trace.on:
            self._machine.trace.note(who, what)


class Session:
    """What ccxt uses of aiohttp's session."""

    def __init__(self, line: Line, caller: Process) -> None:
        self._line = line
        self._caller = caller
        self._retry_connection = False
        self.headers: dict[str, str] = {}

    def get(self, url: Any, **options: Any) -> Call:
        return Call(self._line, self._caller, "GET", url, **options)

    def post(self, url: Any, **options: Any) -> Call:
        return Call(self._line, self._caller, "POST", url, **options)

    def delete(self, url: Any, **options: Any) -> Call:
        return Call(self._line, self._caller, "DELETE", url, **options)


class Call:
    """One request. A context that is entered when the answer is there."""

    def __init__(
        self,
        line: Line,
        caller: Process,
        method: str,
        url: Any,
        *,
        data: bytes | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        proxy: None,
    ) -> None:
        assert proxy is None
        address = urlsplit(str(url))
        body = (data or b"").decode()
        self._request = Request(method, address.path, address.query, body, headers.get("X-MBX-APIKEY"))
        self._line, self._caller, self._timeout_s = line, caller, timeout.total

    async def __aenter__(self) -> Response:
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._line.send(self._caller, self._request, answer)
        async with asyncio.timeout(self._timeout_s):
            return await answer

    async def __aexit__(self, *_: object) -> None:
        pass


class Response:
    """What ccxt reads of aiohttp's response."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.reason = ""
        self.headers = answer.headers | {"Content-Type": answer.content_type}
        self.content = object()
        """aiohttp's stream, which ccxt returns where it finds neither JSON nor text."""
        self._body = answer.body

    async def text(self, errors: str) -> str:
        return self._body.decode(errors=errors)


def _brief(request: Request) -> str:
    """A request for the trace, without what is the same in all."""
    pairs = parse_qs(request.query or request.body)
    left = {name: values[0] for name, values in pairs.items() if name not in {"signature", "recvWindow"}}
    return request.path.rsplit("/", 1)[1] + " " + " ".join(f"{name}={value}" for name, value in left.items())
