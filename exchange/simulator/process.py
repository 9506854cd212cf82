"""The simulator as a child process: started, awaited, stopped by its own pid. It never outlives whoever started it."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec

READY_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 5.0
CONTROL_TIMEOUT_S: Final = 10.0
_ROOT: Final = Path(__file__).resolve().parents[2]
_ERROR_LENGTH_MAX: Final = 2_000


class SimulatorFailed(RuntimeError):
    """The simulator did not come up; the text holds what it said."""


class _Ready(msgspec.Struct, frozen=True):
    event: str
    port: int
    pid: int


class SimulatorProcess:
    """A running simulator. As a context manager it is stopped at the end.

    with SimulatorProcess.start(state=folder / "venue.journal", seed=7) as venue:
        make_binance(base_url=venue.base_url, …)
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"

    @classmethod
    def start(
        cls,
        *,
        port: int = 0,
        seed: int | None = None,
        state: Path | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> Self:
        """Start one and wait until it listens. `port` 0 picks a free one; `arguments` are further options.

        `environment` is added to our own. It gets a session of its own: Ctrl-C at our terminal is not meant for it.
        Raises `SimulatorFailed` with what it said when it does not come up in time; nothing is left running then.
        """
        command = [sys.executable, "-m", "exchange.simulator", "--json", "--until-stdin-closes", "--port", str(port)]
        command += [] if seed is None else ["--seed", str(seed)]
        command += [] if state is None else ["--state", str(state)]
        errors = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe that nobody reads would block the child)
        process = subprocess.Popen(  # noqa: S603  (our own module, and options that are not a shell's)
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={
                **os.environ,
                **(environment or {}),
                "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH")))),
            },
        )
        try:
            return cls(process, _await_ready(process, errors, ready_timeout_s).port)
        except BaseException:
            _end(process, 0)
            raise
        finally:
            errors.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def misbehave(self, faults: Mapping[str, Any]) -> None:
        """Set its faults (docs/simulator.md). Raises `SimulatorFailed` with what is wrong about them."""
        self._put("faults", faults)

    def transfer(self, asset: str, amount: Decimal) -> None:
        """Deposit or, if negative, withdraw. Raises `SimulatorFailed` when so much is not free."""
        self._put("transfer", {"asset": asset, "amount": f"{amount:f}"})

    def move(self, symbol: str, mid: Decimal) -> None:
        """Move a market, written like BTCUSDT. Raises `SimulatorFailed` for a price that cannot be."""
        self._put("price", {"symbol": symbol, "mid": f"{mid:f}"})

    def _put(self, what: str, content: Any) -> None:
        body = msgspec.json.encode(content)
        call = Request(f"{self.base_url}/_sim/{what}", data=body, method="PUT")  # noqa: S310  (http on loopback)
        try:
            with urlopen(call, timeout=CONTROL_TIMEOUT_S):  # noqa: S310
                return
        except HTTPError as error:
            raise SimulatorFailed(f"{what} refused: {error.read(_ERROR_LENGTH_MAX).decode()}") from None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Let it end in order; kill it if it takes longer. Returns its exit status; 0 when all went well."""
        return _end(self._process, timeout_s)

    def kill(self) -> None:
        """kill -9, as a crash does it. What it has answered is in its state file."""
        _end(self._process, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _await_ready(process: subprocess.Popen[bytes], errors: IO[bytes], timeout_s: float) -> _Ready:
    assert process.stdout is not None
    deadline, line = time.monotonic() + timeout_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise SimulatorFailed(f"the simulator was not ready after {timeout_s} s{_said(errors)}")
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                status = process.wait()
                raise SimulatorFailed(f"the simulator ended with status {status}{_said(errors)}")
            line += chunk
    return msgspec.json.decode(line, type=_Ready)


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    text = errors.read(_ERROR_LENGTH_MAX).decode(errors="replace").strip()
    return f": {text}" if text else ""


def _end(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """Ends it, politely first if there is patience; may be called again."""
    if process.poll() is None and patience_s > 0:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return process.returncode
