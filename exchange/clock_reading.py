"""The venue's clock is read when a request was refused for its time: once for all who were refused, and not too often.

What comes of it is decided by `core/timestamps.py`. Belongs to one event loop. Who uses it: `exchange/client.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.ids import NS_PER_S
from core.timestamps import Timestamps
from exchange.pages import TimeTold


class ClockReading:
    def __init__(
        self,
        timestamps: Timestamps,
        ask: Callable[[], Awaitable[TimeTold]],
        explain: Callable[[BaseException], str],
        on_read: Callable[[TimeTold | None], None],
    ) -> None:
        """`ask` puts the question, and raises what it likes; `on_read` is told when `timestamps` know the answer, or
        that there was none."""
        self._timestamps = timestamps
        self._ask = ask
        self._explain = explain
        self._on_read = on_read
        self._task: asyncio.Task[None] | None = None

    def refused(self, turn: int) -> None:
        """The time of a request was refused; it was signed in that turn."""
        loop = asyncio.get_running_loop()
        if self._timestamps.refused(turn, int(loop.time() * NS_PER_S)):
            self._task = loop.create_task(self._read())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        """It ends in any case, and the doubt with it."""
        loop, told = asyncio.get_running_loop(), None
        try:
            told = await self._ask()
        except Exception as error:  # noqa: BLE001  (whatever it is, the next refusal asks again)
            because = f"the venue's clock could not be read ({self._explain(error)})"
            self._timestamps.not_read(because, int(loop.time() * NS_PER_S))
        else:
            self._timestamps.read(*told, int(loop.time() * NS_PER_S))
        if not loop.is_closed():  # else it is the loop's end that has thrown it out, and nobody is there to be told
            self._on_read(told)
